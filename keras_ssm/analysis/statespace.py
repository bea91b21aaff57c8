"""A layer in the form of control theory, for scipy.signal and python-control."""

from typing import Any, NamedTuple

import numpy as np

from keras_ssm.analysis.diagonal import (
    Diagonal,
    check_sampling_rate,
    diagonal,
    select,
    unwrap,
)
from keras_ssm.layers.s5 import S5


class StateSpace(NamedTuple):
    """Real matrices of x_(k+1) = A x_k + B u_k, y_k = C x_k + D u_k, with steps of dt seconds.

    Example:

    >>> layer = keras_ssm.layers.S4D(8)
    >>> layer.build((None, None, 3))

    >>> system = keras_ssm.analysis.to_statespace(layer, channel=1, sampling_rate=100.0)
    >>> system.A.shape, system.dt
    ((8, 8), 0.01)
    """

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    D: np.ndarray
    dt: float


def to_statespace(
    layer: Any,
    channel: Any = None,
    sampling_rate: float | None = None,
    length: int | None = None,
    backward: bool = False,
) -> StateSpace:
    """The real state space form of a layer, from one input to one output or as a whole.

        x_(k+1) = A x_k + B u_k,   y_k = C x_k + D u_k

    The layers read the state after an input, this form the state before it; C
    and D take care of that. A is block-diagonal, [[Re, -Im], [Im, Re]] of lam
    for every mode, so that an oscillating mode is two states; a real one is one.

    Args:
        layer: a built DSS, S4D or S5 layer, or a block or cell around one.
        channel: an output feature h or a pair (output, input); for S5, h means
            (h, h), while the output h of DSS and S4D sees one input alone. None
            gives the whole layer, all features in and all out.
        sampling_rate: steps per second; None for dt = 1.
        length: for a softmax kernel without a `length` of its own. The system
            has its kernel over that length, and goes on beyond it.
        backward: of a bidirectional layer, the system that reads the sequence
            from its end. Its output, read from the end again, adds to the
            forward one.

    Returns:
        `StateSpace(A, B, C, D, dt)` in float64: (states, states), (states,
        inputs), (outputs, states), (outputs, inputs).

    Raises:
        ValueError: for a channel that the layer does not have, or `backward` of a
            layer with one direction.

    Example:

    >>> import scipy.signal
    >>> layer = keras_ssm.layers.S4D(8)
    >>> layer.build((None, None, 3))
    >>> A, B, C, D, dt = keras_ssm.analysis.to_statespace(layer, channel=1)
    >>> system = scipy.signal.dlti(A, B, C, D, dt=dt)
    """
    rate, ssm = check_sampling_rate(sampling_rate), unwrap(layer)
    system = diagonal(layer, length)
    if backward and not system.bidirectional:
        raise ValueError(
            f"expected a bidirectional layer. Received: backward=True for layer={ssm!r}"
        )
    if channel is not None:
        system = select(layer, system, channel)
    log_lam, B, C, D = _whole(system, 1 if backward else 0)
    lam, B = np.exp(log_lam), B * np.exp(-log_lam * system.origin.reshape(-1))[:, None]
    keep = np.ones(2 * len(lam), bool)
    keep[1::2] = (lam.imag != 0) | np.any(B.imag != 0, axis=1)
    A_real = np.zeros((2 * len(lam), 2 * len(lam)))
    real, imag = np.arange(0, 2 * len(lam), 2), np.arange(1, 2 * len(lam), 2)
    A_real[real, real] = A_real[imag, imag] = lam.real
    A_real[real, imag], A_real[imag, real] = -lam.imag, lam.imag
    B_real = np.stack([B.real, B.imag], axis=1).reshape(-1, B.shape[1])
    C_real = np.stack([C.real, -C.imag], axis=2).reshape(C.shape[0], -1)
    A_real, B_real, C_real = A_real[np.ix_(keep, keep)], B_real[keep], C_real[:, keep]
    if not backward:
        C_real, D = C_real @ A_real, D + C_real @ B_real
    elif isinstance(ssm, S5):
        C_real, D = C_real @ A_real, C_real @ B_real
    else:  # Backward, DSS and S4D see the next sample first: the state as it was.
        D = np.zeros_like(D)
    return StateSpace(A_real, B_real, C_real, D, 1 / rate)


def _whole(system: Diagonal, direction: int) -> tuple[np.ndarray, ...]:
    """log lam (G N,), B (G N, inputs), C (outputs, G N), D (outputs, inputs) of all groups."""
    (G, N, I), O = system.B.shape, system.C.shape[2]  # noqa: E741
    one_group = np.eye(G)
    B = np.einsum("gni,gf->gnfi", system.B, one_group).reshape(G * N, G * I)
    C = np.einsum("gon,gf->ofgn", system.C[direction], one_group).reshape(O * G, G * N)
    D = np.einsum("goi,gf->ogfi", system.D, one_group).reshape(O * G, G * I)
    return system.log_lam.reshape(-1), B, C, D
