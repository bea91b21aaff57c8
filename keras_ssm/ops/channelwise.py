"""One diagonal system per channel, as DSS and S4D have: sequence, state and step.

Letters as in `keras_ssm.ops`; `log_lam`, B are pairs of (H, N) and C is a pair
of (C, H, N); with steps that vary in time, `log_lam` and B are (B, L, H, N).
"""

from typing import NamedTuple

from keras import ops

from keras_ssm.backend import fused
from keras_ssm.ops.complex import Pair, Tensor, exp, expm1, multiples, multiply
from keras_ssm.ops.vandermonde import vandermonde, weighted_sum
from keras_ssm.ops.varying_scan import varying_scan


def initial_state_response(state: Pair, log_lam: Pair, C: Pair, length: Tensor) -> Tensor:
    """Re C lam^(k+1) x0 for every step k: (B, L, C H) for a state of (B, H, N).

    Example:

    >>> from keras_ssm.ops import channelwise
    >>> log_lam = ops.array([[np.log(0.5)]], "float32"), ops.array([[0.0]])
    >>> one = ops.ones((1, 1, 1)), ops.zeros((1, 1, 1))
    >>> y = channelwise.initial_state_response(one, log_lam, one, 3)
    >>> [round(float(value), 3) for value in y[0, :, 0]]
    [0.5, 0.25, 0.125]
    """
    return response(multiply(exp(log_lam), state), log_lam, C, length)


@fused("length")
def response(state: Pair, log_lam: Pair, C: Pair, length: Tensor) -> Tensor:
    """Re C lam^k x for every step k: (B, L, C H) for x of (B, H, N).

    Example:

    >>> from keras_ssm.ops import channelwise
    >>> log_lam = ops.array([[np.log(0.5)]], "float32"), ops.array([[0.0]])
    >>> one = ops.ones((1, 1, 1)), ops.zeros((1, 1, 1))
    >>> y = channelwise.response(one, log_lam, one, 3)
    >>> [round(float(value), 3) for value in y[0, :, 0]]
    [1.0, 0.5, 0.25]
    """
    w = multiply(C, (state[0][:, None], state[1][:, None]))
    w = tuple(ops.reshape(z, (-1, *log_lam[0].shape)) for z in w)
    y = vandermonde(w, log_lam, length)
    return _merge_channels(ops.reshape(y, (-1, *C[0].shape[:2], length)))


def final_state(u: Tensor, log_lam: Pair, B: Pair, state: Pair | None, steps: Tensor) -> Pair:
    """lam^steps x0 + sum_k lam^(L-1-k) B u_k: the state after the last input.

    Args:
        u: tensor (B, L, H); a row with fewer steps has zeros before them.
        log_lam: pair of (H, N).
        B: pair of (H, N).
        state: pair of (B, H, N), or None for zero.
        steps: the number of steps, or a tensor (B,) of numbers.

    Returns:
        Pair of (B, H, N).

    Example:

    >>> from keras_ssm.ops import channelwise
    >>> log_lam = ops.array([[np.log(0.5)]], "float32"), ops.array([[0.0]])
    >>> B = ops.ones((1, 1)), ops.zeros((1, 1))
    >>> re, im = channelwise.final_state(ops.ones((1, 3, 1)), log_lam, B, None, 3)
    >>> round(float(re[0, 0, 0]), 3)
    1.75
    """
    driven = multiply(B, weighted_sum(ops.transpose(u, (0, 2, 1)), log_lam))
    if state is None:
        return driven
    steps = ops.reshape(ops.cast(steps, log_lam[0].dtype), (-1,))
    re, im = (ops.transpose(z, (2, 0, 1)) for z in multiples(log_lam, steps))  # (B, H, N)
    # The increment is rounded, not lam, as in `step`: many short chunks must not drift either.
    change = multiply(expm1((re, im)), state)
    return tuple(x + (dx + b) for x, dx, b in zip(state, change, driven, strict=True))


def varying_states(u: Tensor, log_lam: Pair, B: Pair, state: Pair | None) -> Pair:
    """States (B, L, H, N) for steps that vary in time.

    Example:

    >>> from keras_ssm.ops import channelwise
    >>> ones, zeros = ops.ones((1, 3, 1, 1)), ops.zeros((1, 3, 1, 1))
    >>> log_lam = ops.log(ops.array([0.5])) * ones, zeros
    >>> re, im = channelwise.varying_states(ops.ones((1, 3, 1)), log_lam, (ones, zeros), None)
    >>> [round(float(value), 3) for value in re[0, :, 0, 0]]
    [1.0, 1.5, 1.75]
    """
    Bu = multiply(B, (u[..., None], ops.zeros_like(u[..., None])))
    return varying_scan(log_lam, Bu, state)


@fused()
def read(x: Pair, C: Pair) -> Tensor:
    """Re C x: (..., C H) for states (..., H, N).

    Example:

    >>> from keras_ssm.ops import channelwise
    >>> one = ops.ones((1, 1, 1)), ops.zeros((1, 1, 1))
    >>> float(channelwise.read(one, one)[0, 0])
    1.0
    """
    y = ops.sum(x[0][..., None, :, :] * C[0] - x[1][..., None, :, :] * C[1], axis=-1)
    return ops.reshape(y, (*ops.shape(y)[:-2], y.shape[-2] * y.shape[-1]))


class StepSystem(NamedTuple):
    """What `step` needs of the discretised weights, as arrays over the flat state.

    With a leading batch axis where the steps of the sequences differ.

    Example:

    >>> from keras_ssm.ops import channelwise
    >>> channelwise.StepSystem._fields
    ('change', 'turn', 'B', 'C')
    """

    change: Tensor  # (1, H, N): real part of lam - 1
    turn: Tensor  # (2, H, N): its imaginary part, as it acts on the swapped parts of the state
    B: Tensor  # (2, H, N)
    C: Tensor  # (C, 2, H, N)


def step_system(log_lam: Pair, B: Pair, C: Pair) -> StepSystem:
    """The system of `step`, for pairs of (H, N), or (B, H, N) but for C of (C, H, N).

    Example:

    >>> from keras_ssm.ops import channelwise
    >>> log_lam = ops.array([[np.log(0.5)]], "float32"), ops.array([[0.0]])
    >>> one = ops.ones((1, 1)), ops.zeros((1, 1))
    >>> system = channelwise.step_system(log_lam, one, (one[0][None], one[1][None]))
    >>> float(system.change[0, 0, 0])
    -0.5
    """
    re, im = expm1(log_lam)
    return StepSystem(
        re[..., None, :, :],
        ops.stack([-im, im], axis=-3),
        ops.stack(B, axis=-3),
        ops.stack([C[0], -C[1]], axis=1),
    )


def step(u: Tensor, state: Tensor, system: StepSystem) -> tuple[Tensor, Tensor]:
    """One step: the new state x + ((lam - 1) x + B u) and Re C x of it, (B, C H).

    The increment is rounded, not lam itself, so that slow modes keep their
    length over many steps. Real and imaginary part go through each operation
    together: run one by one, the operations are what a step costs.

    Args:
        u: tensor (B, H).
        state: tensor (B, 2 H N), all real parts before all imaginary parts.
        system: what `step_system` gave.

    Example:

    >>> from keras_ssm.ops import channelwise
    >>> log_lam = ops.array([[np.log(0.5)]], "float32"), ops.array([[0.0]])
    >>> one = ops.ones((1, 1)), ops.zeros((1, 1))
    >>> system = channelwise.step_system(log_lam, one, (one[0][None], one[1][None]))
    >>> y, state = channelwise.step(ops.ones((1, 1)), ops.array([[1.0, 0.0]]), system)
    >>> float(state[0, 0])
    1.5
    """
    H, N = system.B.shape[-2:]
    x = ops.reshape(state, (-1, 2, H, N))
    change = system.change * x + system.turn * ops.flip(x, axis=1)
    x = x + (change + system.B * u[:, None, :, None])
    y = ops.sum(x[:, None] * system.C, axis=(2, 4))
    return ops.reshape(y, (-1, y.shape[1] * H)), ops.reshape(x, (-1, 2 * H * N))


def _merge_channels(y: Tensor) -> Tensor:
    """(B, C, H, L) to (B, L, C H)."""
    B, C, H, L = ops.shape(y)
    return ops.reshape(ops.transpose(y, (0, 3, 1, 2)), (B, L, C * H))
