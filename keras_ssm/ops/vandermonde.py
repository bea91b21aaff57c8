"""Vandermonde products: sums of powers of the modes, as small tables and matrix products.

Split the exponent, l = q Q + r with Q near sqrt(L):

    sum_n w_n lam_n^l = sum_n (w_n lam_n^(q Q)) lam_n^r

so that H n (M + Q) exponentials and one (M, 2n) x (2n, Q) product per channel
replace the H n L exponentials of the textbook form, in real arithmetic.
"""

from keras import ops

from keras_ssm.backend import jit, precise_matmul
from keras_ssm.ops.complex import multiply, powers
from keras_ssm.ops.scan import chunk_count, chunk_padding
from keras_ssm.types import Pair, Tensor

# Chunk size where the length is not known before the call.
_UNKNOWN_LENGTH_CHUNK = 64


def chunk_size(length: Tensor) -> int:
    """A power of two near sqrt(length).

    Example:

    >>> from keras_ssm.ops import vandermonde
    >>> vandermonde.chunk_size(1000)
    32
    """
    if not isinstance(length, int):
        return _UNKNOWN_LENGTH_CHUNK
    return 1 << ((max(length, 1) - 1).bit_length() + 1) // 2


@jit("length")
def sum_modes(w: Pair, log_lam: Pair, length: Tensor) -> Tensor:
    """K[g, h, l] = Re sum_n w[g, h, n] lam[h, n]^l for l = 0 .. length - 1.

    Args:
        w: pair of (G, H, N).
        log_lam: pair of (H, N).
        length: an integer, or a scalar tensor in a graph of unknown length.

    Returns:
        Tensor (G, H, length).

    Example:

    >>> from keras_ssm.ops import vandermonde
    >>> log_lam = ops.array([[np.log(0.5)]], "float32"), ops.array([[0.0]])
    >>> w = ops.ones((1, 1, 1)), ops.zeros((1, 1, 1))
    >>> K = vandermonde.sum_modes(w, log_lam, 3)
    >>> [round(float(value), 3) for value in K[0, 0]]
    [1.0, 0.5, 0.25]
    """
    head, tail = _tables(log_lam, length)
    G, (H, N) = ops.shape(w[0])[0], log_lam[0].shape
    left = multiply((w[0][..., None], w[1][..., None]), head)  # (G, H, N, M)
    left = ops.concatenate([left[0], -left[1]], axis=2)
    left = ops.reshape(ops.transpose(left, (1, 2, 0, 3)), (H, 2 * N, -1))
    # Transposed in the product, not before: a third less time with its gradient on JAX.
    product = precise_matmul(left, ops.concatenate(tail, axis=1), transpose_a=True)  # (H, G M, Q)
    product = ops.reshape(product, (H, G, -1))
    if not isinstance(length, int) or length % chunk_size(length):
        product = product[..., :length]
    return ops.transpose(product, (1, 0, 2))


@jit()
def weighted_sum(u: Tensor, log_lam: Pair) -> Pair:
    """x[b, h, n] = sum_k lam[h, n]^(L - 1 - k) u[b, h, k]: the state after the sequence.

    Args:
        u: tensor (B, H, L).
        log_lam: pair of (H, N).

    Returns:
        Pair of (B, H, N).

    Example:

    >>> from keras_ssm.ops import vandermonde
    >>> log_lam = ops.array([[np.log(0.5)]], "float32"), ops.array([[0.0]])
    >>> re, im = vandermonde.weighted_sum(ops.ones((1, 1, 3)), log_lam)
    >>> round(float(re[0, 0, 0]), 3)
    1.75
    """
    B, H, length = ops.shape(u)
    N = log_lam[0].shape[-1]
    size = chunk_size(length)
    head, tail = _tables(log_lam, length)
    padding = chunk_padding(length, size)
    u = ops.pad(ops.flip(u, axis=2), ((0, 0), (0, 0), (0, padding)))
    u = ops.reshape(ops.transpose(u, (1, 0, 2)), (H, -1, size))
    product = precise_matmul(u, ops.transpose(ops.concatenate(tail, axis=1), (0, 2, 1)))
    count = chunk_count(length, size)
    product = ops.reshape(product, (H, B, count, 2, N))  # (H, B, M, 2, N)
    head = tuple(ops.transpose(z, (0, 2, 1))[:, None] for z in head)  # (H, 1, M, N)
    re, im = multiply((product[..., 0, :], product[..., 1, :]), head)
    return tuple(ops.transpose(ops.sum(z, axis=2), (1, 0, 2)) for z in (re, im))


def _tables(log_lam: Pair, length: Tensor) -> tuple[Pair, Pair]:
    """lam^(q Q) of shape (H, N, M) and lam^r of shape (H, N, Q)."""
    size = chunk_size(length)
    return powers(log_lam, chunk_count(length, size), stride=size), powers(log_lam, size)
