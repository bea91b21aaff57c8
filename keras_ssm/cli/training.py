"""Training runs from recipes into run folders, new and resumed."""

import contextlib
import importlib.util
import json
import os
import pathlib
import sys
import time
from typing import Any

import keras

from keras_ssm import callbacks, distribution, recipes
from keras_ssm.cli import learning_curve, lock, run_folder
from keras_ssm.cli.evaluation import score
from keras_ssm.recipes import Recipe


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
    """Train from a recipe and write a run folder (see `keras_ssm.cli.run_folder`).

    The test part is read once, at the end, by the model of the epoch with the
    best validation accuracy. A training run that was stopped at any moment and
    is resumed gives the same numbers as one that was not.

    Args:
        recipe: what `recipes.get` returned, perhaps changed.
        folder: folder of the run.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.
        seed: seed of initial weights, dropout and the order of the data.
        resume: go on with the run that the folder holds.
        overwrite: replace the run that the folder holds.
        tensorboard: write logs for TensorBoard as well, into `tensorboard`.
        data_parallel: train on all devices, and in all processes that were
            started together, each with a part of every batch (see
            `keras_ssm.distribution.data_parallel`). Process 0 writes the folder.

    Returns:
        What `result.json` holds; an empty dict in processes other than 0.

    Raises:
        ValueError: for settings a model cannot have, missing data, a folder
            that holds a run already or where another process trains, a run to
            resume that has other settings, or processes with different ones.
        FloatingPointError: if a weight becomes NaN or infinity.
        ImportError: for `tensorboard` without the package of that name.

    Example:

    >>> from keras_ssm.cli import training
    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> result = training.train(recipe, "runs/demo")  # doctest: +SKIP
    Epoch 1/30
    ...
    Test accuracy 0.9889 (355 of 359)
    Trained 30 epochs in ... s; the run is in runs/demo
    """
    folder = pathlib.Path(folder)
    recipes.check(recipe)
    run_folder.check_seed(seed)
    config = {"recipe": recipe, "seed": seed, "backend": keras.backend.backend()}
    with contextlib.ExitStack() as held, contextlib.ExitStack() as engine:
        replicas = distribution.Replicas()
        if data_parallel:
            replicas = engine.enter_context(distribution.data_parallel())
        _check_alike(replicas, {**config, "resume": resume})
        writes = replicas.rank == 0

        def entered() -> tuple[keras.callbacks.Callback | None, bool]:
            if writes:
                held.enter_context(lock.locked(folder))
            if resume:
                run_folder.check_same(folder, config)
            elif writes and not overwrite:
                run_folder.check_free(folder)
            log = _tensorboard(folder / "tensorboard") if tensorboard and writes else None
            return log, resume and (folder / run_folder.MODEL).exists()

        log, started = replicas.together(entered)
        start = time.perf_counter()
        rows: list[callbacks.Row] = []

        def prepared() -> tuple[keras.Model, recipes.Data]:
            with replicas.scope():
                if started:
                    model, state = callbacks.load_training(folder / run_folder.MODEL)
                    rows.extend(state["history"])
                else:
                    # Before the data, which can take hours to prepare: it may refuse its settings.
                    keras.utils.set_random_seed(seed)
                    model = recipes.build_model(recipe)
            return model, recipes.load_data(recipe, data_dir)

        model, data = replicas.together(prepared)
        parts = {name: getattr(data, name)[0].shape for name in ("train", "validation")}
        _check_alike(replicas, {"epochs": len(rows), "data": parts})
        batches = recipes.batches(data, "train", recipe, True, seed, replicas.count)
        validation = recipes.batches(data, "validation", recipe, devices=replicas.count)
        with run_folder.naming(folder):
            with replicas.scope():
                if started and replicas.count > 1:
                    _weigh_metrics(model)
                elif not started:
                    recipes.compile_model(model, recipe, len(batches))
            if writes and not started:
                run_folder.create(folder, config, overwrite or resume)
            history = callbacks.CSVHistory(folder / run_folder.HISTORY, rows)
            accuracies = [row["val_accuracy"] for row in rows]
            best = callbacks.BestCheckpoint(folder / run_folder.BEST, accuracies)
            # In this order: the first sees NaN before anything is written, and what a
            # run is resumed from is written last.
            files: list[keras.callbacks.Callback] = [
                *([log] if log else []),
                best,
                history,
                callbacks.TrainingCheckpoint(
                    folder / run_folder.MODEL, lambda: {"history": history.rows}
                ),
            ]
            replicas.fit(
                model,
                batches,
                validation,
                epochs=recipe["training"]["epochs"],
                initial_epoch=len(rows),
                callbacks=[
                    callbacks.SeededEpochs(seed, replicas.stream),
                    *recipes.training_callbacks(recipe, accuracies),
                    _OfOneProcess(replicas, files) if writes else _Finite(best),
                ],
            )
        seconds = time.perf_counter() - start
        if not writes:
            return {}
        engine.close()  # the test is for one device; the others are done
        result = score(recipe, run_folder.load_model(folder), data, data_dir)
        with run_folder.naming(folder):
            try:
                learning_curve.plot(folder / run_folder.CURVE, history.rows, title(config))
            except ImportError as error:
                print(f"keras-ssm: without {run_folder.CURVE}: {error}", file=sys.stderr)
            run_folder.write_json(
                folder / run_folder.RESULT, {**result, "training_seconds": round(seconds, 1)}
            )
    print(
        f"Trained {len(history.rows) - len(rows)} epochs in {seconds:.0f} s; the run is in {folder}"
    )
    return result


def title(config: dict[str, Any]) -> str:
    """Name a run by task, layer and backend.

    Args:
        config: config of the run.

    Returns:
        For instance `"digits-s5-jax"`.

    Example:

    >>> from keras_ssm.cli import training
    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> training.title({"recipe": recipe, "backend": "jax"})
    'digits-s5-jax'
    """
    recipe = config["recipe"]
    return "-".join((recipe["task"], recipe["layer"], config["backend"]))


class _OfOneProcess(keras.callbacks.Callback):
    """Runs callbacks that the other processes do not run."""

    def __init__(
        self, replicas: distribution.Replicas, inner: list[keras.callbacks.Callback]
    ) -> None:
        super().__init__()
        self.replicas = replicas
        self.inner = inner

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        for callback in self.inner:
            callback.set_model(model)

    def _run(self, name: str, *arguments: Any) -> None:
        with self.replicas.alone():
            for callback in self.inner:
                getattr(callback, name)(*arguments)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._run("on_train_begin", logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._run("on_train_end", logs)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._run("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._run("on_epoch_end", epoch, logs)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._run("on_test_begin", logs)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self._run("on_test_end", logs)


class _Finite(keras.callbacks.Callback):
    """Stops a process that writes no files when the one that does will stop."""

    def __init__(self, checkpoint: callbacks.Checkpoint) -> None:
        super().__init__()
        self.checkpoint = checkpoint

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.checkpoint.set_model(self.model)
        self.checkpoint.check_finite(epoch)


def _check_alike(replicas: distribution.Replicas, settings: dict[str, Any]) -> None:
    """Raise ValueError in every process unless all have the same settings."""
    texts = replicas.gather(json.dumps(settings))
    first = run_folder.flat(json.loads(texts[0]))
    for rank, text in enumerate(texts):
        other = run_folder.flat(json.loads(text))
        different = [
            f"{name}={other.get(name)!r} in process {rank} where process 0 has {first.get(name)!r}"
            for name in sorted(first.keys() | other.keys())
            if first.get(name) != other.get(name)
        ]
        if different:
            raise ValueError(
                f"expected the same settings in all {replicas.world} processes. "
                f"Received: {', '.join(different)}"
            )


def _weigh_metrics(model: Any) -> None:
    """Let weights count in the metrics of a model that an earlier version compiled."""
    if model.get_compile_config().get("metrics"):
        model.compile(model.optimizer, model.loss, weighted_metrics=["accuracy"])


def _tensorboard(folder: pathlib.Path) -> keras.callbacks.Callback:
    for package in ("tensorflow", "tensorboard"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f"logs for TensorBoard need {package}, which is not installed. "
                'Install it with `pip install "keras-ssm[tensorboard]"`.'
            )
    return keras.callbacks.TensorBoard(folder)
