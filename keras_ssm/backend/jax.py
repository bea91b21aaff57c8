"""JAX."""

import jax
import jax.numpy as jnp


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """Product in full float32: powers and carries do not survive TF32 or bfloat16 rounding."""
    return jnp.matmul(a, b, precision="highest")


def arctan2(y: jax.Array, x: jax.Array) -> jax.Array:
    """Angle of (x, y), in the precision of the inputs (`keras.ops` drops float64 in torch)."""
    return jnp.arctan2(y, x)
