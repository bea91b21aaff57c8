"""What the `keras-ssm` command does, once the backend is chosen."""

import argparse
import math
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import keras

from keras_ssm import callbacks, models, optimizers, report, runs
from keras_ssm.datasets import digits

# Chosen on validation images, never on the test part.
DEFAULTS = {"epochs": 30, "batch_size": 32, "depth": 2, "width": 64, "learning_rate": 8e-3}
# 32 complex modes each: S4D and S5 store one of every conjugate pair, DSS both.
STATE_SIZES = {"dss": 32, "s4d": 64, "s5": 64}
# A sequence is 64 steps long, so the step sizes are ten times those for a thousand.
MODEL = {"bidirectional": True, "step_min": 1e-2, "step_max": 1.0, "dropout": 0.1}
OPTIMIZER = {"ssm_learning_rate": 2e-3, "weight_decay": 0.01}
SPLIT: dict[str, Any] = {"validation_fraction": 0.1, "test_fraction": 0.2, "seed": 0}


def main(arguments: argparse.Namespace) -> int:
    """Run a command of `keras_ssm_cli.parser`.

    Args:
        arguments: parsed arguments.

    Returns:
        Exit code: 0, 1 for a training whose weights went to NaN or infinity, 2
        for a wrong argument, a missing package or an unreadable run.

    Example:

    >>> arguments = keras_ssm_cli.parser().parse_args(["evaluate", "runs/demo"])
    >>> keras_ssm.cli.main(arguments)
    0
    """
    wanted = os.environ.get("KERAS_BACKEND")
    try:
        if keras.backend.backend() != wanted:
            raise ValueError(
                "expected a process where Keras is not imported yet, or has the backend asked for. "
                f"Received: backend {wanted} where {keras.backend.backend()} is running"
            )
        if arguments.command == "train":
            train(arguments)
        elif arguments.command in ("plot", "summary"):
            report.run(arguments)
        else:
            evaluate(arguments.run)
    except FloatingPointError as error:
        print(f"keras-ssm: {error}", file=sys.stderr)
        return 1
    except (ValueError, ImportError, OSError) as error:
        print(f"keras-ssm: {error}", file=sys.stderr)
        return 2
    return 0


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that decides a training: the arguments, and the defaults for the rest.

    Args:
        arguments: of `keras-ssm train`.

    Returns:
        The content of `config.json`, without the versions.

    Example:

    >>> arguments = keras_ssm_cli.parser().parse_args(["train", "digits", "--layer", "s5"])
    >>> keras_ssm.cli.settings(arguments)["model"]["layer"]
    's5'
    """
    defaults = {**DEFAULTS, "state_size": STATE_SIZES[arguments.layer]}
    given = {name: getattr(arguments, name) or default for name, default in defaults.items()}
    return {
        "dataset": arguments.dataset,
        "split": SPLIT,
        "model": {
            "layer": arguments.layer,
            **{name: given[name] for name in ("depth", "width", "state_size")},
            **MODEL,
        },
        "optimizer": {"learning_rate": given["learning_rate"], **OPTIMIZER},
        "training": {
            "epochs": given["epochs"],
            "batch_size": given["batch_size"],
            "seed": arguments.seed,
        },
        "backend": keras.backend.backend(),
    }


def train(arguments: argparse.Namespace) -> None:
    """Train on the training part and write a run folder; the test part is read once, at the end.

    Args:
        arguments: of `keras-ssm train`.

    Raises:
        ValueError: for settings a layer cannot have, or a folder that holds a run already.
        FloatingPointError: if a weight goes to NaN or infinity.

    Example:

    >>> arguments = keras_ssm_cli.parser().parse_args(["train", "digits", "--layer", "s5"])
    >>> keras_ssm.cli.train(arguments)
    """
    config = settings(arguments)
    training = config["training"]
    name = f"{arguments.dataset}-{arguments.layer}-{config['backend']}"
    folder = pathlib.Path(arguments.out or pathlib.Path("runs") / name)
    (x, y), validation_data, test_data = digits.load_data(**SPLIT)

    # Whole batches only: for a smaller last one, JAX would compile the train step a second time.
    whole = max(len(x) - len(x) % training["batch_size"], training["batch_size"])
    x, y = x[:whole], y[:whole]

    keras.utils.set_random_seed(training["seed"])
    model = build(config, x.shape)
    runs.create(folder, config, arguments.overwrite)
    history = runs.History(folder / runs.HISTORY)
    start = time.perf_counter()
    model.fit(
        x,
        y,
        batch_size=training["batch_size"],
        epochs=training["epochs"],
        validation_data=validation_data,
        validation_batch_size=len(validation_data[0]),
        callbacks=[callbacks.Checkpoint(folder / runs.MODEL), history],
    )
    seconds = time.perf_counter() - start

    result = score(model, test_data)
    try:
        runs.plot_history(folder / runs.CURVE, history.rows, name)
    except ImportError as error:
        print(f"keras-ssm: no {runs.CURVE}: {error}", file=sys.stderr)
    runs.write_json(folder / runs.RESULT, {**result, "training_seconds": round(seconds, 1)})
    print(f"Trained {training['epochs']} epochs in {seconds:.0f} s; the run is in {folder}")


def build(config: dict[str, Any], shape: Sequence[int]) -> keras.Model:
    """The compiled model of `config`.

    Args:
        config: of `settings`.
        shape: of the training sequences, (count, length, features).

    Returns:
        A `keras.Model` that gives logits.

    Raises:
        ValueError: for settings a layer cannot have.

    Example:

    >>> keras_ssm.cli.build(config, (1259, 64, 1)).output_shape
    (None, 10)
    """
    model = models.classifier(digits.CLASSES, shape[1:], **config["model"])
    training = config["training"]
    total_steps = math.ceil(shape[0] / training["batch_size"]) * training["epochs"]
    # One epoch of warm-up, or half of a training that is one epoch long.
    warmup_steps = total_steps // max(training["epochs"], 2)
    compile_classifier(
        model,
        optimizers.adamw(**config["optimizer"], total_steps=total_steps, warmup_steps=warmup_steps),
    )
    return model


def evaluate(folder: str) -> None:
    """Print the accuracy of a run on the test part that it was not trained on.

    Args:
        folder: run folder.

    Raises:
        ValueError: if the folder is not a run that can be read.

    Example:

    >>> keras_ssm.cli.evaluate("runs/demo")
    Test accuracy 0.9833 (353 of 359 images)
    """
    config = runs.read_config(folder)
    model = runs.load_model(folder)
    try:
        _, _, test_data = digits.load_data(**config["split"])
    except TypeError as error:
        raise ValueError(
            f"expected the arguments of digits.load_data as split in {folder}/{runs.CONFIG}. "
            f"Received: split={config['split']!r}"
        ) from error
    compile_classifier(model)
    score(model, test_data)


def compile_classifier(model: keras.Model, optimizer: Any = None) -> None:
    """Give the model the loss and the metric of a classifier with logits.

    Args:
        model: gives logits.
        optimizer: None if the model is not to be trained.

    Example:

    >>> keras_ssm.cli.compile_classifier(model)
    """
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or "sgd", loss, metrics=["accuracy"])


def score(model: keras.Model, test_data: digits.Split) -> dict[str, Any]:
    """Print and return the accuracy of a compiled model.

    Args:
        model: compiled by `compile_classifier`.
        test_data: x and y.

    Returns:
        `test_accuracy`, `test_correct` and `test_images`.

    Example:

    >>> keras_ssm.cli.score(model, keras_ssm.datasets.digits.load_data()[2])
    """
    x, y = test_data
    accuracy = model.evaluate(x, y, batch_size=len(x), verbose=0, return_dict=True)["accuracy"]
    correct = round(accuracy * len(x))
    print(f"Test accuracy {correct / len(x):.4f} ({correct} of {len(x)} images)")
    return {"test_accuracy": correct / len(x), "test_correct": correct, "test_images": len(x)}
