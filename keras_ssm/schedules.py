"""Learning rates that change from step to step, as in the published training runs."""

import math
import numbers
from typing import Any

import keras
from keras import ops

from keras_ssm.types import Tensor


def warmup_cosine(
    peak: float, total_steps: int, warmup_steps: int = 0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Learning rate that rises linearly from 0 to `peak`, then falls to 0 as a cosine.

    Args:
        peak: the highest learning rate.
        total_steps: steps of the whole training run.
        warmup_steps: steps of the rise, less than `total_steps`.

    Returns:
        A `keras.optimizers.schedules.CosineDecay`.

    Raises:
        ValueError: unless the peak is positive and 0 <= warmup_steps < total_steps.

    Example:

    >>> schedule = keras_ssm.schedules.warmup_cosine(1e-2, total_steps=100, warmup_steps=10)
    >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 55, 100)]
    [0.0, 0.005, 0.01, 0.005, 0.0]
    """
    _check(peak, total_steps, warmup_steps)
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(peak, total_steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, total_steps - warmup_steps, warmup_target=peak, warmup_steps=warmup_steps
    )


@keras.saving.register_keras_serializable(package="keras_ssm")
class S5Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate of the S5 code: a linear rise, then a cosine that counts from the start.

    With T total steps and W of warm-up, step k = 0, 1, ... has the rate

        peak                                                for k = 0
        peak k / W                                          for 0 < k <= W
        peak (1 + cos(pi min(k - 1, T - W) / (T - W))) / 2  for W < k

    The code sets the rate of a step after the step before it, hence the first
    line, and counts the cosine from the start of training, so that the last W
    steps have rate 0. `warmup_cosine` has neither peculiarity.

    Args:
        peak: highest learning rate.
        total_steps: T.
        warmup_steps: W.

    Raises:
        ValueError: unless the peak is positive and 0 <= warmup_steps < total_steps.

    Example:

    >>> schedule = keras_ssm.schedules.S5Schedule(1e-2, total_steps=100, warmup_steps=10)
    >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 46, 91)]
    [0.01, 0.005, 0.01, 0.005, 0.0]

    References:
        lindermanlab/S5 `s5/train_helpers.py`, `cosine_annealing` and
        `update_learning_rate_per_step`; `s5/train.py`.
    """

    def __init__(self, peak: float, total_steps: int, warmup_steps: int = 0) -> None:
        _check(peak, total_steps, warmup_steps)
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


def _check(peak: float, total_steps: int, warmup_steps: int) -> None:
    if not isinstance(peak, numbers.Real) or not 0 < peak < math.inf:
        raise ValueError(f"`peak` must be a positive number. Received: peak={peak!r}")
    whole = all(isinstance(steps, numbers.Integral) for steps in (total_steps, warmup_steps))
    if not whole or not 0 <= warmup_steps < total_steps:
        raise ValueError(
            "`total_steps` and `warmup_steps` must be integers, and `warmup_steps` at least 0 and "
            "less than `total_steps`. "
            f"Received: warmup_steps={warmup_steps!r}, total_steps={total_steps!r}"
        )
