"""One state for each channel whose matrix is diagonal plus low rank, as in S4.

The state matrix acts on one of each pair of conjugate modes:

    x' = Lambda x - sum_r P_r 2 Re(P_r^* x) + B u,   y = 2 Re(C x) + D u

which is linear over the real numbers only. It is discretized by the bilinear
rule, whose inverse I - dt/2 A stays diagonal plus low rank (Woodbury):

    W = (I - dt/2 A)^-1 = g - sum_r Q_r Re(V_r .),   g = 1 / (1 - dt/2 Lambda)
    A_bar = I + E,   E = 2 (W - I),   B_bar = dt W B

Sequences are computed by matrix products with powers of A_bar, a real (N, N)
matrix for each channel (see `keras_ssm.ops.matrix_powers`); a single step, or
steps that vary in time, use the diagonal and the low-rank part as they are.
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_ssm.backend import accumulate, jit, precise_matmul
from keras_ssm.ops import chunks, masking, matrix_powers
from keras_ssm.ops.complex import conj, multiply, scale, square_abs
from keras_ssm.ops.convolution import convolve
from keras_ssm.ops.masking import Compaction
from keras_ssm.ops.resets import backwards
from keras_ssm.ops.scan import chunk_count, chunk_padding
from keras_ssm.ops.systems.flat import check_outputs, check_shape, from_the_next, skip, with_skip
from keras_ssm.ops.systems.method import resolve
from keras_ssm.ops.systems.modal import Modal, as_complex, as_float
from keras_ssm.types import Pair, Tensor

# Chunk of the powers where the length is not known before the call.
_UNKNOWN_LENGTH_CHUNK = 64


class LowRank(NamedTuple):
    """A separate diagonal plus low-rank system for each of H channels, with C outputs each.

    A backward direction begins with the next sample, as in the official code of
    S4: the present one is seen only by the forward direction.

    Attributes:
        Lambda: pair of (H, n), the diagonal of the continuous system.
        P: pair of (R, H, n), the low-rank part.
        B: pair of (H, n).
        C: pair of (K, C, H, n) for K directions, the forward one first.
        D: (C, H), or None for a system without a skip.
        dt: steps (H,); (batch, length, H), or (batch, H) for one step, where
            they vary in time.

    Example:

    >>> from keras_ssm.ops.systems.low_rank import LowRank
    >>> zero, one = ops.zeros((1, 1)), ops.ones((1, 1))
    >>> P, C = (zero[None], zero[None]), (one[None, None] / 2, zero[None, None])
    >>> integrator = LowRank((zero, zero), P, (one, zero), C, None, ops.ones(1))
    >>> y, state = integrator.run(ops.ones((1, 3, 1)))
    >>> [round(float(value), 2) for value in y[0, :, 0]]
    [1.0, 2.0, 3.0]
    """

    Lambda: Pair
    P: Pair
    B: Pair
    C: Pair
    D: Tensor | None
    dt: Tensor

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
        return len(self.dt.shape) > 1

    def check(self, features: int) -> None:
        """Raise ValueError if the tensors do not fit together."""
        n = self.Lambda[0].shape[-1]
        check_shape("Lambda", self.Lambda, (features, n))
        check_shape("P", self.P, (None, features, n))
        if self.P[0].shape[0] == 0:
            raise ValueError(
                "`P` of a system must have at least one row, zeros for a diagonal matrix. "
                f"Received: P of shape {tuple(self.P[0].shape)}"
            )
        check_shape("B", self.B, (features, n))
        check_shape("dt", self.dt, (..., features))
        check_outputs("C", self.C, self.D, features, n)

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
        Steps of varying size, and resets, are taken one after the other.
        """
        if resets is not None and where is not None and not self.varies:
            # Steps after the last valid one take no time.
            valid = ops.cast(where.valid, u.dtype)[..., None]
            return _run_varying(self._replace(dt=self.dt * valid), u, state, resets)
        if self.varies or resets is not None:
            return _run_varying(self, u, state, resets)
        by_chunks = resolve(method, ops.shape(u)[1]) == "chunk"
        return _run(self, u, state, where, return_state, by_chunks)

    def state_sequence(
        self, u: Tensor, state: Tensor | None = None, resets: Tensor | None = None
    ) -> Tensor:
        """The flat state after every step of u (B, L, H): (B, L, 2 H n)."""
        x = _states(self, u, state, resets)
        return ops.reshape(x, (*ops.shape(x)[:2], self.state_width(*self.Lambda[0].shape)))

    def stepper(self) -> "LowRankStepper":
        """The system as arrays over the flat state, for many steps."""
        return _stepper(self)

    def impulse_response(self, length: Tensor, backward: bool = False) -> Tensor:
        """The convolution kernel without the skip: (C, H, length)."""
        return _kernels(self, length)[1 if backward else 0]

    def exponents(self) -> np.ndarray:
        """log lam of the discretized matrix, complex128: (H, N), both of each conjugate pair."""
        return self.modal().log_lam

    def modal(self, length: int | None = None) -> Modal:
        """The modes of the system in float64: the eigenvectors of the discretized matrix."""
        return _modal(self)


class LowRankStepper(NamedTuple):
    """A `LowRank` in the form that one step computes with.

    Tensors have a leading batch axis where the steps of the sequences differ.
    """

    change_re: Tensor  # (1, H, n): the diagonal part of E, real
    change_im: Tensor  # (2, H, n): and imaginary, as it acts on the swapped parts of the state
    Q: Tensor  # (R, 2, H, n): the low-rank part of E, -2 Q V
    V: Tensor  # (R, 2, H, n)
    B: Tensor  # (2, H, n)
    C: Tensor  # (C, 2, H, n)
    D: Tensor | None

    def step(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Output (B, C H) and next state of u (B, H)."""
        H, n = self.B.shape[-2:]
        x = self.next(u, ops.reshape(state, (-1, 2, H, n)))
        y = ops.reshape(ops.sum(x[:, None] * self.C, axis=(2, 4)), (-1, self.C.shape[0] * H))
        return y + skip(self.D, u), ops.reshape(x, (-1, 2 * H * n))

    def next(self, u: Tensor, x: Tensor) -> Tensor:
        """The state x + (E x + B u) after a step: (B, 2, H, n).

        The increment is rounded, not A_bar itself, so that slow modes keep
        their length over many steps.
        """
        fed_back = ops.sum(x[:, None] * self.V, axis=(2, 4), keepdims=True)  # (B, R, 1, H, 1)
        change = self.change_re * x + self.change_im * ops.flip(x, axis=1)
        change = change + ops.sum(fed_back * self.Q, axis=1)
        return x + (change + self.B * u[:, None, :, None])


class _Inverse(NamedTuple):
    """W = (I - dt/2 A)^-1, that is g x - sum_r Q_r Re(V_r x), in complex pairs."""

    change: Pair  # 2 (g - 1) = dt Lambda g
    Q: list[Pair]
    V: list[Pair]
    B: Pair  # dt W B


def _inverse(system: LowRank) -> _Inverse:
    """W by R rank-one updates (Sherman, Morrison), for steps of any shape (..., H).

    Where Re Lambda <= 0, no denominator is below 1: I - dt/2 A without some of
    its rank-one parts still has a positive definite symmetric part.
    """
    dt = system.dt[..., None]
    re, im = scale(system.Lambda, dt / 2)
    norm = square_abs((1 - re, im))
    g = (1 - re) / norm, im / norm
    Q: list[Pair] = []
    V: list[Pair] = []

    def apply(x: Pair) -> Pair:
        y = multiply(g, x)
        for q, v in zip(Q, V, strict=True):
            y = _minus(y, scale(q, _real_product(v, x)))
        return y

    for r in range(system.P[0].shape[0]):
        p = system.P[0][r], system.P[1][r]
        row = multiply(conj(p), g)
        for q, v in zip(Q, V, strict=True):
            row = _minus(row, scale(v, _real_product(conj(p), q)))
        # Twice dt/2 times 2, of A = Lambda - sum P 2 Re(P^* .).
        row = scale(row, dt / (1 + dt * _real_product(row, p)))
        column = apply(p)
        Q.append(column)
        V.append(row)
    # 2 (g - 1) for large steps; the other form does not cancel where g is near 1.
    large = re * re + im * im > 1
    small = multiply((2 * re, 2 * im), g)
    change = tuple(
        ops.where(large, 2 * a - shift, b) for a, b, shift in zip(g, small, (2, 0), strict=True)
    )
    return _Inverse(change, Q, V, scale(apply(system.B), dt))


def _minus(a: Pair, b: Pair) -> Pair:
    return a[0] - b[0], a[1] - b[1]


def _real_product(a: Pair, b: Pair) -> Tensor:
    """Re sum a b over the modes: (..., H, 1)."""
    return ops.sum(a[0] * b[0] - a[1] * b[1], axis=-1, keepdims=True)


@jit()
def _stepper(system: LowRank) -> LowRankStepper:
    change, Q, V, B = _inverse(system)
    C = system.C[0][0], system.C[1][0]
    shape = ops.shape(B[0])
    return LowRankStepper(
        change[0][..., None, :, :],
        ops.stack([-change[1], change[1]], axis=-3),
        _stacked([scale(q, -2.0) for q in Q], shape),
        _stacked([conj(v) for v in V], shape),
        ops.stack(B, axis=-3),
        ops.stack([2 * C[0], -2 * C[1]], axis=1),
        system.D,
    )


def _stacked(pairs: list[Pair], shape: Any) -> Tensor:
    """(..., R, 2, H, n) of R pairs."""
    return ops.stack([ops.stack(pair, axis=-3) for pair in pairs], axis=-4)


class _Matrices(NamedTuple):
    """The system as real matrices, for states (N,) of real parts before imaginary ones."""

    E: Tensor  # (H, N, N): A_bar - I
    B: Tensor  # (H, N, 1)
    C: list[Tensor]  # (H, C, N) for each direction


def _matrices(system: LowRank) -> _Matrices:
    change, Q, V, B = _inverse(system)
    eye = ops.eye(change[0].shape[-1], dtype=change[0].dtype)
    re, im = (z[..., None] * eye for z in change)
    rows = [ops.concatenate([re, -im], axis=2), ops.concatenate([im, re], axis=2)]
    E = ops.concatenate(rows, axis=1)
    if Q:
        columns = ops.stack([ops.concatenate(q, axis=-1) for q in Q], axis=2)
        low = ops.stack([ops.concatenate(conj(v), axis=-1) for v in V], axis=1)
        E = E - 2 * precise_matmul(columns, low)
    C = ops.concatenate([2 * system.C[0], -2 * system.C[1]], axis=3)
    C = ops.transpose(C, (0, 2, 1, 3))
    return _Matrices(E, ops.concatenate(B, axis=-1)[..., None], [C[k] for k in range(C.shape[0])])


@jit("length")
def _kernels(system: LowRank, length: Tensor) -> list[Tensor]:
    """The kernel (C, H, length) of each direction."""
    E, B, C = _matrices(system)
    levels = matrix_powers.increments(E, matrix_powers.levels_for(length))
    tables = _tables(B, C, levels, length)
    return _products(tables, len(C), length)


class _Tables(NamedTuple):
    """Powers of A_bar at two scales: steps r of a chunk of Q steps, and chunks q."""

    columns: Tensor  # (H, N, Q): A_bar^r B
    rows: Tensor  # (H, K C, M, N): C A_bar^(q Q)


def _tables(B: Tensor, C: list[Tensor], levels: list[Tensor], length: Tensor) -> _Tables:
    size = _table_size(length)
    chunk_levels = levels[matrix_powers.levels_for(size) :]
    count = chunk_count(length, size)
    return _Tables(
        matrix_powers.columns(B, levels, size),
        matrix_powers.rows(ops.concatenate(C, axis=1), chunk_levels, count),
    )


def _table_size(length: Tensor) -> int:
    """Q, a power of two near sqrt(length)."""
    if not isinstance(length, int):
        return _UNKNOWN_LENGTH_CHUNK
    return 1 << (matrix_powers.levels_for(length) + 1) // 2


def _products(tables: _Tables, directions: int, length: Tensor) -> list[Tensor]:
    """C A_bar^(q Q + r) B of each direction: (C, H, length)."""
    H, rows, _, N = tables.rows.shape
    kernels = precise_matmul(ops.reshape(tables.rows, (H, -1, N)), tables.columns)
    kernels = ops.reshape(kernels, (H, rows, -1))[..., :length]
    kernels = ops.transpose(kernels, (1, 0, 2))
    C = rows // directions
    return [kernels[k * C : (k + 1) * C] for k in range(directions)]


@jit("return_state", "by_chunks")
def _run(
    system: LowRank,
    u: Tensor,
    state: Tensor | None,
    where: Compaction | None,
    return_state: bool,
    by_chunks: bool,
) -> tuple[Tensor, Tensor | None]:
    """`LowRank.run` for constant steps."""
    length = ops.shape(u)[1]
    E, B, C = _matrices(system)
    longest = length if state is None or not isinstance(length, int) else length + 1
    levels = matrix_powers.increments(E, matrix_powers.levels_for(longest))
    start = None if state is None else _as_columns(state, *system.B[0].shape)
    if by_chunks:
        size = chunks.chunk_size(length)
        columns = matrix_powers.columns(B, levels, size)
        y = _by_chunks(u, size, columns, E, C, system.D, levels, start)
    else:
        size = _table_size(length)
        tables = _tables(B, C, levels, length)
        columns = tables.columns
        y = convolve(u, *with_skip(_products(tables, len(C), length), system.D))
        if start is not None:
            rows = tables.rows[:, : C[0].shape[1]]
            y = y + _response(rows, matrix_powers.apply(E, start), levels, size, length)
    if not return_state:
        return y, None
    if where is not None:
        u, length = masking.align_right(u, where), where.counts
    x = _driven(u, size, columns, levels)
    if start is not None:
        x = x + matrix_powers.raised(start, length, levels)
    return y, _as_flat(x)


def _response(rows: Tensor, x: Tensor, levels: list[Tensor], size: int, length: Tensor) -> Tensor:
    """C A_bar^k x for every step k: (B, L, C H) for columns x (H, N, B)."""
    H, C, _, N = rows.shape
    x = matrix_powers.columns(x, levels, size)  # (H, N, Q B)
    y = precise_matmul(ops.reshape(rows, (H, -1, N)), x)
    y = ops.transpose(ops.reshape(y, (H, C, -1, size, ops.shape(x)[2] // size)), (4, 2, 3, 1, 0))
    return ops.reshape(y, (ops.shape(y)[0], -1, C * H))[:, :length]


def _driven(u: Tensor, size: int, columns: Tensor, levels: list[Tensor]) -> Tensor:
    """sum_k A_bar^(L - 1 - k) B u_k for u (B, L, H): columns (H, N, B).

    `size` is that of the columns, given since a traced tensor may not know its own.
    """
    batch, length, H = ops.shape(u)
    N = columns.shape[1]
    padding = chunk_padding(length, size)
    u = ops.pad(u, ((0, 0), (padding, 0), (0, 0)))
    count = chunk_count(length, size)
    u = ops.transpose(ops.reshape(u, (batch, count, size, H)), (3, 2, 0, 1))
    ends = precise_matmul(ops.flip(columns, axis=2), ops.reshape(u, (H, size, -1)))
    ends = ops.reshape(ends, (H, N, batch, count))
    return matrix_powers.weighted_sum(ends, levels[matrix_powers.levels_for(size) :])


def _by_chunks(
    u: Tensor,
    size: int,
    columns: Tensor,
    E: Tensor,
    C: list[Tensor],
    D: Tensor | None,
    levels: list[Tensor],
    start: Tensor | None,
) -> Tensor:
    """The sequence by matrix products over chunks of time, see `keras_ssm.ops.chunks`."""
    length = ops.shape(u)[1]
    H, N, _ = columns.shape
    outputs = C[0].shape[1]
    u = chunks.into_chunks(u, size, spare=1)  # (H, Q, B, M)
    batch, M = ops.shape(u)[2:]
    flat = ops.reshape(u, (H, size, -1))
    zero = ops.zeros_like(columns[:, :, :1]) + ops.zeros_like(u[:, :1, :, 0])
    chunk_levels = levels[matrix_powers.levels_for(size) :]
    heads, products = [], []
    for k, weights in enumerate(C):
        heads.append(ops.transpose(precise_matmul(weights, columns), (1, 0, 2)))
        into = columns if k else ops.flip(columns, axis=2)
        ends = ops.reshape(precise_matmul(into, flat), (H, N, batch, M))
        if k:
            ends = ops.flip(ends, axis=3)
        first = zero if k or start is None else start
        carry = matrix_powers.before_each(ends, first, chunk_levels)
        if k:
            carry = ops.flip(carry, axis=3)
        # Forwards, the state before a chunk is one step older than its first output.
        weights = weights if k else weights + precise_matmul(weights, E)
        out = matrix_powers.rows(weights, levels, size)  # (H, C, Q, N)
        out = ops.flip(out, axis=2) if k else out
        products.append((ops.reshape(out, (H, -1, N)), ops.reshape(carry, (H, N, -1))))
    matrix = chunks.toeplitz(with_skip(heads, D))
    y = accumulate(precise_matmul(matrix, flat), *products)
    y = ops.transpose(ops.reshape(y, (H, outputs, size, batch, M)), (3, 4, 2, 1, 0))
    return ops.reshape(y, (batch, M * size, outputs * H))[:, :length]


def _as_columns(state: Tensor, H: int, n: int) -> Tensor:
    """A flat state as columns (H, N, B)."""
    x = ops.transpose(ops.reshape(state, (-1, 2, H, n)), (2, 1, 3, 0))
    return ops.reshape(x, (H, 2 * n, -1))


def _as_flat(x: Tensor) -> Tensor:
    """The inverse of `_as_columns`."""
    H, N = x.shape[:2]
    x = ops.transpose(ops.reshape(x, (H, 2, N // 2, -1)), (3, 1, 0, 2))
    return ops.reshape(x, (-1, H * N))


def _run_varying(
    system: LowRank, u: Tensor, state: Tensor | None, resets: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`LowRank.run` for steps that vary in time, or a state that starts anew at some."""
    x = _states(system, u, state, resets)
    y = _read(x, system.C, 0) + skip(system.D, u)
    if system.directions == 2:
        dt = ops.flip(system.dt, axis=1) if system.varies else system.dt
        breaks = None if resets is None else backwards(resets)
        x_backward = _states(system._replace(dt=dt), ops.flip(u, axis=1), None, breaks)
        y = y + from_the_next(_read(x_backward, system.C, 1), resets)
    return y, ops.reshape(x[:, -1], (-1, system.state_width(*system.Lambda[0].shape)))


@jit()
def _states(system: LowRank, u: Tensor, state: Tensor | None, resets: Tensor | None) -> Tensor:
    """The states (B, L, 2, H, n) after every step of u (B, L, H), one after the other."""
    H, n = system.Lambda[0].shape
    if state is None:
        x = ops.zeros_like(u[:, 0, None, :, None]) + ops.zeros_like(ops.stack(system.B))
    else:
        x = ops.reshape(state, (-1, 2, H, n))
    constant = None if system.varies else _stepper(system)

    def step(x: Tensor, inputs: Any) -> tuple[Tensor, Tensor]:
        u_k, dt, begins = inputs
        if resets is not None:
            x = ops.where(begins[:, None, None, None] > 0, ops.zeros_like(x), x)
        stepper = _stepper(system._replace(dt=dt)) if constant is None else constant
        x = stepper.next(u_k, x)
        return x, x

    dt = system.dt if system.varies else u
    begins = ops.zeros_like(u[..., 0]) if resets is None else ops.cast(resets, u.dtype)
    in_time = tuple(ops.swapaxes(z, 0, 1) for z in (u, dt, begins))
    _, states = ops.scan(step, x, in_time)
    return ops.transpose(states, (1, 0, 2, 3, 4))


@jit("direction")
def _read(x: Tensor, C: Pair, direction: int) -> Tensor:
    """2 Re(C x): (B, L, C H) for states (B, L, 2, H, n)."""
    rows = ops.stack([2 * C[0][direction], -2 * C[1][direction]], axis=1)  # (C, 2, H, n)
    y = ops.sum(x[:, :, None] * rows, axis=(3, 5))
    return ops.reshape(y, (*ops.shape(x)[:2], rows.shape[0] * rows.shape[2]))


def _modal(system: LowRank) -> Modal:
    """By the eigenvectors of the discretized matrix of each channel."""
    if system.varies:
        raise ValueError(
            "A system whose steps vary in time has no modes. "
            f"Received: dt of shape {tuple(system.dt.shape)}"
        )
    n = system.Lambda[0].shape[-1]
    # In conjugate-doubled modes, where the system is linear over the complex numbers.
    Lambda, P, B, C = (
        np.concatenate([z, z.conj()], axis=-1)
        for z in map(as_complex, (system.Lambda, system.P, system.B, system.C))
    )
    dt = as_float(system.dt)[:, None]
    eye = np.eye(2 * n)
    A = Lambda[..., None] * eye - np.einsum("rhn,rhm->hnm", P, P.conj())
    backward = eye - dt[..., None] / 2 * A
    E = np.linalg.solve(backward, dt[..., None] * A)
    B_bar = np.linalg.solve(backward, (dt * B)[..., None])
    lam, vectors = np.linalg.eig(E)
    # HiPPO matrices, and any near a defective one, have eigenvectors that span the space only up to
    # rounding. Those of a matrix rounded to float32 span it, and it is the precision of a weight.
    ill = np.linalg.cond(vectors) > 1 / np.sqrt(np.finfo("float64").eps)
    lam[ill], vectors[ill] = np.linalg.eig(E[ill].astype("complex64").astype("complex128"))
    return Modal(
        np.log1p(lam),
        np.linalg.solve(vectors, B_bar),
        np.einsum("kchn,hnm->khcm", C, vectors),
        as_float(ops.zeros(C.shape[1:3]) if system.D is None else system.D).T[..., None],
        False,
        np.zeros(lam.shape),
    )
