"""Checkpoints of `fit` that are always whole, and only of finite weights."""

import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras

from keras_ssm.callbacks.finite import not_finite
from keras_ssm.files import replacing


class Checkpoint(keras.callbacks.Callback):
    """Saves the model at the end of every epoch, whole, and only if its weights are finite.

    The file is written under a temporary name and renamed, so that a process
    killed at any time leaves the last complete checkpoint. Weights that are
    not finite stop training and leave the last checkpoint as it was.

    Args:
        path: path of the checkpoint; ends in `.keras`.

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
    """Saves the best model: at the end of every epoch where a metric is as good as ever or better.

    Of equally good epochs the last one is kept: small validation parts have
    many of them, and falling rates leave the later weights quieter.

    Args:
        path: path of the checkpoint; ends in `.keras`.
        history: the metric in the epochs before, when a training run is resumed.
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
        value = metric(logs, self.monitor)
        if value >= self.best:
            super().on_epoch_end(epoch, logs)
            self.best = value


def metric(logs: dict[str, Any] | None, name: str) -> float:
    """The value of a metric at the end of an epoch, or a ValueError that names those there are."""
    logs = logs or {}
    if name not in logs:
        raise ValueError(
            f"expected the metric {name!r} at the end of an epoch. "
            f"Received: logs with {sorted(logs)}"
        )
    return float(logs[name])
