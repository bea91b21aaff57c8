"""One state shared by all channels, as in S5 and the LRU, computed by a scan."""

from typing import NamedTuple

import numpy as np
from keras import ops

from keras_ssm.backend import dense_matmul, jit, precise_matmul, project_in, project_out
from keras_ssm.ops.complex import expm1, multiply, powers
from keras_ssm.ops.masking import Compaction
from keras_ssm.ops.projected_scan import run_projected_scan
from keras_ssm.ops.resets import backwards, restarted, run_reset_scan
from keras_ssm.ops.scan import from_chunks, run_scan, to_chunks
from keras_ssm.ops.systems.flat import (
    check_shape,
    direction,
    join_state,
    reverse,
    skip,
    split_state,
)
from keras_ssm.ops.systems.modal import Modal, as_complex, as_float
from keras_ssm.ops.varying_scan import run_varying_scan
from keras_ssm.types import Pair, Tensor


class SharedState(NamedTuple):
    """One diagonal system with all H channels in and out.

        x_k = lam x_(k-1) + gamma B u_k,   y_k = Re(C x_k) + D u_k

    If there are two directions, both see the present sample.

    Attributes:
        log_lam: logarithm of lam, a pair of (P,); of (batch, length, P), or
            (batch, P) for one step, where steps vary in time.
        gamma: the factor of B from the discretization, a pair of the same shape.
        B: pair of (P, H).
        C: pair of (K, H, P) for K directions, the forward one first. The factor
            2 of conjugate pairs is in it.
        D: (H,), or None for a system without a skip.

    Example:

    >>> from keras_ssm.ops.systems import SharedState
    >>> one = ops.ones((1,)), ops.zeros((1,))
    >>> log_lam = ops.array([np.log(0.5)], "float32"), ops.array([0.0])
    >>> B, C = (ops.ones((1, 1)), ops.zeros((1, 1))), (ops.ones((1, 1, 1)), ops.zeros((1, 1, 1)))
    >>> y, state = SharedState(log_lam, one, B, C, None).run(ops.ones((1, 3, 1)), return_state=True)
    >>> [round(float(value), 2) for value in y[0, :, 0]]
    [1.0, 1.5, 1.75]
    """

    log_lam: Pair
    gamma: Pair
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
        return 2 * modes

    @property
    def directions(self) -> int:
        """Number of directions: 1, or 2 with a backward one."""
        return self.C[0].shape[0]

    @property
    def varies(self) -> bool:
        """Whether steps vary in time."""
        return len(self.log_lam[0].shape) > 1

    def check(self, features: int) -> None:
        """Raise ValueError if the tensors do not fit together."""
        P = self.log_lam[0].shape[-1]
        check_shape("log_lam", self.log_lam, (..., P))
        check_shape("gamma", self.gamma, (..., P))
        check_shape("B", self.B, (P, features))
        check_shape("C", self.C, (1, features, P), (2, features, P))
        if self.D is not None:
            check_shape("D", self.D, (features,))

    def run(
        self,
        u: Tensor,
        state: Tensor | None = None,
        where: Compaction | None = None,
        return_state: bool = False,
        method: str = "auto",
        resets: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs (B, L, H) of u (B, L, H), and the state after the last valid step."""
        if self.varies:
            x, backward = self._varying_states(u, state, resets)
            y = _read(x, direction(self.C, 0))
            if backward is not None:
                y = y + _read(backward, direction(self.C, 1))
            y = y + skip(self.D, u)
            return y, _last(join_state(x, 1), state, where) if return_state else None
        if resets is not None:
            return self._restarted_run(u, state, where, return_state, resets)
        length = ops.shape(u)[1]
        if not return_state:
            return self._outputs(u, state), None
        Bu = _project(self._B_bar(), to_chunks(u))
        x = run_scan(self.log_lam, Bu, self._start(state))
        y = _read_chunks(x, direction(self.C, 0))
        if self.directions == 2:
            x_backward = run_scan(self.log_lam, Bu, reverse=True)
            y = y + _read_chunks(x_backward, direction(self.C, 1))
        y = from_chunks(y, length) + skip(self.D, u)
        return y, _last(_in_time(x, length), state, where)

    def _outputs(self, u: Tensor, state: Tensor | None) -> Tensor:
        """Outputs alone, for which fewer arrays are needed."""
        (P, H), u_in_chunks = self.B[0].shape, to_chunks(u)
        start = self._start(state)
        if start is None:
            start = ops.zeros((P, 2, ops.shape(u)[0]), dtype=u.dtype)
        B = ops.reshape(ops.stack(self._B_bar(), axis=1), (2 * P, H))
        # Modes first, as the gradient reads it: XLA is slow where both factors are transposed.
        C = (ops.transpose(z, (0, 2, 1)) for z in (self.C[0], -self.C[1]))  # (K, P, H)
        C = ops.reshape(ops.stack(list(C), axis=2), (-1, 2 * P, H))
        D = ops.zeros_like(B[0]) if self.D is None else self.D
        y = run_projected_scan(self.log_lam, B, C, D, u_in_chunks, start)
        return from_chunks(y, ops.shape(u)[1])

    def state_sequence(
        self, u: Tensor, state: Tensor | None = None, resets: Tensor | None = None
    ) -> Tensor:
        """The flat state after every step of u (B, L, H): (B, L, 2 P)."""
        if self.varies:
            return join_state(self._varying_states(u, state, resets)[0], 1)
        if resets is not None:
            return self._restarted_states(self._flat_drive(u), state, resets)
        Bu = _project(self._B_bar(), to_chunks(u))
        return _in_time(run_scan(self.log_lam, Bu, self._start(state)), ops.shape(u)[1])

    def stepper(self) -> "SharedStepper":
        """The system in real form, for many steps."""
        C, varies = direction(self.C, 0), self.varies
        return SharedStepper(
            *_real_change(self.log_lam),
            self.gamma if varies else None,
            ops.concatenate(self.B if varies else self._B_bar(), axis=0),
            _real_form(C),
            self.D,
        )

    def impulse_response(self, length: Tensor, backward: bool = False) -> Tensor:
        """Re(C lam^l B), without the skip: (H out, H in, length)."""
        B, C = self._B_bar(), direction(self.C, 1 if backward else 0)
        lam = powers(self.log_lam, length)  # (P, L)
        x = multiply((B[0][..., None], B[1][..., None]), (lam[0][:, None], lam[1][:, None]))
        P, H = B[0].shape
        x = ops.reshape(ops.concatenate(x, axis=0), (2 * P, -1))
        return ops.reshape(precise_matmul(_real_form(C), x), (-1, H, length))

    def exponents(self) -> np.ndarray:
        """log lam of the stored modes, complex128."""
        return as_complex(self.log_lam)

    def modal(self, length: int | None = None) -> Modal:
        """The modes of the system in float64."""
        log_lam, C = as_complex(self.log_lam), as_complex(self.C)
        B = as_complex(self.gamma)[:, None] * as_complex(self.B)
        D = np.zeros(C.shape[1]) if self.D is None else as_float(self.D)
        origin = np.zeros((1, *log_lam.shape))
        return Modal(log_lam[None], B[None], C[:, None], np.diag(D)[None], True, origin)

    def _B_bar(self) -> Pair:
        return multiply((self.gamma[0][:, None], self.gamma[1][:, None]), self.B)

    def _start(self, state: Tensor | None) -> Tensor | None:
        """A flat state (B, 2 P) in the layout of the scan, (P, 2, B)."""
        if state is None:
            return None
        P = self.B[0].shape[0]
        return ops.transpose(ops.reshape(state, (-1, 2, P)), (2, 1, 0))

    def _varying_states(
        self, u: Tensor, state: Tensor | None, resets: Tensor | None
    ) -> tuple[Pair, Pair | None]:
        """States (B, L, P) of the forward and, if there is one, of the backward direction."""
        Bu = multiply(self.gamma, _drive(u, self.B))
        x0 = None if state is None else split_state(state, (self.B[0].shape[0],))
        forward, backward = self.log_lam, reverse(self.log_lam)
        if resets is not None:
            forward = restarted(forward, resets)
            backward = restarted(backward, backwards(resets))
        x = run_varying_scan(forward, Bu, x0)
        if self.directions == 1:
            return x, None
        return x, reverse(run_varying_scan(backward, reverse(Bu)))

    def _restarted_run(
        self,
        u: Tensor,
        state: Tensor | None,
        where: Compaction | None,
        return_state: bool,
        resets: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        """`run` with a state that starts anew at some steps."""
        Bu = self._flat_drive(u)
        x = self._restarted_states(Bu, state, resets)
        C = [_real_form(direction(self.C, index)) for index in range(self.directions)]
        y = dense_matmul(x, C[0], transpose_b=True) + skip(self.D, u)
        if self.directions == 2:
            backward = self._restarted_states(Bu, None, resets, reverse=True)
            y = y + dense_matmul(backward, C[1], transpose_b=True)
        return y, _last(x, state, where) if return_state else None

    def _flat_drive(self, u: Tensor) -> Tensor:
        """B u, gain included, as flat states (B, L, 2 P)."""
        return dense_matmul(u, ops.concatenate(self._B_bar(), axis=0), transpose_b=True)

    def _restarted_states(
        self, Bu: Tensor, state: Tensor | None, resets: Tensor, reverse: bool = False
    ) -> Tensor:
        """Flat states (B, L, 2 P) that start anew at some steps."""
        batch, length, width = ops.shape(Bu)
        P = self.B[0].shape[0]
        x0 = None if state is None else ops.reshape(state, (-1, 2, P))
        b = ops.reshape(Bu, (batch, length, 2, P))
        x = run_reset_scan(self.log_lam, b, resets, x0, reverse)
        return ops.reshape(x, (batch, length, width))


class SharedStepper(NamedTuple):
    """A `SharedState` in the form that one step computes with."""

    change_re: Tensor  # Re(lam - 1): (1, P), or (B, 1, P) for steps of varying size
    change_im: Tensor  # Im(lam - 1), as it acts on the swapped parts of the state: (.., 2, P)
    gamma: Pair | None  # (B, P) for steps of varying size; else it is in B
    B: Tensor  # (2 P, H)
    C: Tensor  # (H, 2 P)
    D: Tensor | None

    def step(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Output (B, H) and next state x + ((lam - 1) x + B u) of u (B, H).

        The increment is rounded, not lam itself, so that slow modes keep their
        length. Real and imaginary parts go through each operation together: where
        operations run one by one, their number is what a step costs.
        """
        P = self.change_re.shape[-1]
        Bu = dense_matmul(u, self.B, transpose_b=True)
        if self.gamma is not None:
            Bu = join_state(multiply(self.gamma, split_state(Bu, (P,))), 1)
        x = ops.reshape(state, (-1, 2, P))
        moved = self.change_re * x + self.change_im * ops.flip(x, axis=1)
        state = state + (ops.reshape(moved, (-1, 2 * P)) + Bu)
        return dense_matmul(state, self.C, transpose_b=True) + skip(self.D, u), state


def _last(x: Tensor, start: Tensor | None, where: Compaction | None) -> Tensor:
    """The state after the last valid step of every row of x (B, L, 2 P)."""
    if where is None:
        return x[:, -1]
    start = ops.zeros_like(x[:, 0]) if start is None else start
    index = ops.reshape(where.counts, (-1, 1, 1))
    with_start = ops.concatenate([start[:, None], x], axis=1)
    return ops.take_along_axis(with_start, index, axis=1)[:, 0]


def _drive(u: Tensor, B: Pair) -> Pair:
    """B u for u (..., H) and B (P, H)."""
    Bu = dense_matmul(u, ops.concatenate(B, axis=0), transpose_b=True)
    return tuple(ops.split(Bu, 2, axis=-1))


def _read(x: Pair, C: Pair) -> Tensor:
    """Re(C x) for states (..., P) and C (H, P)."""
    return dense_matmul(ops.concatenate(x, axis=-1), _real_form(C), transpose_b=True)


def _real_form(C: Pair) -> Tensor:
    """[Re C, -Im C], which reads Re(C x) from [Re x; Im x]."""
    return ops.concatenate([C[0], -C[1]], axis=-1)


def _real_change(log_lam: Pair) -> Pair:
    """The parts of lam - 1 as they act on a state (B, 2, P), the second on its swapped parts."""
    re, im = expm1(log_lam)
    return re[..., None, :], ops.stack([-im, im], axis=-2)


@jit()
def _project(B: Pair, u: Tensor) -> Tensor:
    """B u for B (P, H) and u (B, M, Q, H), in the layout of the scan."""
    P, H = B[0].shape
    projected = project_in(u, ops.reshape(ops.stack(B, axis=1), (2 * P, H)))
    return ops.reshape(projected, (P, 2, *ops.shape(projected)[1:]))


@jit()
def _read_chunks(x: Tensor, C: Pair) -> Tensor:
    """Re(C x) as (B, M, Q, H) for states in the layout of the scan and C (H, P)."""
    P, _, Q, batch, M = ops.shape(x)
    # Modes first, as the gradient reads it: XLA is slow where both factors are transposed.
    parts = [ops.transpose(C[0]), -ops.transpose(C[1])]
    matrix = ops.reshape(ops.stack(parts, axis=1), (2 * P, -1))
    return project_out(ops.reshape(x, (2 * P, Q, batch, M)), matrix)


@jit("length")
def _in_time(x: Tensor, length: Tensor) -> Tensor:
    """States in the layout of the scan as (B, L, 2 P), real parts first."""
    P, _, Q, batch, M = ops.shape(x)
    x = ops.reshape(ops.transpose(x, (3, 4, 2, 1, 0)), (batch, M, Q, 2 * P))
    return from_chunks(x, length)
