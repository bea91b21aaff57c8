"""NumPy: inference only."""

import functools
from typing import Any

import numpy as np

from keras_ssm.backend import projections


def project(
    a: np.ndarray, b: np.ndarray, transpose_a: bool = False, transpose_b: bool = False
) -> np.ndarray:
    """Product in the precision of a `Dense` layer, for projections of whole sequences."""
    return np.matmul(a.T if transpose_a else a, b.T if transpose_b else b)


project_in = functools.partial(projections.project_in, project)
project_out = functools.partial(projections.project_out, project)


def matmul(a: np.ndarray, b: np.ndarray, transpose_a: bool = False) -> np.ndarray:
    """Product in the precision of the inputs."""
    return np.matmul(np.swapaxes(a, -1, -2) if transpose_a else a, b)


def accumulate(start: np.ndarray, *products: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """`start` plus the matrix products of some pairs."""
    return sum((np.matmul(a, b) for a, b in products), start)


def inner_product(g: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sum g conj(x) over the last axis, for complex numbers as (P, 2, N): (P,) and (P,)."""
    products = matmul(g, np.swapaxes(x, 1, 2))
    return products[:, 0, 0] + products[:, 1, 1], products[:, 1, 0] - products[:, 0, 1]


def lagged_inner_product(
    g: np.ndarray, x: np.ndarray, later: slice, earlier: slice
) -> tuple[np.ndarray, np.ndarray]:
    """sum g_k conj(x_(k-1)) over chunks (P, 2, Q, N), `later` and `earlier` being slices of Q."""
    return inner_product(
        g[:, :, later].reshape(len(g), 2, -1), x[:, :, earlier].reshape(len(x), 2, -1)
    )


def convolve(u: np.ndarray, kernel: np.ndarray, n: int) -> np.ndarray:
    """Cyclic convolution of length n of u (B, L, H) by kernels (C, H, K): (B, L, C H)."""
    B, L = u.shape[:2]
    rows = np.moveaxis(u, 2, 0)  # (H, B, L)
    kernel_f = np.fft.rfft(kernel, n)[:, :, None]
    y = np.fft.irfft(np.fft.rfft(rows, n) * kernel_f, n)[..., :L]  # (C, H, B, L)
    return y.reshape(-1, B * L).T.reshape(B, L, -1).astype(u.dtype)


def cos_sin(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine."""
    return np.cos(x), np.sin(x)


def at_most(x: np.ndarray, bound: float) -> np.ndarray:
    """The smaller of x and a number."""
    return np.minimum(x, x.dtype.type(bound))


def arctan2(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Angle of (x, y), in the precision of the inputs (`keras.ops` drops float64 in torch)."""
    return np.arctan2(y, x)


def compiled(model: Any) -> Any:
    """A Keras model in inference mode as a function of its inputs."""
    return lambda inputs: model(inputs, training=False)


def fused(*static: str) -> Any:
    """Decorates pure functions; of use to JAX only."""
    return lambda function: function
