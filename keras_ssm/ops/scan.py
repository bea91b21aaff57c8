"""The linear recurrence with constant steps, x_k = lam x_(k-1) + b_k, by matrix products.

Time is cut into M chunks of Q steps. Inside a chunk the recurrence is a product
with the triangular matrix of powers lam^(i - j); the states at the chunk ends
obey the same recurrence with lam^Q, and are found by the same routine, log_Q(L)
levels deep. All work is real matrix products, one for every mode.

Arrays are kept as (P, 2, Q, B, M): modes, real and imaginary part, step in the
chunk, batch, chunk. In this layout the products need no copies; the projections
between it and the features (B, M, Q, H) are `project_in` and `project_out` of
the backend.
"""

from typing import Any, NamedTuple

from keras import ops

from keras_ssm.backend import accumulate, fused, inner_product, lagged_inner_product, matmul
from keras_ssm.ops.complex import Pair, Tensor, exp, expm1, multiples, multiply

__all__ = ["from_chunks", "scan", "to_chunks"]

CHUNK = 16
# Levels for a length not known before the call: enough for 16^5 = 1,048,576 steps.
_UNKNOWN_LENGTH_LEVELS = 5


@fused()
def to_chunks(u: Tensor) -> Tensor:
    """(B, L, H) to (B, M, Q, H), with zeros behind the last step.

    Example:

    >>> from keras_ssm.ops import scan
    >>> tuple(scan.to_chunks(ops.ones((2, 20, 3))).shape)
    (2, 2, 16, 3)
    """
    B, length, H = ops.shape(u)
    size = _chunk_size(length, CHUNK)
    return ops.reshape(_padded(u, 1, CHUNK), (B, _chunks(length, size), size, H))


@fused("length")
def from_chunks(y: Tensor, length: Tensor) -> Tensor:
    """(B, M, Q, H) to (B, L, H).

    Example:

    >>> from keras_ssm.ops import scan
    >>> tuple(scan.from_chunks(ops.ones((2, 2, 16, 3)), 20).shape)
    (2, 20, 3)
    """
    B, M, Q, H = ops.shape(y)
    y = ops.reshape(y, (B, M * Q, H))
    # Even a slice of all, TensorFlow copies, and its gradient again.
    whole = isinstance(length, int) and isinstance(M, int) and length == M * Q
    return y if whole else y[:, :length]


@fused("reverse")
def scan(log_lam: Pair, b: Tensor, x0: Tensor | None = None, reverse: bool = False) -> Tensor:
    """x_k = lam x_(k-1) + b_k for all k, with x_(-1) = x0.

    The gradient is the same recurrence in the other direction, so that nothing
    but the states is kept for it.

    Args:
        log_lam: pair of (P,).
        b: tensor (P, 2, Q, B, M).
        x0: tensor (P, 2, B), or None for zero.
        reverse: run from the last step to the first, starting from zero.

    Returns:
        Tensor (P, 2, Q, B, M), the states.

    Example:

    >>> from keras_ssm.ops import scan
    >>> log_lam = ops.array([np.log(0.5)], "float32"), ops.array([0.0])
    >>> b = np.zeros((1, 2, 4, 1, 1), "float32")
    >>> b[:, 0] = 1.0
    >>> x = scan.scan(log_lam, ops.convert_to_tensor(b))
    >>> [round(float(value), 3) for value in x[0, 0, :, 0, 0]]
    [1.0, 1.5, 1.75, 1.875]
    """
    if x0 is None:
        x0 = ops.zeros_like(b[:, :, 0, :, 0])
    return (_reverse_scan if reverse else _forward_scan)(*log_lam, b, x0)


def _differentiable(reverse: bool) -> Any:
    first, last = (-1, 0) if reverse else (0, -1)
    later, earlier = slice(1, None), slice(None, -1)
    if reverse:
        later, earlier = earlier, later

    @ops.custom_gradient
    def run(log_re: Tensor, log_im: Tensor, b: Tensor, x0: Tensor) -> Any:
        matrices = _matrices((log_re, log_im), b, reverse)
        x = _scan(matrices, b, x0, reverse)
        kept = ops.stop_gradient(x)  # see `complex.powers`

        def gradient(*arguments: Tensor, upstream: Tensor | None = None) -> tuple[Tensor, ...]:
            # g_k = dx_k + conj(lam) g_(k+1); then db = g, dx0 = conj(lam) g_0 and
            # dlog lam = conj(lam) sum_k g_k conj(x_(k-1)).
            dx = arguments[0] if upstream is None else upstream
            conj_lam = exp((log_re, -log_im))
            zero = ops.zeros_like(x0)
            g = _scan(_adjoint(matrices), dx, zero, not reverse)
            chunks = (*ops.shape(kept)[:3], -1)
            inside = lagged_inner_product(
                ops.reshape(g, chunks), ops.reshape(kept, chunks), later, earlier
            )
            before = _carries(x0, _all_but_the_last(kept[:, :, last], reverse), reverse)
            across = _inner_product(g[:, :, first], before)
            d_lam = inside[0] + across[0], inside[1] + across[1]
            g_first = g[:, :, first, :, first]
            dx0 = multiply(
                (conj_lam[0][:, None], conj_lam[1][:, None]), (g_first[:, 0], g_first[:, 1])
            )
            return (*multiply(conj_lam, d_lam), g, ops.stack(dx0, axis=1))

        return x, gradient

    return run


_forward_scan, _reverse_scan = _differentiable(False), _differentiable(True)


class _Matrices(NamedTuple):
    """What a scan multiplies by in a chunk, in real form, for every level: (levels, P, ...)."""

    table: Tensor  # (2Q, 2Q): from inputs to states
    ends: Tensor  # (2, 2Q): from inputs to what they add at the end of the chunk
    change: Tensor  # (2Q, 2): from the state before the chunk to what it adds, less that state


def _scan(matrices: _Matrices, b: Tensor, start: Tensor, reverse: bool, level: int = 0) -> Tensor:
    """The scan without its gradient."""
    P, _, Q, B, M = ops.shape(b)
    table, ends, change = _of_level(matrices, level, Q, reverse)
    b = ops.reshape(b, (P, 2 * Q, -1))
    if not isinstance(M, int) and level == _UNKNOWN_LENGTH_LEVELS - 1:
        carry = start[..., None]
    else:
        ends = ops.reshape(matmul(ends, b), (P, 2, B, M))
        carry = before_chunks(
            ends, start, reverse, lambda b: _scan(matrices, b, start, reverse, level + 1), Q
        )
    carry = ops.reshape(carry, (P, 2, -1))
    # The change of the carry is rounded, and not lam, so that slow modes do not drift.
    kept = ops.reshape(ops.tile(carry[:, :, None], (1, 1, Q, 1)), (P, 2 * Q, -1))
    return ops.reshape(accumulate(kept, (change, carry), (table, b)), (P, 2, Q, B, M))


def before_chunks(ends: Tensor, start: Tensor, reverse: bool, run: Any, size: int) -> Tensor:
    """The state before every chunk.

    Args:
        ends: tensor (P, 2, B, M), what the inputs of a chunk add at its end.
        start: tensor (P, 2, B), the state before all chunks.
        reverse: whether chunks follow each other backwards in time.
        run: the scan over chunks, for a layout of (P, 2, Q, B, M).
        size: Q of that layout, at most.

    Returns:
        Tensor (P, 2, B, M).
    """
    P, _, B, M = ops.shape(ends)
    known = isinstance(M, int)
    if known and M == 1:
        return start[..., None]
    if known:
        # Nothing follows the last chunk: its end, padding included, would only risk an overflow.
        ends = _all_but_the_last(ends, reverse)
    length = ops.shape(ends)[-1]
    size = _chunk_size(length, size)
    blocks = ops.reshape(_padded(ends, 3, size), (P, 2, B, _chunks(length, size), size))
    after = ops.transpose(run(ops.transpose(blocks, (0, 1, 4, 2, 3))), (0, 1, 3, 4, 2))
    after = ops.reshape(after, (P, 2, B, -1))[..., :length]
    return _carries(start, after if known else _all_but_the_last(after, reverse), reverse)


def _all_but_the_last(ends: Tensor, reverse: bool) -> Tensor:
    return ends[..., 1:] if reverse else ends[..., :-1]


def _carries(start: Tensor, ends: Tensor, reverse: bool) -> Tensor:
    """The states before the chunks: `start` (P, 2, B) and the ends of all but the last one."""
    parts = [start[..., None], ends]
    return ops.concatenate(parts[::-1] if reverse else parts, axis=-1)


def _levels(Q: int, M: Tensor) -> int:
    """How many scans lie in each other until M chunks of Q are one: each has a Qth of the steps."""
    if not isinstance(M, int):
        return _UNKNOWN_LENGTH_LEVELS
    levels = 1
    while M > 1:
        M = -(-(M - 1) // min(M - 1, Q))
        levels += 1
    return levels


def _matrices(log_lam: Pair, b: Tensor, reverse: bool) -> _Matrices:
    """For all levels at once: level l has the modes lam^(Q^l)."""
    P, _, Q, _, M = ops.shape(b)
    scales = [float(Q**level) for level in range(_levels(Q, M))]
    log_lam = tuple(ops.concatenate([z * factor for factor in scales]) for z in log_lam)
    exponents = multiples(log_lam, ops.cast(ops.arange(Q + 1), log_lam[0].dtype))
    lam = exp(exponents)  # (levels P, Q + 1)
    steps = ops.arange(Q)
    lag, rest = steps[:, None] - steps, Q - 1 - steps  # target - source; from source to end
    if reverse:
        lag, rest = -lag, steps
    before = lag >= 0
    table = tuple(
        ops.where(before, ops.take(z, ops.relu(lag), axis=1), ops.zeros_like(z[:, :1, None]))
        for z in lam
    )
    ends = tuple(ops.take(z, rest, axis=1)[:, None] for z in lam)
    since = Q - rest  # from the carry to a target
    change = tuple(ops.take(z, since, axis=1)[..., None] for z in expm1(exponents))
    shapes = (2 * Q, 2 * Q), (2, 2 * Q), (2 * Q, 2)
    return _Matrices(
        *(
            ops.reshape(_real_form(z), (len(scales), P, *shape))
            for z, shape in zip((table, ends, change), shapes, strict=True)
        )
    )


def _adjoint(matrices: _Matrices) -> _Matrices:
    """Those of the conjugate modes in the other direction, which the gradient goes.

    The real form of a conjugate number is the transposed one.
    """
    table, ends, change = matrices
    levels, P, _, width = ops.shape(ends)
    ends = ops.reshape(ends, (levels, P, 2, 2, width // 2))
    ends = ops.flip(ops.transpose(ends, (0, 1, 3, 2, 4)), axis=4)
    change = ops.reshape(change, (levels, P, 2, width // 2, 2))
    change = ops.flip(ops.transpose(change, (0, 1, 4, 3, 2)), axis=3)
    return _Matrices(
        ops.transpose(table, (0, 1, 3, 2)),
        ops.reshape(ends, (levels, P, 2, width)),
        ops.reshape(change, (levels, P, width, 2)),
    )


def _of_level(matrices: _Matrices, level: int, size: int, reverse: bool) -> tuple[Tensor, ...]:
    """The matrices of one level, cut to chunks of `size`, which is less than Q at the last."""
    table, ends, change = (z[level] for z in matrices)
    P, _, width = ops.shape(ends)
    Q = width // 2
    if size == Q:
        return table, ends, change
    first, last = slice(None, size), slice(Q - size, None)
    to_end, from_start = (first, last) if reverse else (last, first)
    table = ops.reshape(table, (P, 2, Q, 2, Q))[:, :, :size, :, :size]
    ends = ops.reshape(ends, (P, 2, 2, Q))[..., to_end]
    change = ops.reshape(change, (P, 2, Q, 2))[:, :, from_start]
    return (
        ops.reshape(table, (P, 2 * size, 2 * size)),
        ops.reshape(ends, (P, 2, 2 * size)),
        ops.reshape(change, (P, 2 * size, 2)),
    )


def _real_form(z: Pair) -> Tensor:
    """The real matrix of a complex one: [[Re, -Im], [Im, Re]]."""
    re, im = z
    rows = [ops.concatenate([re, -im], axis=-1), ops.concatenate([im, re], axis=-1)]
    return ops.concatenate(rows, axis=-2)


def _padded(x: Tensor, axis: int, size: int) -> Tensor:
    """Zeros behind the last step, so that chunks are whole."""
    length = ops.shape(x)[axis]
    padding = -length % _chunk_size(length, size)
    if isinstance(padding, int) and padding == 0:
        return x
    return ops.pad(x, [(0, padding if i == axis else 0) for i in range(len(x.shape))])


def _chunks(length: Tensor, size: int) -> int:
    """Their number, said where it is known: of a batch of unknown size, nobody could infer it."""
    return -(-length // size) if isinstance(length, int) else -1


def _chunk_size(length: Tensor, size: int) -> int:
    return min(length, size) if isinstance(length, int) else size


def _inner_product(g: Tensor, x: Tensor) -> Pair:
    """sum g conj(x) over all but the modes, for tensors (P, 2, ...)."""
    P = ops.shape(g)[0]
    return inner_product(ops.reshape(g, (P, 2, -1)), ops.reshape(x, (P, 2, -1)))
