"""One diagonal state for each channel with a kernel that is normalized over a length (DSS-SOFTMAX).

Source: DSS (Gupta et al., 2022), Proposition 1 and equations 5 to 9, as
ag1988/dss `dss.py` computes them.
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_ssm.backend import take
from keras_ssm.ops.complex import conj, exp, expm1, multiply, scale, square_abs
from keras_ssm.ops.convolution import convolve, convolve_directly
from keras_ssm.ops.discretization import EPSILON
from keras_ssm.ops.exporting import is_symbol, restricted
from keras_ssm.ops.masking import Compaction, align_right
from keras_ssm.ops.resets import backwards, restarted
from keras_ssm.ops.systems.channelwise import final_state, modal, read, response
from keras_ssm.ops.systems.flat import (
    check_outputs,
    check_shape,
    direction,
    from_the_next,
    join_state,
    skip,
    split_state,
    with_skip,
)
from keras_ssm.ops.systems.modal import Modal, as_complex, as_float
from keras_ssm.ops.vandermonde import sum_modes, weighted_sum
from keras_ssm.ops.varying_scan import run_varying_scan
from keras_ssm.types import Pair, Tensor


class Softmax(NamedTuple):
    """A kernel K[c, h, l] = Re sum_n W[c, h, n] / Lambda[n] softmax_l(l dt Lambda[n]) + D at lag 0.

    The softmax runs over `length` steps T, for which every row is divided by
    its sum, so that the kernel of another length is another kernel. A mode with
    Re Lambda > 0 grows towards the end of the kernel and is bounded there.

    The last number of the state is the time since its start. An ordinary mode
    is x_k = lam x_(k-1) + (lam - 1) r u_k with r the reciprocal of (lam^T - 1)
    Lambda; a growing one is the sum z_k = z_(k-1) + lam^-k (..) u_k, which is
    read with a factor that grows towards T, so that no number ever exceeds the
    input's size.

    Attributes:
        Lambda: pair of (N,) or (H, N).
        dt_Lambda: pair of (H, N).
        W: pair of (K, C, H, N) for K directions, the forward one first.
        D: (C, H), or None for a system without a skip.
        length: T; None takes the length of the input, without a state.
        time_steps: (batch, length), or (batch,) for one step, where steps vary.

    Example:

    >>> from keras_ssm.ops.systems import Softmax
    >>> Lambda = ops.array([-1.0]), ops.array([0.0])
    >>> dt_Lambda = ops.array([[-0.5]]), ops.array([[0.0]])
    >>> W = ops.ones((1, 1, 1, 1)), ops.zeros((1, 1, 1, 1))
    >>> K = Softmax(Lambda, dt_Lambda, W, None, length=4).impulse_response(4)
    >>> round(float(ops.sum(K)), 3)  # W / Lambda
    -1.0
    """

    Lambda: Pair
    dt_Lambda: Pair
    W: Pair
    D: Tensor | None
    length: int | None = None
    time_steps: Tensor | None = None

    @property
    def bounded(self) -> bool:
        """Whether modes with |lam| > 1 are kept from overflowing."""
        return True

    @staticmethod
    def state_width(features: int, modes: int) -> int:
        """Size of the flat state of one sequence."""
        return 2 * features * modes + 1

    @property
    def directions(self) -> int:
        """Number of directions: 1, or 2 with a backward one."""
        return self.W[0].shape[0]

    def check(self, features: int) -> None:
        """Raise ValueError if the tensors do not fit together."""
        N = self.Lambda[0].shape[-1]
        check_shape("Lambda", self.Lambda, (N,), (features, N))
        check_shape("dt_Lambda", self.dt_Lambda, (features, N))
        check_outputs("W", self.W, self.D, features, N)

    def run(
        self,
        u: Tensor,
        state: Tensor | None = None,
        where: Compaction | None = None,
        return_state: bool = False,
        method: str = "auto",
        resets: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs (B, L, C H) of u (B, L, H), and the state after the last valid step."""
        length = ops.shape(u)[1]
        if self.length is None and (state is not None or return_state):
            self._known_length()
        rows = normalised(self.Lambda, self.dt_Lambda, self._total(length))
        x0 = None if state is None else _unpacked(state, rows)
        if self.time_steps is not None or resets is not None:
            steps = self._steps(u, where)
            y, final = _varying(rows, direction(self.W, 0), u, steps, x0, resets)
            if self.directions == 2:
                flipped, steps = ops.flip(u, axis=1), ops.flip(steps, axis=1)
                breaks = None if resets is None else backwards(resets)
                y_backward, _ = _varying(rows, direction(self.W, 1), flipped, steps, None, breaks)
                y = y + from_the_next(y_backward, resets)
            return y + skip(self.D, u), _packed(final)
        convolution = convolve_directly if restricted() or is_symbol(length) else convolve
        y = convolution(u, *with_skip(self._kernels(rows, length), self.D))
        if x0 is not None:
            y = y + _response(rows, direction(self.W, 0), x0, length)
        return y, _packed(_final_state(rows, u, x0, where)) if return_state else None

    def state_sequence(
        self, u: Tensor, state: Tensor | None = None, resets: Tensor | None = None
    ) -> Tensor:
        """The flat state after every step of u (B, L, H): (B, L, 2 H N + 1)."""
        rows = normalised(self.Lambda, self.dt_Lambda, self._total(ops.shape(u)[1]))
        start = zero_state(u, rows) if state is None else _unpacked(state, rows)
        x, elapsed, _ = _varying_states(rows, u, self._steps(u), start, resets)
        return ops.concatenate([join_state(x, 2), elapsed[..., None]], axis=-1)

    def stepper(self) -> "SoftmaxStepper":
        """The normalized system, for many steps."""
        rows = normalised(self.Lambda, self.dt_Lambda, self._known_length())
        return SoftmaxStepper(rows, direction(self.W, 0), self.D, self.time_steps)

    def impulse_response(self, length: Tensor, backward: bool = False) -> Tensor:
        """The first `length` values of the kernel without the skip: (C, H, length)."""
        rows = normalised(self.Lambda, self.dt_Lambda, self._total(length))
        return self._kernels(rows, length)[1 if backward else 0]

    def exponents(self) -> np.ndarray:
        """log lam of the stored modes, complex128; growing ones are bounded: they end at 1."""
        return as_complex(self.dt_Lambda)

    def modal(self, length: int | None = None) -> Modal:
        """The modes in float64, normalized over `length` where the system has none of its own."""
        total = self._modal_length(length)
        rows = normalised(self.Lambda, self.dt_Lambda, total)
        mirrored, reciprocal = as_complex(rows.log_lam), as_complex(rows.reciprocal)
        grows = as_float(rows.backwards) > 0
        log_lam = np.where(grows, -mirrored, mirrored)
        B, origin = np.expm1(mirrored) * reciprocal, np.where(grows, total - 1.0, 0.0)
        return modal(log_lam, B, as_complex(self.W), self.D, origin, total)

    def _steps(self, u: Tensor, where: Compaction | None = None) -> Tensor:
        """Durations (B, L); steps after the last valid one take no time."""
        if self.time_steps is not None:
            return self.time_steps
        return ops.ones_like(u[..., 0]) if where is None else ops.cast(where.valid, u.dtype)

    def _kernels(self, rows: "Rows", length: Tensor) -> list[Tensor]:
        """The kernel (C, H, length) of each direction, made in one product."""
        K, C, H, N = self.W[0].shape
        W = tuple(ops.reshape(z, (K * C, H, N)) for z in self.W)
        kernels = ops.reshape(_kernel(rows, W, length), (K, C, H, -1))
        return [kernels[index] for index in range(K)]

    def _total(self, length: Tensor) -> Tensor:
        """The length of the softmax, for an input of `length` steps."""
        if self.length is None:
            return length
        if isinstance(length, int) and isinstance(self.length, int) and length > self.length:
            raise ValueError(
                "The kernel is normalized over `length` steps and not defined beyond them. "
                f"Expected at most {self.length} steps. Received: {length} steps"
            )
        return self.length

    def _known_length(self) -> int:
        if self.length is None:
            raise ValueError(
                "A softmax kernel is normalized over a length, so that it has a state only when "
                "that length is an argument of the layer, `length=...`. Received: length=None"
            )
        return self.length

    def _modal_length(self, length: int | None) -> int:
        total = length if self.length is None else self.length
        if total is None:
            raise ValueError(
                "A softmax kernel is normalized over a length: give the layer or this function a "
                "`length`. Received: length=None"
            )
        if length is not None and length > total:
            raise ValueError(
                f"The kernel is normalized over {total} steps and not defined beyond them. "
                f"Received: length={length}"
            )
        return int(total)


class SoftmaxStepper(NamedTuple):
    """A `Softmax` in the form that one step computes with."""

    rows: "Rows"
    W: Pair
    D: Tensor | None
    time_steps: Tensor | None

    def step(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Output (B, C H) and next state of u (B, H)."""
        before = _unpacked(state, self.rows)
        steps = self.time_steps
        steps = ops.ones_like(before.elapsed) if steps is None else ops.reshape(steps, (-1, 1))
        elapsed = before.elapsed + steps
        log_lam, B, gain = _at(self.rows, steps[..., None], elapsed[..., None])
        moved, driven = multiply(expm1(log_lam), before.x), scale(B, u[..., None])
        x = tuple(z + (dz + b) for z, dz, b in zip(before.x, moved, driven, strict=True))
        y = read(multiply(gain, x), self.W) + skip(self.D, u)
        return y, _packed(SoftmaxState(x, elapsed))


class Rows(NamedTuple):
    """The rows of the softmax as a scaled geometric series.

    K[c, h, l] = Re sum_n W[c, h, n] (lam - 1) r lam^l. A mode with Re Lambda > 0
    would overflow; its row is read from the other end, as powers of
    lam = exp(-dt Lambda), l running down from T - 1.
    """

    log_lam: Pair  # (H, N), Re <= 0
    reciprocal: Pair  # r, (H, N)
    backwards: Tensor  # (H, N), 1 where Re Lambda > 0, else 0
    length: Tensor  # T


class SoftmaxState(NamedTuple):
    """State of the softmax recurrence, before a step."""

    x: Pair  # (B, H, N)
    elapsed: Tensor  # (B, 1), time since the start in learned steps


def normalised(Lambda: Pair, dt_Lambda: Pair, length: Tensor) -> Rows:
    """The rows of a softmax over `length` steps.

    The small constant stands where the official code has it, in the reciprocal
    of `(lam^T - 1) Lambda`, which is not where the paper has it and matters for
    short sequences.
    """
    dtype = dt_Lambda[0].dtype
    backwards = ops.cast(Lambda[0] > 0, dtype) + ops.zeros_like(dt_Lambda[0])
    log_lam = scale(dt_Lambda, 1 - 2 * backwards)
    denominator = multiply(expm1(scale(log_lam, ops.cast(length, dtype))), Lambda)
    reciprocal = scale(conj(denominator), 1 / (square_abs(denominator) + EPSILON))
    return Rows(log_lam, reciprocal, backwards, length)


def _kernel(rows: Rows, W: Pair, length: Tensor) -> Tensor:
    """The first `length` values of the kernel: (C, H, length)."""
    log_lam, reciprocal, backwards, total = rows
    w = multiply(W, multiply(expm1(log_lam), reciprocal))
    rest = ops.cast(total - length, backwards.dtype)
    ahead = scale(w, 1 - backwards)
    behind = scale(multiply(w, exp(scale(log_lam, rest))), backwards)
    both = tuple(ops.concatenate(pair, axis=0) for pair in zip(ahead, behind, strict=True))
    ahead, behind = ops.split(sum_modes(both, log_lam, length), 2, axis=0)
    return ahead + ops.flip(behind, axis=-1)


def _final_state(
    rows: Rows, u: Tensor, state: SoftmaxState | None, where: Compaction | None
) -> SoftmaxState:
    """The state after constant steps over u (B, L, H), compacted if `where` is given."""
    start = zero_state(u, rows) if state is None else state
    counts = ops.shape(u)[1] if where is None else where.counts
    u_right = u if where is None else align_right(u, where)
    B = multiply(expm1(rows.log_lam), rows.reciprocal)
    forward = final_state(u_right, rows.log_lam, B, start.x, counts)
    # sum_k lam^k u_k is the weighted sum of the reversed sequence.
    series = weighted_sum(ops.flip(ops.transpose(u, (0, 2, 1)), axis=2), rows.log_lam)
    delay = exp(scale(rows.log_lam, start.elapsed[..., None]))
    added = multiply(multiply(B, delay), series)
    backward = start.x[0] + added[0], start.x[1] + added[1]
    counts = ops.reshape(ops.cast(counts, u.dtype), (-1, 1))
    forwards = 1 - rows.backwards
    x = tuple(a * forwards + b * rows.backwards for a, b in zip(forward, backward, strict=True))
    return SoftmaxState(x, start.elapsed + counts)


def _response(rows: Rows, W: Pair, state: SoftmaxState, length: Tensor) -> Tensor:
    """What a state before a sequence adds to its output: (B, L, C H)."""
    log_lam, backwards = rows.log_lam, rows.backwards
    ahead = multiply(exp(log_lam), scale(state.x, 1 - backwards))
    y_ahead = response(ahead, log_lam, W, length)
    # Step k reads a backward mode as lam^(T - 1 - elapsed - k), the power held at 0 beyond T.
    rest = ops.cast(rows.length - length, backwards.dtype) - state.elapsed
    behind = multiply(exp(scale(log_lam, ops.relu(rest)[..., None])), scale(state.x, backwards))
    y_behind = response(behind, log_lam, W, length)
    late = ops.cast(ops.relu(-rest), "int32")
    index = ops.relu(length - 1 - ops.arange(0, length, dtype="int32") - late)
    # Rows of all sequences share one numbering: `take_along_axis` fixes the batch in an export.
    batch, _, width = ops.shape(y_behind)
    index = index + length * ops.arange(0, batch, dtype="int32")[:, None]
    behind = take(ops.reshape(y_behind, (-1, width)), ops.reshape(index, (-1,)), axis=0)
    return y_ahead + ops.reshape(behind, (-1, length, width))


def _varying(
    rows: Rows,
    W: Pair,
    u: Tensor,
    time_steps: Tensor,
    state: SoftmaxState | None,
    resets: Tensor | None,
) -> tuple[Tensor, SoftmaxState]:
    """Output (B, L, C H) of one direction and final state for steps that vary in time."""
    start = zero_state(u, rows) if state is None else state
    x, elapsed, gain = _varying_states(rows, u, time_steps, start, resets)
    final = SoftmaxState((x[0][:, -1], x[1][:, -1]), elapsed[:, -1:])
    return read(multiply(gain, x), W), final


def _varying_states(
    rows: Rows, u: Tensor, time_steps: Tensor, start: SoftmaxState, resets: Tensor | None
) -> tuple[Pair, Tensor, Pair]:
    """States (B, L, H, N), the time after each step (B, L), and the gain they are read with."""
    if resets is None:
        elapsed = start.elapsed + ops.cumsum(time_steps, axis=1)
    else:
        elapsed = _since_resets(start.elapsed, time_steps, resets)
    log_lam, B, gain = _at(rows, time_steps[..., None, None], elapsed[..., None, None])
    if resets is not None:
        log_lam = restarted(log_lam, resets)
    return run_varying_scan(log_lam, scale(B, u[..., None]), start.x), elapsed, gain


def _since_resets(elapsed: Tensor, time_steps: Tensor, resets: Tensor) -> Tensor:
    """Time after each step (B, L), which counts from `elapsed` (B, 1) or the latest reset.

    A state like any other: lam = 1 and 0 at resets, driven by the time steps.
    """
    times, start = time_steps[..., None, None], elapsed[..., None]
    none = ops.zeros_like(times)
    log_lam = restarted((none, none), resets)
    x, _ = run_varying_scan(log_lam, (times, none), (start, ops.zeros_like(start)))
    return x[..., 0, 0]


def _at(rows: Rows, time_steps: Tensor, elapsed: Tensor) -> tuple[Pair, Pair, Pair]:
    """What drives the state at a step that ends at time `elapsed`: log lam, B and reading gain.

    Both kinds of modes follow one recurrence; a backward one keeps its state, and
    input and output are weighted instead.
    """
    log_lam, backwards = rows.log_lam, rows.backwards
    forwards = 1 - backwards
    drive = multiply(expm1(scale(log_lam, time_steps)), rows.reciprocal)
    into = exp(scale(log_lam, backwards * (elapsed - 1)))
    rest = ops.relu(ops.cast(rows.length, elapsed.dtype) - elapsed)
    return (
        scale(log_lam, forwards * time_steps),
        multiply(drive, into),
        exp(scale(log_lam, backwards * rest)),
    )


def zero_state(u: Tensor, rows: Rows) -> SoftmaxState:
    """The state before any input of u (B, L, H)."""
    zeros = ops.zeros_like(u[:, 0, :, None]) * ops.zeros_like(rows.log_lam[0])
    return SoftmaxState((zeros, zeros), zeros[:, 0, :1])


def _unpacked(state: Tensor, rows: Rows) -> SoftmaxState:
    x = split_state(state[:, :-1], rows.log_lam[0].shape)
    return SoftmaxState(x, state[:, -1:])


def _packed(state: Any) -> Tensor:
    return ops.concatenate([join_state(state.x, 2), state.elapsed], axis=-1)
