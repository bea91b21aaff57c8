"""S4D as its paper writes it, in plain TensorFlow: complex numbers and the tape's gradients."""

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
