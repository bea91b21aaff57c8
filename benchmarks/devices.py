"""Do several devices and processes train to the losses and weights of one, for every layer?

    python benchmarks/devices.py [--backends torch jax] [--layers s5 s4d] [--counts 2 4] [--graphs]

A classifier with batch norm makes 20 steps, an epoch, on one
device and on several: as devices of one process (JAX, TensorFlow) and as
processes on this machine. The table has the largest relative difference of the
losses of the steps, and of the weights after them, over all layers.

TensorFlow runs step by step, without the minutes that its graphs take to be
made, unless `--graphs` asks for them.
"""

import argparse
import json
import os
import pathlib
import platform
import sys
import tempfile
import time
from importlib import metadata

import numpy as np
import processes

BACKENDS = ("torch", "jax", "tensorflow")
LAYERS = ("s5", "lru", "s4d", "s4", "dss")
COUNT, LENGTH, BATCH = 160, 64, 8


def main() -> None:
    """Run everything, print one line for every row of the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=LAYERS)
    parser.add_argument("--counts", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    print(f"{os.cpu_count()} shared cores, Python {platform.python_version()}")
    print("| backend | run | losses of 20 steps | weights | seconds |\n|---|---|---|---|---|")
    for backend in options.backends:
        one = run(backend, options, 1, 1)[0]
        for count in options.counts:
            for devices, world in [(count, 1)] * (backend != "torch") + [(1, count)]:
                found, seconds = run(backend, options, devices, world)
                name = f"{count} {'devices' if world == 1 else 'processes'}"
                differences = [
                    max(largest(found[layer][kind], one[layer][kind]) for layer in options.layers)
                    for kind in ("losses", "weights")
                ]
                version = f"{backend} {metadata.version(backend)}"
                cells = [version, name, *(f"{d:.1e}" for d in differences), f"{seconds:.0f}"]
                print(f"| {' | '.join(cells)} |", flush=True)


def largest(found: list, expected: list) -> float:
    """The largest difference, by the largest expected number."""
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(found, expected, strict=True)]
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-3)) for a, b in pairs)


def run(backend: str, options: argparse.Namespace, devices: int, world: int) -> tuple[dict, float]:
    """The losses and weights of every layer, from process 0."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "found.json"
        command = [__file__, "--worker", f"{file},{devices},{world}", "--layers", *options.layers]
        command += ["--graphs"] * options.graphs
        start = time.perf_counter()
        started = processes.start(backend, [command] * world, devices, stdout=-1, stderr=-1)
        errors = [process.communicate()[1] for process in started]
        if any(process.returncode for process in started):
            sys.exit("\n".join(error[-2000:] for error in errors))
        return json.loads(file.read_text()), time.perf_counter() - start


def work(options: argparse.Namespace) -> None:
    """What one process does."""
    file, devices, world = options.worker.split(",")
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        import tensorflow as tf  # noqa: TID251

        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * int(devices)
        tf.config.set_logical_device_configuration(cpu, parts)
        tf.config.run_functions_eagerly(not options.graphs)
    import keras

    from keras_ssm import datasets, distribution, models, optimizers

    random = np.random.default_rng(0)
    x = random.normal(size=(COUNT, LENGTH, 2)).astype("float32")
    y = (x[:, :, 0].sum(axis=1) > 0).astype("int32")
    found = {}
    several = int(devices) * int(world) > 1
    # One device is what fit itself does, without anything of ours around it.
    with distribution.data_parallel() if several else _one() as replicas:
        for layer in options.layers:
            with replicas.scope():
                keras.utils.set_random_seed(1)
                model = models.classifier(
                    2, (LENGTH, 2), layer, depth=1, width=8, state_size=8, block={"norm": "batch"}
                )
                loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
                model.compile(optimizers.adamw(1e-2), loss, weighted_metrics=["accuracy"])
            batches = datasets.SequenceBatches(x, y, BATCH, shuffle=True, seed=3)
            losses = []
            record = keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs, losses=losses: losses.append(
                    float(np.asarray(logs["loss"]).reshape(()))
                )
            )
            replicas.fit(model, batches, verbose=0, callbacks=[record])
            weights = [np.asarray(w, "float64").tolist() for w in model.get_weights()]
            found[layer] = {"losses": losses, "weights": weights}
        first = replicas.rank == 0
    if first:
        pathlib.Path(file).write_text(json.dumps(found))


def _one():
    import contextlib

    from keras_ssm import distribution

    return contextlib.nullcontext(distribution.Replicas())


if __name__ == "__main__":
    main()
