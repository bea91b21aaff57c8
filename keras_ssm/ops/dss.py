"""The kernels of DSS: how they scale their modes, and the softmax kernel as a recurrence.

Source: DSS (Gupta et al., 2022), Proposition 1 and equations 5 to 9, as
ag1988/dss `dss.py` computes them.
"""

import math
from typing import NamedTuple

from keras import ops

from keras_ssm.backend import fused
from keras_ssm.ops import channelwise
from keras_ssm.ops.complex import Pair, Tensor, conj, exp, expm1, multiply, scale, square_abs
from keras_ssm.ops.masking import Compaction, align_right
from keras_ssm.ops.vandermonde import vandermonde, weighted_sum
from keras_ssm.ops.varying_scan import varying_scan

__all__ = ["Softmax", "exp_scale", "softmax", "softmax_kernel"]

EPSILON = 1e-7


@fused()
def exp_scale(Lambda: Pair, dt_Lambda: Pair) -> Pair:
    """(exp(dt Lambda) - 1) / Lambda with |Lambda|^2 kept above 1e-7: DSS-EXP.

    Example:

    >>> from keras_ssm.ops import dss
    >>> zero = ops.array([0.0])
    >>> re, im = dss.exp_scale((ops.array([-1.0]), zero), (ops.array([-0.5]), zero))
    >>> round(float(re[0]), 3)
    0.393
    """
    norm = ops.clip(square_abs(Lambda), EPSILON, math.inf)
    return multiply(expm1(dt_Lambda), scale(conj(Lambda), 1 / norm))


class Softmax(NamedTuple):
    """The row softmax of DSS-SOFTMAX, a scaled geometric series.

    K[c, h, l] = Re sum_n W[c, h, n] (lam - 1) r lam^l, with r the reciprocal of
    (lam^T - 1) Lambda over the normalising length T. A mode with Re Lambda > 0
    would overflow; its row is read from the other end, as powers of
    lam = exp(-dt Lambda), l running down from T - 1.

    Its recurrence keeps x_k = lam x_(k-1) + (lam - 1) r u_k for ordinary modes;
    for backward ones the sum z_k = z_(k-1) + lam^k (lam - 1) r u_k, which is
    read as Re W lam^(T-1-k) z_k, so that no number ever exceeds the input's
    size. The state therefore counts the steps it has seen.

    Example:

    >>> from keras_ssm.ops import dss
    >>> W = ops.ones((1, 1, 1)), ops.zeros((1, 1, 1))
    >>> Lambda = ops.array([-1.0]), ops.array([0.0])
    >>> dt_Lambda = ops.array([[-0.5]]), ops.array([[0.0]])
    >>> system = dss.softmax(W, Lambda, dt_Lambda, length=4)
    >>> float(system.backwards[0, 0])  # Re Lambda is not positive
    0.0
    """

    log_lam: Pair  # (H, N), Re <= 0
    reciprocal: Pair  # (H, N)
    backwards: Tensor  # (H, N), 1 where Re Lambda > 0, else 0
    W: Pair  # (C, H, N)
    length: Tensor  # T


class SoftmaxState(NamedTuple):
    """State of the softmax recurrence, before a step."""

    x: Pair  # (B, H, N)
    elapsed: Tensor  # (B, 1), time since the start in learned steps


def softmax(W: Pair, Lambda: Pair, dt_Lambda: Pair, length: Tensor) -> Softmax:
    """The softmax system of W (C, H, N), Lambda (N,) or (H, N) and dt Lambda (H, N).

    The small constant stands where the official code has it, in the reciprocal
    of `(lam^T - 1) Lambda`, which is not where the paper has it and matters for
    short sequences.

    Example:

    >>> from keras_ssm.ops import dss
    >>> W = ops.ones((1, 1, 1)), ops.zeros((1, 1, 1))
    >>> Lambda = ops.array([-1.0]), ops.array([0.0])
    >>> dt_Lambda = ops.array([[-0.5]]), ops.array([[0.0]])
    >>> system = dss.softmax(W, Lambda, dt_Lambda, length=4)
    >>> round(float(system.reciprocal[0][0, 0]), 3)
    1.157
    """
    dtype = dt_Lambda[0].dtype
    backwards = ops.cast(Lambda[0] > 0, dtype) + ops.zeros_like(dt_Lambda[0])
    log_lam = scale(dt_Lambda, 1 - 2 * backwards)
    denominator = multiply(expm1(scale(log_lam, ops.cast(length, dtype))), Lambda)
    reciprocal = scale(conj(denominator), 1 / (square_abs(denominator) + EPSILON))
    return Softmax(log_lam, reciprocal, backwards, W, length)


def softmax_kernel(system: Softmax, length: Tensor) -> Tensor:
    """The first `length` values of the kernel: (C, H, length).

    Example:

    >>> from keras_ssm.ops import dss
    >>> W = ops.ones((1, 1, 1)), ops.zeros((1, 1, 1))
    >>> Lambda = ops.array([-1.0]), ops.array([0.0])
    >>> dt_Lambda = ops.array([[-0.5]]), ops.array([[0.0]])
    >>> system = dss.softmax(W, Lambda, dt_Lambda, length=4)
    >>> K = dss.softmax_kernel(system, 4)  # its sum is W / Lambda
    >>> round(float(ops.sum(K)), 3)
    -1.0
    """
    log_lam, reciprocal, backwards, W, total = system
    w = multiply(W, multiply(expm1(log_lam), reciprocal))
    rest = ops.cast(total - length, backwards.dtype)
    ahead = scale(w, 1 - backwards)
    behind = scale(multiply(w, exp(scale(log_lam, rest))), backwards)
    both = tuple(ops.concatenate(pair, axis=0) for pair in zip(ahead, behind, strict=True))
    ahead, behind = ops.split(vandermonde(both, log_lam, length), 2, axis=0)
    return ahead + ops.flip(behind, axis=-1)


def softmax_final_state(
    system: Softmax, u: Tensor, state: SoftmaxState | None, where: Compaction | None
) -> SoftmaxState:
    """The state after constant steps over u (B, L, H), compacted if `where` is given."""
    start = zero_state(u, system.log_lam) if state is None else state
    counts = ops.shape(u)[1] if where is None else where.counts
    u_right = u if where is None else align_right(u, where)
    B = multiply(expm1(system.log_lam), system.reciprocal)
    forward = channelwise.final_state(u_right, system.log_lam, B, start.x, counts)
    # sum_k lam^k u_k is the weighted sum of the reversed sequence.
    series = weighted_sum(ops.flip(ops.transpose(u, (0, 2, 1)), axis=2), system.log_lam)
    delay = exp(scale(system.log_lam, start.elapsed[..., None]))
    added = multiply(multiply(B, delay), series)
    backward = start.x[0] + added[0], start.x[1] + added[1]
    counts = ops.reshape(ops.cast(counts, u.dtype), (-1, 1))
    return SoftmaxState(_choose(system, forward, backward), start.elapsed + counts)


def softmax_response(system: Softmax, state: SoftmaxState, length: Tensor) -> Tensor:
    """What a state before a sequence adds to its output: (B, L, C H)."""
    log_lam, backwards, W = system.log_lam, system.backwards, system.W
    ahead = multiply(exp(log_lam), scale(state.x, 1 - backwards))
    y_ahead = channelwise.response(ahead, log_lam, W, length)
    # Step k reads a backward mode as lam^(T - 1 - elapsed - k), the power held at 0 beyond T.
    rest = ops.cast(system.length - length, backwards.dtype) - state.elapsed
    behind = multiply(exp(scale(log_lam, ops.relu(rest)[..., None])), scale(state.x, backwards))
    y_behind = channelwise.response(behind, log_lam, W, length)
    late = ops.cast(ops.relu(-rest), "int32")
    index = ops.relu(length - 1 - ops.arange(length, dtype="int32") - late)
    return y_ahead + ops.take_along_axis(y_behind, index[..., None], axis=1)


def softmax_varying(
    system: Softmax, u: Tensor, time_steps: Tensor, state: SoftmaxState | None
) -> tuple[Tensor, SoftmaxState]:
    """Output (B, L, C H) of one direction and final state for steps that vary in time."""
    start = zero_state(u, system.log_lam) if state is None else state
    elapsed = start.elapsed + ops.cumsum(time_steps, axis=1)  # (B, L), after each step
    time_steps = time_steps[..., None, None]
    log_lam, B, gain = _at(system, time_steps, elapsed[..., None, None])
    Bu = scale(B, u[..., None])
    x = varying_scan(log_lam, Bu, start.x)
    final = SoftmaxState((x[0][:, -1], x[1][:, -1]), elapsed[:, -1:])
    return channelwise.read(multiply(gain, x), system.W), final


def softmax_step(
    system: Softmax, u: Tensor, time_steps: Tensor | None, state: SoftmaxState
) -> tuple[Tensor, SoftmaxState]:
    """Output (B, C H) and next state for one step of u (B, H)."""
    ones = ops.ones_like(state.elapsed)
    time_steps = ones if time_steps is None else time_steps
    elapsed = state.elapsed + time_steps
    log_lam, B, gain = _at(system, time_steps[..., None], elapsed[..., None])
    moved, driven = multiply(expm1(log_lam), state.x), scale(B, u[..., None])
    x = tuple(z + (dz + b) for z, dz, b in zip(state.x, moved, driven, strict=True))
    return channelwise.read(multiply(gain, x), system.W), SoftmaxState(x, elapsed)


def _at(system: Softmax, time_steps: Tensor, elapsed: Tensor) -> tuple[Pair, Pair, Pair]:
    """What drives the state at a step that ends at time `elapsed`: log lam, B and reading gain.

    Both kinds of modes as one recurrence; a backward one keeps its state, and
    input and output are weighted instead.
    """
    log_lam, backwards = system.log_lam, system.backwards
    forwards = 1 - backwards
    drive = multiply(expm1(scale(log_lam, time_steps)), system.reciprocal)
    into = exp(scale(log_lam, backwards * (elapsed - 1)))
    rest = ops.relu(ops.cast(system.length, elapsed.dtype) - elapsed)
    return (
        scale(log_lam, forwards * time_steps),
        multiply(drive, into),
        exp(scale(log_lam, backwards * rest)),
    )


def zero_state(u: Tensor, log_lam: Pair) -> SoftmaxState:
    """The state before any input of u (B, L, H)."""
    zeros = ops.zeros_like(u[:, 0, :, None]) * ops.zeros_like(log_lam[0])
    return SoftmaxState((zeros, zeros), zeros[:, 0, :1])


def _choose(system: Softmax, forward: Pair, backward: Pair) -> Pair:
    forwards = 1 - system.backwards
    return tuple(
        a * forwards + b * system.backwards for a, b in zip(forward, backward, strict=True)
    )
