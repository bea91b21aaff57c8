"""The layer inside what a caller gives, its system in float64, and its channels."""

from typing import Any

import numpy as np

from keras_ssm.layers.base import SSM


def unwrap(layer: Any) -> SSM:
    """The state space layer itself, of a block or cell around it.

    Raises:
        ValueError: if there is none, or it is not built.
    """
    ssm = getattr(layer, "ssm", layer)
    if not isinstance(ssm, SSM):
        raise ValueError(
            "expected a state space layer, or a block or cell around one. "
            f"Received: layer={layer!r}"
        )
    if not ssm.built:
        raise ValueError(
            "expected a layer with weights; call it, or `build` it, first. "
            f"Received: layer={layer!r}, which is not built"
        )
    return ssm


def modal_system(layer: Any, length: int | None = None) -> Any:
    """The discretized system of a layer in float64, see `keras_ssm.ops.systems.Modal`.

    Args:
        layer: a built layer, block or cell.
        length: what a softmax kernel without a `length` of its own is
            normalized over. Other kernels do not depend on it.

    Raises:
        ValueError: for a softmax kernel without a length, or with a shorter one.
    """
    if length is not None:
        check_length(length)
    return unwrap(layer).checked_system().modal(length)


def select(layer: Any, system: Any, channel: Any) -> Any:
    """The part of a system that leads from one input to one output.

    Args:
        layer: the system's.
        system: of `modal_system`.
        channel: an output feature h, or a pair (output feature, input feature).
            Where all features share a state, h means (h, h). Elsewhere an output
            feature, c * features + h, sees the input feature h alone.
    """
    ssm = unwrap(layer)
    outputs = ssm.width * ssm.channels
    pair = tuple(channel) if isinstance(channel, (tuple, list)) else (channel, None)
    valid = len(pair) == 2 and _is_index(pair[0], outputs)
    if not valid or not (pair[1] is None or _is_index(pair[1], ssm.width)):
        raise ValueError(
            f"`channel` must be an output feature below {outputs}, or a pair of it and an input "
            f"feature below {ssm.width}. Received: channel={channel!r}"
        )
    own = pair[0] % ssm.width
    source = own if pair[1] is None else pair[1]
    if system.shared:
        group, o, i = 0, own, source
    elif source == own:
        group, o, i = own, pair[0] // ssm.width, 0
    else:
        raise ValueError(
            f"output feature {pair[0]} of {type(ssm).__name__} sees the input feature {own} alone. "
            f"Received: channel={channel!r}"
        )
    return system.part(*(slice(index, index + 1) for index in (group, o, i)))


def in_layers_order(system: Any, values: np.ndarray) -> np.ndarray:
    """Values (G, O, I, ...) as (out, in, ...) of a shared state, else (channels, features, ...)."""
    return values[0] if system.shared else np.swapaxes(values[:, :, 0], 0, 1)


def check_length(length: Any) -> None:
    """Raise ValueError unless `length` is a positive integer."""
    if isinstance(length, bool) or not isinstance(length, (int, np.integer)) or length <= 0:
        raise ValueError(f"`length` must be a positive integer. Received: length={length!r}")


def check_sampling_rate(sampling_rate: float | None) -> float:
    """The sampling rate, 1 per step if there is none."""
    if sampling_rate is None:
        return 1.0
    if not 0 < sampling_rate < np.inf:
        raise ValueError(
            "`sampling_rate` must be positive and finite, in Hz. "
            f"Received: sampling_rate={sampling_rate!r}"
        )
    return float(sampling_rate)


def _is_index(value: Any, size: int) -> bool:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and int(value) in range(size)
