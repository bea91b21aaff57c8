"""The parts of a training step in turn, in this process: where its time goes.

Each part runs forward and backward on arrays of the model's size, compiled as
the framework's users do; the times are of one block. `floor` is what no block
can do without, written with Keras' own layers: the norm and the dense products.

    parts_process.py CASE B L DEPTH WIDTH N ROUNDS LIMIT
"""

import argparse
from collections.abc import Callable
from typing import Any

import catalogue
import isolated
import keras
import measure
from cases import keras_case
from compiled import compiled, compiled_update
from training_process import ours


def calls(case: str, size: catalogue.Training) -> dict[str, Callable[[], Any]]:
    """A call of each part."""
    model = ours(case, size._replace(depth=1))
    block = model.get_layer("block_0")
    shape = catalogue.Shape(size.B, size.width, size.N, size.L)
    x = keras.Input((size.L, size.width))
    dense = keras.layers.Dense(block.gate.out1.units if case == "s4d" else size.width)
    norm = keras.layers.LayerNormalization(epsilon=1e-5)
    layers = {
        "block": block,
        "layer": block.ssm,
        "norm": block.norm_layer,
        "gating": block.gate,
        "block without layer": keras.Model(x, x + block.gate(block.norm_layer(x))),
        "floor": keras.Model(x, dense(norm(x))),
    }
    made = {name: compiled(keras_case(layer, shape))[1] for name, layer in layers.items()}
    made["optimizer"] = compiled_update(model)
    return made


def main() -> None:
    """Read the case from the command line and print the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=catalogue.TRAINED)
    parser.add_argument("sizes", type=int, nargs=5, metavar="SIZE", help="B L DEPTH WIDTH N")
    parser.add_argument("rounds", type=int)
    parser.add_argument("limit", type=float, help="seconds for a call")
    options = parser.parse_args()
    made = calls(options.case, catalogue.Training(*options.sizes))
    limited = {name: isolated.limited(call, options.limit) for name, call in made.items()}
    times: dict[str, list[float]] = {name: [] for name in limited}
    for number in range(options.rounds + 2):
        for name, call in limited.items():
            seconds = measure.seconds(call)
            if number >= 2:  # the first calls compile, and warm up
                times[name].append(seconds)
    isolated.report({"times_s": times})


if __name__ == "__main__":
    main()
