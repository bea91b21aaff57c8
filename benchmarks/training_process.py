"""A classifier in this process that takes a training step whenever it is asked to.

The process builds the model, takes its first steps and prints what they cost;
then it answers every line of its input with one of JSON: `step` with the
seconds of one step, `done` with the memory of all steps since the first ones.

    training_process.py CASE B L DEPTH WIDTH N LIMIT
"""

import argparse
import json
import signal
import sys
import time
from typing import Any

import catalogue
import isolated
import keras
import measure
import numpy as np

import keras_ssm

WARM_UP = 2


def build(case: str, size: catalogue.Training) -> keras.Model:
    """The compiled model."""
    if case in catalogue.TRAINED_PEERS:
        from peers import blocks

        model = blocks.classifier(case, size.L, size.depth, size.width, size.N)
        optimizer: Any = keras.optimizers.AdamW(1e-3)
    else:
        model = ours(case, size)
        optimizer = keras_ssm.optimizers.adamw(1e-3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    return model


def ours(case: str, size: catalogue.Training) -> keras.Model:
    """Our classifier: S5 in both directions, the others in one."""
    if case == "s5":
        options = {"layer": "s5", "state_size": 2 * size.N, "bidirectional": True}
    else:
        options = {"layer": case, "state_size": size.N}
    options |= {"depth": size.depth, "width": size.width}
    return keras_ssm.models.classifier(10, (size.L, 1), **options)


def main() -> None:
    """Read the case from the command line, and what to do from the input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=(*catalogue.TRAINED, *catalogue.TRAINED_PEERS))
    parser.add_argument("sizes", type=int, nargs=5, metavar="SIZE", help="B L DEPTH WIDTH N")
    parser.add_argument("limit", type=float, help="seconds for a step")
    options = parser.parse_args()
    size = catalogue.Training(*options.sizes)
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size.B, size.L, 1)).astype("float32")
    y = rng.integers(0, 10, size.B)
    measure.synchronise(keras.ops.matmul(keras.ops.ones((8, 8)), keras.ops.ones((8, 8))))
    start = time.perf_counter()
    model = build(options.case, size)
    built = time.perf_counter() - start
    baseline = measure.resident_mib()

    def step() -> Any:
        # Alone and not in `fit`, so that each is waited for.
        return np.asarray(model.train_on_batch(x, y))

    step = isolated.limited(step, options.limit)
    first = measure.seconds(step)
    for _ in range(WARM_UP):
        measure.seconds(step)
    measure.reset_peak()
    answer({"build_s": built, "first_s": first})
    for line in sys.stdin:
        if line.strip() == "step":
            answer({"seconds": measure.seconds(step)})
        else:
            answer({"peak_mib": measure.peak_mib() - baseline})


def answer(record: dict[str, Any]) -> None:
    """Hand a record to the process that asked."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
