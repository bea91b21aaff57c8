"""The long convolution of diagonal systems over packed documents, none of which sees another.

As in `keras_ssm.ops.chunks`, time is cut into chunks. Inside a chunk, step i
reads step j where no document begins between them. Halving the chunk again and
again makes that mask a product: from the left half to the right one, an input
counts if no document begins between it and the middle, an output if none does
between the middle and it. So every level is a matrix product between two masks.
"""

from typing import Any

from keras import ops

from keras_ssm.backend import precise_matmul, take
from keras_ssm.ops.chunks import input_matrix, into_chunks, output_matrix
from keras_ssm.ops.complex import powers, scale
from keras_ssm.ops.resets import run_reset_scan
from keras_ssm.types import Pair, Tensor

# A power of two: it is halved down to single steps.
CHUNK = 32


def convolve(
    u: Tensor,
    heads: list[Tensor],
    log_lam: Pair,
    B: Pair,
    Cs: list[Pair],
    resets: Tensor,
    x0: Pair | None = None,
) -> Tensor:
    """The convolution by the kernel of a system, and by that of a second one backwards.

    Args:
        u: tensor (B, L, H).
        heads: the first `CHUNK` values of the kernels, tensors (C, H, CHUNK).
        log_lam: pair of (H, N).
        B: pair of (H, N).
        Cs: C of the kernels, pairs of (C, H, N).
        resets: booleans (B, L), true where a document begins.
        x0: state before the first step, a pair of (B, H, N), or None.

    Returns:
        Tensor (B, L, C H).
    """
    length = ops.shape(u)[1]
    (H, N), (C, _, Q) = log_lam[0].shape, heads[0].shape
    u = into_chunks(u, Q)  # (H, Q, B, M)
    batch, M = ops.shape(u)[2:]
    begins = into_chunks(ops.cast(resets, u.dtype)[..., None], Q)[0]  # (Q, B, M), 0 or 1
    open_until, open_after = _open(begins)
    u_flat = ops.reshape(u, (H, Q, -1))
    y: Any = 0.0
    lam = powers(log_lam, Q + 1)
    log_chunk = tuple(ops.reshape(z, (-1,)) for z in scale(log_lam, float(Q)))
    broken = ops.any(begins > 0, axis=0)  # (B, M)
    for reverse, (head, weights) in enumerate(zip(heads, Cs, strict=True)):
        y = y + _inside(u_flat, head, ops.reshape(begins, (Q, -1)), bool(reverse))
        into, out = (open_until, open_after) if reverse else (open_after, open_until)
        driven = precise_matmul(
            input_matrix(lam, B, bool(reverse)), u_flat * ops.reshape(into, (Q, -1))
        )
        ends = ops.reshape(driven, (H * N, 2, batch, M))
        start = None
        if x0 is not None and not reverse:
            start = ops.transpose(ops.stack(x0, axis=-1), (1, 2, 3, 0))
            start = ops.reshape(start, (H * N, 2, batch))
        carry = _before_chunks(log_chunk, ends, broken, start, bool(reverse))
        carried = precise_matmul(
            output_matrix(lam, weights, bool(reverse)), ops.reshape(carry, (H, 2 * N, -1))
        )
        carried = ops.reshape(carried, (H, C, Q, -1)) * ops.reshape(out, (Q, -1))
        y = y + carried
    y = ops.transpose(ops.reshape(y, (H, C, Q, batch, M)), (3, 4, 2, 1, 0))
    return ops.reshape(y, (batch, M * Q, C * H))[:, :length]


def _open(begins: Tensor) -> tuple[Tensor, Tensor]:
    """For every step of a chunk, whether none begins up to it, and none after it: (Q, B, M)."""
    until = ops.cumsum(begins, axis=0)
    after = until[-1:] - until
    return ops.cast(until == 0, begins.dtype), ops.cast(after == 0, begins.dtype)


def _inside(u: Tensor, head: Tensor, begins: Tensor, reverse: bool) -> Tensor:
    """What the inputs (H, Q, S) of a chunk add to its outputs (H, C, Q, S)."""
    (H, Q, S), C = ops.shape(u), head.shape[0]
    kernel = ops.transpose(head, (1, 0, 2))  # (H, C, Q)
    first = ops.zeros_like(kernel[..., :1]) if reverse else kernel[..., :1]
    y = first[:, None, :, :, None] * ops.reshape(u, (H, Q, 1, 1, S))
    half = 1
    while half < Q:
        groups = Q // (2 * half)
        pairs = ops.reshape(u, (H, groups, 2, half, S))
        until = ops.cumsum(ops.reshape(begins, (groups, 2, half, S)), axis=2)
        # Left: none begins after the step in its half. Right: none begins up to the step in its.
        left = ops.cast(until[:, 0, -1:] == until[:, 0], u.dtype)
        right = ops.cast(until[:, 1] == 0, u.dtype)
        into, out = (right, left) if reverse else (left, right)
        lags = (
            half + ops.arange(0, half)[:, None] - ops.arange(0, half)
        )  # target - source, or backwards
        if reverse:
            lags = ops.transpose(lags) - 1
        matrix = ops.reshape(take(kernel, lags, axis=2), (H, 1, C * half, half))
        source = pairs[:, :, 1 if reverse else 0] * into
        # Single steps are not worth a matrix product.
        product = matrix * source if half == 1 else precise_matmul(matrix, source)
        product = ops.reshape(product, (H, groups, C, half, S)) * out[:, None]
        halves = ops.reshape(y, (H, groups, 2, C, half, S))
        both = [halves[:, :, 0], halves[:, :, 1]]
        both[0 if reverse else 1] = both[0 if reverse else 1] + product
        y = ops.concatenate(both, axis=3)
        half *= 2
    return y[:, 0]


def _before_chunks(
    log_chunk: Pair, ends: Tensor, broken: Tensor, start: Tensor | None, reverse: bool
) -> Tensor:
    """The state before every chunk, (P, 2, B, M), of what chunks add at their ends."""
    first = ops.zeros_like(ends[..., 0]) if start is None else start  # (P, 2, B)
    b, x0 = ops.transpose(ends, (2, 3, 1, 0)), ops.transpose(first, (2, 1, 0))
    after = ops.transpose(run_reset_scan(log_chunk, b, broken, x0, reverse), (3, 2, 0, 1))
    parts = [after[..., 1:], first[..., None]] if reverse else [first[..., None], after[..., :-1]]
    return ops.concatenate(parts, axis=-1)
