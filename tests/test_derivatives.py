"""Derivatives beside the gradient: of second order, forward mode, vectorised maps, compiled.

All in float64 against differences of the gradient, which other tests compare
with NumPy, along random directions of the input and of every weight.
"""

import keras
import numpy as np
import pytest
from gradients import relative_error
from keras import ops

from keras_ssm.layers import DSS, LRU, S4, S4D, S5

BACKEND = keras.backend.backend()
LENGTH, STEP = 20, 1e-5
LAYERS = {
    "DSS-softmax": lambda: DSS(4, length=LENGTH, dtype="float64"),
    "DSS-exp": lambda: DSS(4, kernel="exp", bidirectional=True, dtype="float64"),
    "S4D": lambda: S4D(4, channels=2, dtype="float64"),
    "S4D-chunk": lambda: S4D(4, method="chunk", bidirectional=True, dtype="float64"),
    "S5": lambda: S5(4, bidirectional=True, dtype="float64"),
    "LRU": lambda: LRU(4, dtype="float64"),
    "S4": lambda: S4(4, bidirectional=True, dtype="float64"),
}
CALLS = ["plain", "time-steps", "resets"]

pytestmark = pytest.mark.training
each_case = pytest.mark.parametrize(
    ("name", "call"),
    # S4 takes steps that vary, and resets, one after the other: minutes to differentiate twice.
    [
        (n, c)
        for n in LAYERS
        for c in CALLS
        if (n, c) != ("DSS-softmax", "resets") and (n != "S4" or c == "plain")
    ],
)


@pytest.fixture(autouse=True)
def float64():
    """JAX has to be told that there are such numbers."""
    if BACKEND != "jax":
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield


def total(y):
    """A curved function of the outputs; `keras.ops` has its sine in float32 on JAX."""
    return ops.sum(y * y * y)


class Problem:
    """A scalar function of the input and the weights of a layer, by framework."""

    def __init__(self, name, call):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((2, LENGTH, 3))
        self.layer = LAYERS[name]()
        self.layer.build(x.shape)
        arguments = {
            "plain": {},
            "time-steps": {"time_steps": rng.uniform(0.5, 2, x.shape[:2])},
            "resets": {"resets": rng.random(x.shape[:2]) < 0.2},
        }[call]
        self.arguments = {k: ops.convert_to_tensor(v) for k, v in arguments.items()}
        values = [ops.convert_to_numpy(v) for v in self.layer.trainable_variables]
        self.point = [ops.convert_to_tensor(v) for v in (x, *values)]
        self.direction = [ops.convert_to_tensor(rng.standard_normal(v.shape)) for v in self.point]

    def output(self, u):
        return self.layer(u, **self.arguments)

    def __call__(self, u, *weights):
        variables = self.layer.trainable_variables
        with keras.StatelessScope(zip(variables, weights, strict=True)):
            y = self.output(u)
        return total(y)

    def moved(self, step):
        """The point, some way along the direction."""
        return [p + step * d for p, d in zip(self.point, self.direction, strict=True)]


def gradient(function, point):
    if BACKEND == "jax":
        import jax

        return jax.grad(lambda point: function(*point))(point)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(point)
            value = function(*point)
        return tape.gradient(value, point)
    import torch

    leaves = [p if p.requires_grad else p.detach().requires_grad_() for p in point]
    return torch.autograd.grad(function(*leaves), leaves, create_graph=point[0].requires_grad)


def along(gradients, direction):
    return sum(ops.sum(g * d) for g, d in zip(gradients, direction, strict=True))


def forward_mode(function, point, direction):
    if BACKEND == "jax":
        import jax

        return jax.jvp(function, point, direction)[1]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.autodiff.ForwardAccumulator(point, direction) as accumulator:
            value = function(*point)
        return accumulator.jvp(value)
    import torch.autograd.forward_ad as forward_ad

    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(p, d) for p, d in zip(point, direction, strict=True)]
        return forward_ad.unpack_dual(function(*duals)).tangent


@each_case
def test_second_derivatives_equal_differences_of_the_gradient(name, call):
    problem = Problem(name, call)
    if BACKEND == "torch":
        problem.point = [p.detach().requires_grad_() for p in problem.point]
    second = gradient(
        lambda *p: along(gradient(problem, list(p)), problem.direction), problem.point
    )
    if BACKEND == "torch":
        problem.point = [p.detach() for p in problem.point]
    ahead, behind = (gradient(problem, problem.moved(s)) for s in (STEP, -STEP))
    for found, a, b in zip(second, ahead, behind, strict=True):
        difference = (ops.convert_to_numpy(a) - ops.convert_to_numpy(b)) / (2 * STEP)
        assert relative_error(ops.convert_to_numpy(found), difference) < 1e-5


@each_case
def test_forward_mode_equals_differences(name, call):
    problem = Problem(name, call)
    found = forward_mode(problem, problem.point, problem.direction)
    ahead, behind = (float(problem(*problem.moved(s))) for s in (STEP, -STEP))
    assert float(found) == pytest.approx((ahead - behind) / (2 * STEP), rel=1e-6)


def value_and_gradient(function, u):
    """`function` at `u` and its gradient there, where `u` may be one of a vectorised map."""
    if BACKEND == "jax":
        import jax

        return jax.value_and_grad(function, has_aux=True)(u)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(u)
            value, outputs = function(u)
        return (value, outputs), tape.gradient(value, u)
    import torch

    slope, (value, outputs) = torch.func.grad_and_value(function, has_aux=True)(u)
    return (value, outputs), slope


@each_case
def test_vectorized_outputs_and_gradients_equal_a_loop(name, call):
    """Outputs and gradients of each sequence by itself, in one map: its trace is what costs."""
    problem = Problem(name, call)
    many = ops.stack([problem.point[0], problem.direction[0]])

    def of_input(u):
        def function(u):
            y = problem.output(u)
            return total(y), y

        (_, outputs), slope = value_and_gradient(function, u)
        return outputs, slope

    found = ops.vectorized_map(of_input, many)
    for u, *parts in zip(many, *found, strict=True):
        expected = problem.output(u), gradient(lambda u: total(problem.output(u)), [u])[0]
        for part, right in zip(parts, expected, strict=True):
            assert relative_error(*map(ops.convert_to_numpy, (part, right))) < 1e-9


@pytest.mark.skipif(BACKEND != "torch", reason="torch.compile")
@pytest.mark.parametrize(
    ("name", "call"),
    [(name, "plain") for name in LAYERS]
    + [(name, call) for name in ("S5", "S4D") for call in ("time-steps", "resets")],
)
def test_torch_compiles_a_layer_as_one_graph(name, call):
    import torch

    problem = Problem(name, call)
    u = problem.point[0].requires_grad_()
    torch.compiler.reset()
    # The gradient's graph is made of the same operations: once a layer is enough.
    backend = "aot_eager" if call == "plain" else "eager"
    compiled = torch.compile(problem.layer, fullgraph=True, backend=backend)
    results = []
    for layer in (compiled, problem.layer):
        y = layer(u, **problem.arguments)
        results.append([y.detach(), *torch.autograd.grad(total(y), u)])
    for found, expected in zip(*results, strict=True):
        assert relative_error(found, expected) < 1e-9


@pytest.mark.skipif(BACKEND != "tensorflow", reason="graphs of TensorFlow")
@pytest.mark.parametrize("name", ["S4D", "S4D-chunk"])
def test_forward_mode_works_in_a_graph(name):
    import tensorflow as tf

    problem = Problem(name, "plain")
    u, du = problem.point[0], problem.direction[0]

    def function(u):
        return total(problem.output(u))

    found = tf.function(lambda u, du: forward_mode(function, [u], [du]))(u, du)
    assert float(found) == pytest.approx(float(forward_mode(function, [u], [du])), rel=1e-9)
