"""Eigenvalues, time scales and frequencies of a layer, and the layers of a model."""

from typing import Any, NamedTuple

import numpy as np

from keras_ssm.analysis.layers import check_sampling_rate, unwrap
from keras_ssm.layers.base import SSM
from keras_ssm.ops.systems.modal import as_float


class Modes(NamedTuple):
    """The modes a layer stores: (features, modes) for DSS and S4D, (modes,) for S5.

    Of a pair of conjugates one is stored, so the other is not here either.

    Attributes:
        Lambda: continuous eigenvalues, in the layer's own unit of time, of which
            a step is dt.
        lam: discrete eigenvalues, the factor of one step.
        time_scale: -1 / log|lam|, what a mode takes to fall to 1/e, in steps or
            seconds; negative for a mode that grows, infinite for one that stays.
        frequency: Im(log lam) / 2 pi, in cycles per step or Hz. Beyond half a
            cycle per step (Nyquist) samples cannot tell it from a lower one.
        unstable: where |lam| > 1. A softmax kernel has none: what grows there is
            bounded, since it ends at 1.

    Example:

    >>> layer = keras_ssm.layers.S4D(8, step_min=0.01, step_max=0.02)
    >>> layer.build((None, None, 3))
    >>> modes = keras_ssm.analysis.modes(layer, sampling_rate=100.0)
    >>> bool(modes.time_scale.min() > 0.9), bool(modes.unstable.any())
    (True, False)
    """

    Lambda: np.ndarray
    lam: np.ndarray
    time_scale: np.ndarray
    frequency: np.ndarray
    unstable: np.ndarray


def modes(layer: Any, sampling_rate: float | None = None) -> Modes:
    """Eigenvalues, time scales and frequencies of all modes that a layer stores.

        lam = exp(dt Lambda),   time scale = -1 / (dt Re Lambda),
        frequency = dt Im Lambda / 2 pi         (zero-order hold)

    With the bilinear rule, time scale and frequency are those of the discrete
    eigenvalue, which is what the layer computes with.

    Args:
        layer: a built state space layer, or a block or cell around one.
        sampling_rate: steps per second, for seconds and Hz; None for steps.

    Returns:
        A `Modes` of complex128, float64 and boolean arrays.

    Raises:
        ValueError: for something else, a layer without weights, or a sampling
            rate that is not positive.

    Example:

    >>> layer = keras_ssm.layers.S4D(8, step_min=0.01, step_max=0.02)
    >>> layer.build((None, None, 3))
    >>> keras_ssm.analysis.modes(layer).lam.shape
    (3, 4)
    """
    rate, ssm = check_sampling_rate(sampling_rate), unwrap(layer)
    Lambda, log_lam, bounded = ssm.eigenvalues()
    with np.errstate(divide="ignore"):
        time_scale = np.where(log_lam.real == 0, np.inf, -1 / log_lam.real) / rate
    return Modes(
        np.broadcast_to(Lambda, log_lam.shape),
        np.exp(log_lam),
        time_scale,
        log_lam.imag / (2 * np.pi) * rate,
        (log_lam.real > 0) & (not bounded),
    )


def step_sizes(layer: Any) -> np.ndarray:
    """All learned step sizes dt of a layer, its `rate` included.

    Args:
        layer: a built state space layer, or a block or cell around one.

    Returns:
        float64 array of any shape: (features, 1 or modes) for S4D, (modes,) for
        S5, (features,) or (features, 2) for DSS.

    Raises:
        ValueError: for something else, or a layer without weights.

    Example:

    >>> layer = keras_ssm.layers.S5(8, step_min=0.01, step_max=0.1)
    >>> layer.build((None, None, 3))
    >>> keras_ssm.analysis.step_sizes(layer).shape
    (4,)
    """
    re, im = (as_float(dt) for dt in unwrap(layer).continuous()[1])
    return re if np.array_equal(re, im) else np.concatenate([re, im], axis=-1)


def ssm_layers(model: Any) -> dict[str, SSM]:
    """The state space layers of a model, wherever they are inside it.

    Args:
        model: a built Keras model or layer.

    Returns:
        Layers by their path, such as `"block_0/s5"`, in the model's order.

    Example:

    >>> model = keras_ssm.models.classifier(10, (None, 1), layer="s5", depth=2, width=8)
    >>> list(keras_ssm.analysis.ssm_layers(model))
    ['block_0/s5', 'block_1/s5']
    """
    found: dict[str, SSM] = {}
    for layer in model._flatten_layers():
        if isinstance(layer, SSM) and layer.built:
            path = layer.path or layer.name
            found[path if path not in found else f"{path}_{len(found)}"] = layer
    return found
