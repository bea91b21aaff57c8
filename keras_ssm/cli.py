"""What the `keras-ssm` command does, once the backend is chosen."""

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_ssm import recipes, report, runs, tasks, training
from keras_ssm.recipes import Recipe

# Shown to a shell as if the interrupt had ended the process.
_INTERRUPTED = 130


def main(arguments: argparse.Namespace) -> int:
    """Run a command of `keras_ssm_cli.parser`.

    Args:
        arguments: parsed arguments.

    Returns:
        Exit code: 0, 1 for a training whose weights went to NaN or infinity, 2
        for a wrong argument, a missing package, missing data or an unreadable
        run, 130 for an interrupt.

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
    wanted = os.environ.get("KERAS_BACKEND")
    try:
        if keras.backend.backend() != wanted:
            raise ValueError(
                "expected a process where Keras is not imported yet, or has the backend asked for. "
                f"Received: backend {wanted} where {keras.backend.backend()} is running"
            )
        _COMMANDS[arguments.command](arguments)
    except FloatingPointError as error:
        print(f"keras-ssm: {error}", file=sys.stderr)
        return 1
    except (ValueError, ImportError, OSError) as error:
        print(f"keras-ssm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        hint = "; --resume goes on" if arguments.command == "train" else ""
        print(f"\nkeras-ssm: interrupted{hint}", file=sys.stderr)
        return _INTERRUPTED
    return 0


def train(arguments: argparse.Namespace) -> None:
    """Train by a recipe or by the `config.json` of another run.

    Args:
        arguments: of `keras-ssm train`.

    Raises:
        ValueError: see `training.train`; for an unknown task, layer or setting as well.
        FloatingPointError: see `training.train`.
    """
    recipe, seed = chosen(arguments.task, arguments.layer, arguments.scale, arguments.seed)
    recipe = changed(recipe, arguments.set)
    config = {"recipe": recipe, "backend": keras.backend.backend()}
    training.train(
        recipe,
        arguments.out or pathlib.Path("runs") / training.title(config),
        arguments.data_dir,
        seed,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        tensorboard=arguments.tensorboard,
        data_parallel=arguments.data_parallel,
    )


def chosen(task: str, layer: str | None, scale: str | None, seed: int | None) -> tuple[Recipe, int]:
    """Recipe and seed, by name or from a file.

    Args:
        task: of a recipe, or the path of the `config.json` of a run.
        layer: of a recipe; None with a file.
        scale: of a recipe; None takes `"full"` if there is one.
        seed: None takes 0, or that of the file.

    Returns:
        The recipe and the seed.

    Raises:
        ValueError: if there is no such recipe, or a file is given a layer or scale.

    Example:

    >>> from keras_ssm import cli
    >>> recipe, seed = cli.chosen("digits", "s5", None, None)
    >>> recipe["scale"], seed
    ('small', 0)
    """
    path = pathlib.Path(task)
    if path.suffix == ".json":
        if layer or scale:
            raise ValueError(
                f"{path} says the layer and the scale. Received: --layer={layer}, --scale={scale}"
            )
        config = runs.read_config(path.parent, path.name)
        return config["recipe"], config["seed"] if seed is None else seed
    if layer is None:
        raise ValueError(f"--layer is needed: dss, s4d or s5. Received: {task} without a layer")
    if scale is None:
        scale = "full" if (task, layer, "full") in recipes.names() else "small"
    return recipes.get(task, layer, scale), seed or 0


def changed(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """A recipe with some settings changed.

    Args:
        recipe: of `recipes.get`.
        settings: such as `"training.epochs=3"`, or `"epochs=3"` where one part
            of the recipe alone has the name. Values are JSON, or else text.

    Returns:
        A new recipe.

    Raises:
        ValueError: for a setting the recipe does not have; new ones are
            possible for `model` and `optimizer`, which check theirs.

    Example:

    >>> from keras_ssm import cli
    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> cli.changed(recipe, ["epochs=3"])["training"]["epochs"]
    3
    """
    recipe = json.loads(json.dumps(recipe))
    parts = {name: part for name, part in recipe.items() if isinstance(part, dict)}
    for setting in settings:
        name, equals, text = setting.partition("=")
        part, dot, key = name.rpartition(".")
        homes = [part] if dot else [p for p, values in parts.items() if name in values]
        known = homes and homes[0] in parts
        if (
            not equals
            or not known
            or not (key in parts[homes[0]] or homes[0] in ("model", "optimizer"))
        ):
            existing = (f"{p}.{key}" for p, values in parts.items() for key in values)
            raise ValueError(
                f"expected NAME=VALUE for one of {', '.join(existing)}, or a new argument as "
                f"model.NAME or optimizer.NAME. Received: --set {setting}"
            )
        if len(homes) > 1:
            raise ValueError(
                f"expected {' or '.join(f'{home}.{key}' for home in homes)}. "
                f"Received: --set {setting}"
            )
        parts[homes[0]][key] = _value(text)
    return recipe


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def data(arguments: argparse.Namespace) -> None:
    """Prepare the data of a task, perhaps made or fetched first, and say what they are.

    Args:
        arguments: of `keras-ssm data`.

    Raises:
        ValueError: if data are missing or damaged, or cannot be made.
    """
    layers = [layer for task, layer, _ in recipes.names() if task == arguments.task]
    recipe, _ = chosen(arguments.task, (layers or ["s5"])[0], arguments.scale, None)
    if arguments.generate:
        print(f"Made {tasks.generate(recipe, arguments.data_dir)}")
    if arguments.download:
        print(f"Unpacked {tasks.download(recipe, arguments.data_dir)}")
    parts = tasks.load(recipe, arguments.data_dir)
    for name in ("train", "validation", "test"):
        x, y, *lengths = getattr(parts, name)
        shares = np.bincount(y, minlength=recipe["data"]["num_classes"]) / len(y)
        steps = f"; {lengths[0].min()} to {lengths[0].max()} steps" if lengths else ""
        print(
            f"{name:10}  {x.dtype} {'x'.join(map(str, x.shape))}{steps}; "
            f"{100 * shares.min():.1f} to {100 * shares.max():.1f} % of each class"
        )


_COMMANDS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "train": train,
    "evaluate": lambda arguments: training.evaluate(arguments.run, arguments.data_dir),
    "data": data,
    "recipes": lambda arguments: print(recipes.table()),
    "plot": report.run,
    "summary": report.run,
}
