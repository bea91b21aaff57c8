"""Learning rates that fall when a metric stops growing."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from keras_ssm.callbacks.checkpoint import metric


class ReduceOnPlateau(keras.callbacks.Callback):
    """Multiplies the learning rates by a factor when a metric stops growing.

    Works like PyTorch's scheduler, which the published DSS models were trained
    with. `keras.callbacks.ReduceLROnPlateau` measures growth in absolute numbers,
    and forgets what it has seen when a training run is resumed.

    Args:
        factor: what the rates are multiplied by.
        patience: epochs without growth that are tolerated; the rates change
            after one more.
        monitor: name of the metric, the larger the better.
        history: the metric in the epochs before, when a training run is resumed.
            Their reductions are in the saved optimizer already.

    Raises:
        ValueError: for a factor or patience out of range; from `fit`, if there
            is no such metric.

    Example:

    >>> x, y = np.eye(4, dtype="float32"), np.arange(4)
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> model.compile(keras_ssm.optimizers.adamw(1e-2), loss, metrics=["accuracy"])
    >>> plateau = keras_ssm.callbacks.ReduceOnPlateau(factor=0.2, patience=5)
    >>> history = model.fit(x, y, validation_data=(x, y), verbose=0, callbacks=[plateau])

    References:
        `torch.optim.lr_scheduler.ReduceLROnPlateau` with mode "max" and its
        default threshold, a relative growth of 1e-4.
    """

    def __init__(
        self,
        factor: float = 0.2,
        patience: int = 10,
        monitor: str = "val_accuracy",
        history: Sequence[float] = (),
    ) -> None:
        super().__init__()
        if not isinstance(factor, (int, float)) or not 0 <= factor < 1:
            raise ValueError(
                f"`factor` must be a number from 0 to below 1. Received: factor={factor!r}"
            )
        if not isinstance(patience, int) or patience < 0:
            raise ValueError(
                f"`patience` must be an integer of at least 0. Received: patience={patience!r}"
            )
        self.factor = factor
        self.patience = patience
        self.monitor = monitor
        self._best = -math.inf
        self._waited = 0
        for value in history:
            self._is_due(value)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._is_due(metric(logs, self.monitor)):
            optimizer = self.model.optimizer
            optimizer.learning_rate = float(optimizer.learning_rate) * self.factor

    def _is_due(self, value: float) -> bool:
        """Take in the metric of one more epoch; whether the rates are to be reduced after it."""
        if value > (1 + 1e-4) * self._best:
            self._best, self._waited = value, 0
            return False
        self._waited += 1
        if self._waited <= self.patience:
            return False
        self._waited = 0
        return True
