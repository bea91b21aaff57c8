"""The long convolution of diagonal systems without an FFT, by matrix products over chunks of time.

A chunk of Q outputs is the Toeplitz product of the first Q kernel values with
its own inputs, plus what the state before the chunk adds; the states before the
chunks are a scan, Q times shorter than the sequence. An initial state is just
the state before the first chunk.

Arrays are kept as (H, Q, B M) and (H, 2N, B M): channels, step in the chunk or
mode, batch and chunk.
"""

from keras import ops

from keras_ssm.backend import accumulate, precise_matmul, take
from keras_ssm.ops.complex import multiply, powers, scale
from keras_ssm.ops.scan import SPARE, before_chunks, chunk_count, chunk_padding, run_scan
from keras_ssm.types import Pair, Tensor

# The carry costs less with longer chunks, the Toeplitz product more.
CHUNK = 64
# Chunk of the scan over chunks: its matrices are made for every mode of every channel.
_SCAN_CHUNK = 4


def chunk_size(length: Tensor) -> int:
    """Chunk size Q for a length.

    Example:

    >>> from keras_ssm.ops import chunks
    >>> chunks.chunk_size(10), chunks.chunk_size(1000)
    (10, 64)
    """
    return min(length, CHUNK) if isinstance(length, int) else CHUNK


def convolve(
    u: Tensor,
    heads: list[Tensor],
    log_lam: Pair,
    B: Pair,
    Cs: list[Pair],
    x0: Pair | None = None,
) -> Tensor:
    """The convolution by the kernel of a system, and by that of a second one backwards.

    y[b, t, c, h] = sum_(s <= t) K[c, h, t - s] u[b, s, h] + Re C lam^(t+1) x0
                  + sum_(s > t)  K'[c, h, s - t - 1] u[b, s, h]

    Args:
        u: tensor (B, L, H).
        heads: the first Q values of K, and of K' where there is a second system:
            tensors (C, H, Q) with Q = `chunk_size(L)`.
        log_lam: pair of (H, N).
        B: pair of (H, N).
        Cs: C of K = Re C B lam^l, and of K': pairs of (C, H, N).
        x0: state before the first step, a pair of (B, H, N), or None.

    Returns:
        Tensor (B, L, C H).

    Example:

    >>> from keras_ssm.ops import chunks
    >>> log_lam = ops.array([[np.log(0.5)]], "float32"), ops.array([[0.0]])
    >>> B, C = (ops.ones((1, 1)), ops.zeros((1, 1))), (ops.ones((1, 1, 1)), ops.zeros((1, 1, 1)))
    >>> u = ops.array([[[1.0], [0.0], [0.0]]])
    >>> y = chunks.convolve(u, [ops.array([[[1.0, 0.5, 0.25]]])], log_lam, B, [C])
    >>> [round(float(value), 3) for value in y[0, :, 0]]
    [1.0, 0.5, 0.25]
    """
    length = ops.shape(u)[1]
    (H, N), (C, _, Q) = log_lam[0].shape, heads[0].shape
    u = into_chunks(u, Q)
    M, batch = ops.shape(u)[3], ops.shape(u)[2]
    u = ops.reshape(u, (H, Q, -1))
    lam = powers(log_lam, Q + 1)  # (H, N, Q + 1)
    log_chunk = tuple(ops.reshape(z, (-1,)) for z in scale(log_lam, Q))
    zero = ops.zeros((H * N, 2, batch), dtype=u.dtype)
    products = []
    for reverse, weights in zip((False, True), Cs, strict=False):
        start = zero
        if x0 is not None and not reverse:
            start = ops.transpose(ops.stack(x0, axis=-1), (1, 2, 3, 0))  # (H, N, 2, B)
            start = ops.reshape(start, (H * N, 2, batch))

        def run(b: Tensor, start: Tensor = start, reverse: bool = reverse) -> Tensor:
            return run_scan(log_chunk, b, start, reverse)

        ends = ops.reshape(precise_matmul(input_matrix(lam, B, reverse), u), (H * N, 2, batch, M))
        carry = before_chunks(ends, start, reverse, run, _SCAN_CHUNK)
        carry = ops.reshape(carry, (H, 2 * N, -1))
        products.append((output_matrix(lam, weights, reverse), carry))
    y = accumulate(precise_matmul(toeplitz(heads), u), *products)
    y = ops.transpose(ops.reshape(y, (H, C, Q, batch, M)), (3, 4, 2, 1, 0))
    return ops.reshape(y, (batch, M * Q, C * H))[:, :length]


def into_chunks(u: Tensor, size: int, spare: int = SPARE) -> Tensor:
    """(B, L, H) to (H, Q, B, M), with zeros after the last step."""
    batch, length, H = ops.shape(u)
    padding = chunk_padding(length, size, spare)
    if not isinstance(padding, int) or padding:
        u = ops.pad(u, ((0, 0), (0, padding), (0, 0)))
    blocks = ops.reshape(u, (batch, chunk_count(length, size, spare), size, H))
    return ops.transpose(blocks, (3, 2, 0, 1))


def toeplitz(heads: list[Tensor]) -> Tensor:
    """(H, C Q, Q): from the inputs of a chunk to its outputs, in both directions."""
    C, H, Q = heads[0].shape
    steps = ops.arange(0, Q)
    lag = steps[:, None] - steps  # target - source
    matrix = 0
    for head, index in zip(heads, (lag, -lag - 1), strict=False):
        values = take(head, ops.relu(index), axis=2)
        matrix += ops.where(index >= 0, values, ops.zeros_like(values[..., :1, :1]))
    return ops.reshape(ops.transpose(matrix, (1, 0, 2, 3)), (H, C * Q, Q))


def input_matrix(lam: Pair, B: Pair, reverse: bool) -> Tensor:
    """(H, 2N, Q): from the inputs of a chunk to the state they leave at its end."""
    H, N = lam[0].shape[:2]
    powers = tuple(z[..., :-1] if reverse else ops.flip(z[..., :-1], axis=-1) for z in lam)
    matrix = multiply((B[0][..., None], B[1][..., None]), powers)
    return ops.reshape(ops.stack(matrix, axis=2), (H, 2 * N, -1))


def output_matrix(lam: Pair, C: Pair, reverse: bool) -> Tensor:
    """(H, C Q, 2N): from the state before a chunk to its outputs, Re(C lam^(i + 1) x).

    Backwards, the state is that of the first step after the chunk, which acts
    on the last output without delay.
    """
    H, N = lam[0].shape[:2]
    powers = tuple(ops.flip(z[..., :-1], axis=-1) if reverse else z[..., 1:] for z in lam)
    re, im = multiply((C[0][..., None], C[1][..., None]), powers)  # (C, H, N, Q)
    matrix = ops.transpose(ops.stack([re, -im], axis=3), (1, 0, 4, 2, 3))
    return ops.reshape(matrix, (H, -1, 2 * N))
