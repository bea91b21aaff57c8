"""Any of the layers as one kind of object: groups of independent complex modes, in float64."""

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_ssm.layers.s5 import S5
from keras_ssm.layers.ssm import SSM


class Diagonal(NamedTuple):
    """A discretised layer, x_k = lam x_(k-1) + B u_k and y_k = Re(C x_k) + D u_k.

    DSS and S4D are a group for every feature, with one input each; S5 is one
    group with all features in and out. Letters: G groups, N modes, I inputs and
    O outputs of a group.

    Attributes:
        log_lam: (G, N) complex.
        B: (G, N, I) complex.
        C: (directions, G, O, N) complex, the backward direction second.
        D: (G, O, I), the skip.
        origin: (G, N), where the powers of a mode count from: its kernel is
            lam^(l - origin). 0 but for growing modes of a softmax kernel, which
            end at 1 instead of starting there.
        length: the steps beyond which a softmax kernel is not defined, or None.
    """

    log_lam: np.ndarray
    B: np.ndarray
    C: np.ndarray
    D: np.ndarray
    origin: np.ndarray
    length: int | None

    @property
    def bidirectional(self) -> bool:
        return len(self.C) == 2

    def powers(self, length: int) -> np.ndarray:
        """lam^(l - origin) for l = 0 .. length - 1: (G, N, length)."""
        return np.exp(self.log_lam[..., None] * (np.arange(length) - self.origin[..., None]))


def unwrap(layer: Any) -> SSM:
    """The state space layer itself, of a block or cell around it.

    Raises:
        ValueError: if there is none, or it is not built.
    """
    ssm = getattr(layer, "ssm", layer)
    if not isinstance(ssm, SSM):
        raise ValueError(
            "expected a DSS, S4D or S5 layer, or a block or cell around one. "
            f"Received: layer={layer!r}"
        )
    if not ssm.built:
        raise ValueError(
            "expected a layer with weights; call it, or `build` it, first. "
            f"Received: layer={layer!r}, which is not built"
        )
    return ssm


def diagonal(layer: Any, length: int | None = None) -> Diagonal:
    """The discretised system of a layer.

    Args:
        layer: a built layer, block or cell.
        length: what a softmax kernel without a `length` of its own is
            normalised over. Other kernels do not depend on it.

    Raises:
        ValueError: for a softmax kernel without a length, or with a shorter one.
    """
    ssm = unwrap(layer)
    directions = 2 if ssm.bidirectional else 1
    D = as_float(ssm.D)
    if isinstance(ssm, S5):
        log_lam, B, C = (as_complex(pair) for pair in ssm.recurrence())
        readings = [C]
        if ssm.bidirectional:
            readings.append(as_complex(ssm._output(ssm.C_backward)))
        origin = np.zeros((1, *log_lam.shape))
        return Diagonal(
            log_lam[None], B[None], np.stack(readings)[:, None], np.diag(D)[None], origin, None
        )
    if ssm.uses_softmax:
        length = _softmax_length(ssm, length)
        system = ssm._softmax(ssm.rate, length)
        mirrored, reciprocal, C = (
            as_complex(pair) for pair in (system.log_lam, system.reciprocal, system.W)
        )
        grows = np.asarray(as_float(system.backwards), bool)
        log_lam = np.where(grows, -mirrored, mirrored)
        B = np.expm1(mirrored) * reciprocal
        origin = np.where(grows, length - 1.0, 0.0)
    else:
        log_lam, B, C = (as_complex(pair) for pair in ssm.recurrence())
        origin, length = np.zeros(log_lam.shape), None
    C = C.reshape(directions, -1, *log_lam.shape).swapaxes(1, 2)
    D = D.reshape(-1, ssm.width).T[:, :, None]
    return Diagonal(log_lam, B[..., None], C, D, origin, length)


def select(layer: Any, system: Diagonal, channel: Any) -> Diagonal:
    """The part of a system that leads from one input to one output.

    Args:
        layer: the system's.
        system: of `diagonal`.
        channel: an output feature h, or a pair (output feature, input feature).
            For S5, h means (h, h). An output feature of DSS and S4D, c * features
            + h, sees the input feature h alone.
    """
    ssm = unwrap(layer)
    outputs = ssm.width * ssm.output_channels
    pair = tuple(channel) if isinstance(channel, (tuple, list)) else (channel, None)
    valid = len(pair) == 2 and _is_index(pair[0], outputs)
    if not valid or not (pair[1] is None or _is_index(pair[1], ssm.width)):
        raise ValueError(
            f"`channel` must be an output feature below {outputs}, or a pair of it and an input "
            f"feature below {ssm.width}. Received: channel={channel!r}"
        )
    own = pair[0] % ssm.width
    source = own if pair[1] is None else pair[1]
    if isinstance(ssm, S5):
        group, o, i = 0, own, source
    elif source == own:
        group, o, i = own, pair[0] // ssm.width, 0
    else:
        raise ValueError(
            f"output feature {pair[0]} of {type(ssm).__name__} sees the input feature {own} alone. "
            f"Received: channel={channel!r}"
        )
    g = slice(group, group + 1)
    return Diagonal(
        system.log_lam[g],
        system.B[g, :, i : i + 1],
        system.C[:, g, o : o + 1],
        system.D[g, o : o + 1, i : i + 1],
        system.origin[g],
        system.length,
    )


def as_layer(layer: Any, values: np.ndarray) -> np.ndarray:
    """Values (G, O, I, ...) in the layer's order: (channels, features, ...) or (out, in, ...)."""
    return values[0] if isinstance(unwrap(layer), S5) else np.swapaxes(values[:, :, 0], 0, 1)


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


def as_float(tensor: Any) -> np.ndarray:
    """A weight or tensor in float64."""
    detached = keras.ops.stop_gradient(keras.ops.convert_to_tensor(tensor))
    return np.asarray(keras.ops.convert_to_numpy(detached), "float64")


def as_complex(pair: Any) -> np.ndarray:
    """A pair of tensors as complex128."""
    return as_float(pair[0]) + 1j * as_float(pair[1])


def _is_index(value: Any, size: int) -> bool:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and int(value) in range(size)


def _softmax_length(ssm: Any, length: int | None) -> int:
    total = length if ssm.length is None else ssm.length
    if total is None:
        raise ValueError(
            "A softmax kernel is normalised over a length: give the layer or this function a "
            f"`length`. Received: length=None for {ssm!r}"
        )
    if length is not None:
        check_length(length)
        if length > total:
            raise ValueError(
                f"The kernel is normalised over {total} steps and not defined beyond them. "
                f"Received: length={length}"
            )
    return int(total)
