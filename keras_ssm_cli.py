"""The `keras-ssm` command: chooses the Keras backend before Keras is imported.

Only the standard library is imported here, so that `--help` and a wrong
argument answer at once; the work is in `keras_ssm.cli`.
"""

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence

BACKENDS = ("jax", "tensorflow", "torch")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments, those of the process by default.

    Returns:
        Exit code: 0, 1 for a training that failed, 2 for a wrong argument or run folder.

    Example:

    >>> import keras_ssm_cli
    >>> keras_ssm_cli.main(["recipes"])
    task  ...
    0
    """
    arguments = parser().parse_args(argv)
    try:
        os.environ["KERAS_BACKEND"] = choose_backend(arguments.backend)
    except ValueError as error:
        print(f"keras-ssm: {error}", file=sys.stderr)
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from keras_ssm import cli

    return cli.main(arguments)


def choose_backend(backend: str | None) -> str:
    """The backend asked for, else KERAS_BACKEND, else the first that is installed.

    Args:
        backend: value of `--backend`, or None.

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
    if backend is None:
        for candidate in BACKENDS:
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
    wanted = backend or BACKENDS[0]
    raise ValueError(
        f"expected an installed backend ({', '.join(BACKENDS)}): "
        f'`pip install "keras-ssm[{wanted}]"` installs {wanted}. Received: {received}'
        + (", which is not installed" if backend else "")
    )


def parser() -> argparse.ArgumentParser:
    """The arguments of the command.

    Returns:
        An `argparse.ArgumentParser`; settings left out are None, for the
        layer's own default.

    Example:

    >>> import keras_ssm_cli
    >>> keras_ssm_cli.parser().parse_args(["evaluate", "runs/demo"]).run
    'runs/demo'
    """
    main_parser = argparse.ArgumentParser(
        prog="keras-ssm", description="Train and evaluate state space sequence models."
    )
    commands = main_parser.add_subparsers(dest="command", required=True)
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

    train = commands.add_parser(
        "train", parents=[backend, data, scale], help="train by a recipe and write a run folder"
    )
    train.add_argument(
        "task",
        metavar="TASK",
        help="name of a task (see `keras-ssm recipes`), or the config.json of a run to repeat",
    )
    train.add_argument("--layer", choices=["dss", "s4d", "s5"])
    train.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="change settings of the recipe, as in `--set epochs=3 model.depth=2`",
    )
    train.add_argument("--seed", type=int, metavar="N", help="default: 0")
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
        "--data-parallel", action="store_true", help="use all devices, each for a part of a batch"
    )

    evaluate = commands.add_parser(
        "evaluate", parents=[backend, data], help="test accuracy of a run, under any backend"
    )
    evaluate.add_argument("run", metavar="RUN", help="run folder that `keras-ssm train` wrote")

    prepare = commands.add_parser(
        "data", parents=[backend, data, scale], help="prepare the data of a task and describe them"
    )
    prepare.add_argument("task", metavar="TASK", help="name of a task (see `keras-ssm recipes`)")
    first = prepare.add_mutually_exclusive_group()
    first.add_argument(
        "--generate",
        action="store_true",
        help="make the data first: ListOps, Pathfinder, synthesised speech",
    )
    first.add_argument(
        "--download",
        action="store_true",
        help="fetch the official archive first, 80 MB to 8 GB, and unpack it",
    )

    commands.add_parser(
        "recipes", parents=[backend], help="all recipes, and published results beside them"
    )

    plot = commands.add_parser(
        "plot", parents=[backend], help="pictures of a run's layers, into RUN/plots"
    )
    plot.add_argument("run", metavar="RUN", help="run folder that `keras-ssm train` wrote")
    plot.add_argument(
        "--sampling-rate", type=_positive(float), metavar="HZ", help="for seconds and Hz, not steps"
    )

    summary = commands.add_parser(
        "summary", parents=[backend], help="modes, time scales, memory and sizes of every layer"
    )
    summary.add_argument("model", metavar="MODEL_OR_RUN", help="run folder, or .keras file")
    return main_parser


def _positive(kind: type) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be positive and finite. Received: {text}")
        return value

    # The name that argparse puts into "invalid ... value".
    convert.__name__ = kind.__name__
    return convert


if __name__ == "__main__":
    sys.exit(main())
