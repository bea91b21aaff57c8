"""The linear recurrence: with constant steps by matrix products, with varying steps by doubling.

Constant steps: time is cut into chunks of Q steps. Inside a chunk the
recurrence is one product with the triangular matrix of powers lam^(j - i); the
states at the chunk ends obey the same recurrence with lam^Q, and are found by
the same routine. All work is batched matrix products over real pairs, log_Q(L)
levels deep.
"""

from typing import Any

import numpy as np
from keras import ops

from keras_ssm.backend import matmul
from keras_ssm.ops.complex import (
    Pair,
    Tensor,
    conj,
    exp,
    expm1,
    multiples,
    multiply,
    powers,
    scale,
)

_CHUNK = 16
# Levels for a length not known before the call: enough for 16^5 = 1,048,576 steps.
_UNKNOWN_LENGTH_LEVELS = 4
# The same for doublings: 2^20 steps.
_UNKNOWN_LENGTH_DOUBLINGS = 20


def scan(log_lam: Pair, b: Pair, x0: Pair | None = None) -> Pair:
    """x_k = lam x_(k-1) + b_k for all k, with x_(-1) = x0 (zero when None).

    Args:
        log_lam: pair of (P,).
        b: pair of (B, L, P).
        x0: pair of (B, P) or None.

    Returns:
        Pair of (B, L, P), the states.
    """
    b_re, b_im = (ops.transpose(z, (2, 0, 1)) for z in b)  # (P, B, L)
    if x0 is None:
        start_re = start_im = ops.zeros_like(b_re[:, :, :1])
    else:
        start_re, start_im = (ops.transpose(z, (1, 0))[..., None] for z in x0)
    x = _scan(log_lam, (b_re, b_im), (start_re, start_im), _UNKNOWN_LENGTH_LEVELS)
    return tuple(ops.transpose(z, (1, 2, 0)) for z in x)


def _scan(log_lam: Pair, b: Pair, start: Pair, levels: int) -> Pair:
    """The scan in the layout (P, B, L), with x_(-1) of shape (P, B, 1)."""
    P, B, length = ops.shape(b[0])
    known = isinstance(length, int)
    if (known and length <= _CHUNK) or (not known and levels == 0):
        size = length if known else _CHUNK
        return tuple(z[..., :length] for z in _chunk_states(log_lam, _pad(b, size), start, size))
    padded = _pad(b, _CHUNK)
    chunks = tuple(ops.reshape(z, (P, -1, _CHUNK)) for z in padded)  # (P, B M, Q)
    lam = powers(log_lam, _CHUNK - 1 - _arange(_CHUNK, log_lam))
    last = _real_form(tuple(z[..., None] for z in lam))  # (P, 2Q, 2)
    products = matmul(ops.concatenate(chunks, axis=-1), last)
    ends = ops.reshape(products[..., 0], (P, B, -1)), ops.reshape(products[..., 1], (P, B, -1))
    if known:
        # Nothing follows the last chunk: its end, padding included, would only risk an overflow.
        ends = ends[0][..., :-1], ends[1][..., :-1]
    after = _scan(scale(log_lam, _CHUNK), ends, start, levels - 1)
    count = ops.shape(padded[0])[-1] // _CHUNK
    carries = tuple(
        ops.reshape(ops.concatenate([s, z], axis=-1)[..., :count], (P, -1, 1))
        for s, z in zip(start, after, strict=True)
    )
    x = _chunk_states(log_lam, chunks, carries, _CHUNK)
    return tuple(ops.reshape(z, (P, B, -1))[..., :length] for z in x)


def _chunk_states(log_lam: Pair, b: Pair, carry: Pair, size: int) -> Pair:
    """States inside chunks: b of (P, G, Q), carry of (P, G, 1)."""
    exponents = multiples(log_lam, _arange(size + 1, log_lam))  # (P, Q + 1)
    lag = np.arange(size) - np.arange(size)[:, None]  # target - source
    later = ops.convert_to_tensor(np.maximum(lag, 0))
    table = tuple(
        ops.where(lag >= 0, ops.take(z, later, axis=1), ops.zeros_like(z[:, :1, None]))
        for z in exp(exponents)
    )
    # What the carry changes by: rounding that, and not lam, keeps slow modes from drifting.
    change = expm1((exponents[0][:, 1:], exponents[1][:, 1:]))
    rows = tuple(
        ops.concatenate([t, c[:, None]], axis=1) for t, c in zip(table, change, strict=True)
    )
    source = [ops.concatenate([z, c], axis=-1) for z, c in zip(b, carry, strict=True)]
    x = matmul(ops.concatenate(source, axis=-1), _real_form(rows))
    return x[..., :size] + carry[0], x[..., size:] + carry[1]


def _real_form(z: Pair) -> Tensor:
    """The real matrix of a complex product from the right: [[Re, Im], [-Im, Re]]."""
    top = ops.concatenate([z[0], z[1]], axis=-1)
    bottom = ops.concatenate([-z[1], z[0]], axis=-1)
    return ops.concatenate([top, bottom], axis=1)


def _pad(b: Pair, size: int) -> Pair:
    padding = -ops.shape(b[0])[-1] % size
    return tuple(ops.pad(z, ((0, 0), (0, 0), (0, padding))) for z in b)


def _arange(size: int, like: Pair) -> Tensor:
    return ops.cast(ops.arange(size), like[0].dtype)


def varying_scan(log_lam: Pair, b: Pair, x0: Pair | None = None) -> Pair:
    """x_k = lam_k x_(k-1) + b_k with another lam at every step.

    Logarithms are summed where lam would be multiplied, so that slow modes keep
    their digits over long sequences. A custom gradient keeps the memory linear
    in the length: the derivative is the same recurrence backwards, so that only
    the states have to be kept.

    Args:
        log_lam: pair of (B, L, ...), logarithms of lam.
        b: pair of (B, L, ...).
        x0: pair of (B, ...) or None for zero.

    Returns:
        Pair of (B, L, ...), the states.
    """
    if x0 is not None:
        start = multiply(exp((log_lam[0][:, 0], log_lam[1][:, 0])), x0)
        b = tuple(
            ops.concatenate([z[:, :1] + s[:, None], z[:, 1:]], axis=1)
            for z, s in zip(b, start, strict=True)
        )
    x = _differentiable_scan(log_lam[0], log_lam[1], b[0], b[1])
    return x[0], x[1]


@ops.custom_gradient
def _differentiable_scan(log_re: Tensor, log_im: Tensor, b_re: Tensor, b_im: Tensor) -> Any:
    x = ops.stack(_doubling((log_re, log_im), (b_re, b_im)))

    def gradient(*arguments: Tensor, upstream: Tensor | None = None) -> tuple[Tensor, ...]:
        # g_k = dy_k + conj(lam_(k+1)) g_(k+1), then db = g and
        # dlog lam_k = g_k conj(lam_k x_(k-1)).
        dx = arguments[0] if upstream is None else upstream
        following = tuple(_shift(ops.flip(z, axis=1), 1) for z in (log_re, -log_im))
        g = _doubling(following, (ops.flip(dx[0], axis=1), ops.flip(dx[1], axis=1)))
        g = tuple(ops.flip(z, axis=1) for z in g)
        carried = multiply(exp((log_re, log_im)), (_shift(x[0], 1), _shift(x[1], 1)))
        return (*multiply(g, conj(carried)), *g)

    return x, gradient


def _doubling(log_lam: Pair, b: Pair) -> Pair:
    """All prefixes by combining over distances 1, 2, 4, ... (Hillis and Steele, 1986)."""
    length = ops.shape(b[0])[1]
    known = isinstance(length, int)
    for level in range((length - 1).bit_length() if known else _UNKNOWN_LENGTH_DOUBLINGS):
        distance = 1 << level
        earlier = tuple(_shift(z, distance) for z in b)
        carried = multiply(exp(log_lam), earlier)
        b = b[0] + carried[0], b[1] + carried[1]
        log_lam = tuple(z + _shift(z, distance) for z in log_lam)
    return b


def _shift(x: Tensor, distance: int) -> Tensor:
    """x_(k - distance), and zeros where there is none."""
    length = ops.shape(x)[1]
    return ops.concatenate([ops.zeros_like(x[:, :distance]), x], axis=1)[:, :length]
