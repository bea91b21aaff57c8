"""Activation, gating and norm of a block, beside formulas of SciPy and NumPy in float64."""

import keras
import numpy as np
import pytest
import scipy.special
from gradients import relative_error
from keras import ops
from test_derivatives import along, float64, forward_mode, gradient  # noqa: F401

from keras_ssm import backend

STEP = 1e-5
rng = np.random.default_rng(0)
X = 2 * rng.standard_normal((2, 5, 6))
GAMMA, BETA = rng.standard_normal((2, 6))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def norm(x, gamma=GAMMA, beta=BETA):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + 1e-5) * gamma + beta


FUNCTIONS = {
    "gelu": (lambda x: backend.gelu(x, False), lambda x: x * scipy.special.ndtr(x), [X]),
    "gelu-tanh": (
        lambda x: backend.gelu(x, True),
        lambda x: x * sigmoid(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)),
        [X],
    ),
    "glu": (backend.glu, lambda x: x[..., :3] * sigmoid(x[..., 3:]), [X]),
}
# The others leave the norm to Keras.
if hasattr(backend._module, "_layer_norm"):
    FUNCTIONS["norm"] = (
        lambda *x: backend._module._layer_norm(1e-5)(*x),
        norm,
        [X, GAMMA, BETA],
    )
each = pytest.mark.parametrize("name", FUNCTIONS)


@each
def test_values_keep_the_digits_of_float64(name):
    function, expected, inputs = FUNCTIONS[name]
    found = function(*map(ops.convert_to_tensor, inputs))
    # Keras' numpy backend takes numbers for float32.
    tolerance = 1e-6 if keras.backend.backend() == "numpy" else 1e-13
    assert relative_error(ops.convert_to_numpy(found), expected(*inputs)) < tolerance


def cubed(function):
    """A curved function of the outputs."""
    return lambda *inputs: ops.sum(function(*inputs) ** 3)


@pytest.mark.training
@each
def test_derivatives_of_first_and_second_order_equal_differences(name):
    function, expected, inputs = FUNCTIONS[name]
    directions = [np.random.default_rng(1).standard_normal(x.shape) for x in inputs]

    def moved(step):
        return [x + step * d for x, d in zip(inputs, directions, strict=True)]

    def tensors(arrays):
        return [ops.convert_to_tensor(x) for x in arrays]

    total = cubed(function)
    slope = (np.sum(expected(*moved(STEP)) ** 3) - np.sum(expected(*moved(-STEP)) ** 3)) / STEP / 2
    point, direction = tensors(inputs), tensors(directions)
    assert float(along(gradient(total, point), direction)) == pytest.approx(slope, rel=1e-7)
    assert float(forward_mode(total, point, direction)) == pytest.approx(slope, rel=1e-7)
    point = tensors(inputs)
    if keras.backend.backend() == "torch":
        point = [p.requires_grad_() for p in point]
    second = gradient(lambda *p: along(gradient(total, list(p)), direction), point)
    ahead, behind = (gradient(total, tensors(moved(step))) for step in (STEP, -STEP))
    for found, a, b in zip(second, ahead, behind, strict=True):
        a, b = (ops.convert_to_numpy(z) for z in (a, b))
        assert relative_error(ops.convert_to_numpy(found), (a - b) / STEP / 2) < 1e-6


@pytest.mark.parametrize("dtype", ["float16", "float32", "mixed_bfloat16"])
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}])
def test_the_norm_is_that_of_keras(dtype, options):
    layer = keras.layers.LayerNormalization(epsilon=1e-5, dtype=dtype, **options)
    layer.build(X.shape)
    x = ops.cast(X.astype("float32"), layer.compute_dtype)
    y, expected = backend.layer_norm(layer, x), layer(x)
    assert y.dtype == expected.dtype
    y, expected = (ops.convert_to_numpy(ops.cast(z, "float32")) for z in (y, expected))
    tolerance = {"float16": 1e-3, "mixed_bfloat16": 1e-2}.get(dtype, 1e-6)
    assert relative_error(y, expected) < tolerance
