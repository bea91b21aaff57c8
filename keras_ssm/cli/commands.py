"""What the `keras-ssm` command does, once the backend is chosen."""

import argparse
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_ssm import analysis, distribution, recipes
from keras_ssm.cli import evaluation, exporting, report, training
from keras_ssm.cli.settings import changed, chosen

# Shown to a shell as if the interrupt had ended the process.
_INTERRUPTED = 130


def main(arguments: argparse.Namespace) -> int:
    """Run a command of `keras_ssm_cli.parser`.

    Args:
        arguments: parsed arguments.

    Returns:
        Exit code: 0, 1 where weights became NaN or infinity, memory ran out or
        another process of the training run ended, 2 for a wrong argument, a
        missing package, missing data or an unreadable run, 130 for an interrupt.

    Example:

    >>> import keras_ssm_cli
    >>> from keras_ssm import cli
    >>> arguments = keras_ssm_cli.parser().parse_args(["data", "digits"])
    >>> cli.main(arguments)
    train       float32 1259x64x1; 9.7 to 10.2 % of each class
    validation  float32 179x64x1; 9.5 to 10.1 % of each class
    test        float32 359x64x1; 9.7 to 10.3 % of each class
    0
    """
    code = _run(arguments)
    if code and distribution.several_processes():
        # What frameworks do at the end of a process would wait for those that are gone.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _run(arguments: argparse.Namespace) -> int:
    wanted = os.environ.get("KERAS_BACKEND")
    try:
        if keras.backend.backend() != wanted:
            raise ValueError(
                "expected a process where Keras is not imported yet, or has the backend asked for. "
                f"Received: backend {wanted} where {keras.backend.backend()} is running"
            )
        _COMMANDS[arguments.command](arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output, `head` for instance, has enough. The interpreter, which
        # flushes at its end, cannot write more either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (FloatingPointError, MemoryError) as error:
        print(f"keras-ssm: {_one_line(error)}", file=sys.stderr)
        return 1
    except distribution.LostProcessError as error:
        print(f"keras-ssm: {_one_line(error)}; --resume goes on", file=sys.stderr)
        return 1
    except (ValueError, ImportError, OSError) as error:
        print(f"keras-ssm: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        hint = "; --resume goes on" if arguments.command == "train" else ""
        print(f"\nkeras-ssm: interrupted{hint}", file=sys.stderr)
        return _INTERRUPTED
    return 0


def train(arguments: argparse.Namespace) -> None:
    """Train from a recipe or from the `config.json` of another run.

    Args:
        arguments: arguments of `keras-ssm train`.

    Raises:
        ValueError: see `training.train`; for an unknown task, layer or setting as well.
        FloatingPointError: see `training.train`.
    """
    recipe, seed = chosen(
        arguments.task, arguments.layer, arguments.scale, arguments.seed, arguments.data_dir
    )
    recipe = changed(recipe, arguments.set)
    config = {"recipe": recipe, "backend": keras.backend.backend()}
    training.train(
        recipe,
        arguments.out or pathlib.Path("runs") / training.title(config).replace(":", "-"),
        arguments.data_dir,
        seed,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        tensorboard=arguments.tensorboard,
        data_parallel=arguments.data_parallel,
    )


def data(arguments: argparse.Namespace) -> None:
    """Prepare the data of a task, after making or fetching them if asked to, and describe them.

    Args:
        arguments: arguments of `keras-ssm data`.

    Raises:
        ValueError: if data are missing or damaged, or cannot be made.
    """
    # The data are the same for every layer.
    names = recipes.names()
    layer = next((layer for task, layer, _ in names if task == arguments.task), names[0][1])
    recipe, _ = chosen(arguments.task, layer, arguments.scale, None, arguments.data_dir)
    if arguments.generate:
        print(f"Made {recipes.generate(recipe, arguments.data_dir)}")
    if arguments.download:
        print(f"Unpacked {recipes.download(recipe, arguments.data_dir)}")
    parts = recipes.load_data(recipe, arguments.data_dir)
    for name in ("train", "validation", "test"):
        x, y, *lengths = getattr(parts, name)
        shares = np.bincount(y, minlength=recipe["data"]["num_classes"]) / len(y)
        steps = f"; {lengths[0].min()} to {lengths[0].max()} steps" if lengths else ""
        print(
            f"{name:10}  {x.dtype} {'x'.join(map(str, x.shape))}{steps}; "
            f"{100 * shares.min():.1f} to {100 * shares.max():.1f} % of each class"
        )


def plot(arguments: argparse.Namespace) -> None:
    """Draw the pictures of a run or a saved model.

    Args:
        arguments: arguments of `keras-ssm plot`.

    Raises:
        ValueError: for something that cannot be read.
        ImportError: if matplotlib is not installed.
    """
    written = report.plot(arguments.model, arguments.sampling_rate)
    print(f"Wrote {len(written)} pictures to {written[0].parent}")


def export(arguments: argparse.Namespace) -> None:
    """Write the model of a run to a file for another runtime.

    Args:
        arguments: arguments of `keras-ssm export`.

    Raises:
        ValueError: for a run that cannot be read, or a model that the format
            cannot hold.
        ImportError: for a package that is missing.
    """
    artefact = exporting.export(
        arguments.model,
        arguments.format,
        arguments.out,
        step=arguments.step,
        chunk=arguments.chunk,
        length=arguments.length,
        int8=arguments.int8,
        sampling_rate=arguments.sampling_rate,
    )
    for note in artefact.notes:
        print(note)
    print(
        f"Wrote {artefact.path}, {artefact.size} bytes; in its own runtime it differs from "
        f"predict by {artefact.error:.1e} of the largest output"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


_COMMANDS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "train": train,
    "evaluate": lambda arguments: evaluation.evaluate(arguments.run, arguments.data_dir),
    "data": data,
    "recipes": lambda arguments: print(recipes.table()),
    "plot": plot,
    "export": export,
    "summary": lambda arguments: analysis.summary(report.load(arguments.model)),
}
