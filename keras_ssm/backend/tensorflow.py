"""TensorFlow."""

import functools
from typing import Any

import tensorflow as tf

from keras_ssm.backend import projections


def project(
    a: tf.Tensor, b: tf.Tensor, transpose_a: bool = False, transpose_b: bool = False
) -> tf.Tensor:
    """Product in the precision of a `Dense` layer, for projections of whole sequences.

    Transposed here and not before, so that TensorFlow makes the gradient untransposed too.
    """
    return tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)


project_in = functools.partial(projections.project_in, project)
project_out = functools.partial(projections.project_out, project)


def matmul(a: tf.Tensor, b: tf.Tensor, transpose_a: bool = False) -> tf.Tensor:
    """Product in full float32: powers and carries do not survive TF32 rounding.

    TensorFlow has no precision argument. Where it would round float32 to the 10
    bits of TF32, both factors are split into parts that it does not round.
    """
    if a.dtype != tf.float32 or not rounds_to_tf32():
        return tf.matmul(a, b, transpose_a)
    (a, a_rest), (b, b_rest) = split(a), split(b)
    return tf.matmul(a, b, transpose_a) + (
        tf.matmul(a, b_rest, transpose_a) + tf.matmul(a_rest, b, transpose_a)
    )


def rounds_to_tf32() -> bool:
    """Whether matrix products may run in TF32."""
    enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    return bool(enabled and tf.config.list_physical_devices("GPU"))


def split(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The nearest number of 10 bits, exact in TF32, and the rest."""
    bits = tf.bitcast(x, tf.int32) + (1 << 12)
    rounded = tf.bitcast(tf.bitwise.bitwise_and(bits, -(1 << 13)), tf.float32)
    x_rounded = x + tf.stop_gradient(rounded - x)
    return x_rounded, x - x_rounded


def accumulate(start: tf.Tensor, *products: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """`start` plus the matrix products of some pairs."""
    return tf.add_n([start, *(matmul(a, b) for a, b in products)])


def inner_product(g: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """sum g conj(x) over the last axis, for complex numbers as (P, 2, N): (P,) and (P,)."""
    # Not by tf.matmul, which takes 2.6 times as long for these long, thin factors.
    re = tf.reduce_sum(g * x, axis=(1, 2))
    return re, tf.reduce_sum(g[:, 1] * x[:, 0] - g[:, 0] * x[:, 1], axis=1)


def lagged_inner_product(
    g: tf.Tensor, x: tf.Tensor, later: slice, earlier: slice
) -> tuple[tf.Tensor, tf.Tensor]:
    """sum g_k conj(x_(k-1)) over chunks (P, 2, Q, N), `later` and `earlier` being slices of Q."""
    P = tf.shape(g)[0]
    return inner_product(
        tf.reshape(g[:, :, later], (P, 2, -1)), tf.reshape(x[:, :, earlier], (P, 2, -1))
    )


def convolve(u: tf.Tensor, kernel: tf.Tensor, n: Any) -> tf.Tensor:
    """Cyclic convolution of length n of u (B, L, H) by kernels (C, H, K): (B, L, C H).

    The gradient transforms u and the kernel again and keeps no spectrum. It
    takes half the time of TensorFlow's own derivative of an FFT.
    """
    C, H, K = kernel.shape
    B, L, _ = tf.unstack(tf.shape(u))
    static = u.shape[:2]

    def rows_f(x: tf.Tensor, *leading: int) -> tf.Tensor:
        """Spectra (..., B, F) of (B, L, ...)."""
        x = tf.transpose(tf.reshape(x, (B * L, -1)))
        return tf.signal.rfft(tf.reshape(x, (*leading, B, L)), [n])

    def columns(y_f: tf.Tensor, width: int) -> tf.Tensor:
        """(B, L, width) of spectra (..., B, F)."""
        y = tf.reshape(tf.signal.irfft(y_f, [n])[..., :L], (width, B * L))
        return tf.ensure_shape(tf.reshape(tf.transpose(y), (B, L, width)), (*static, width))

    @tf.custom_gradient
    def run(u: tf.Tensor, kernel: tf.Tensor) -> Any:
        def gradient(g: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            g_f, u_f = rows_f(g, C, H), rows_f(u, H)
            kernel_f = tf.signal.rfft(kernel, [n])[:, :, None]
            du_f = tf.reduce_sum(g_f * tf.math.conj(kernel_f), axis=0)
            d_kernel_f = tf.reduce_sum(g_f * tf.math.conj(u_f), axis=2)
            d_kernel = tf.signal.irfft(d_kernel_f, [n])[..., : tf.shape(kernel)[-1]]
            return columns(du_f, H), tf.ensure_shape(d_kernel, (C, H, K))

        y_f = rows_f(u, H) * tf.signal.rfft(kernel, [n])[:, :, None]
        return columns(y_f, C * H), gradient

    return run(u, kernel)


def cos_sin(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cosine and sine, as exact as polynomials and faster except for large tables under XLA."""
    return tf.cos(x), tf.sin(x)


def at_most(x: tf.Tensor, bound: float) -> tf.Tensor:
    """The smaller of x and a number."""
    return tf.minimum(x, tf.cast(bound, x.dtype))


def arctan2(y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Angle of (x, y), in the precision of the inputs (`keras.ops` drops float64 in torch)."""
    return tf.atan2(y, x)


def compiled(model: Any) -> Any:
    """A Keras model in inference mode as a compiled function of its inputs."""
    return tf.function(lambda inputs: model(inputs, training=False))


def fused(*static: str) -> Any:
    """Decorates pure functions; of use to JAX only."""
    return lambda function: function
