"""A layer in the form of control theory, for scipy.signal and python-control."""

from typing import Any, NamedTuple

import numpy as np

from keras_ssm.analysis.layers import check_sampling_rate, modal_system, select, unwrap


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
        layer: a built state space layer, or a block or cell around one.
        channel: an output feature h or a pair (output, input); for S5, h means
            (h, h), while the output h of DSS and S4D sees one input alone. None
            gives the whole layer, all features in and out.
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
        ValueError: for a channel that the layer does not have, or `backward` for a
            layer with one direction.

    Example:

    >>> import scipy.signal
    >>> layer = keras_ssm.layers.S4D(8)
    >>> layer.build((None, None, 3))
    >>> A, B, C, D, dt = keras_ssm.analysis.to_statespace(layer, channel=1)
    >>> system = scipy.signal.dlti(A, B, C, D, dt=dt)
    """
    rate, ssm = check_sampling_rate(sampling_rate), unwrap(layer)
    system = modal_system(layer, length)
    if backward and not ssm.bidirectional:
        raise ValueError(
            f"expected a bidirectional layer. Received: backward=True for layer={ssm!r}"
        )
    if channel is not None:
        system = select(layer, system, channel)
    A, B, C = system.real_form(1 if backward else 0)
    D = _whole_skip(system.D)
    if not backward:
        C, D = C @ A, D + C @ B
    elif system.shared:
        C, D = C @ A, C @ B
    else:  # The backward direction sees the next sample first: the state as it was.
        D = np.zeros_like(D)
    return StateSpace(A, B, C, D, 1 / rate)


def _whole_skip(D: np.ndarray) -> np.ndarray:
    """The skip (G, O, I) of all groups side by side, (outputs, inputs)."""
    G, O, I = D.shape  # noqa: E741
    return np.einsum("goi,gf->ogfi", D, np.eye(G)).reshape(O * G, G * I)
