"""JAX."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from keras_ssm.backend import projections, trigonometry

# So few that XLA's routine of the CPU, 16 ns a number (see `trigonometry`), costs nothing.
_FEW = 4096


def project(
    a: jax.Array, b: jax.Array, transpose_a: bool = False, transpose_b: bool = False
) -> jax.Array:
    """Product in the precision of a `Dense` layer, for projections of whole sequences."""
    return jnp.matmul(a.mT if transpose_a else a, b.mT if transpose_b else b)


project_in = functools.partial(projections.project_in, project)
project_out = functools.partial(projections.project_out, project)


def matmul(a: jax.Array, b: jax.Array, transpose_a: bool = False) -> jax.Array:
    """Product in full float32: powers and carries do not survive TF32 or bfloat16 rounding."""
    return jnp.matmul(a.mT if transpose_a else a, b, precision="highest")


def accumulate(start: jax.Array, *products: tuple[jax.Array, jax.Array]) -> jax.Array:
    """`start` plus the matrix products of some pairs, in full float32."""
    return sum((matmul(a, b) for a, b in products), start)


def inner_product(g: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """sum g conj(x) over the last axis, for complex numbers as (P, 2, N): (P,) and (P,)."""
    return _conjugate_sums(matmul(g, jnp.swapaxes(x, 1, 2)))


def lagged_inner_product(
    g: jax.Array, x: jax.Array, later: slice, earlier: slice
) -> tuple[jax.Array, jax.Array]:
    """sum g_k conj(x_(k-1)) over chunks (P, 2, Q, N), `later` and `earlier` being slices of Q.

    As a product of the chunks as they lie, of which the band beside the
    diagonal is read: slices of g and x would be copies, a tenth of the time
    and of the memory traffic of a whole scan.
    """
    P, _, Q, _ = g.shape
    products = matmul(g.reshape(P, 2 * Q, -1), jnp.swapaxes(x.reshape(P, 2 * Q, -1), 1, 2))
    band = products.reshape(P, 2, Q, 2, Q)[:, :, later, :, earlier]
    return _conjugate_sums(jnp.trace(band, axis1=2, axis2=4))


def _conjugate_sums(products: jax.Array) -> tuple[jax.Array, jax.Array]:
    """sum g conj(x) from the sums of products of their parts, (P, 2, 2)."""
    return products[:, 0, 0] + products[:, 1, 1], products[:, 1, 0] - products[:, 0, 1]


def fused(*static: str) -> Any:
    """Decorates pure functions: outside `jit`, one compilation in place of one for every operation.

    A first call of S5 outside `jit` takes a third of the time; inside, JAX
    traces the function once however many layers call it. `static` names the
    arguments that are not tensors.
    """
    return functools.partial(jax.jit, static_argnames=static)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(u: jax.Array, kernel: jax.Array, n: int) -> jax.Array:
    """Cyclic convolution of length n of u (B, L, H) by kernels (C, H, K): (B, L, C H).

    The gradient transforms u and the kernel again, which costs no more than
    JAX's own derivative of an FFT, and keeps no spectrum.
    """
    u_f, kernel_f = jnp.fft.rfft(_rows(u), n), jnp.fft.rfft(kernel, n)
    return _columns(jnp.fft.irfft(u_f * kernel_f[:, :, None], n), u.shape[1])


def _convolve_forward(u: jax.Array, kernel: jax.Array, n: int) -> tuple[jax.Array, Any]:
    return convolve(u, kernel, n), (u, kernel)


def _convolve_backward(n: int, kept: Any, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    u, kernel = kept
    g_f = jnp.fft.rfft(_rows(g).reshape(*kernel.shape[:2], *g.shape[:2]), n)  # (C, H, B, F)
    u_f, kernel_f = jnp.fft.rfft(_rows(u), n), jnp.fft.rfft(kernel, n)
    du = jnp.fft.irfft(jnp.sum(g_f * jnp.conj(kernel_f)[:, :, None], axis=0), n)
    d_kernel = jnp.fft.irfft(jnp.sum(g_f * jnp.conj(u_f), axis=2), n)
    return _columns(du, u.shape[1]), d_kernel[..., : kernel.shape[-1]]


convolve.defvjp(_convolve_forward, _convolve_backward)


def _rows(u: jax.Array) -> jax.Array:
    """(B, L, H) to (H, B, L)."""
    return jnp.moveaxis(u, 2, 0)


def _columns(y: jax.Array, length: int) -> jax.Array:
    """(..., H, B, L) and what follows L to (B, L, ... H)."""
    y = y[..., :length].reshape(-1, y.shape[-2], length)
    return jnp.moveaxis(y, 0, 2)


def cos_sin(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine, of few numbers by JAX's own: they compile in a fraction of the time."""
    if x.dtype != jnp.float32 or x.size <= _FEW:
        return jnp.cos(x), jnp.sin(x)
    return trigonometry.cos_sin(x)


def at_most(x: jax.Array, bound: float) -> jax.Array:
    """The smaller of x and a number."""
    return jnp.minimum(x, bound)


def arctan2(y: jax.Array, x: jax.Array) -> jax.Array:
    """Angle of (x, y), in the precision of the inputs (`keras.ops` drops float64 in torch)."""
    return jnp.arctan2(y, x)


def compiled(model: Any) -> Any:
    """A Keras model in inference mode as a compiled function of its inputs."""

    @jax.jit
    def run(trainable: list[Any], fixed: list[Any], inputs: list[Any]) -> Any:
        return model.stateless_call(trainable, fixed, inputs, training=False)[0]

    return lambda inputs: run(
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
        inputs,
    )
