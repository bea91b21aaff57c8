"""Impulse and frequency responses."""

from typing import Any

import numpy as np

from keras_ssm.analysis.layers import (
    check_length,
    check_sampling_rate,
    in_layers_order,
    modal_system,
    select,
)


def impulse_response(layer: Any, length: int, channel: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Impulse response of a layer, its convolution kernel, without the skip D.

        K[l] = Re sum_n C[n] B[n] lam[n]^l

    Args:
        layer: a built state space layer, or a block or cell around one.
        length: number of steps. A softmax kernel that has no `length` of its own
            is normalized over them.
        channel: an output feature h or a pair (output, input); for S5, h means
            (h, h). None for all.

    Returns:
        `lags`, integers 0 .. length - 1, and for a bidirectional layer the
        negative ones of the steps ahead as well; and `K`, float64: (channels,
        features, lags) for DSS, S4D and S4, (features out, features in, lags)
        for S5 and LRU, (lags,) of one channel.

    Raises:
        ValueError: for a channel or length that the layer does not have.

    Example:

    >>> layer = keras_ssm.layers.S4D(8)
    >>> layer.build((None, None, 3))
    >>> lags, K = keras_ssm.analysis.impulse_response(layer, 100)
    >>> K.shape
    (1, 3, 100)
    """
    check_length(length)
    system = modal_system(layer, length)
    if channel is None:
        lags, K = _kernel(system, length)
        return lags, in_layers_order(system, K)
    lags, K = _kernel(select(layer, system, channel), length)
    return lags, K[0, 0, 0]


def response_magnitude(layer: Any, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Magnitude of the kernel of every output feature, over all inputs it reads.

        |K[l]| = (sum_i K[i, l]^2)^(1/2)

    Args:
        layer: a built state space layer, or a block or cell around one.
        length: number of steps, as in `impulse_response`.

    Returns:
        `lags` as in `impulse_response`, and float64 (output features, lags).

    Raises:
        ValueError: for a length that the layer does not have.

    Example:

    >>> layer = keras_ssm.layers.S5(8)
    >>> layer.build((None, None, 3))
    >>> keras_ssm.analysis.response_magnitude(layer, 100)[1].shape
    (3, 100)
    """
    check_length(length)
    system = modal_system(layer, length)
    rows = []
    # One output at a time: all pairs of a wide S5 would not fit into memory.
    for o in range(system.C.shape[2]):
        one = system.part(slice(None), slice(o, o + 1), slice(None))
        lags, K = _kernel(one, length)
        rows.append(np.sqrt(np.sum(K**2, axis=2))[:, 0])
    return lags, np.stack(rows).reshape(-1, len(lags))


def frequency_response(
    layer: Any,
    frequencies: Any,
    channel: Any = None,
    sampling_rate: float | None = None,
    length: int | None = None,
) -> np.ndarray:
    """Frequency response of a layer, skip included: its factor H for an endless wave.

        H(omega) = sum_l K[l] exp(-i omega l) + D

    The wave is exp(i omega k), for all steps k.

    Args:
        layer: a built state space layer, or a block or cell around one.
        frequencies: omega / 2 pi, in cycles per step (0 to 0.5), or in Hz with
            `sampling_rate`.
        channel: an output feature h or a pair (output, input); for S5, h means
            (h, h). None for all.
        sampling_rate: steps per second.
        length: sum only the first `length` taps of the kernel. Needed where
            the whole sum does not exist: for a softmax kernel and for unstable
            modes.

    Returns:
        complex128: (channels, features, frequencies) for DSS, S4D and S4, (features
        out, features in, frequencies) for S5 and LRU, (frequencies,) of one channel.

    Raises:
        ValueError: for modes on or outside the unit circle without `length`, and
            for a channel or length that the layer does not have.

    Example:

    >>> layer = keras_ssm.layers.S4D(8)
    >>> layer.build((None, None, 3))
    >>> keras_ssm.analysis.frequency_response(layer, [0.0, 0.25, 0.5], channel=1).shape
    (3,)
    """
    omega = 2 * np.pi * np.asarray(frequencies, "float64") / check_sampling_rate(sampling_rate)
    omega = np.atleast_1d(omega)
    system = modal_system(layer, length)
    if channel is not None:
        system = select(layer, system, channel)
    taps = length or system.length
    if taps is not None:
        lags, K = _kernel(system, taps)
        H = K @ np.exp(-1j * np.outer(lags, omega))
    elif np.any(system.unbounded):
        raise ValueError(
            "The frequency response of a mode with |lam| >= 1 does not exist; `length` takes that "
            f"of the kernel's first taps. Received: length=None and "
            f"{np.sum(system.unbounded)} such modes"
        )
    else:
        H = system.transfer(omega, 0)
        if len(system.C) == 2:
            # y_t = sum_j K'[j] u_(t + j + delay): a wave ahead is a wave with the other sign.
            delay = 0 if system.shared else 1
            H = H + np.exp(1j * omega * delay) * np.conj(system.transfer(omega, 1))
    H = H + system.D[..., None]
    return in_layers_order(system, H) if channel is None else H[0, 0, 0]


def _kernel(system: Any, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Lags, and the kernel over them, (G, O, I, lags)."""
    forward, *backward = system.kernels(length)
    lags = np.arange(length)
    if not backward:
        return lags, forward
    ahead = backward[0][..., ::-1]
    if not system.shared:
        return np.arange(-length, length), np.concatenate([ahead, forward], axis=-1)
    # Both directions of a shared state see the present sample.
    forward[..., 0] += ahead[..., -1]
    return np.arange(1 - length, length), np.concatenate([ahead[..., :-1], forward], axis=-1)
