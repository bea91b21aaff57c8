"""Callbacks for `model.fit`."""

import contextlib
import math
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_ssm import analysis


class Checkpoint(keras.callbacks.Callback):
    """Saves the whole model at the end of every epoch, and only whole and finite ones.

    The file is written under a temporary name and renamed, so that a process
    killed at any time leaves the last complete checkpoint. Weights that are
    not finite stop the training and leave it as well.

    Args:
        path: of the checkpoint; ends in `.keras`.

    Raises:
        ValueError: if `path` does not end in `.keras`.
        FloatingPointError: from `fit`, at the end of an epoch, if a weight holds
            NaN or infinity; names the first such weight.

    Example:

    >>> x, y = np.eye(4, dtype="float32"), np.arange(4)
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> checkpoint = keras_ssm.callbacks.Checkpoint("model.keras")
    >>> history = model.fit(x, y, epochs=2, verbose=0, callbacks=[checkpoint])
    >>> keras.models.load_model("model.keras").output_shape
    (None, 4)
    """

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__()
        self.path = pathlib.Path(path)
        if self.path.suffix != ".keras":
            raise ValueError(f"`path` must end in '.keras'. Received: path={str(path)!r}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.check_finite(epoch)
        with replacing(self.path) as temporary:
            self.write(temporary)

    def check_finite(self, epoch: int) -> None:
        """Raise if a weight holds NaN or infinity."""
        bad = not_finite(self.model)
        if bad:
            raise FloatingPointError(
                f"expected finite weights, found NaN or infinity in {bad[0]} at the end "
                f"of epoch {epoch + 1}; training stops, and {self.path} is left as it was."
            )

    def write(self, path: pathlib.Path) -> None:
        """Write the file, under the temporary name given."""
        self.model.save(path)


class BestCheckpoint(Checkpoint):
    """A `Checkpoint` that is written only when a metric is as good as it ever was, or better.

    Of epochs that are equally good the last one counts: small validation parts
    have many of them, and rates that fall leave the later weights quieter.

    Args:
        path: of the checkpoint; ends in `.keras`.
        history: the metric in the epochs before a training that goes on.
        monitor: name of the metric, the larger the better.

    Raises:
        ValueError: from `fit`, if there is no such metric.

    Example:

    >>> x, y = np.eye(4, dtype="float32"), np.arange(4)
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> model.compile("sgd", loss, metrics=["accuracy"])
    >>> best = keras_ssm.callbacks.BestCheckpoint("best.keras", monitor="val_accuracy")
    >>> history = model.fit(x, y, validation_data=(x, y), epochs=2, verbose=0, callbacks=[best])
    >>> best.best == max(history.history["val_accuracy"])
    True
    """

    def __init__(
        self,
        path: str | os.PathLike,
        history: Sequence[float] = (),
        monitor: str = "val_accuracy",
    ) -> None:
        super().__init__(path)
        self.monitor = monitor
        self.best = max(history, default=-math.inf)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.check_finite(epoch)
        logs = logs or {}
        if self.monitor not in logs:
            raise ValueError(
                f"expected the metric {self.monitor!r} at the end of an epoch. "
                f"Received: logs with {sorted(logs)}"
            )
        if logs[self.monitor] >= self.best:
            super().on_epoch_end(epoch, logs)
            self.best = logs[self.monitor]


class SSMMonitor(keras.callbacks.Callback):
    """Adds what its state space layers do to the logs of every epoch, and stops at NaN.

    For a layer with the path `block_0/s5`, the logs get

        block_0/s5/step_min, step_median, step_max    step sizes dt
        block_0/s5/max_abs_lambda                     largest |lam|, 1 being no decay
        block_0/s5/unstable                           share of modes with |lam| > 1

    as `keras_ssm.analysis.modes` gives them. A softmax kernel is bounded, so
    that none of its modes is unstable, even where |lam| > 1.

    Keras hands one dictionary of logs from callback to callback, so that this
    one must stand before those that are to write its numbers (`CSVLogger`,
    `TensorBoard`, `EarlyStopping`, ...). `History` comes last by itself.

    Raises:
        ValueError: from `fit`, for a model without state space layers.
        FloatingPointError: from `fit`, at the end of an epoch, if a weight holds
            NaN or infinity; names those weights, and what the layers' logs were
            an epoch earlier, when all was well.

    Example:

    >>> inputs = keras.Input((None, 2))
    >>> model = keras.Model(inputs, keras_ssm.layers.S5(4, name="s5")(inputs))
    >>> monitor, logs = keras_ssm.callbacks.SSMMonitor(), {}
    >>> monitor.set_model(model)  # as `model.fit(x, y, callbacks=[monitor])` does
    >>> monitor.on_train_begin()
    >>> monitor.on_epoch_end(0, logs)
    >>> logs["s5/unstable"]
    0.0
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[str, float] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not analysis.ssm_layers(self.model):
            raise ValueError(
                "expected a model with DSS, S4D or S5 layers. "
                f"Received: {self.model.name!r}, which has none"
            )
        self._before = self._numbers()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        bad = not_finite(self.model)
        if bad:
            before = ", ".join(f"{name} {value:.4g}" for name, value in self._before.items())
            more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
            raise FloatingPointError(
                f"expected finite weights, found NaN or infinity in {', '.join(bad[:3])}{more} "
                f"at the end of epoch {epoch + 1}; before it: {before}"
            )
        self._before = self._numbers()
        if logs is not None:
            logs.update(self._before)

    def _numbers(self) -> dict[str, float]:
        numbers = {}
        for path, layer in analysis.ssm_layers(self.model).items():
            steps, modes = analysis.step_sizes(layer), analysis.modes(layer)
            for name, value in (
                ("step_min", np.min(steps)),
                ("step_median", np.median(steps)),
                ("step_max", np.max(steps)),
                ("max_abs_lambda", np.max(np.abs(modes.lam))),
                ("unstable", np.mean(modes.unstable)),
            ):
                numbers[f"{path}/{name}"] = float(value)
        return numbers


def not_finite(model: keras.Model) -> list[str]:
    """The weights of a model that hold NaN or infinity.

    Args:
        model: a built Keras model.

    Returns:
        Their paths, in the model's order.

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> keras_ssm.callbacks.not_finite(model)
    []
    """
    return [
        weight.path
        for weight in model.weights
        if not np.all(np.isfinite(keras.ops.convert_to_numpy(weight)))
    ]


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Write a file so that it is either the old one or the whole new one.

    Args:
        path: of the file to write or replace.

    Returns:
        A context manager. It gives the path of a temporary file in the same
        folder, with the same suffix, which takes the place of `path` when the
        block ends without an exception.

    Example:

    >>> with keras_ssm.callbacks.replacing("notes.txt") as temporary:
    ...     characters = temporary.write_text("whole")
    """
    path = pathlib.Path(path)
    # One fixed name: what a killed process leaves is overwritten, not piled up.
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
