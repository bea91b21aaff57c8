"""One diagonal state for each channel, as in S4D and DSS, computed as a long convolution."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_ssm.backend import jit
from keras_ssm.ops import chunks, masking, packed
from keras_ssm.ops.complex import exp, expm1, multiples, multiply
from keras_ssm.ops.convolution import convolve
from keras_ssm.ops.masking import Compaction
from keras_ssm.ops.resets import backwards, restarted, run_reset_scan
from keras_ssm.ops.scan import from_chunks, run_scan, to_chunks
from keras_ssm.ops.systems.flat import (
    check_outputs,
    check_shape,
    direction,
    from_the_next,
    join_state,
    reverse,
    skip,
    split_state,
    with_skip,
)
from keras_ssm.ops.systems.method import resolve
from keras_ssm.ops.systems.modal import Modal, as_complex, as_float
from keras_ssm.ops.vandermonde import sum_modes, weighted_sum
from keras_ssm.ops.varying_scan import run_varying_scan
from keras_ssm.types import Pair, Tensor


class Channelwise(NamedTuple):
    """A separate diagonal system for each of H channels, with C outputs each.

        x_k = lam x_(k-1) + B u_k,   y_k = Re(C x_k) + D u_k

    The gain of the discretization is in B, the factor 2 of conjugate pairs in
    C. A backward direction begins with the next sample, as in the official code
    of DSS and S4D: the present one is seen only by the forward direction.

    Attributes:
        log_lam: logarithm of lam, a pair of (H, N); of (batch, length, H, N), or
            (batch, H, N) for one step, where steps vary in time.
        B: pair of the same shape, or of (H, N).
        C: pair of (K, C, H, N) for K directions, the forward one first.
        D: (C, H), or None for a system without a skip.

    Example:

    >>> from keras_ssm.ops.systems import Channelwise
    >>> log_lam = ops.array([[np.log(0.5)]], "float32"), ops.array([[0.0]])
    >>> B = ops.ones((1, 1)), ops.zeros((1, 1))
    >>> C = ops.ones((1, 1, 1, 1)), ops.zeros((1, 1, 1, 1))
    >>> y, state = Channelwise(log_lam, B, C, None).run(ops.ones((1, 3, 1)))
    >>> [round(float(value), 2) for value in y[0, :, 0]]
    [1.0, 1.5, 1.75]
    """

    log_lam: Pair
    B: Pair
    C: Pair
    D: Tensor | None

    @property
    def bounded(self) -> bool:
        """Whether modes with |lam| > 1 are kept from overflowing."""
        return False

    @staticmethod
    def state_width(features: int, modes: int) -> int:
        """Size of the flat state of one sequence."""
        return 2 * features * modes

    @property
    def directions(self) -> int:
        """Number of directions: 1, or 2 with a backward one."""
        return self.C[0].shape[0]

    @property
    def varies(self) -> bool:
        """Whether steps vary in time."""
        return len(self.log_lam[0].shape) > 2

    def check(self, features: int) -> None:
        """Raise ValueError if the tensors do not fit together."""
        N = self.log_lam[0].shape[-1]
        check_shape("log_lam", self.log_lam, (..., features, N))
        check_shape("B", self.B, (..., features, N))
        check_outputs("C", self.C, self.D, features, N)

    def run(
        self,
        u: Tensor,
        state: Tensor | None = None,
        where: Compaction | None = None,
        return_state: bool = False,
        method: str = "auto",
        resets: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs (B, L, C H) of u (B, L, H), and the state after the last valid step.

        `method` is `"fft"`, `"chunk"` or `"auto"`, see `keras_ssm.ops.systems.method`.
        """
        x0 = None if state is None else split_state(state, self.log_lam[0].shape[-2:])
        if self.varies:
            forward, backward_log_lam = self._varying(resets)
            x = _varying_states(u, forward, self.B, x0)
            y = read(x, direction(self.C, 0)) + skip(self.D, u)
            if self.directions == 2:
                backward = _varying_states(
                    ops.flip(u, axis=1), backward_log_lam, self._reversed_B(), None
                )
                y = y + from_the_next(read(backward, direction(self.C, 1)), resets)
            return y, join_state((x[0][:, -1], x[1][:, -1]), 2)
        length = ops.shape(u)[1]
        log_lam, B, C, _ = self
        if resets is not None:
            heads = with_skip(self._kernels(packed.CHUNK), self.D)
            Cs = [direction(C, index) for index in range(self.directions)]
            y = packed.convolve(u, heads, log_lam, B, Cs, resets, x0)
        elif resolve(method, length) == "chunk":
            heads = with_skip(self._kernels(chunks.chunk_size(length)), self.D)
            Cs = [direction(C, index) for index in range(self.directions)]
            y = chunks.convolve(u, heads, log_lam, B, Cs, x0)
        else:
            y = convolve(u, *with_skip(self._kernels(length), self.D))
            if x0 is not None:
                y = y + response(multiply(exp(log_lam), x0), log_lam, direction(C, 0), length)
        if not return_state:
            return y, None
        if resets is not None:
            # What the last reset leaves: the inputs from it on, and no state from before.
            count = ops.cumsum(ops.cast(resets, "int32"), axis=1)
            u = ops.where((count == count[:, -1:])[..., None], u, ops.zeros_like(u))
            if x0 is not None:
                unbroken = (count[:, -1] == 0)[:, None, None]
                x0 = tuple(ops.where(unbroken, z, ops.zeros_like(z)) for z in x0)
        if where is not None:
            u, length = masking.align_right(u, where), where.counts
        return y, join_state(final_state(u, log_lam, B, x0, length), 2)

    def state_sequence(
        self, u: Tensor, state: Tensor | None = None, resets: Tensor | None = None
    ) -> Tensor:
        """The flat state after every step of u (B, L, H): (B, L, 2 H N)."""
        H, N = self.log_lam[0].shape[-2:]
        if self.varies:
            x0 = None if state is None else split_state(state, (H, N))
            return join_state(_varying_states(u, self._varying(resets)[0], self.B, x0), 2)
        batch, length, _ = ops.shape(u)
        log_lam = tuple(ops.reshape(z, (H * N,)) for z in self.log_lam)
        start = None
        if state is not None:
            start = ops.transpose(ops.reshape(state, (-1, 2, H * N)), (2, 1, 0))
        if resets is not None:
            Bu = ops.stack(self.B) * u[:, :, None, :, None]
            Bu = ops.reshape(Bu, (batch, length, 2, H * N))
            x0 = None if state is None else ops.reshape(state, (-1, 2, H * N))
            x = run_reset_scan(log_lam, Bu, resets, x0)
            return ops.reshape(x, (batch, length, 2 * H * N))
        u = ops.transpose(to_chunks(u), (3, 2, 0, 1))  # (H, Q, B, M)
        B = ops.stack(self.B, axis=2)[..., None, None, None]  # (H, N, 2, 1, 1, 1)
        Bu = ops.reshape(B * u[:, None, None], (H * N, 2, *ops.shape(u)[1:]))
        x = ops.transpose(run_scan(log_lam, Bu, start), (3, 4, 2, 1, 0))  # (B, M, Q, 2, H N)
        return from_chunks(ops.reshape(x, (*ops.shape(x)[:3], 2 * H * N)), length)

    def stepper(self) -> "ChannelwiseStepper":
        """The system as arrays over the flat state, for many steps."""
        re, im = expm1(self.log_lam)
        C = direction(self.C, 0)
        return ChannelwiseStepper(
            re[..., None, :, :],
            ops.stack([-im, im], axis=-3),
            ops.stack(self.B, axis=-3),
            ops.stack([C[0], -C[1]], axis=1),
            self.D,
        )

    def impulse_response(self, length: Tensor, backward: bool = False) -> Tensor:
        """The convolution kernel without the skip: (C, H, length)."""
        C = direction(self.C, 1 if backward else 0)
        return sum_modes(multiply(C, self.B), self.log_lam, length)

    def exponents(self) -> np.ndarray:
        """log lam of the stored modes, complex128."""
        return as_complex(self.log_lam)

    def modal(self, length: int | None = None) -> Modal:
        """The modes of the system in float64."""
        log_lam, B, C = (as_complex(pair) for pair in (self.log_lam, self.B, self.C))
        return modal(log_lam, B, C, self.D, 0.0 * log_lam.real)

    def _kernels(self, length: Tensor) -> list[Tensor]:
        """The kernel (C, H, length) of each direction, made in one product."""
        w = multiply(self.C, self.B)
        K, C, H, N = w[0].shape
        w = tuple(ops.reshape(z, (K * C, H, N)) for z in w)
        kernels = ops.reshape(sum_modes(w, self.log_lam, length), (K, C, H, -1))
        return [kernels[index] for index in range(K)]

    def _varying(self, resets: Tensor | None) -> tuple[Pair, Pair]:
        """log lam of steps of varying size, forwards and for the reversed sequence."""
        forward, backward = self.log_lam, reverse(self.log_lam)
        if resets is None:
            return forward, backward
        return restarted(forward, resets), restarted(backward, backwards(resets))

    def _reversed_B(self) -> Pair:
        return reverse(self.B) if len(self.B[0].shape) > 2 else self.B


class ChannelwiseStepper(NamedTuple):
    """A `Channelwise` in the form that one step computes with.

    Tensors have a leading batch axis where the steps of the sequences differ.
    """

    change_re: Tensor  # (1, H, N): Re(lam - 1)
    change_im: Tensor  # (2, H, N): Im(lam - 1), as it acts on the swapped parts of the state
    B: Tensor  # (2, H, N)
    C: Tensor  # (C, 2, H, N)
    D: Tensor | None

    def step(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Output (B, C H) and next state x + ((lam - 1) x + B u) of u (B, H).

        The increment is rounded, not lam itself, so that slow modes keep their
        length over many steps. Real and imaginary parts go through each operation
        together: where operations run one by one, their number is what a step costs.
        """
        H, N = self.B.shape[-2:]
        x = ops.reshape(state, (-1, 2, H, N))
        change = self.change_re * x + self.change_im * ops.flip(x, axis=1)
        x = x + (change + self.B * u[:, None, :, None])
        y = ops.reshape(ops.sum(x[:, None] * self.C, axis=(2, 4)), (-1, self.C.shape[0] * H))
        return y + skip(self.D, u), ops.reshape(x, (-1, 2 * H * N))


@jit("length")
def response(state: Pair, log_lam: Pair, C: Pair, length: Tensor) -> Tensor:
    """Re C lam^k x for every step k: (B, L, C H) for x of (B, H, N)."""
    w = multiply(C, (state[0][:, None], state[1][:, None]))
    w = tuple(ops.reshape(z, (-1, *log_lam[0].shape)) for z in w)
    y = sum_modes(w, log_lam, length)
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
    """
    driven = multiply(B, weighted_sum(ops.transpose(u, (0, 2, 1)), log_lam))
    if state is None:
        return driven
    steps = ops.reshape(ops.cast(steps, log_lam[0].dtype), (-1,))
    re, im = (ops.transpose(z, (2, 0, 1)) for z in multiples(log_lam, steps))  # (B, H, N)
    # The increment is rounded, not lam, as in a step: many short chunks must not drift, either.
    change = multiply(expm1((re, im)), state)
    return tuple(x + (dx + b) for x, dx, b in zip(state, change, driven, strict=True))


def _varying_states(u: Tensor, log_lam: Pair, B: Pair, state: Pair | None) -> Pair:
    """States (B, L, H, N) for steps that vary in time."""
    # B alone may be (H, N): a kernel without scale takes its input as it is in every step.
    Bu = tuple(z * u[..., None] for z in B)
    return run_varying_scan(log_lam, Bu, state)


@jit()
def read(x: Pair, C: Pair) -> Tensor:
    """Re C x: (..., C H) for states (..., H, N) and C (C, H, N)."""
    y = ops.sum(x[0][..., None, :, :] * C[0] - x[1][..., None, :, :] * C[1], axis=-1)
    return ops.reshape(y, (*ops.shape(y)[:-2], y.shape[-2] * y.shape[-1]))


def modal(log_lam: Any, B: Any, C: Any, D: Any, origin: Any, length: int | None = None) -> Modal:
    """`Modal` of complex (H, N), (H, N) and (K, C, H, N), and D (C, H) or None."""
    skips = as_float(D) if D is not None else 0 * C[0, :, :, 0].real
    return Modal(
        log_lam, B[..., None], C.swapaxes(1, 2), skips.T[:, :, None], False, origin, length
    )


def _merge_channels(y: Tensor) -> Tensor:
    """(B, C, H, L) to (B, L, C H)."""
    B, C, H, L = ops.shape(y)
    return ops.reshape(ops.transpose(y, (0, 3, 1, 2)), (B, L, C * H))
