"""S4D and S5 as their papers write them, in plain TensorFlow: complex numbers and tapes."""

# ruff: noqa: TID251

from typing import Any

import tensorflow as tf


def convolution(u: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Causal convolution of u (B, H, L) with a kernel (H, L), zero-padded to 2L."""
    L = u.shape[-1]
    spectrum = tf.signal.rfft(u, [2 * L]) * tf.signal.rfft(kernel, [2 * L])
    return tf.signal.irfft(spectrum, [2 * L])[..., :L]


def s4d(weights: Any, u: tf.Tensor) -> tf.Tensor:
    """S4D on u (B, L, H), through the whole (H, N/2, L) tensor of powers."""
    log_step, log_re, im, C, D = weights
    A = tf.complex(-tf.exp(log_re), im)
    dt = tf.exp(log_step)[:, None]
    dtA = tf.complex(dt, tf.zeros_like(dt)) * A
    Ct = tf.complex(C[..., 0], C[..., 1]) * (tf.exp(dtA) - 1) / A
    powers = tf.exp(dtA[..., None] * tf.cast(tf.range(u.shape[1]), A.dtype))
    kernel = 2 * tf.math.real(tf.einsum("hn,hnl->hl", Ct, powers))
    u = tf.transpose(u, (0, 2, 1))
    return tf.transpose(convolution(u, kernel) + D[:, None] * u, (0, 2, 1))


def scan(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """All prefixes of the maps x -> a x + b, a (L, P) and b (B, L, P), by a tree.

    Neighbours are composed, which leaves a scan of half the length for the odd
    places; one more composition each gives the even ones.
    """
    L = b.shape[1]
    if L == 1:
        return a, b
    first, second = slice(0, L - 1, 2), slice(1, L, 2)
    odd_a, odd_b = scan(a[second] * a[first], b[:, second] + a[second] * b[:, first])
    later = slice(2, L, 2)
    before_a, before_b = (odd_a, odd_b) if L % 2 else (odd_a[:-1], odd_b[:, :-1])
    even_a = tf.concat([a[:1], a[later] * before_a], axis=0)
    even_b = tf.concat([b[:, :1], b[:, later] + a[later] * before_b], axis=1)
    return _interleave(even_a, odd_a, 0), _interleave(even_b, odd_b, 1)


def _interleave(even: tf.Tensor, odd: tf.Tensor, axis: int) -> tf.Tensor:
    n, shape = odd.shape[axis], tf.shape(odd)
    head, rest = tf.split(even, [n, even.shape[axis] - n], axis=axis)
    shape = tf.concat([shape[:axis], [2 * n], shape[axis + 1 :]], axis=0)
    return tf.concat([tf.reshape(tf.stack([head, odd], axis + 1), shape), rest], axis=axis)


def s5(weights: Any, u: tf.Tensor) -> tf.Tensor:
    """S5 on u (B, L, H), by a tree scan over complex states, one or two ways."""
    re, im, B, D, log_step, *Cs = weights
    Lambda, dt = tf.complex(re, im), tf.exp(log_step)
    lam = tf.exp(Lambda * tf.cast(dt, Lambda.dtype))
    B_bar = ((lam - 1) / Lambda)[:, None] * tf.complex(B[..., 0], B[..., 1])
    Bu, y = tf.matmul(tf.cast(u, lam.dtype), B_bar, transpose_b=True), D * u
    a = tf.repeat(lam[None], u.shape[1], axis=0)
    for C, backwards in zip(Cs, (False, True), strict=False):
        _, x = scan(a, tf.reverse(Bu, [1]) if backwards else Bu)
        x = tf.reverse(x, [1]) if backwards else x
        C = tf.complex(C[..., 0], C[..., 1])
        y += 2 * tf.math.real(tf.matmul(x, C, transpose_b=True))
    return y
