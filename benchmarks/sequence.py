"""What does a sequence cost that is cut over devices, and are its numbers those of one?

    python benchmarks/sequence.py [--layers s5 s4d] [--calls mask state] [--shape 2,64,4,8]
    python benchmarks/sequence.py --costs [--shape 2,4096,16,16]

Four host devices of JAX. The first prints, for every layer and way to call it,
the largest difference of outputs and states, and of gradients, by the largest
number. The second prints what the compiler counts for one of the devices beside
one device that does all: operations, temporary memory, and the collectives with
what they exchange. A shape is B,L,H,N as in `layers.py`.
"""

import argparse
import collections
import os
import re

# Before JAX is imported.
os.environ["KERAS_BACKEND"] = "jax"
_DEVICES = "--xla_force_host_platform_device_count=4"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}"

import jax  # noqa: E402, TID251
import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import ops  # noqa: E402

from keras_ssm import distribution, layers, models  # noqa: E402

CALLS = {
    "plain": ({}, ()),
    "bidirectional": ({"bidirectional": True}, ()),
    "mask": ({}, ("mask",)),
    "mask-bidirectional": ({"bidirectional": True}, ("mask",)),
    "mask-state": ({"return_state": True, "zero_output_for_mask": True}, ("mask", "initial_state")),
    "state": ({"return_state": True}, ("initial_state",)),
    "backwards": ({"go_backwards": True}, ("mask",)),
    "time-steps": ({"bidirectional": True}, ("time_steps",)),
    "time-steps-mask": ({"return_state": True}, ("time_steps", "mask", "initial_state")),
    "resets": ({"bidirectional": True}, ("resets",)),
    "resets-mask": ({"bidirectional": True}, ("resets", "mask")),
    "resets-state": ({"return_state": True}, ("resets", "mask", "initial_state")),
}


def make(name: str, length: int, state: int, **options: object) -> layers.SSM:
    """A layer by its name in the table."""
    half = max(state // 2, 1)
    return {
        "s5": lambda: layers.S5(state, **options),
        "lru": lambda: layers.LRU(state, **options),
        "s4d": lambda: layers.S4D(state, **options),
        "s4": lambda: layers.S4(state, **options),
        "dss": lambda: layers.DSS(half, kernel="exp", **options),
        # Half of its modes grow.
        "dss-softmax": lambda: layers.DSS(half, initialization="random", length=length, **options),
    }[name]()


NAMES = ("s5", "lru", "s4d", "s4", "dss", "dss-softmax")


def cut() -> keras.distribution.DataParallel:
    """The length over all devices."""
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((len(devices),), ["time"], devices)
    return distribution.sequence_parallel(mesh, "time")


def differences(name: str, call: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Of outputs and states, and of gradients by weights and input."""
    batch, length, features, state = shape
    options, given = CALLS[call]
    keras.utils.set_random_seed(1)
    layer = make(name, length, state, **options)
    layer.build((None, None, features))
    rng = np.random.default_rng(0)
    u = rng.normal(size=(batch, length, features)).astype("float32")
    values = {
        "mask": rng.random((batch, length)) < 0.6,
        "time_steps": rng.uniform(0.5, 2, (batch, length)).astype("float32"),
        "resets": rng.random((batch, length)) < 0.1,
        "initial_state": rng.normal(size=(batch, layer.state_width)).astype("float32"),
    }
    # Pieces with nothing in them, at both ends.
    values["mask"][0, : length // 2 + 3] = values["mask"][-1, length // 4 :] = False
    values["initial_state"][:, -1] = 0  # the time of a softmax kernel
    arguments = {argument: values[argument] for argument in given}

    def loss(weights, u):
        with keras.StatelessScope(zip(layer.trainable_variables, weights, strict=True)):
            y = layer(u, **arguments)
        y = list(y) if isinstance(y, tuple) else [y]
        scales = (ops.sin(0.37 * ops.reshape(ops.arange(z.size), z.shape)) for z in y)
        return sum(ops.sum(z * scale) for z, scale in zip(y, scales, strict=True)), y

    weights = [v.value for v in layer.trainable_variables]

    def results():
        # A new function, since what was traced elsewhere would be taken from the cache.
        function = jax.jit(jax.value_and_grad(lambda *z: loss(*z), argnums=(0, 1), has_aux=True))
        (_, y), gradients = function(weights, u)
        return y, gradients

    expected = results()
    with cut().scope():
        found = results()
    return tuple(largest(a, b) for a, b in zip(found, expected, strict=True))


def largest(found: object, expected: object) -> float:
    """The largest difference of two trees, by the largest number of each tensor."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    errors = [
        np.abs(np.asarray(a) - np.asarray(b)).max() / (np.abs(np.asarray(b)).max() + 1e-6)
        for a, b in pairs
    ]
    # `max` would lose NaN.
    return float(np.max(errors))


def costs(name: str, options: dict, gradient: bool, shape: tuple[int, ...]) -> tuple[dict, dict]:
    """Of one device that does all, and of one of those that share the length."""
    batch, length, features, state = shape
    layer = make(name, length, state, **options)
    layer.build((None, None, features))

    def value(weights, u):
        with keras.StatelessScope(zip(layer.trainable_variables, weights, strict=True)):
            y = layer(u)
        return ops.sum(y * y) if gradient else y

    weights = [jax.ShapeDtypeStruct(v.shape, "float32") for v in layer.trainable_variables]
    u = jax.ShapeDtypeStruct((batch, length, features), "float32")

    def counted(**placed):
        # A new function for each, since JAX keeps what it has traced.
        function = (lambda *z: jax.grad(value, (0, 1))(*z)) if gradient else lambda *z: value(*z)
        program = jax.jit(function, **placed).lower(weights, u).compile()
        exchanged = re.findall(
            r"= (.*?) (all-gather|all-reduce|reduce-scatter|collective-permute|all-to-all)"
            r"(?:-start)?\(",
            program.as_text(),
        )
        return {
            "flops": program.cost_analysis()["flops"],
            "memory": program.memory_analysis().temp_size_in_bytes,
            "collectives": collections.Counter((kind, shape) for shape, kind in exchanged),
        }

    one = counted()
    with cut().scope():
        mesh = keras.distribution.distribution().device_mesh.backend_mesh
        place = jax.sharding.NamedSharding
        everywhere = place(mesh, jax.sharding.PartitionSpec())
        pieces = place(mesh, jax.sharding.PartitionSpec(None, "time"))
        several = counted(in_shardings=([everywhere] * len(weights), pieces))
    return one, several


def trained() -> float:
    """The largest difference of the losses of `fit`, of a model with a mask and batch norm."""
    x = np.random.default_rng(0).normal(size=(24, 32, 1)).astype("float32")
    x[::3, 20:] = 0
    losses = []
    for cutting in (False, True):
        with cut().scope() if cutting else keras.name_scope("one"):
            keras.utils.set_random_seed(1)
            options = {"bidirectional": True, "masked": True, "block": {"norm": "batch"}}
            model = models.classifier(2, (None, 1), "s5", 1, 4, 4, **options)
            model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            history = model.fit(x, np.arange(24) % 2, 8, epochs=2, shuffle=False, verbose=0)
            losses.append(history.history["loss"])
    return largest(losses[1], losses[0])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--calls", nargs="+", choices=CALLS, default=list(CALLS))
    parser.add_argument("--shape")
    parser.add_argument("--costs", action="store_true")
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    if options.fit:
        print(f"| fit | {trained():.1e} |", flush=True)
    if options.costs:
        print_costs(options)
    else:
        print_differences(options)


def print_costs(options: argparse.Namespace) -> None:
    """For every layer, of one and of both directions, without and with gradients."""
    shape = tuple(map(int, (options.shape or "2,4096,16,16").split(",")))
    print("| layer | run | operations | memory | collectives |\n|---|---|---|---|---|")
    for name in options.layers:
        for kind, kwargs in (("", {}), ("bidirectional ", {"bidirectional": True})):
            for gradient in (False, True):
                one, several = costs(name, kwargs, gradient, shape)
                ratios = [several[key] / one[key] for key in ("flops", "memory")]
                exchanged = (
                    f"{count} {kind} {size.split('{')[0]}"
                    for (kind, size), count in several["collectives"].items()
                )
                run = f"{kind}{'gradient' if gradient else 'forward'}"
                cells = [name, run, *(f"{r:.2f}" for r in ratios), ", ".join(exchanged)]
                print(f"| {' | '.join(cells)} |", flush=True)


def print_differences(options: argparse.Namespace) -> None:
    """For every layer and call."""
    shape = tuple(map(int, (options.shape or "2,64,4,8").split(",")))
    print("| layer | call | outputs, states | gradients |\n|---|---|---|---|")
    for name in options.layers:
        for call in options.calls:
            try:
                cells = [f"{error:.1e}" for error in differences(name, call, shape)]
            except ValueError as error:
                if "cannot be cut" not in str(error):
                    raise
                cells = ["refused", "refused"]
            print(f"| {name} | {call} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
