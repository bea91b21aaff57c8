"""Recurrences whose state starts anew at some steps, for documents packed into one sequence.

A reset at step k drops what came before k, in both directions: the border lies
between k - 1 and k.
"""

from typing import Any

from keras import ops

from keras_ssm.backend import custom_gradient
from keras_ssm.ops.complex import conj, exp, multiply, scale
from keras_ssm.ops.masking import Compaction
from keras_ssm.ops.scan import chunk_count, chunk_padding
from keras_ssm.types import Pair, Tensor

# Chunk of the scan: so many steps are run one after the other, for all chunks side by side.
_CHUNK = 16
# Levels for a length not known before the call: enough for 16^5 = 1,048,576 steps.
_LEVELS = 4
# The logarithm of zero: its exponential is 0 and its gradient is finite.
_LOG_ZERO = -1e4


def backwards(resets: Tensor) -> Tensor:
    """Resets (B, L) for the same sequence read from its end, in that order.

    Example:

    >>> from keras_ssm.ops import resets
    >>> flipped = resets.backwards(ops.array([[False, False, True, False]]))
    >>> ops.convert_to_numpy(flipped).tolist()
    [[False, False, True, False]]
    """
    before = ops.concatenate([resets[:, 1:], ops.zeros_like(resets[:, :1])], axis=1)
    return ops.flip(before, axis=1)


def compact(resets: Tensor, where: Compaction) -> Tensor:
    """Resets of compacted steps: one that lies at a masked step acts on the next valid one."""
    count = ops.cumsum(ops.cast(resets, "int32"), axis=1)
    count = ops.take_along_axis(count, where.order, axis=1)
    first = ops.concatenate([ops.zeros_like(count[:, :1]), count[:, :-1]], axis=1)
    return ops.logical_and(count > first, where.valid)


def after_the_last(resets: Tensor, where: Compaction) -> Tensor:
    """Whether (B, 1) a reset comes after the last valid step, and leaves no state at all."""
    count = ops.cumsum(ops.cast(resets, "int32"), axis=1)
    valid = ops.take_along_axis(count, where.order, axis=1)
    seen = ops.max(ops.where(where.valid, valid, 0), axis=1, keepdims=True)
    return count[:, -1:] > seen


def restarted(log_lam: Pair, resets: Tensor) -> Pair:
    """Logarithms of lam (B, L, ...) that vary in time, with lam = 0 at the resets (B, L)."""
    for _ in range(len(log_lam[0].shape) - 2):
        resets = resets[..., None]
    re, im = log_lam
    return ops.where(resets, ops.zeros_like(re) + _LOG_ZERO, re), ops.where(
        resets, ops.zeros_like(im), im
    )


def run_reset_scan(
    log_lam: Pair, b: Tensor, resets: Tensor, x0: Tensor | None = None, reverse: bool = False
) -> Tensor:
    """x_k = lam x_(k-1) + b_k, where x_(k-1) counts as 0 at a reset.

    Its gradient is the same recurrence in the other direction, so that nothing
    but the states is kept for it.

    Args:
        log_lam: pair of (P,).
        b: tensor (B, L, 2, P), real and imaginary parts.
        resets: booleans (B, L).
        x0: tensor (B, 2, P), or None for zero.
        reverse: run from the last step to the first, from zero: x_k = lam x_(k+1) + b_k.

    Returns:
        Tensor (B, L, 2, P), the states.
    """
    if x0 is None:
        x0 = ops.zeros_like(b[:, 0])
    scan = _reverse_scan if reverse else _forward_scan
    return scan(*log_lam, b, x0, ops.cast(resets, b.dtype))


def _with_gradient(reverse: bool) -> Any:
    first, later, earlier = 0, slice(1, None), slice(None, -1)
    if reverse:
        first, later, earlier = -1, earlier, later

    def plain(log_re: Tensor, log_im: Tensor, b: Tensor, x0: Tensor, resets: Tensor) -> Tensor:
        return _scan((log_re, log_im), b, _borders(resets, reverse), x0, reverse, _LEVELS)

    def gradient(inputs: Any, x: Tensor, dx: Tensor) -> tuple[Tensor, ...]:
        # g_k = dx_k + conj(lam) g_(k+1), except at a border; then db = g, and what lam was
        # multiplied with, x_(k-1) or nothing, gives the gradients of log lam and x0.
        log_re, log_im, _, x0, resets = inputs
        back = _borders(resets, not reverse)
        g = _scan((log_re, -log_im), dx, back, ops.zeros_like(x0), not reverse, _LEVELS)
        passed = ops.where(_borders(resets, reverse)[..., None, None], ops.zeros_like(g), g)
        g_first = passed[:, first]
        pairs = (passed[:, later], x[:, earlier]), (g_first[:, None], x0[:, None])
        sums: Any = (0.0, 0.0)
        for z, before in pairs:
            product = multiply((z[:, :, 0], z[:, :, 1]), conj((before[:, :, 0], before[:, :, 1])))
            sums = tuple(a + ops.sum(p, axis=(0, 1)) for a, p in zip(sums, product, strict=True))
        conj_lam = exp((log_re, -log_im))
        dx0 = multiply(conj_lam, (g_first[:, 0], g_first[:, 1]))
        d_log = multiply(conj_lam, sums)
        return (*d_log, g, ops.stack(dx0, axis=1), ops.zeros_like(resets))

    return custom_gradient(plain, gradient)


_forward_scan, _reverse_scan = _with_gradient(False), _with_gradient(True)


def _borders(resets: Tensor, reverse: bool) -> Tensor:
    """Whether (B, L) a step does not see the one that is run before it."""
    borders = resets > 0
    if not reverse:
        return borders
    return ops.concatenate([borders[:, 1:], ops.zeros_like(borders[:, :1])], axis=1)


def _scan(
    log_lam: Pair, b: Tensor, borders: Tensor, start: Tensor, reverse: bool, levels: int
) -> Tensor:
    """The states (B, L, 2, P), without the gradient."""
    length = ops.shape(b)[1]
    known = isinstance(length, int)
    size = min(length, _CHUNK) if known else _CHUNK
    lam = exp(log_lam)
    inside = _chunks(borders, size)[..., None]  # (Q, B, M, 1)
    blocks = _chunks(b, size)  # (Q, B, M, 2, P)
    M = ops.shape(blocks)[2]
    if (known and M == 1) or (not known and levels == 0):
        before = start[:, None]
    else:
        zero = ops.zeros_like(blocks[0])
        ends = _steps(lam, blocks, inside, zero, reverse, keep=False)
        broken = ops.any(inside, axis=0)[..., 0]
        log_chunk = scale(log_lam, float(size))
        after = _scan(log_chunk, ends, broken, start, reverse, levels - 1)
        parts = [after[:, 1:], start[:, None]] if reverse else [start[:, None], after[:, :-1]]
        before = ops.concatenate(parts, axis=1)
    x = _steps(lam, blocks, inside, before, reverse)
    return _in_time(x, length)


def _steps(
    lam: Pair, b: Tensor, borders: Tensor, x: Tensor, reverse: bool, keep: bool = True
) -> Tensor:
    """The steps of all chunks side by side, (Q, B, M, 2, P), or the last states (B, M, 2, P).

    A loop of the framework, not an unrolled one, for which XLA takes a minute.
    """

    def step(x: Pair, inputs: tuple[Tensor, ...]) -> Any:
        b_re, b_im, border = inputs
        # `where` and not a product: what a document holds, NaN included, stays in it.
        re, im = (ops.where(border, ops.zeros_like(z), z) for z in x)
        x = lam[0] * re - lam[1] * im + b_re, lam[0] * im + lam[1] * re + b_im
        return x, x if keep else None

    start, inputs = (x[..., 0, :], x[..., 1, :]), (b[..., 0, :], b[..., 1, :], borders)
    last, states = ops.scan(step, start, inputs, reverse=reverse)
    return ops.stack(states if keep else last, axis=-2)


def _chunks(z: Tensor, size: int) -> Tensor:
    """(B, L, ...) to (Q, B, M, ...), with zeros after the last step."""
    batch, length, *rest = ops.shape(z)
    padding = chunk_padding(length, size)
    if not isinstance(padding, int) or padding:
        z = ops.pad(z, ((0, 0), (0, padding), *((0, 0) for _ in rest)))
    z = ops.reshape(z, (batch, chunk_count(length, size), size, *rest))
    return ops.transpose(z, (2, 0, 1, *range(3, len(rest) + 3)))


def _in_time(z: Tensor, length: Tensor) -> Tensor:
    """(Q, B, M, 2, P) to (B, L, 2, P)."""
    Q, batch, M, *rest = ops.shape(z)
    return ops.reshape(ops.transpose(z, (1, 2, 0, 3, 4)), (batch, M * Q, *rest))[:, :length]
