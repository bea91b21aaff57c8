"""The linear recurrence with constant steps, x_k = lam x_(k-1) + b_k, by matrix products.

What it computes, for a mode and a sequence:

    for k in range(L):
        x = lam * x + b[k]
        states[k] = x

Time is cut into M chunks of Q steps. Inside a chunk the recurrence is a product
with the triangular matrix of powers lam^(i - j); the states at the chunk ends
obey the same recurrence with lam^Q, and are found by the same routine, log_Q(L)
levels deep. All work is real matrix products, one for every mode.

With Q = 4 and 12 steps:

    down   b0 b1 b2 b3 | b4 b5 b6 b7 | b8 b9 b10 b11     level 0, lam
           `table`: the states of each chunk as if it were the first, s_i = sum_j lam^(i - j) b_j;
           the last of them is what a chunk adds at its end
                   s3        |      s7     |  -          level 1, lam^4, a chunk of 2 steps
           one chunk: `table` alone, the states s3 and lam^4 s3 + s7 (and x0 on its way)
    up     start   |   x3    |      x7                   the state before each chunk
           x_i = s_i + lam^(i + 1) before                `carry`

The last chunk has no successor and sends nothing down. Backwards in time, the
first level does the same with the lags reversed; below it the chunk ends are
reversed, so that scans of both directions go down as one of twice the batch.

Arrays are kept as (P, 2, Q, B, M): modes, real and imaginary part, step in the
chunk, batch, chunk. In this layout the products need no copies; the projections
between it and the features (B, M, Q, H) are `project_in` and `project_out` of
the backend.
"""

from typing import Any

from keras import ops

from keras_ssm.backend import (
    accumulate,
    custom_gradient,
    inner_product,
    jit,
    lagged_inner_product,
    precise_matmul,
    take,
)
from keras_ssm.ops.complex import exp, expm1, multiples, multiply
from keras_ssm.ops.exporting import is_symbol, restricted
from keras_ssm.types import Pair, Tensor

__all__ = ["chunk_count", "from_chunks", "run_scan", "to_chunks"]

CHUNK = 16
# Levels for a length not known before the call: enough for 16^5 = 1,048,576 steps.
_UNKNOWN_LENGTH_LEVELS = 5
# Chunks of a symbolic length beyond those it needs: see `chunk_count`.
SPARE = 3


@jit()
def to_chunks(u: Tensor) -> Tensor:
    """(B, L, H) to (B, M, Q, H), with zeros after the last step.

    Example:

    >>> from keras_ssm.ops import scan
    >>> tuple(scan.to_chunks(ops.ones((2, 20, 3))).shape)
    (2, 2, 16, 3)
    """
    B, length, H = ops.shape(u)
    size = _chunk_size(length, CHUNK)
    return ops.reshape(_padded(u, 1, CHUNK), (B, chunk_count(length, size, SPARE), size, H))


@jit("length")
def from_chunks(y: Tensor, length: Tensor) -> Tensor:
    """(B, M, Q, H) to (B, L, H).

    Example:

    >>> from keras_ssm.ops import scan
    >>> tuple(scan.from_chunks(ops.ones((2, 2, 16, 3)), 20).shape)
    (2, 20, 3)
    """
    B, M, Q, H = ops.shape(y)
    y = ops.reshape(y, (B, M * Q, H))
    # TensorFlow copies even a slice of everything, and its gradient again.
    whole = isinstance(length, int) and isinstance(M, int) and length == M * Q
    return y if whole else y[:, :length]


@jit("reverse")
def run_scan(log_lam: Pair, b: Tensor, x0: Tensor | None = None, reverse: bool = False) -> Tensor:
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
    >>> x = scan.run_scan(log_lam, ops.convert_to_tensor(b))
    >>> [round(float(value), 3) for value in x[0, 0, :, 0, 0]]
    [1.0, 1.5, 1.75, 1.875]
    """
    if x0 is None:
        x0 = ops.zeros_like(b[:, :, 0, :, 0])
    return (_reverse_scan if reverse else _forward_scan)(*log_lam, b, x0)


def may_be_shared() -> bool:
    """Whether a scan takes its usual form: on the way into some files there is no `expm1`."""
    return not restricted()


def _with_gradient(reverse: bool) -> Any:
    def forward(log_re: Tensor, log_im: Tensor, b: Tensor, x0: Tensor) -> tuple[Tensor, Any]:
        values = powers_in_chunks((log_re, log_im), *chunk_sizes(b))
        return scans(values, [b], [x0], [reverse])[0], (values,)

    def plain(*inputs: Tensor) -> Tensor:
        return forward(*inputs)[0]

    def gradient(inputs: Any, x: Tensor, dx: Tensor, values: Tensor) -> tuple[Tensor, ...]:
        log_re, log_im, _, x0 = inputs
        (g,) = adjoint_scans(values, [dx], [reverse])
        d_lam, dx0 = scan_gradients((log_re, log_im), g, x, x0, reverse)
        return (*d_lam, g, dx0)

    return custom_gradient(plain, gradient, forward, shared=may_be_shared)


_forward_scan, _reverse_scan = _with_gradient(False), _with_gradient(True)


def chunk_sizes(b: Tensor) -> tuple[int, Tensor]:
    """Q and M of a tensor (P, 2, Q, B, M)."""
    _, _, Q, _, M = ops.shape(b)
    return Q, M


def powers_in_chunks(log_lam: Pair, Q: int, M: Tensor) -> Tensor:
    """The numbers that all matrices of a scan are made of, by level: (levels, P, 6 (Q + 1)).

    Level l has the modes lam^(Q^l). For lags k = 0 .. Q: Re and Im of lam^k, -Im,
    and the same of lam^k - 1.
    """
    scales = [float(Q**level) for level in range(_levels(Q, M))]
    P = ops.shape(log_lam[0])[0]
    log_lam = tuple(ops.concatenate([z * factor for factor in scales]) for z in log_lam)
    exponents = multiples(log_lam, ops.cast(ops.arange(0, Q + 1), log_lam[0].dtype))
    (re, im), (change_re, change_im) = exp(exponents), expm1(exponents)
    values = ops.concatenate([re, im, -im, change_re, change_im, -change_im], axis=-1)
    return ops.reshape(values, (len(scales), P, -1))


def _matrices(values: Tensor, reverse: bool, conjugate: bool) -> tuple[Tensor, Tensor]:
    """The matrices of a chunk, from `powers_in_chunks` (..., P, 6 (Q + 1)).

    In real form, [[Re, -Im], [Im, Re]]: `table` (..., P, 2Q, 2Q), from inputs to
    states, and `carry` (..., P, 2Q, 4), from the state before the chunk, taken
    twice, to what it adds: the state itself, and its change. The change is
    rounded, and not lam, so that slow modes do not drift.
    """
    Q = values.shape[-1] // 6 - 1
    re, im, minus_im, change, change_im, minus_change_im = range(0, 6 * (Q + 1), Q + 1)
    zero, one = im, re  # of lam^0
    if conjugate:
        im, minus_im, change_im, minus_change_im = minus_im, im, minus_change_im, change_im
    step = ops.arange(0, Q)
    lag = step - step[:, None] if reverse else step[:, None] - step
    since = Q - step[:, None] if reverse else step[:, None] + 1
    before, zeros = lag >= 0, ops.zeros_like(lag) + zero
    left, right = (
        ops.concatenate([ops.where(before, lag + part, zeros) for part in parts])
        for parts in ((re, im), (minus_im, re))
    )
    table = ops.concatenate([left, right], axis=1)
    nothing = ops.zeros_like(since)  # and not `full_like`: under torch, it reads its value back
    itself, other = nothing + one, nothing + zero
    upper = ops.concatenate([itself, other, since + change, since + minus_change_im], axis=1)
    lower = ops.concatenate([other, itself, since + change_im, since + change], axis=1)
    carry = ops.concatenate([upper, lower])
    last = len(values.shape) - 1
    return take(values, table, axis=last), take(values, carry, axis=last)


def scans(
    values: Tensor,
    inputs: list[Tensor],
    starts: list[Tensor],
    reverses: list[bool],
    conjugate: bool = False,
) -> list[Tensor]:
    """Scans of the same modes, each of tensors (P, 2, Q, B, M) and (P, 2, B), without a gradient.

    Args:
        values: the result of `powers_in_chunks`.
        inputs: the inputs of each scan.
        starts: the state before each, in its direction.
        reverses: whether each runs from the last step to the first.
        conjugate: whether to scan the conjugate modes.
    """
    P, _, Q, B, M = ops.shape(inputs[0])
    matrices = [_matrices(values[0], reverse, conjugate) for reverse in reverses]
    flat = [ops.reshape(b, (P, 2 * Q, -1)) for b in inputs]
    states = [precise_matmul(table, b) for (table, _), b in zip(matrices, flat, strict=True)]
    ends = []
    for x, reverse in zip(states, reverses, strict=True):
        end = ops.reshape(x, (P, 2, Q, B, M))[:, :, 0 if reverse else -1]
        ends.append(ops.flip(end, axis=-1) if reverse else end)
    levels = values.shape[0]
    below = _matrices(values[1:], False, conjugate) if levels > 1 else ()
    together = ends[0] if len(ends) == 1 else ops.concatenate(ends, axis=2)
    start = starts[0] if len(starts) == 1 else ops.concatenate(starts, axis=2)
    carries = _before(below, together, start, 0, Q)
    carries = ops.reshape(carries, (P, 2, len(inputs), B, M))
    results = []
    for index, reverse in enumerate(reverses):
        carry = carries[:, :, index]
        carry = ops.flip(carry, axis=-1) if reverse else carry
        x = _with_carry(states[index], matrices[index][1], ops.reshape(carry, (P, 2, -1)))
        results.append(ops.reshape(x, (P, 2, Q, B, M)))
    return results


def adjoint_scans(values: Tensor, upstream: list[Tensor], reverses: list[bool]) -> list[Tensor]:
    """g_k = dx_k + conj(lam) g_(k+1) for the upstream gradients dx of the states of `scans`."""
    zero = ops.zeros_like(upstream[0][:, :, 0, :, 0])
    starts, backwards = [zero] * len(upstream), [not reverse for reverse in reverses]
    return scans(values, upstream, starts, backwards, conjugate=True)


def scan_gradients(
    log_lam: Pair, g: Tensor, x: Tensor, x0: Tensor, reverse: bool
) -> tuple[Pair, Tensor]:
    """The gradients of log lam and x0, from those of the inputs, g, and the states.

    dlog lam = conj(lam) sum_k g_k conj(x_(k-1)) and dx0 = conj(lam) g_0.
    """
    first, last = (-1, 0) if reverse else (0, -1)
    later, earlier = slice(1, None), slice(None, -1)
    if reverse:
        later, earlier = earlier, later
    conj_lam = exp((log_lam[0], -log_lam[1]))
    chunks = (*ops.shape(x)[:3], -1)
    inside = lagged_inner_product(ops.reshape(g, chunks), ops.reshape(x, chunks), later, earlier)
    before = _carries(x0, _all_but_the_last(x[:, :, last], reverse), reverse)
    across = _inner_product(g[:, :, first], before)
    d_lam = inside[0] + across[0], inside[1] + across[1]
    g_first = g[:, :, first, :, first]
    dx0 = multiply((conj_lam[0][:, None], conj_lam[1][:, None]), (g_first[:, 0], g_first[:, 1]))
    return multiply(conj_lam, d_lam), ops.stack(dx0, axis=1)


def _with_carry(states: Tensor, matrix: Tensor, carry: Tensor) -> Tensor:
    """States (P, 2Q, N) of chunks, with what those before them add."""
    return accumulate(states, (matrix, ops.concatenate([carry, carry], axis=1)))


def _before(matrices: Any, ends: Tensor, start: Tensor, level: int, Q: int) -> Tensor:
    """The state before every chunk, given what the inputs of each add at its end.

    Args:
        matrices: the matrices of all levels below the first.
        ends: tensor (P, 2, B, M).
        start: tensor (P, 2, B), the state before all chunks.
        level: the level of these chunks.
        Q: steps in a chunk.

    Returns:
        Tensor (P, 2, B, M).
    """
    M = ops.shape(ends)[3]
    if (isinstance(M, int) and M == 1) or not len(matrices):
        return start[..., None]
    if level == matrices[0].shape[0]:
        carry = start[..., None]
        # A symbolic size is not known to be 1 here, and must be declared to be so.
        symbol = not isinstance(M, int) and not ops.is_tensor(M)
        return ops.broadcast_to(carry, ops.shape(ends)) if symbol else carry
    table, carry = (z[level] for z in matrices)

    def run(b: Tensor) -> Tensor:
        P, _, _, B, M = ops.shape(b)
        x = precise_matmul(table, ops.reshape(b, (P, 2 * Q, -1)))
        end = ops.reshape(x, (P, 2, Q, B, M))[:, :, -1]
        before = ops.reshape(_before(matrices, end, start, level + 1, Q), (P, 2, -1))
        return ops.reshape(_with_carry(x, carry, before), (P, 2, Q, B, M))

    return before_chunks(ends, start, False, run, Q)


def before_chunks(ends: Tensor, start: Tensor, reverse: bool, run: Any, Q: int) -> Tensor:
    """The state before every chunk.

    Args:
        ends: tensor (P, 2, B, M), what the inputs of a chunk add at its end.
        start: tensor (P, 2, B), the state before all chunks.
        reverse: whether chunks follow each other backwards in time.
        run: the scan over chunks, for a layout of (P, 2, Q, B, M).
        Q: steps in a chunk of that layout.

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
    padding = chunk_padding(length, Q, SPARE)
    if not isinstance(padding, int) or padding:
        ends = ops.pad(ends, ((0, 0), (0, 0), (0, 0), (0, padding)))
    blocks = ops.reshape(ends, (P, 2, B, chunk_count(length, Q, SPARE), Q))
    after = ops.transpose(run(ops.transpose(blocks, (0, 1, 4, 2, 3))), (0, 1, 3, 4, 2))
    after = ops.reshape(after, (P, 2, B, chunk_count(length, Q, SPARE) * Q))[..., :length]
    return _carries(start, after if known else _all_but_the_last(after, reverse), reverse)


def _all_but_the_last(ends: Tensor, reverse: bool) -> Tensor:
    return ends[..., 1:] if reverse else ends[..., :-1]


def _carries(start: Tensor, ends: Tensor, reverse: bool) -> Tensor:
    """The states before the chunks: `start` (P, 2, B) and the ends of all but the last one."""
    parts = [start[..., None], ends]
    return ops.concatenate(parts[::-1] if reverse else parts, axis=-1)


def _levels(Q: int, M: Tensor) -> int:
    """How many scans are nested until M chunks of Q are one: each has a Qth of the steps."""
    if not isinstance(M, int):
        return _UNKNOWN_LENGTH_LEVELS
    levels = 1
    while M > 1:
        M = -(-(M - 1) // Q)
        levels += 1
    return levels


def _padded(x: Tensor, axis: int, size: int) -> Tensor:
    """Zeros after the last step, so that chunks are whole."""
    length = ops.shape(x)[axis]
    padding = chunk_padding(length, _chunk_size(length, size), SPARE)
    if isinstance(padding, int) and padding == 0:
        return x
    return ops.pad(x, [(0, padding if i == axis else 0) for i in range(len(x.shape))])


def chunk_count(length: Tensor, size: int, spare: int = 1) -> Tensor:
    """How many chunks hold a length, at least one.

    Given in every shape, since it cannot be inferred where the batch size is unknown. For a
    symbolic length there are up to `spare` more than are needed: PyTorch writes other programs
    where nothing is padded, which one spare chunk avoids, and where there are one or two chunks,
    which further ones avoid.

    Example:

    >>> from keras_ssm.ops import scan
    >>> scan.chunk_count(20, 16)
    2
    """
    return length // size + spare if is_symbol(length) else (length + size - 1) // size


def chunk_padding(length: Tensor, size: int, spare: int = 1) -> Tensor:
    """How many steps fill the last of the chunks that hold a length.

    Computed from positive numbers: converters give the remainder of a negative one another sign.

    Example:

    >>> from keras_ssm.ops import scan
    >>> scan.chunk_padding(20, 16)
    12
    """
    return chunk_count(length, size, spare) * size - length


def _chunk_size(length: Tensor, size: int) -> int:
    return min(length, size) if isinstance(length, int) else size


def _inner_product(g: Tensor, x: Tensor) -> Pair:
    """sum g conj(x) over all but the modes, for tensors (P, 2, ...)."""
    P = ops.shape(g)[0]
    return inner_product(ops.reshape(g, (P, 2, -1)), ops.reshape(x, (P, 2, -1)))
