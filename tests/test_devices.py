"""What the layers would ask of devices that are not here: TPUs, GPUs, and the way to them.

Compilers and tracers know an operation's device, shapes and cost without
running it. Every test here takes outputs and gradients together.
"""

import collections
import contextlib
import functools
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from gradients import relative_error

from keras_ssm.layers import DSS, LRU, S4, S4D, S5

BACKEND = keras.backend.backend()
LENGTHS = (16, 256, 4096)
BATCH, FEATURES = 2, 3

LAYERS = {
    "DSS-softmax": lambda **k: DSS(8, length=max(LENGTHS), **k),
    "DSS-exp": lambda **k: DSS(8, kernel="exp", **k),
    "S4D-zoh": lambda **k: S4D(8, **k),
    "S4D-bilinear": lambda **k: S4D(8, discretization="bilinear", **k),
    "S4D-chunk": lambda **k: S4D(8, method="chunk", **k),
    "S4": lambda **k: S4(8, **k),
    "S5-zoh": lambda **k: S5(8, **k),
    "LRU": lambda **k: LRU(8, **k),
}
# Between them, these do all there is to do over time.
ALGORITHMS = [name for name in LAYERS if name not in ("DSS-exp", "S4D-bilinear")]
# By name: options of the layer, and what it is called with beside its input.
CALLS = {
    "plain": ({}, ()),
    "time-steps": ({}, ("time_steps",)),
    "state": ({"return_state": True}, ("initial_state",)),
    "masked-state": ({"return_state": True}, ("mask", "initial_state")),
    "bidirectional": ({"bidirectional": True}, ()),
    "resets": ({}, ("resets",)),
}
WAYS_THROUGH_TIME = ["plain", "time-steps", "masked-state"]

pytestmark = pytest.mark.training


def on(backend, names, calls):
    """Parameters `name` and `call` of a test of one backend, which others skip."""
    cases = [(name, call) for name in names for call in calls]
    if calls is WAYS_THROUGH_TIME:
        cases.remove(("S4", "time-steps"))  # one after the other, as its docstring says
    if backend != BACKEND:
        cases = [pytest.param("", "", marks=pytest.mark.skip(reason=f"looks into {backend}"))]
    return pytest.mark.parametrize(("name", "call"), cases)


def build(name, call):
    options, _ = CALLS[call]
    layer = LAYERS[name](**options)
    layer.build((None, None, FEATURES))
    return layer


def arrays(layer, call, length):
    """Input and further arguments, by name."""
    rng = np.random.default_rng(0)
    values = {
        "inputs": rng.standard_normal((BATCH, length, FEATURES)).astype("float32"),
        "time_steps": rng.uniform(0.5, 2, (BATCH, length)).astype("float32"),
        "mask": rng.random((BATCH, length)) < 0.6,
        "resets": rng.random((BATCH, length)) < 0.2,
        "initial_state": rng.standard_normal((BATCH, layer.state_width)).astype("float32"),
    }
    return {name: values[name] for name in ("inputs", *CALLS[call][1])}


def outputs(layer, arguments):
    """What the layer returns, as a list."""
    result = layer(arguments["inputs"], **{k: v for k, v in arguments.items() if k != "inputs"})
    return list(result) if isinstance(result, tuple) else [result]


def weights(layer):
    return [v.value for v in layer.trainable_variables]


def assert_logarithmic(counts):
    """A logarithm of any base takes equal steps over `LENGTHS`.

    Three quarters more leave room for a level that a short length does without;
    a loop over time takes 16 times the step before.
    """
    short, middle, long = counts
    assert long - middle <= 1.75 * (middle - short)


# jax


def jax_function(layer):
    """Outputs and gradients of their squared sum by weights and input, of weights and arguments."""
    import jax

    def loss(weights, u, rest):
        with keras.StatelessScope(zip(layer.trainable_variables, weights, strict=True)):
            y = outputs(layer, {"inputs": u, **rest})
        return sum((z**2).sum() for z in y), y

    def function(weights, arguments):
        rest = {k: v for k, v in arguments.items() if k != "inputs"}
        gradients = jax.grad(loss, argnums=(0, 1), has_aux=True)
        gradients, y = gradients(weights, arguments["inputs"], rest)
        return y, gradients

    return function


def operations(jaxpr):
    """How often each primitive runs, in a jaxpr and in those inside it."""
    import jax

    counts = collections.Counter()
    for equation in jaxpr.eqns:
        counts[equation.primitive.name] += 1
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        for value in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                for name, count in operations(inner).items():
                    counts[name] += times * count
    return counts


@on("jax", ALGORITHMS, WAYS_THROUGH_TIME)
def test_jax_runs_no_loop_over_time_and_nothing_on_the_host(name, call):
    """Operations grow as the logarithm of the length at most, and none leaves the device."""
    import jax

    layer, counts = build(name, call), []
    for length in LENGTHS:
        given = weights(layer), arrays(layer, call, length)
        found = operations(jax.make_jaxpr(jax_function(layer))(*given).jaxpr)
        assert not {"while", "device_put"} & set(found)
        assert not [p for p in found if "callback" in p or "debug" in p or "feed" in p]
        counts.append(found.total())
    assert_logarithmic(counts)


def exported(name, call):
    """A layer's function, lowered for all platforms, and what to call it with."""
    import jax
    from jax import export

    layer = build(name, call)
    function, given = jax.jit(jax_function(layer)), (weights(layer), arrays(layer, call, 20))
    return export.export(function, platforms=["cuda", "tpu", "cpu"])(*given), function, given


@on("jax", ["S4D-chunk", "S5-zoh"], ["time-steps", "masked-state", "bidirectional"])
def test_jax_lowers_for_gpu_tpu_and_cpu(name, call):
    """Every operation is there on every platform."""
    program, _, _ = exported(name, call)
    assert program.platforms == ("cuda", "tpu", "cpu")


@on("jax", ALGORITHMS, ["plain"])
def test_one_program_of_jax_for_gpu_tpu_and_cpu_gives_the_same_numbers(name, call):
    """The serialised program, called on the CPU = the function it was made from."""
    import jax
    from jax import export

    program, function, given = exported(name, call)
    artefact = export.deserialize(program.serialize())
    assert artefact.platforms == ("cuda", "tpu", "cpu")
    results = artefact.call(*given), function(*given)
    for value, expected in zip(*map(jax.tree.leaves, results), strict=True):
        assert relative_error(value, expected) < 1e-5


TPU = """
import json, sys
sys.path.insert(0, sys.argv[1])
import tpu_compile
from catalogue import Shape
print(json.dumps([tpu_compile.cost("s5", Shape(2, 8, 8, length)) for length in (1024, 4096)]))
"""


@pytest.mark.skipif(BACKEND != "jax", reason="looks into jax")
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="the TPU compiler, libtpu, is not installed: pip install 'jax[tpu]'",
)
def test_s5_compiles_for_a_tpu_with_memory_linear_in_the_length():
    """Four times the length: at most four times the traffic and the memory, as of a TPU v5e."""
    benchmarks = pathlib.Path(__file__).resolve().parents[1] / "benchmarks"
    # A process of its own: the description of the TPU is read once, when JAX is imported.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-c", TPU, str(benchmarks)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    short, long = json.loads(result.stdout.splitlines()[-1])
    for at_short, at_long in zip(short, long, strict=True):
        assert at_long <= 4.1 * at_short


# tensorflow


def tensorflow_gradients(layer, arguments):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(arguments["inputs"])
        loss = sum(tf.reduce_sum(z**2) for z in outputs(layer, arguments))
    return tape.gradient(loss, [arguments["inputs"], *weights(layer)])


@on("tensorflow", ALGORITHMS, WAYS_THROUGH_TIME)
def test_tensorflow_runs_no_loop_over_time(name, call):
    """Operations, counted one by one without a graph, grow as the logarithm at most."""
    import tensorflow as tf
    from tensorflow.python.framework import op_callbacks

    layer, counts = build(name, call), dict.fromkeys(LENGTHS, 0)
    for length in counts:
        given = {k: tf.constant(v) for k, v in arrays(layer, call, length).items()}

        def count(*_, length=length, **__):
            counts[length] += 1

        op_callbacks.add_op_callback(count)
        try:
            tensorflow_gradients(layer, given)
        finally:
            op_callbacks.remove_op_callback(count)
    assert_logarithmic(counts.values())


@on("tensorflow", ALGORITHMS, ["time-steps", "masked-state"])  # the latter includes the plain call
def test_tensorflow_puts_no_python_into_its_graph(name, call):
    """The graph of outputs and gradients calls nothing that only this process has."""
    import tensorflow as tf

    layer = build(name, call)
    given = {k: tf.TensorSpec(v.shape, v.dtype) for k, v in arrays(layer, call, 20).items()}
    compiled = tf.function(functools.partial(tensorflow_gradients, layer), autograph=False)
    graph = compiled.get_concrete_function(given).graph.as_graph_def()
    operations = {n.op for f in graph.library.function for n in f.node_def}
    operations |= {n.op for n in graph.node}
    assert "Exp" in operations
    assert not [o for o in operations if "PyFunc" in o]


# torch

# A device that any build of PyTorch can trace for without having one: the CPU build lacks what
# gradients on "cuda" need. Its tensors are as far from the CPU's as a GPU's are.
ELSEWHERE = "lazy:0"


def torch_trace(name, call, length, device):
    """Forward and backward on a device; on `ELSEWHERE` with tensors that have no values.

    Such fake tensors refuse operations of mixed devices, and to be read.

    Returns:
        The devices of outputs and gradients, the number of operations, and those
        that bring something from the CPU or to it, by name and destination.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    def tensors(tree):
        return [t for t in tree_leaves(tree) if isinstance(t, torch.Tensor)]

    class Record(TorchDispatchMode):
        count, transfers = 0, set()

        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            result = operation(*args, **(kwargs or {}))
            self.count += 1
            if len({t.device.type for t in tensors((args, kwargs, result))}) > 1:
                self.transfers.add((str(operation), tensors(result)[0].device.type))
            return result

    layer = build(name, call)
    given, record = arrays(layer, call, length), Record()
    fake = contextlib.nullcontext() if device == "cpu" else FakeTensorMode()
    with fake, keras.device(device):
        for variable in layer.variables:
            shape, kind = tuple(variable.shape), variable.value.dtype
            variable._value = torch.nn.Parameter(torch.zeros(shape, dtype=kind, device=device))
        arguments = {k: torch.as_tensor(v).to(device) for k, v in given.items()}
        arguments["inputs"].requires_grad_()
        with record:
            y = outputs(layer, arguments)
            gradients = torch.autograd.grad(
                sum((z**2).sum() for z in y), [arguments["inputs"], *weights(layer)]
            )
    return {z.device for z in [*y, *gradients]}, record.count, record.transfers


@on("torch", LAYERS, CALLS)
def test_torch_keeps_everything_on_the_device(name, call):
    """No tensor of the CPU meets one of the device, no value is read, all results are there."""
    import torch

    devices, _, transfers = torch_trace(name, call, 20, ELSEWHERE)
    assert devices == {torch.device(ELSEWHERE)}
    assert transfers <= {("aten._to_copy.default", "lazy")}  # constants, to the device


@on("torch", ALGORITHMS, WAYS_THROUGH_TIME)
def test_torch_runs_no_loop_over_time(name, call):
    """Operations grow as the logarithm of the length at most."""
    assert_logarithmic([torch_trace(name, call, length, "cpu")[1] for length in LENGTHS])


@pytest.mark.training
@pytest.mark.skipif(BACKEND != "torch", reason="the other backends free tensors by themselves")
def test_torch_frees_the_sequences_of_a_training_step():
    import gc

    import torch

    layers = [DSS(4), S4D(4), S5(4, bidirectional=True)]
    x = torch.ones((2, 40, 3))
    counts = []
    gc.disable()  # which would free cycles of references, but has no reason to run in time
    try:
        for _ in range(3):
            for layer in layers:
                layer(x).sum().backward()
                for weight in layer.weights:
                    weight.value.grad = None
            tensors = [o for o in gc.get_objects() if type(o) is torch.Tensor]
            # Keras leaves some of the size of a weight behind.
            counts.append(sum(tensor.numel() >= x.numel() for tensor in tensors))
    finally:
        gc.enable()
    assert counts[1] == counts[2]
