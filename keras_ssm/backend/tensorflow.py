"""TensorFlow."""

import contextlib
import functools
from typing import Any

import tensorflow as tf
from keras import ops

from keras_ssm.backend import activations, projections
from keras_ssm.backend.tensorflow_derivatives import custom_gradient


def dense_matmul(
    a: tf.Tensor, b: tf.Tensor, transpose_a: bool = False, transpose_b: bool = False
) -> tf.Tensor:
    """Product in the precision of a `Dense` layer, for projections of whole sequences.

    Transposed here and not before, so that TensorFlow makes the gradient untransposed too.
    """
    return tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)


project_in = functools.partial(projections.project_in, dense_matmul)
project_out = functools.partial(projections.project_out, dense_matmul)
project_outer = functools.partial(projections.project_outer, dense_matmul)
project_onto = functools.partial(projections.project_onto, dense_matmul)


def precise_matmul(a: tf.Tensor, b: tf.Tensor, transpose_a: bool = False) -> tf.Tensor:
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
    return tf.add_n([start, *(precise_matmul(a, b) for a, b in products)])


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
    return (_convolution(n) if isinstance(n, int) else _convolution.__wrapped__(n))(u, kernel)


def _always() -> bool:
    return True


@functools.lru_cache(maxsize=64)
def _convolution(n: Any) -> Any:
    def plain(u: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        C, H, _ = kernel.shape
        y_f = _rows_f(u, n, H) * tf.signal.rfft(kernel, [n])[:, :, None]
        return _columns(y_f, n, u, C * H)

    def gradient(inputs: Any, _: Any, g: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        u, kernel = inputs
        C, H, K = kernel.shape
        g_f, u_f = _rows_f(g, n, C, H), _rows_f(u, n, H)
        kernel_f = tf.signal.rfft(kernel, [n])[:, :, None]
        du_f = tf.reduce_sum(g_f * tf.math.conj(kernel_f), axis=0)
        d_kernel_f = tf.reduce_sum(g_f * tf.math.conj(u_f), axis=2)
        d_kernel = tf.signal.irfft(d_kernel_f, [n])[..., : tf.shape(kernel)[-1]]
        return _columns(du_f, n, u, H), _of_shape(d_kernel, (C, H, K))

    return custom_gradient(plain, gradient, shared=_always if isinstance(n, int) else None)


def _rows_f(x: tf.Tensor, n: Any, *leading: int) -> tf.Tensor:
    """Spectra (..., B, F) of (B, L, ...)."""
    B, L, _ = tf.unstack(tf.shape(x))
    x = tf.transpose(tf.reshape(x, (B * L, -1)))
    return tf.signal.rfft(tf.reshape(x, (*leading, B, L)), [n])


def _columns(y_f: tf.Tensor, n: Any, u: tf.Tensor, width: int) -> tf.Tensor:
    """(B, L, width) of spectra (..., B, F)."""
    B, L, _ = tf.unstack(tf.shape(u))
    y = tf.reshape(tf.signal.irfft(y_f, [n])[..., :L], (width, B * L))
    return _of_shape(tf.reshape(tf.transpose(y), (B, L, width)), (*u.shape[:2], width))


def _of_shape(x: tf.Tensor, shape: Any) -> tf.Tensor:
    """x with a declared shape; TensorFlow's forward mode lacks `tf.ensure_shape` in a graph."""
    x.set_shape(shape)
    return x


def layer_norm(layer: Any, x: tf.Tensor) -> tf.Tensor:
    """Keras' layer normalization over the last axis."""
    inputs = activations.norm_inputs(layer, x)
    if inputs is None:
        return layer(x)
    return ops.cast(_layer_norm(layer.epsilon)(*inputs), layer.compute_dtype)


def cos_sin(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cosine and sine, as exact as polynomials and faster except for large tables under XLA."""
    return tf.cos(x), tf.sin(x)


def at_most(x: tf.Tensor, bound: float) -> tf.Tensor:
    """The smaller of x and a number."""
    return tf.minimum(x, tf.cast(bound, x.dtype))


def take(x: tf.Tensor, indices: tf.Tensor, axis: int) -> tf.Tensor:
    """The entries of x along an axis, at indices of any shape."""
    return tf.gather(x, indices, axis=axis)


def is_traced() -> bool:
    """Whether a model may be on its way into a file, rather than run."""
    return not tf.executing_eagerly()


def with_rows(x: tf.Tensor, rows: tf.Tensor, message: str) -> tf.Tensor:
    """x, refused when it runs if a number of rows that is known only then is not its own."""
    # Taken row by row, so that no shape disagrees anywhere: errors of shape do not wait for the
    # check, and the first of all errors of a step is the one that is raised.
    alike = tf.debugging.assert_equal(rows, x.shape[0], message)
    with tf.control_dependencies([alike]):
        return tf.gather(x, tf.range(rows) % x.shape[0])


def arctan2(y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Angle of (x, y), in the precision of the inputs (`keras.ops` drops float64 in torch)."""
    return tf.atan2(y, x)


def compiled(model: Any) -> Any:
    """A Keras model in inference mode as a compiled function of its inputs."""
    # Without autograph: there is no control flow to convert, and layers of users may not convert.
    return tf.function(lambda inputs: model(inputs, training=False), autograph=False)


def jit(*static: str) -> Any:
    """Decorates pure functions; used only by JAX."""
    return lambda function: function


def traced_once(function: Any) -> Any:
    """The function: what has a gradient of its own is shared (see `tensorflow_derivatives`)."""
    return function


def lifted() -> Any:
    """A context for making variables, outside of a graph, which would be traced again for them."""
    return contextlib.nullcontext() if tf.distribute.has_strategy() else tf.init_scope()


def adam_update(
    variable: Any,
    momentum: Any,
    velocity: Any,
    gradient: Any,
    rate: Any,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """A step of Adam with a bias-corrected rate: Keras' arithmetic, in fewer operations.

    `ResourceApplyAdam`, which is a single one, has 1 - beta_2 to only four digits.
    """
    gradient, rate = (tf.cast(x, variable.dtype) for x in (gradient, rate))
    m, v = momentum.value, velocity.value
    m = m.assign_add((gradient - m) * (1 - beta_1), read_value=True)
    v = v.assign_add((tf.square(gradient) - v) * (1 - beta_2), read_value=True)
    variable.assign_sub(m * rate / (tf.sqrt(v) + epsilon), read_value=False)


def gelu(x: tf.Tensor, approximate: bool) -> tf.Tensor:
    """The exact gelu, or its approximation by tanh."""
    return _gelu(approximate)(x)


@functools.cache
def _gelu(approximate: bool) -> Any:
    gradient = functools.partial(activations.gelu_gradient, approximate)
    return custom_gradient(lambda x: activations.gelu(x, approximate), gradient, shared=_always)


# TensorFlow's own gradient keeps no more, since it has an operation for that of a sigmoid.
glu = activations.glu


@functools.cache
def _layer_norm(epsilon: float) -> Any:
    forward = functools.partial(activations.norm_forward, _mean, epsilon)
    gradient = functools.partial(activations.norm_gradient, _mean)
    return custom_gradient(lambda *inputs: forward(*inputs)[0], gradient, forward, shared=_always)


def _mean(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(x, axis=-1, keepdims=True)
