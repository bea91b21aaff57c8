"""Effective memory: how far back the kernel reaches, by its energy."""

from typing import Any

import numpy as np

from keras_ssm.analysis.layers import check_sampling_rate, modal_system

# A memory beyond this many steps is called infinite.
_LONGEST = 2.0**53


def energy_within(layer: Any, lengths: Any, length: int | None = None) -> np.ndarray:
    """Share of the kernel's energy within its first steps, for every output feature.

        E(L) = sum_(l < L) K[l]^2 / sum_l K[l]^2

    in closed form, summed over what an output feature reads: all inputs of S5,
    and both directions of a bidirectional layer. The skip D is not part of it.

    Args:
        layer: a built state space layer, or a block or cell around one.
        lengths: numbers of steps L, integers >= 0.
        length: for a softmax kernel without a `length` of its own.

    Returns:
        float64 (output features, lengths), from 0 to 1; 0 where the energy is
        infinite, for unstable modes.

    Raises:
        ValueError: for a softmax kernel without a length.

    Example:

    >>> layer = keras_ssm.layers.S4D(8)
    >>> layer.build((None, None, 3))
    >>> keras_ssm.analysis.energy_within(layer, [0, 10, 1000]).shape
    (3, 3)
    """
    tail = modal_system(layer, length).tail()
    total = tail(np.zeros((1, 1)))
    shares = [1 - _ratio(tail(np.full(total.shape, float(L))), total) for L in np.ravel(lengths)]
    return np.stack([_features(share) for share in shares], axis=-1)


def memory_length(
    layer: Any,
    share: float = 0.99,
    sampling_rate: float | None = None,
    length: int | None = None,
) -> np.ndarray:
    """Effective memory: the number of first steps of the kernel that hold `share` of its energy.

    Args:
        layer: a built state space layer, or a block or cell around one.
        share: of the energy, between 0 and 1.
        sampling_rate: steps per second, for seconds; None for steps.
        length: for a softmax kernel without a `length` of its own.

    Returns:
        float64 (output features,), whole numbers of steps, or seconds; infinite
        for unstable modes.

    Raises:
        ValueError: for a share outside (0, 1), or a softmax kernel without a
            length.

    Example:

    >>> layer = keras_ssm.layers.S4D(8)
    >>> layer.build((None, None, 3))
    >>> keras_ssm.analysis.memory_length(layer).shape
    (3,)
    """
    if not 0 < share < 1:
        raise ValueError(f"`share` must be between 0 and 1. Received: share={share!r}")
    rate = check_sampling_rate(sampling_rate)
    tail = modal_system(layer, length).tail()
    total = tail(np.zeros((1, 1)))

    def enough(steps: np.ndarray) -> np.ndarray:
        return _ratio(tail(steps), total) <= 1 - share

    low, high = np.zeros(total.shape), np.ones(total.shape)
    while np.any(short := ~enough(high) & (high < _LONGEST)):
        low, high = np.where(short, high, low), np.where(short, 2 * high, high)
    while np.any(high - low > 1):
        middle = np.floor((low + high) / 2)
        done = enough(middle)
        low, high = np.where(done, low, middle), np.where(done, middle, high)
    return _features(np.where(high < _LONGEST, high, np.inf)) / rate


def _ratio(tail: np.ndarray, total: np.ndarray) -> np.ndarray:
    """tail / total: 1 where both are infinite, 0 where there is no energy at all."""
    usable = np.isfinite(total) & (total > 0)
    ratio = np.divide(tail, total, out=np.zeros_like(total), where=usable)
    return np.where(np.isinf(total), 1.0, ratio)


def _features(values: np.ndarray) -> np.ndarray:
    """(G, O) in the order of the layer's output features, c * features + h."""
    return values.T.reshape(-1)
