"""Trainings by recipe into run folders, their continuation and evaluation."""

import contextlib
import importlib.util
import os
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_ssm import callbacks, recipes, runs, tasks
from keras_ssm.checkpoints import TrainingCheckpoint, load_training
from keras_ssm.datasets import FollowEpochs
from keras_ssm.recipes import Recipe

# Speech models are tested at half the sampling rate as well, steps twice as long.
_ZERO_SHOT = ("sc10", "sc35")


def train(
    recipe: Recipe,
    folder: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    data_parallel: bool = False,
) -> dict[str, Any]:
    """Train by a recipe and write a run folder (see `keras_ssm.runs`).

    The test part is read once, at the end, by the model of the epoch with the
    best validation accuracy. A training that was stopped at any moment and is
    resumed gives the numbers of one that was not.

    Args:
        recipe: of `recipes.get`, perhaps changed.
        folder: of the run.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.
        seed: of initial weights, dropout and the order of the data.
        resume: go on with the run that the folder holds.
        overwrite: replace the run that the folder holds.
        tensorboard: write logs for TensorBoard as well, into `tensorboard`.
        data_parallel: train on all devices of JAX, each with a part of every
            batch; validation leaves out what they cannot share equally.

    Returns:
        What `result.json` holds.

    Raises:
        ValueError: for settings a model cannot have, missing data, a folder
            that holds a run already, or a run to resume that has other settings.
        FloatingPointError: if a weight goes to NaN or infinity.
        ImportError: for `tensorboard` without the package of that name.

    Example:

    >>> from keras_ssm import training
    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> result = training.train(recipe, "runs/demo")  # doctest: +SKIP
    Epoch 1/30
    ...
    Test accuracy 0.9889 (355 of 359)
    Trained 30 epochs in ... s; the run is in runs/demo
    """
    folder = pathlib.Path(folder)
    config = {"recipe": recipe, "seed": seed, "backend": keras.backend.backend()}
    log = [_tensorboard(folder / "tensorboard")] if tensorboard else []
    if resume:
        runs.check_same(folder, config)
    data = tasks.load(recipe, data_dir)
    start = time.perf_counter()
    with _all_devices() if data_parallel else contextlib.nullcontext(1) as devices:
        batches = tasks.batches(data, "train", recipe, True, seed, devices)
        rows: list[runs.Row] = []
        if resume and (folder / runs.MODEL).exists():
            model, state = load_training(folder / runs.MODEL)
            rows = state["history"]
        else:
            keras.utils.set_random_seed(seed)
            model = recipes.build_model(recipe)
            recipes.compile_model(model, recipe, len(batches))
            runs.create(folder, config, overwrite or resume)
        history = runs.History(folder / runs.HISTORY, rows)
        accuracies = [row["val_accuracy"] for row in rows]
        model.fit(
            batches,
            epochs=recipe["training"]["epochs"],
            initial_epoch=len(rows),
            shuffle=False,
            validation_data=tasks.batches(data, "validation", recipe, devices=devices),
            callbacks=[
                FollowEpochs(batches),
                SeededEpochs(seed),
                *recipes.training_callbacks(recipe, accuracies),
                *log,
                # In this order: the first sees NaN before anything is written, and what a
                # training goes on from is written last.
                callbacks.BestCheckpoint(folder / runs.BEST, accuracies),
                history,
                TrainingCheckpoint(folder / runs.MODEL, lambda: {"history": history.rows}),
            ],
        )
    seconds = time.perf_counter() - start

    result = score(recipe, runs.load_model(folder), data, data_dir)
    try:
        runs.plot_history(folder / runs.CURVE, history.rows, title(config))
    except ImportError as error:
        print(f"keras-ssm: no {runs.CURVE}: {error}", file=sys.stderr)
    runs.write_json(folder / runs.RESULT, {**result, "training_seconds": round(seconds, 1)})
    print(
        f"Trained {len(history.rows) - len(rows)} epochs in {seconds:.0f} s; the run is in {folder}"
    )
    return result


def evaluate(
    folder: str | os.PathLike, data_dir: str | os.PathLike | None = None
) -> dict[str, Any]:
    """Print and return the test accuracy of a run.

    Args:
        folder: run folder.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        See `score`.

    Raises:
        ValueError: if the folder is not a run that can be read, or its data are missing.

    Example:

    >>> from keras_ssm import training
    >>> result = training.evaluate("runs/demo")  # doctest: +SKIP
    Test accuracy 0.9889 (355 of 359)
    """
    recipe = runs.read_config(folder)["recipe"]
    model = runs.load_model(folder)
    try:
        data = tasks.load(recipe, data_dir)
    except KeyError as error:
        raise ValueError(
            f"expected a recipe in {pathlib.Path(folder) / runs.CONFIG}. "
            f"Received: one without {error}"
        ) from error
    return score(recipe, model, data, data_dir)


def score(
    recipe: Recipe,
    model: keras.Model,
    data: tasks.Data,
    data_dir: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Print and return the accuracy of a model on the test part.

    Speech at 16 kHz is tested at 8 kHz too: every other sample, and all step
    sizes doubled, without training.

    Args:
        recipe: that the model was made by.
        model: its model.
        data: of `tasks.load`.
        data_dir: where the same data are found.

    Returns:
        `test_accuracy`, `test_correct` and `test_count`; for speech at 16 kHz
        `test_accuracy_8khz` as well.

    Example:

    >>> from keras_ssm import runs, tasks, training
    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> model = runs.load_model("runs/demo")  # doctest: +SKIP
    >>> result = training.score(recipe, model, tasks.load(recipe))  # doctest: +SKIP
    Test accuracy 0.9889 (355 of 359)
    """
    correct, count = _score(model, recipe, data)
    print(f"Test accuracy {correct / count:.4f} ({correct} of {count})")
    result = {"test_accuracy": correct / count, "test_correct": correct, "test_count": count}
    if recipe["task"] in _ZERO_SHOT and recipe["data"].get("rate", 1) == 1:
        half = tasks.load(recipe, data_dir, rate=2)._replace(mean=data.mean, std=data.std)
        slower = recipes.build_model(
            {**recipe, "model": {**recipe["model"], "rate": 2.0}}, (*half.test[0].shape[1:], 1)
        )
        slower.set_weights(model.get_weights())
        correct, count = _score(slower, recipe, half)
        print(f"Test accuracy at 8 kHz {correct / count:.4f} ({correct} of {count})")
        result["test_accuracy_8khz"] = correct / count
    return result


class SeededEpochs(keras.callbacks.Callback):
    """Seeds every epoch by its number.

    PyTorch draws dropout from a generator of its own, which no checkpoint of
    Keras holds.

    Args:
        seed: of the training.

    Example:

    >>> from keras_ssm import training
    >>> callback = training.SeededEpochs(0)
    >>> callback.on_epoch_begin(0)
    >>> first = np.random.rand()
    >>> callback.on_epoch_begin(0)
    >>> np.random.rand() == first
    True
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        mixed = np.random.SeedSequence([self.seed, epoch]).generate_state(1)
        keras.utils.set_random_seed(int(mixed[0]))


def title(config: dict[str, Any]) -> str:
    """Name of a run: task, layer and backend.

    Args:
        config: of the run.

    Returns:
        For instance `"digits-s5-jax"`.

    Example:

    >>> from keras_ssm import training
    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> training.title({"recipe": recipe, "backend": "jax"})
    'digits-s5-jax'
    """
    recipe = config["recipe"]
    return "-".join((recipe["task"], recipe["layer"], config["backend"]))


@contextlib.contextmanager
def _all_devices() -> Iterator[int]:
    """Models built inside have a copy of their weights on each of so many devices."""
    if keras.backend.backend() != "jax":
        raise ValueError(
            "training on all devices needs the JAX backend, whose `keras.distribution` it uses. "
            f"Received: backend {keras.backend.backend()}"
        )
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    try:
        yield len(keras.distribution.list_devices())
    finally:
        keras.distribution.set_distribution(None)


def _tensorboard(folder: pathlib.Path) -> keras.callbacks.Callback:
    for package in ("tensorflow", "tensorboard"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f"logs for TensorBoard need {package}, which is not installed. "
                'Install it with `pip install "keras-ssm[tensorboard]"`.'
            )
    return keras.callbacks.TensorBoard(folder)


def _score(model: keras.Model, recipe: Recipe, data: tasks.Data) -> tuple[int, int]:
    """Right answers and sequences of the test part."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=["accuracy"])
    batches = tasks.batches(data, "test", recipe)
    accuracy = model.evaluate(batches, verbose=0, return_dict=True)["accuracy"]
    count = len(data.test[1])
    return round(accuracy * count), count
