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

    >>> keras_ssm_cli.main(["train", "digits", "--layer", "s5", "--epochs", "1"])
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

    train = commands.add_parser(
        "train", parents=[backend], help="train a classifier and write a run folder"
    )
    train.add_argument("dataset", choices=["digits"], help="8 x 8 handwritten digits, by pixel")
    train.add_argument("--layer", choices=["dss", "s4d", "s5"], required=True)
    train.add_argument("--epochs", type=_positive(int), metavar="N")
    train.add_argument("--batch-size", type=_positive(int), metavar="N")
    train.add_argument("--depth", type=_positive(int), metavar="N", help="number of blocks")
    train.add_argument("--width", type=_positive(int), metavar="N", help="features of a block")
    train.add_argument("--state-size", type=_positive(int), metavar="N")
    train.add_argument("--learning-rate", type=_positive(float), metavar="RATE")
    train.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    train.add_argument(
        "--out", metavar="DIR", help="run folder; default: runs/DATASET-LAYER-BACKEND"
    )
    train.add_argument(
        "--overwrite", action="store_true", help="replace the run that the folder holds"
    )

    evaluate = commands.add_parser(
        "evaluate", parents=[backend], help="test accuracy of a run, under any backend"
    )
    evaluate.add_argument("run", metavar="RUN", help="run folder that `keras-ssm train` wrote")

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
