"""S4 as its paper writes it, in plain TensorFlow: the kernel's transform as sums over modes."""

# ruff: noqa: TID251

import math
from typing import Any

import tensorflow as tf

from peers.textbook_tensorflow import convolution


def s4(weights: Any, u: tf.Tensor) -> tf.Tensor:
    """S4 on u (B, L, H), through the whole (4, H, N, L/2 + 1) tensor of Cauchy's quotients.

    That is `cauchy_naive` of state-spaces/s4. As there, the weight C stands for the
    system's C (I - A_bar^L).
    """
    log_step, log_re, im, *pairs, D = weights
    L = u.shape[1]
    modes = tf.complex(-tf.exp(log_re), im), *(tf.complex(z[..., 0], z[..., 1]) for z in pairs)
    A, P, B, C = (tf.concat([z, tf.math.conj(z)], axis=-1) for z in modes)
    dt = tf.cast(tf.exp(log_step)[:, None], A.dtype)
    angle = -2 * math.pi * tf.range(L // 2 + 1, dtype=u.dtype) / L
    omega = tf.complex(tf.cos(angle), tf.sin(angle))
    z = 2 * (1 - omega) / (1 + omega)
    v = dt * tf.stack([C * B, C * P, tf.math.conj(P) * B, tf.math.conj(P) * P])
    CB, CP, PB, PP = tf.unstack(tf.reduce_sum(v[..., None] / (z - (dt * A)[..., None]), axis=2))
    transform = (CB - CP * PB / (1 + PP)) * 2 / (1 + omega)
    kernel = tf.signal.irfft(transform, [L])
    u = tf.transpose(u, (0, 2, 1))
    return tf.transpose(convolution(u, kernel) + D[:, None] * u, (0, 2, 1))
