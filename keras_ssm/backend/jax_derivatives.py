"""Custom gradients in JAX that leave every other derivative to JAX.

`jax.custom_vjp` would refuse forward mode. Here the differential is one linear
operation: its transpose, which is what reverse mode asks for, is the custom
gradient; its value (forward mode), its batches and its own derivatives are those
of the plain function.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

# Of `plain`, in the direction of some tangents. Its operands are the tangents and all that the
# gradient needs: the inputs, as many as there are tangents, the output, and what was kept.
_differential = Primitive("custom_gradient_differential")


def custom_gradient(
    plain: Callable[..., Any],
    gradient: Callable[..., Any],
    forward: Callable[..., Any] | None = None,
    shared: Callable[[], bool] | None = None,
    keeps_output: bool = True,
) -> Callable[..., jax.Array]:
    """`plain` with a gradient of its own, see `keras_ssm.backend`."""
    run = jax.custom_jvp(plain)

    @run.defjvp
    def rule(inputs: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
        y, kept = forward(*inputs) if forward else (plain(*inputs), ())
        functions = {"count": len(inputs), "plain": plain, "gradient": gradient}
        return y, _differential.bind(*tangents, *inputs, y, *kept, **functions)

    return run


def _value(*operands: Any, count: int, plain: Callable[..., Any], gradient: Any) -> jax.Array:
    return jax.jvp(plain, operands[count : 2 * count], operands[:count])[1]


def _transpose(g: Any, *operands: Any, count: int, plain: Any, gradient: Any) -> list[Any]:
    inputs, y, kept = operands[count : 2 * count], operands[2 * count], operands[2 * count + 1 :]
    gradients = gradient(inputs, y, ad.instantiate_zeros(g), *kept)
    return [*gradients, *[None] * (len(operands) - count)]


def _derivative(operands: Any, tangents: Any, **functions: Any) -> tuple[jax.Array, jax.Array]:
    tangents = [ad.instantiate_zeros(tangent) for tangent in tangents]
    return jax.jvp(lambda *operands: _value(*operands, **functions), operands, tangents)


def _batched(operands: Any, axes: Any, **functions: Any) -> tuple[jax.Array, int]:
    return jax.vmap(lambda *operands: _value(*operands, **functions), axes)(*operands), 0


_differential.def_impl(_value)
_differential.def_abstract_eval(lambda *operands, count, **_: operands[2 * count])
mlir.register_lowering(_differential, mlir.lower_fun(_value, multiple_results=False))
ad.primitive_transposes[_differential] = _transpose
ad.primitive_jvps[_differential] = _derivative
batching.primitive_batchers[_differential] = _batched
