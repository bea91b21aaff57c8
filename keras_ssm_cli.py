"""The `keras-ssm` command: chooses the Keras backend before Keras is imported.

Only the standard library is imported here, so that `--help` and a wrong
argument answer at once; the work is in `keras_ssm.cli`.
"""

import argparse
import contextlib
import importlib.util
import os
import pathlib
import runpy
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

BACKENDS = ("jax", "tensorflow", "torch")
# Formats of `keras-ssm export`, with the backends that write them, the best first.
FORMATS = {
    "onnx": ("tensorflow", "torch"),
    "litert": ("tensorflow",),
    "saved_model": ("tensorflow",),
    "openvino": ("tensorflow", "torch"),
    "torch": ("torch",),
}
GREETING = """\
keras-ssm trains state space sequence models and looks into them.

  keras-ssm train digits --layer s5 --out runs/demo   train a model: a minute on two cores
  keras-ssm evaluate runs/demo                        test accuracy of a run, under any backend
  keras-ssm plot runs/demo                            draw what its layers have learned
  keras-ssm export runs/demo --format onnx            one file that runs without Keras

`keras-ssm recipes` lists all tasks and layers, `keras-ssm --help` all commands, and
`keras-ssm COMMAND --help` has examples of one."""
# Shown to a shell as if the interrupt had ended the process.
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments, those of the process by default.

    Returns:
        Exit code: 0, 1 for a training run that failed, 2 for a wrong argument or
        run folder, 130 for an interrupt.

    Example:

    >>> import keras_ssm_cli
    >>> keras_ssm_cli.main(["recipes"])
    task  ...
    0
    """
    arguments = parser().parse_args(argv)
    if arguments.command is None:
        print(GREETING)
        return 0
    try:
        candidates = FORMATS.get(getattr(arguments, "format", ""), BACKENDS)
        os.environ["KERAS_BACKEND"] = choose_backend(arguments.backend, candidates)
    except ValueError as error:
        print(f"keras-ssm: {error}", file=sys.stderr)
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _interruptible():
        from keras_ssm import cli

    return cli.main(arguments)


def choose_backend(backend: str | None, candidates: Sequence[str] = BACKENDS) -> str:
    """Choose the backend asked for, else KERAS_BACKEND, else the first that is installed.

    Args:
        backend: value of `--backend`, or None.
        candidates: backends that will do, the best first. KERAS_BACKEND does not
            count if it is not one of them, since it is a choice for all commands.

    Returns:
        `"jax"`, `"tensorflow"` or `"torch"`.

    Raises:
        ValueError: for an unknown backend, or one whose framework is not installed.

    Example:

    >>> import keras_ssm_cli
    >>> keras_ssm_cli.choose_backend("torch")
    'torch'
    """
    source = "--backend"
    if backend is None and os.environ.get("KERAS_BACKEND"):
        source, backend = "KERAS_BACKEND", os.environ["KERAS_BACKEND"]
        if backend in BACKENDS and backend not in candidates:
            backend = None
    if backend is None:
        for candidate in candidates:
            if importlib.util.find_spec(candidate):
                return candidate
    elif backend not in BACKENDS:
        raise ValueError(
            f"the backend must be one of {', '.join(BACKENDS)}, each installed by the extra of its "
            f'name, as in `pip install "keras-ssm[torch]"`. Received: {source}={backend}'
        )
    elif importlib.util.find_spec(backend):
        return backend
    received = "none of them is installed" if backend is None else f"{source}={backend}"
    wanted = backend or candidates[0]
    raise ValueError(
        f"expected an installed backend ({', '.join(candidates)}): "
        f'`pip install "keras-ssm[{wanted}]"` installs {wanted}. Received: {received}'
        + (", which is not installed" if backend else "")
    )


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command's arguments.

    Returns:
        An `argparse.ArgumentParser`.

    Example:

    >>> import keras_ssm_cli
    >>> keras_ssm_cli.parser().parse_args(["evaluate", "runs/demo"]).run
    'runs/demo'
    """
    main_parser = argparse.ArgumentParser(
        prog="keras-ssm",
        description="Train state space sequence models and look into them.",
        epilog=_examples("keras-ssm train digits --layer s5 --out runs/demo"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main_parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    commands = main_parser.add_subparsers(dest="command", metavar="COMMAND")
    backend = argparse.ArgumentParser(add_help=False)
    backend.add_argument(
        "--backend",
        metavar="|".join(BACKENDS),
        help="default: KERAS_BACKEND if it is set, else the first that is installed",
    )

    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        "--data-dir",
        metavar="DIR",
        help="where the data are; default: KERAS_SSM_DATA if it is set, else ~/.keras/datasets",
    )
    scale = argparse.ArgumentParser(add_help=False)
    scale.add_argument(
        "--scale",
        choices=["full", "small"],
        help="the published settings, or small ones of ours; default: full if there are any",
    )

    def command(
        name: str, summary: str, examples: Sequence[str], *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            parents=[backend, *parents],
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=_examples(*examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    train = command(
        "train",
        "train a model from a recipe and write a run folder",
        [
            "keras-ssm train digits --layer s5 --out runs/demo",
            "keras-ssm train digits --layer s4d --set epochs=10 model.depth=4 --backend torch",
            "keras-ssm train runs/demo/config.json --seed 1 --out runs/again",
        ],
        data,
        scale,
    )
    train.add_argument(
        "task",
        metavar="TASK",
        help="name of a task (see `keras-ssm recipes`), uea:NAME for a problem of the UEA and UCR "
        "archives, or the config.json of a run to repeat",
    )
    train.add_argument("--layer", metavar="LAYER", help="such as s5 (see `keras-ssm recipes`)")
    train.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="change settings of the recipe, as in `--set epochs=3 model.depth=2`",
    )
    train.add_argument("--seed", type=int, metavar="N", help="default: 0, or that of config.json")
    train.add_argument("--out", metavar="RUN", help="run folder; default: runs/TASK-LAYER-BACKEND")
    existing = train.add_mutually_exclusive_group()
    existing.add_argument(
        "--overwrite", action="store_true", help="replace the run that the folder holds"
    )
    existing.add_argument(
        "--resume", action="store_true", help="go on with the run that the folder holds"
    )
    train.add_argument(
        "--tensorboard", action="store_true", help="write logs for TensorBoard into RUN/tensorboard"
    )
    train.add_argument(
        "--data-parallel",
        action="store_true",
        help="use all devices, and all processes started together, each for a part of a batch",
    )

    evaluate = command(
        "evaluate",
        "test accuracy of a run, under any backend",
        ["keras-ssm evaluate runs/demo"],
        data,
    )
    evaluate.add_argument("run", metavar="RUN", help="run folder that `keras-ssm train` wrote")

    prepare = command(
        "data",
        "prepare the data of a task and describe them",
        [
            "keras-ssm data digits",
            "keras-ssm data lra-listops --scale small --generate --data-dir data",
        ],
        data,
        scale,
    )
    prepare.add_argument("task", metavar="TASK", help="name of a task (see `keras-ssm recipes`)")
    first = prepare.add_mutually_exclusive_group()
    first.add_argument(
        "--generate",
        action="store_true",
        help="make the data first: ListOps, Pathfinder, synthesized speech",
    )
    first.add_argument(
        "--download",
        action="store_true",
        help="fetch the official archive first, 80 MB to 8 GB, and unpack it",
    )

    command(
        "recipes",
        "all recipes, and published results beside them",
        ["keras-ssm recipes", "keras-ssm recipes | grep s5"],
    )

    plot = command(
        "plot",
        "draw the layers of a run, into RUN/plots, or of a .keras file",
        ["keras-ssm plot runs/demo", "keras-ssm plot runs/demo/best.keras --sampling-rate 16000"],
    )
    plot.add_argument("model", metavar="MODEL_OR_RUN", help="run folder, or .keras file")
    plot.add_argument(
        "--sampling-rate", type=_positive(float), metavar="HZ", help="use seconds and Hz, not steps"
    )

    export = command(
        "export",
        "write a run's model into a file for another runtime, and run that file",
        [
            "keras-ssm export runs/demo --format onnx",
            "keras-ssm train digits --layer s5 --set model.bidirectional=false --out runs/stream",
            "keras-ssm export runs/stream --format litert --step --chunk 8",
        ],
    )
    export.add_argument("model", metavar="RUN", help="run folder, or .keras file")
    export.add_argument(
        "--format", choices=list(FORMATS), required=True, help="format of the file that is written"
    )
    export.add_argument(
        "--step", action="store_true", help="one step with its states, in place of whole sequences"
    )
    export.add_argument(
        "--chunk", type=_positive(int), metavar="K", help="with --step: K steps in a call"
    )
    export.add_argument(
        "--length", type=_positive(int), metavar="L", help="steps of a whole sequence"
    )
    export.add_argument(
        "--int8", action="store_true", help="quantize projections and dense layers (onnx, litert)"
    )
    export.add_argument(
        "--sampling-rate", type=_positive(float), metavar="HZ", help="noted in the file"
    )
    export.add_argument(
        "--out",
        metavar="FILE",
        help="default: model or step, with the suffix of the format, in RUN",
    )

    summary = command(
        "summary",
        "modes, time scales, memory and sizes of every layer",
        ["keras-ssm summary runs/demo", "keras-ssm summary runs/demo/best.keras"],
    )
    summary.add_argument("model", metavar="MODEL_OR_RUN", help="run folder, or .keras file")
    return main_parser


def _examples(*lines: str) -> str:
    """The end of a help text, each command on a line of its own, to be copied."""
    return "\n".join(["examples:" if len(lines) > 1 else "example:", *(f"  {x}" for x in lines)])


def _positive(kind: type) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be positive and finite. Received: {text}")
        return value

    # The name that argparse puts into "invalid ... value".
    convert.__name__ = kind.__name__
    return convert


class _Version(argparse.Action):
    """Reads the version from its file: the package itself imports Keras."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        package = importlib.util.find_spec("keras_ssm")
        if package is None or package.origin is None:
            parser.error("keras_ssm is not installed")
        path = pathlib.Path(package.origin).with_name("_version.py")
        print(f"keras-ssm {runpy.run_path(str(path))['__version__']}")
        parser.exit()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """An interrupt inside ends the process at once, with one line.

    Frameworks that are interrupted while they are imported turn it into errors of their own.
    """
    handler = signal.getsignal(signal.SIGINT)
    ours = threading.current_thread() is threading.main_thread()
    if not ours or handler is not signal.default_int_handler:
        yield
        return

    def stop(*_: Any) -> None:
        os.write(2, b"\nkeras-ssm: interrupted\n")
        os._exit(_INTERRUPTED)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


if __name__ == "__main__":
    sys.exit(main())
