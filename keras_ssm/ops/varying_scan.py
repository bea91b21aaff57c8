"""The linear recurrence with steps that vary in time, x_k = lam_k x_(k-1) + b_k.

Time is cut into M chunks of Q steps. All chunks at once run their Q steps from
zero; the states at their ends obey the same recurrence with the product of the
lam of a chunk, and are found by the same routine, log_Q(L) levels deep; then
all chunks run again from the states before them. The work is linear in the
length, and elementwise on (B, M, ...).
"""

from typing import Any

from keras import ops

from keras_ssm.backend import custom_gradient, jit
from keras_ssm.ops.complex import conj, exp, multiply
from keras_ssm.ops.scan import chunk_count, chunk_padding
from keras_ssm.types import Pair, Tensor

_CHUNK = 16
# Levels for a length not known before the call: enough for 16^5 = 1,048,576 steps.
_UNKNOWN_LENGTH_LEVELS = 4


@jit()
def run_varying_scan(log_lam: Pair, b: Pair, x0: Pair | None = None) -> Pair:
    """x_k = lam_k x_(k-1) + b_k for all k, with x_(-1) = x0.

    Logarithms are summed where lam would be multiplied, so that slow modes keep
    their digits over long sequences. The gradient is the same recurrence
    backwards, so that, apart from its inputs, only the states are kept for it.

    Args:
        log_lam: pair of (B, L, ...), logarithms of lam.
        b: pair of (B, L, ...).
        x0: pair of (B, ...), or None for zero.

    Returns:
        Pair of (B, L, ...), the states.

    Example:

    >>> from keras_ssm.ops import varying_scan
    >>> zeros = ops.zeros((1, 3, 1))
    >>> log_lam = ops.array([[[0.0], [np.log(0.5)], [np.log(0.1)]]], "float32"), zeros
    >>> re, im = varying_scan.run_varying_scan(log_lam, (zeros + 1.0, zeros))
    >>> [round(float(value), 3) for value in re[0, :, 0]]
    [1.0, 1.5, 1.15]
    """
    length = ops.shape(b[0])[1]
    start = tuple(ops.zeros_like(z[:, 0]) for z in b) if x0 is None else x0
    x = _differentiable_scan(*(_chunks(z) for z in (*log_lam, *b)), *start)
    return _in_time(x[0], length), _in_time(x[1], length)


def _plain_scan(
    log_re: Tensor, log_im: Tensor, b_re: Tensor, b_im: Tensor, x0_re: Tensor, x0_im: Tensor
) -> Tensor:
    return ops.stack(_scan((log_re, log_im), (b_re, b_im), (x0_re, x0_im), _UNKNOWN_LENGTH_LEVELS))


def _gradient(inputs: Any, x: Tensor, dx: Tensor) -> tuple[Tensor, ...]:
    # g_k = dx_k + conj(lam_(k+1)) g_(k+1); then db = g, dx0 = conj(lam_0) g_0 and
    # dlog lam_k = g_k conj(lam_k x_(k-1)).
    log_re, log_im, _, _, x0_re, x0_im = inputs
    zero = ops.zeros_like(x0_re)
    following = tuple(_backwards(_following(z, zero)) for z in (log_re, -log_im))
    upstream = _backwards(dx[0]), _backwards(dx[1])
    g = _scan(following, upstream, (zero, zero), _UNKNOWN_LENGTH_LEVELS)
    g = tuple(_backwards(z) for z in g)
    lam = exp((log_re, log_im))
    carried = multiply(lam, (_before(x[0], x0_re), _before(x[1], x0_im)))
    dx0 = multiply(conj((lam[0][0, :, 0], lam[1][0, :, 0])), (g[0][0, :, 0], g[1][0, :, 0]))
    return (*multiply(g, conj(carried)), *g, *dx0)


_differentiable_scan = custom_gradient(_plain_scan, _gradient)


def _scan(log_lam: Pair, b: Pair, start: Pair, levels: int) -> Pair:
    """The scan of (Q, B, M, ...) without its gradient."""
    lam, M = exp(log_lam), ops.shape(b[0])[2]
    known = isinstance(M, int)
    if (known and M == 1) or (not known and levels == 0):
        return _steps(lam, b, (start[0][:, None], start[1][:, None]))
    zero = ops.zeros_like(b[0][0])
    ends = _steps(lam, b, (zero, zero), keep=False)
    log_chunk = tuple(ops.sum(z, axis=0) for z in log_lam)
    # Nothing follows the last chunk.
    count = M - 1 if known else M
    blocks = [_chunks(z[:, :count]) for z in (*log_chunk, *ends)]
    after = _scan((blocks[0], blocks[1]), (blocks[2], blocks[3]), start, levels - 1)
    carry = tuple(
        ops.concatenate([s[:, None], _in_time(z, count)], axis=1)[:, :M]
        for s, z in zip(start, after, strict=True)
    )
    return _steps(lam, b, carry)


def _steps(lam: Pair, b: Pair, x: Pair, keep: bool = True) -> Any:
    """Q steps of all chunks side by side: the states or, unless they are kept, the last one."""
    last, states = ops.scan(_step if keep else _silent_step, x, (*lam, *b))
    return states if keep else last


def _step(x: Pair, lam_and_b: tuple[Tensor, ...]) -> tuple[Pair, Pair]:
    lam_re, lam_im, b_re, b_im = lam_and_b
    carried = multiply((lam_re, lam_im), x)
    x = carried[0] + b_re, carried[1] + b_im
    return x, x


def _silent_step(x: Pair, lam_and_b: tuple[Tensor, ...]) -> tuple[Pair, None]:
    return _step(x, lam_and_b)[0], None


def _chunks(z: Tensor) -> Tensor:
    """(B, L, ...) to (Q, B, M, ...), with zeros after the last step."""
    batch, length, *rest = ops.shape(z)
    size = min(length, _CHUNK) if isinstance(length, int) else _CHUNK
    padding = chunk_padding(length, size)
    if not isinstance(padding, int) or padding:
        z = ops.pad(z, ((0, 0), (0, padding), *((0, 0) for _ in rest)))
    z = ops.reshape(z, (batch, chunk_count(length, size), size, *rest))
    return ops.transpose(z, (2, 0, 1, *range(3, len(rest) + 3)))


def _in_time(z: Tensor, length: Tensor) -> Tensor:
    """(Q, B, M, ...) to (B, L, ...)."""
    Q, batch, M, *rest = ops.shape(z)
    z = ops.transpose(z, (1, 2, 0, *range(3, len(rest) + 3)))
    return ops.reshape(z, (batch, M * Q, *rest))[:, :length]


def _backwards(z: Tensor) -> Tensor:
    """The steps of (Q, B, M, ...) in reversed order."""
    return ops.flip(ops.flip(z, axis=0), axis=2)


def _before(z: Tensor, start: Tensor) -> Tensor:
    """z_(k-1) of (Q, B, M, ...), with `start` (B, ...) before the first step."""
    first = ops.concatenate([start[:, None], z[-1, :, :-1]], axis=1)
    return ops.concatenate([first[None], z[:-1]], axis=0)


def _following(z: Tensor, end: Tensor) -> Tensor:
    """z_(k+1) of (Q, B, M, ...), with `end` (B, ...) after the last step."""
    last = ops.concatenate([z[0, :, 1:], end[:, None]], axis=1)
    return ops.concatenate([z[1:], last[None]], axis=0)
