"""What outputs and gradients of each layer cost, by the counts of the frameworks themselves.

    KERAS_BACKEND=jax python tests/costs.py

writes the counts of a backend into `tests/costs/`, with the version of the
framework that counted. One program has one count, without noise. `test_costs.py`
holds the layers to them.

- JAX: primitives; and of the program that XLA compiles for a CPU with the
  flags of the tests, its floating point operations, the bytes that its
  operations read and write, and the bytes of its temporaries.
- TensorFlow: operations of the graph, and the bytes they write.
- PyTorch: operations, floating point operations of products and
  convolutions, and the bytes that are kept for the gradient.
"""

import importlib.metadata
import json
import pathlib
import sys

if __name__ == "__main__":
    import conftest  # noqa: F401  # sets backend and flags before a framework is imported

import keras
import numpy as np

from keras_ssm.layers import DSS, LRU, S4, S4D, S5

BACKEND = keras.backend.backend()
FOLDER = pathlib.Path(__file__).parent / "costs"
BATCH, LENGTH, FEATURES, STATES = 2, 1024, 16, 16

LAYERS = {
    "s5": lambda: S5(STATES),
    "s5-bidirectional": lambda: S5(STATES, bidirectional=True),
    "lru": lambda: LRU(STATES),
    "s4d-fft": lambda: S4D(STATES, method="fft"),
    "s4d-chunk": lambda: S4D(STATES, method="chunk"),
    "s4-fft": lambda: S4(STATES, method="fft"),
    "dss-softmax": lambda: DSS(STATES, length=LENGTH),
}


def costs(name):
    """The counts of a layer on the running backend, by what they count."""
    layer = LAYERS[name]()
    layer.build((None, LENGTH, FEATURES))
    u = np.random.default_rng(0).standard_normal((BATCH, LENGTH, FEATURES)).astype("float32")
    return {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}[BACKEND](layer, u)


def _jax(layer, u):
    import jax
    from test_devices import operations

    def loss(weights, u):
        with keras.StatelessScope(zip(layer.trainable_variables, weights, strict=True)):
            return (layer(u) ** 2).sum()

    gradients = jax.value_and_grad(loss, argnums=(0, 1))
    given = [v.value for v in layer.trainable_variables], u
    compiled = jax.jit(gradients).lower(*given).compile()
    analysis = compiled.cost_analysis()
    return {
        "operations": operations(jax.make_jaxpr(gradients)(*given).jaxpr).total(),
        "flops": int(analysis["flops"]),
        "bytes": int(analysis["bytes accessed"]),
        "temporaries": compiled.memory_analysis().temp_size_in_bytes,
    }


def _tensorflow(layer, u):
    import tensorflow as tf
    from test_devices import tensorflow_gradients

    program = tf.function(
        lambda u: tensorflow_gradients(layer, {"inputs": u}), autograph=False
    ).get_concrete_function(tf.TensorSpec(u.shape, u.dtype))
    made = [o for o in program.graph.get_operations() if o.type not in ("Const", "Placeholder")]
    written = [z for o in made for z in o.outputs if z.shape.is_fully_defined()]
    sizes = [z.shape.num_elements() * z.dtype.size for z in written if z.dtype.size]
    return {"operations": len(made), "bytes": sum(sizes)}


def _torch(layer, u):
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode

    class Count(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            self.count += 1
            return operation(*args, **(kwargs or {}))

    kept = {}

    def keep(z):
        kept[z.untyped_storage().data_ptr()] = z.untyped_storage().nbytes(), z
        return z

    x = torch.tensor(u, requires_grad=True)
    flops, count = FlopCounterMode(display=False), Count()
    with flops, count:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda z: z):
            loss = (layer(x) ** 2).sum()
        saved = sum(size for size, _ in kept.values())
        loss.backward()  # `grad` of leaves is not supported under the counter
    return {"operations": count.count, "flops": flops.get_total_flops(), "kept": saved}


def version():
    """Of the framework that counts, without the name of its build."""
    return importlib.metadata.version(BACKEND).partition("+")[0]


def stored():
    """What is on file for the running backend."""
    return json.loads((FOLDER / f"{BACKEND}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    FOLDER.mkdir(exist_ok=True)
    counts = {"version": version(), "layers": {name: costs(name) for name in LAYERS}}
    path = FOLDER / f"{BACKEND}.json"
    path.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))
