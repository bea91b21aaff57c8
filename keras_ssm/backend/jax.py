"""JAX."""

import jax
import jax.numpy as jnp


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """Product in full float32: powers and carries do not survive TF32 or bfloat16 rounding."""
    return jnp.matmul(a, b, precision="highest")
