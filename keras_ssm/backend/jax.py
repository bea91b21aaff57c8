"""JAX."""

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
from keras import ops

from keras_ssm.backend import activations, projections, trigonometry
from keras_ssm.backend.jax_derivatives import custom_gradient
from keras_ssm.backend.jax_pieces import pieces as pieces

# So few that XLA's routine on the CPU, 16 ns a number (see `trigonometry`), costs nothing.
_FEW = 4096
# Stands for a tensor among arguments that are not tensors.
_TENSOR = type("_Tensor", (), {})


def dense_matmul(
    a: jax.Array, b: jax.Array, transpose_a: bool = False, transpose_b: bool = False
) -> jax.Array:
    """Product in the precision of a `Dense` layer, for projections of whole sequences."""
    return jnp.matmul(a.mT if transpose_a else a, b.mT if transpose_b else b)


project_in = functools.partial(projections.project_in, dense_matmul)
project_out = functools.partial(projections.project_out, dense_matmul)
project_outer = functools.partial(projections.project_outer, dense_matmul)
project_onto = functools.partial(projections.project_onto, dense_matmul)


def precise_matmul(a: jax.Array, b: jax.Array, transpose_a: bool = False) -> jax.Array:
    """Product in full float32: powers and carries do not survive TF32 or bfloat16 rounding."""
    return jnp.matmul(a.mT if transpose_a else a, b, precision="highest")


def accumulate(start: jax.Array, *products: tuple[jax.Array, jax.Array]) -> jax.Array:
    """`start` plus the matrix products of some pairs, in full float32."""
    return sum((precise_matmul(a, b) for a, b in products), start)


def inner_product(g: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """sum g conj(x) over the last axis, for complex numbers as (P, 2, N): (P,) and (P,)."""
    return _conjugate_sums(precise_matmul(g, jnp.swapaxes(x, 1, 2)))


def lagged_inner_product(
    g: jax.Array, x: jax.Array, later: slice, earlier: slice
) -> tuple[jax.Array, jax.Array]:
    """sum g_k conj(x_(k-1)) over chunks (P, 2, Q, N), `later` and `earlier` being slices of Q.

    Computed as a product of the chunks as they lie, of which the band beside the
    diagonal is read: slices of g and x would be copies, a tenth of the time
    and of the memory traffic of a whole scan.
    """
    P, _, Q, _ = g.shape
    products = precise_matmul(g.reshape(P, 2 * Q, -1), jnp.swapaxes(x.reshape(P, 2 * Q, -1), 1, 2))
    band = products.reshape(P, 2, Q, 2, Q)[:, :, later, :, earlier]
    return _conjugate_sums(jnp.trace(band, axis1=2, axis2=4))


def _conjugate_sums(products: jax.Array) -> tuple[jax.Array, jax.Array]:
    """sum g conj(x) from the sums of products of their parts, (P, 2, 2)."""
    return products[:, 0, 0] + products[:, 1, 1], products[:, 1, 0] - products[:, 0, 1]


def jit(*static: str) -> Any:
    """Decorates pure functions: outside `jit`, one compilation in place of one for every operation.

    A first call of S5 outside `jit` takes a third of the time; inside, JAX
    traces the function once however many layers call it. `static` names the
    arguments that are not tensors.
    """
    return functools.partial(jax.jit, static_argnames=static)


def convolve(u: jax.Array, kernel: jax.Array, n: int) -> jax.Array:
    """Cyclic convolution of length n of u (B, L, H) by kernels (C, H, K): (B, L, C H).

    The gradient transforms u and the kernel again, which costs no more than
    JAX's own derivative of an FFT, and keeps no spectrum.
    """

    def plain(u: jax.Array, kernel: jax.Array) -> jax.Array:
        u_f, kernel_f = jnp.fft.rfft(_rows(u), n), jnp.fft.rfft(kernel, n)
        return _columns(jnp.fft.irfft(u_f * kernel_f[:, :, None], n), u.shape[1])

    def gradient(inputs: Any, _: Any, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        u, kernel = inputs
        g_f = jnp.fft.rfft(_rows(g).reshape(*kernel.shape[:2], *g.shape[:2]), n)  # (C, H, B, F)
        u_f, kernel_f = jnp.fft.rfft(_rows(u), n), jnp.fft.rfft(kernel, n)
        du = jnp.fft.irfft(jnp.sum(g_f * jnp.conj(kernel_f)[:, :, None], axis=0), n)
        d_kernel = jnp.fft.irfft(jnp.sum(g_f * jnp.conj(u_f), axis=2), n)
        return _columns(du, u.shape[1]), d_kernel[..., : kernel.shape[-1]]

    return custom_gradient(plain, gradient)(u, kernel)


def _rows(u: jax.Array) -> jax.Array:
    """(B, L, H) to (H, B, L)."""
    return jnp.moveaxis(u, 2, 0)


def _columns(y: jax.Array, length: int) -> jax.Array:
    """(..., H, B, L) and what follows L to (B, L, ... H)."""
    y = y[..., :length].reshape(-1, y.shape[-2], length)
    return jnp.moveaxis(y, 0, 2)


def layer_norm(layer: Any, x: jax.Array) -> jax.Array:
    """Keras' layer normalization over the last axis."""
    inputs = activations.norm_inputs(layer, x)
    if inputs is None:
        return layer(x)
    return ops.cast(_layer_norm(layer.epsilon)(*inputs), layer.compute_dtype)


def cos_sin(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine; for few numbers JAX's own, which compile in a fraction of the time."""
    few = isinstance(x.size, int) and x.size <= _FEW  # a size may be a symbol
    if x.dtype != jnp.float32 or few:
        return jnp.cos(x), jnp.sin(x)
    return trigonometry.cos_sin(x)


def at_most(x: jax.Array, bound: float) -> jax.Array:
    """The smaller of x and a number."""
    return jnp.minimum(x, bound)


def take(x: jax.Array, indices: jax.Array, axis: int) -> jax.Array:
    """The entries of x along an axis, at indices of any shape."""
    return jnp.take(x, indices, axis=axis)


def is_traced() -> bool:
    """Whether a model may be on its way into a file, rather than run."""
    return True


def with_rows(x: jax.Array, rows: Any, message: str) -> jax.Array:
    """x itself: a number of rows is known before anything runs."""
    return x


def arctan2(y: jax.Array, x: jax.Array) -> jax.Array:
    """Angle of (x, y), in the precision of the inputs (`keras.ops` drops float64 in torch)."""
    return jnp.arctan2(y, x)


def compiled(model: Any) -> Any:
    """A Keras model in inference mode as a compiled function of its inputs."""

    @jax.jit
    def run(trainable: list[Any], fixed: list[Any], inputs: list[Any]) -> Any:
        return model.stateless_call(trainable, fixed, inputs, training=False)[0]

    # Not `value`, which looks for a scope: for forty weights, half of what a small step costs.
    return lambda inputs: run(
        [v._value for v in model.trainable_variables],
        [v._value for v in model.non_trainable_variables],
        inputs,
    )


def traced_once(function: Any) -> Any:
    """`function`, compiled by itself outside `jit`, traced once inside."""

    @functools.partial(jax.jit, static_argnums=0)
    def run(structure: Any, tensors: list[Any]) -> Any:
        tree, others = structure
        rest = iter(tensors)
        leaves = [next(rest) if other is _TENSOR else other for other in others]
        return function(*jax.tree.unflatten(tree, leaves))

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        leaves, tree = jax.tree.flatten(arguments)
        tensors = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]
        others = tuple(_TENSOR if isinstance(leaf, jax.Array) else leaf for leaf in leaves)
        return run((tree, others), tensors)

    return call


def lifted() -> Any:
    """A context in which variables are made; used only by TensorFlow."""
    return contextlib.nullcontext()


# Keras' own steps are as fast.
adam_update = None


def gelu(x: jax.Array, approximate: bool) -> jax.Array:
    """The exact gelu, or its approximation by tanh."""
    return _gelu(approximate)(x)


@functools.cache
def _gelu(approximate: bool) -> Any:
    gradient = functools.partial(activations.gelu_gradient, approximate)
    return custom_gradient(lambda x: activations.gelu(x, approximate), gradient)


glu = custom_gradient(activations.glu, activations.glu_gradient)


@functools.cache
def _layer_norm(epsilon: float) -> Any:
    forward = functools.partial(activations.norm_forward, _mean, epsilon)
    gradient = functools.partial(activations.norm_gradient, _mean)
    return custom_gradient(lambda *inputs: forward(*inputs)[0], gradient, forward)


def _mean(x: jax.Array) -> jax.Array:
    """Mean over the last axis; a product on CPUs, where XLA sums short rows number by number."""

    def product(x: jax.Array) -> jax.Array:
        return precise_matmul(x, jnp.full((x.shape[-1], 1), 1 / x.shape[-1], x.dtype))

    return jax.lax.platform_dependent(
        x, cpu=product, default=lambda x: jnp.mean(x, axis=-1, keepdims=True)
    )
