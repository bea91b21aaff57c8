"""Functions between the layers of a block, in `keras.ops`, with gradients that keep fewer arrays.

A fresh array costs as much as the arithmetic on it, and what a gradient keeps of
each block is most of the memory of a training step.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

# 1 + tanh(z) is 2 sigmoid(2 z), which `keras.ops` has in float64 on JAX as well.
_SLOPE, _CUBE = 2 * math.sqrt(2 / math.pi), 0.044715


def gelu(x: Any, approximate: bool) -> Any:
    """`keras.ops.gelu`, but in float64 too: TensorFlow's rounds its constants to float32."""
    if approximate:
        return x * ops.sigmoid(_SLOPE * (x + _CUBE * (x * x * x)))
    return 0.5 * x * (1 + ops.erf(x * math.sqrt(0.5)))


def gelu_gradient(approximate: bool, inputs: Any, _: Any, g: Any) -> tuple[Any]:
    """Gradient of `gelu`, from the input alone, which is all that is kept."""
    (x,) = inputs
    square = x * x
    if not approximate:
        density = ops.exp(-0.5 * square - 0.5 * math.log(2 * math.pi))
        return (g * (0.5 * (1 + ops.erf(x * math.sqrt(0.5))) + x * density),)
    s = ops.sigmoid(_SLOPE * (x + _CUBE * (square * x)))
    slope = _SLOPE + (3 * _SLOPE * _CUBE) * square
    return (g * (s + x * (s * (1 - s)) * slope),)


def glu(x: Any) -> Any:
    """a sigmoid(c) for x = [a, c], side by side on the last axis."""
    value, gate = ops.split(x, 2, axis=-1)
    return value * ops.sigmoid(gate)


def glu_gradient(inputs: Any, _: Any, g: Any) -> tuple[Any]:
    """Gradient of `glu`, from the input alone."""
    value, gate = ops.split(inputs[0], 2, axis=-1)
    s = ops.sigmoid(gate)
    return (ops.concatenate([g * s, g * (value * (s * (1 - s)))], axis=-1),)


def norm_inputs(layer: Any, x: Any) -> tuple[Any, Any, Any] | None:
    """Input, gamma and beta of a layer normalization as Keras has it by default, else None.

    In float32 at least, as in Keras.
    """
    default = layer.axis in (-1, [-1], (-1,)) and not layer.rms_scaling
    if type(layer) is not keras.layers.LayerNormalization or not default or not layer.built:
        return None
    if layer.gamma is None or layer.beta is None:
        return None
    dtype = keras.backend.result_type(layer.compute_dtype, "float32")
    x = ops.cast(ops.cast(x, layer.compute_dtype), dtype)
    return x, ops.cast(layer.gamma, dtype), ops.cast(layer.beta, dtype)


def norm_forward(
    mean: Callable[[Any], Any], epsilon: float, x: Any, gamma: Any, beta: Any
) -> tuple[Any, tuple[Any, Any]]:
    """The norm, and what its gradient needs besides x: mean and scale of every step."""
    center = mean(x)
    x = x - center
    scale = ops.rsqrt(mean(x * x) + epsilon)
    return (x * scale) * gamma + beta, (center, scale)


def norm_gradient(
    mean: Callable[[Any], Any], inputs: Any, _: Any, g: Any, center: Any, scale: Any
) -> tuple[Any, Any, Any]:
    """Gradients with respect to x, gamma and beta."""
    x, gamma, _ = inputs
    x = (x - center) * scale
    steps = tuple(range(len(x.shape) - 1))
    d_gamma, d_beta = ops.sum(g * x, axis=steps), ops.sum(g, axis=steps)
    g = g * gamma
    return scale * (g - mean(g) - x * mean(g * x)), d_gamma, d_beta
