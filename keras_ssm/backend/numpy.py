"""NumPy: inference only."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_ssm.backend import activations, projections


def dense_matmul(
    a: np.ndarray, b: np.ndarray, transpose_a: bool = False, transpose_b: bool = False
) -> np.ndarray:
    """Product in the precision of a `Dense` layer, for projections of whole sequences."""
    return np.matmul(a.T if transpose_a else a, b.T if transpose_b else b)


project_in = functools.partial(projections.project_in, dense_matmul)
project_out = functools.partial(projections.project_out, dense_matmul)
project_outer = functools.partial(projections.project_outer, dense_matmul)
project_onto = functools.partial(projections.project_onto, dense_matmul)


def precise_matmul(a: np.ndarray, b: np.ndarray, transpose_a: bool = False) -> np.ndarray:
    """Product in the precision of the inputs."""
    # A growing mode may overflow beyond the end of the sequence, where nothing is read.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.matmul(np.swapaxes(a, -1, -2) if transpose_a else a, b)


def accumulate(start: np.ndarray, *products: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """`start` plus the matrix products of some pairs."""
    return sum((precise_matmul(a, b) for a, b in products), start)


def inner_product(g: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sum g conj(x) over the last axis, for complex numbers as (P, 2, N): (P,) and (P,)."""
    products = precise_matmul(g, np.swapaxes(x, 1, 2))
    return products[:, 0, 0] + products[:, 1, 1], products[:, 1, 0] - products[:, 0, 1]


def lagged_inner_product(
    g: np.ndarray, x: np.ndarray, later: slice, earlier: slice
) -> tuple[np.ndarray, np.ndarray]:
    """sum g_k conj(x_(k-1)) over chunks (P, 2, Q, N), `later` and `earlier` being slices of Q."""
    return inner_product(
        g[:, :, later].reshape(len(g), 2, -1), x[:, :, earlier].reshape(len(x), 2, -1)
    )


def custom_gradient(
    plain: Callable[..., Any],
    gradient: Callable[..., Any],
    forward: Callable[..., Any] | None = None,
    shared: Callable[[], bool] | None = None,
    keeps_output: bool = True,
) -> Callable[..., np.ndarray]:
    """`plain`: there are no gradients here."""
    return plain


def convolve(u: np.ndarray, kernel: np.ndarray, n: int) -> np.ndarray:
    """Cyclic convolution of length n of u (B, L, H) by kernels (C, H, K): (B, L, C H)."""
    B, L = u.shape[:2]
    rows = np.moveaxis(u, 2, 0)  # (H, B, L)
    kernel_f = np.fft.rfft(kernel, n)[:, :, None]
    y = np.fft.irfft(np.fft.rfft(rows, n) * kernel_f, n)[..., :L]  # (C, H, B, L)
    return y.reshape(-1, B * L).T.reshape(B, L, -1).astype(u.dtype)


def layer_norm(layer: Any, x: np.ndarray) -> np.ndarray:
    """Keras' layer normalization over the last axis."""
    return layer(x)


def cos_sin(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine."""
    return np.cos(x), np.sin(x)


def at_most(x: np.ndarray, bound: float) -> np.ndarray:
    """The smaller of x and a number."""
    return np.minimum(x, x.dtype.type(bound))


def take(x: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
    """The entries of x along an axis, at indices of any shape."""
    return np.take(x, indices, axis=axis)


def is_traced() -> bool:
    """Whether a model may be on its way into a file, rather than run."""
    return False


def with_rows(x: np.ndarray, rows: Any, message: str) -> np.ndarray:
    """x itself: a number of rows is known before anything runs."""
    return x


def arctan2(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Angle of (x, y), in the precision of the inputs (`keras.ops` drops float64 in torch)."""
    return np.arctan2(y, x)


def compiled(model: Any) -> Any:
    """A Keras model in inference mode as a function of its inputs."""
    return lambda inputs: model(inputs, training=False)


def jit(*static: str) -> Any:
    """Decorates pure functions; used only by JAX."""
    return lambda function: function


def traced_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function: nothing is traced here."""
    return function


def lifted() -> Any:
    """A context in which variables are made; used only by TensorFlow."""
    return contextlib.nullcontext()


# Keras' own steps are as fast.
adam_update = None


gelu = activations.gelu
glu = activations.glu
