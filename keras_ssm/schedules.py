"""How the published trainings change their learning rates, where Keras has nothing that does."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssm.ops.complex import Tensor


@keras.saving.register_keras_serializable(package="keras_ssm")
class S5Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate of the S5 code: a linear rise, then a cosine that started with the rise.

    With T total steps and W of warm-up, step k = 0, 1, ... has the rate

        peak                                                for k = 0
        peak k / W                                          for 0 < k <= W
        peak (1 + cos(pi min(k - 1, T - W) / (T - W))) / 2  for W < k

    The code sets a step's rate after the step before it, whence the first line,
    and counts the cosine from the start of the training, so that the last W
    steps have rate 0. `optimizers.warmup_cosine` is the same without either.

    Args:
        peak: highest learning rate.
        total_steps: T.
        warmup_steps: W.

    Raises:
        ValueError: unless 0 <= warmup_steps < total_steps.

    Example:

    >>> schedule = keras_ssm.schedules.S5Schedule(1e-2, total_steps=100, warmup_steps=10)
    >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 46, 91)]
    [0.01, 0.005, 0.01, 0.005, 0.0]

    References:
        lindermanlab/S5 `s5/train_helpers.py`, `cosine_annealing` and
        `update_learning_rate_per_step`; `s5/train.py`.
    """

    def __init__(self, peak: float, total_steps: int, warmup_steps: int = 0) -> None:
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(
                "`warmup_steps` must be at least 0 and less than `total_steps`. "
                f"Received: warmup_steps={warmup_steps!r}, total_steps={total_steps!r}"
            )
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> Tensor:
        k = ops.cast(step, "float32")
        length = self.total_steps - self.warmup_steps
        cosine = 0.5 * (1 + ops.cos(math.pi * ops.minimum(k - 1, length) / length))
        rise = k / max(self.warmup_steps, 1)
        share = ops.where(k <= self.warmup_steps, rise, cosine)
        return self.peak * ops.where(k < 1, ops.ones_like(share), share)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
        }


class ReduceOnPlateau(keras.callbacks.Callback):
    """Multiplies every learning rate when a metric has not grown for a while.

    What torch's scheduler of this name does in the trainings of DSS, and Keras'
    callback cannot: the optimizer of `optimizers.adamw` has one rate for each
    group.

    Args:
        factor: what the rates are multiplied by.
        patience: epochs without growth that are let pass; the rates change
            after one more.
        monitor: name of the metric, the larger the better.
        history: the metric in the epochs before a training that goes on. Their
            reductions are in the saved optimizer already.

    Raises:
        ValueError: from `fit`, if there is no such metric.

    Example:

    >>> x, y = np.eye(4, dtype="float32"), np.arange(4)
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> model.compile(keras_ssm.optimizers.adamw(1e-2, 1e-3), loss, metrics=["accuracy"])
    >>> plateau = keras_ssm.schedules.ReduceOnPlateau(factor=0.2, patience=5)
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
        self.factor = factor
        self.patience = patience
        self.monitor = monitor
        self._best = -math.inf
        self._waited = 0
        for value in history:
            self._is_due(value)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        if self.monitor not in logs:
            raise ValueError(
                f"expected the metric {self.monitor!r} at the end of an epoch. "
                f"Received: logs with {sorted(logs)}"
            )
        if self._is_due(float(logs[self.monitor])):
            optimizer = self.model.optimizer
            # Mixed precision in float16 wraps it.
            for group in getattr(optimizer, "inner_optimizer", optimizer).optimizers:
                group.learning_rate = float(group.learning_rate) * self.factor

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
