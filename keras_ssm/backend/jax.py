"""JAX."""

from typing import Any

import jax
import jax.numpy as jnp


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """Product in full float32: powers and carries do not survive TF32 or bfloat16 rounding."""
    return jnp.matmul(a, b, precision="highest")


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
