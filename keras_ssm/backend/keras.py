"""Any Keras backend, in `keras.ops` alone.

For backends without a module of their own: OpenVINO, and those that live outside
Keras. It says nothing of gradients, which are the framework's own where it
has any, nor of the precision of products, which `keras.ops` leaves to the
framework.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from keras import ops

from keras_ssm.backend import activations, projections, trigonometry


def dense_matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    """Product in the precision of a `Dense` layer, for projections of whole sequences."""
    return ops.matmul(_transposed(a) if transpose_a else a, _transposed(b) if transpose_b else b)


def _transposed(a: Any) -> Any:
    return ops.swapaxes(a, -1, -2)


project_in = functools.partial(projections.project_in, dense_matmul)
project_out = functools.partial(projections.project_out, dense_matmul)
project_outer = functools.partial(projections.project_outer, dense_matmul)
project_onto = functools.partial(projections.project_onto, dense_matmul)


def precise_matmul(a: Any, b: Any, transpose_a: bool = False) -> Any:
    """Product in the framework's own precision."""
    return ops.matmul(_transposed(a) if transpose_a else a, b)


def accumulate(start: Any, *products: tuple[Any, Any]) -> Any:
    """`start` plus the matrix products of some pairs."""
    return sum((ops.matmul(a, b) for a, b in products), start)


def inner_product(g: Any, x: Any) -> tuple[Any, Any]:
    """sum g conj(x) over the last axis, for complex numbers as (P, 2, N): (P,) and (P,)."""
    products = precise_matmul(g, ops.swapaxes(x, 1, 2))
    return products[:, 0, 0] + products[:, 1, 1], products[:, 1, 0] - products[:, 0, 1]


def lagged_inner_product(g: Any, x: Any, later: slice, earlier: slice) -> tuple[Any, Any]:
    """sum g_k conj(x_(k-1)) over chunks (P, 2, Q, N), `later` and `earlier` being slices of Q."""
    parts = (ops.shape(g)[0], 2, -1)
    return inner_product(ops.reshape(g[:, :, later], parts), ops.reshape(x[:, :, earlier], parts))


def custom_gradient(
    plain: Callable[..., Any],
    gradient: Callable[..., Any],
    forward: Callable[..., Any] | None = None,
    shared: Callable[[], bool] | None = None,
    keeps_output: bool = True,
) -> Callable[..., Any]:
    """`plain`: `keras.ops` has no custom gradients that every framework takes."""
    return plain


def convolve(u: Any, kernel: Any, n: Any) -> Any:
    """Cyclic convolution of length n of u (B, L, H) by kernels (C, H, K): (B, L, C H)."""
    B, L, H = ops.shape(u)
    C = kernel.shape[0]
    u_re, u_im = ops.rfft(ops.transpose(u, (2, 0, 1)), n)  # (H, B, F)
    kernel_re, kernel_im = (z[:, :, None] for z in ops.rfft(kernel, n))  # (C, H, 1, F)
    product = u_re * kernel_re - u_im * kernel_im, u_re * kernel_im + u_im * kernel_re
    y = ops.irfft(product, n)[..., :L]  # (C, H, B, L)
    return ops.reshape(ops.transpose(y, (2, 3, 0, 1)), (B, L, C * H))


def layer_norm(layer: Any, x: Any) -> Any:
    """Keras' layer normalization over the last axis."""
    return layer(x)


def cos_sin(x: Any) -> tuple[Any, Any]:
    """Cosine and sine, by arithmetic that is the same everywhere."""
    if "float32" in str(x.dtype):
        return trigonometry.cos_sin(x)
    return ops.cos(x), ops.sin(x)


def at_most(x: Any, bound: float) -> Any:
    """The smaller of x and a number."""
    return ops.minimum(x, bound)


def take(x: Any, indices: Any, axis: int) -> Any:
    """The entries of x along an axis, at indices of any shape."""
    return ops.take(x, indices, axis=axis)


def is_traced() -> bool:
    """Whether a model may be on its way into a file, rather than run."""
    return True


def with_rows(x: Any, rows: Any, message: str) -> Any:
    """x itself."""
    return x


def arctan2(y: Any, x: Any) -> Any:
    """Angle of (x, y)."""
    return ops.arctan2(y, x)


def compiled(model: Any) -> Any:
    """A Keras model in inference mode as a function of its inputs."""
    return lambda inputs: model(inputs, training=False)


def jit(*static: str) -> Any:
    """Decorates pure functions; used only by JAX."""
    return lambda function: function


def traced_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function."""
    return function


def lifted() -> Any:
    """A context in which variables are made; used only by TensorFlow."""
    return contextlib.nullcontext()


# Keras' own steps are as fast.
adam_update = None
gelu = activations.gelu
glu = activations.glu
