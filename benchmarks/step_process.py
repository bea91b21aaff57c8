"""Measures single steps of one layer in this process and prints the record.

The step is compiled as the framework's users do (jax.jit, tf.function, PyTorch
as it comes without gradients). Weights are arguments or variables; ours are
discretised once, before the loop, by `layer.system().stepper()`. Every output is read as
a NumPy array before the next step, as a program that acts on it would; the
state is fed back.
"""

# ruff: noqa: TID251

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import catalogue
import isolated
import keras
import numpy as np

import keras_ssm

WARM_UP = 100


class Stepper(NamedTuple):
    """A step from (weights, u, state) to (output, state), its weights and initial state."""

    step: Callable[..., Any]
    weights: Any
    state: Any


def _ours(layer: Any, H: int) -> Stepper:
    layer.build((1, None, H))

    def step(system: Any, u: Any, state: Any) -> Any:
        return layer.step(u, state, system=system)

    return Stepper(step, layer.system().stepper(), layer.get_initial_state(1))


def _cell(cell: Any, H: int) -> Stepper:
    cell.build((1, H))
    states = cell.get_initial_state(1)
    # `call` and not `__call__`, which `step` of our layers does without as well.
    variables = cell.variables

    def step(values: Any, u: Any, states: Any) -> Any:
        if keras.backend.backend() != "jax":
            return cell.call(u, states)
        with keras.StatelessScope(zip(variables, values, strict=True)):
            return cell.call(u, states)

    values = [v.value for v in variables]
    return Stepper(step, values, tuple(states) if isinstance(states, list) else states)


def build(name: str, H: int, N: int) -> Stepper:
    """The layer `name` with H features, its state as in the other benchmarks."""
    if name == "s5":
        return _ours(keras_ssm.layers.S5(2 * N), H)
    if name == "s4d":
        return _ours(keras_ssm.layers.S4D(N), H)
    if name == "dss":
        return _ours(keras_ssm.layers.DSS(N // 2, kernel="exp"), H)
    cells = {"gru-cell": keras.layers.GRUCell, "lstm-cell": keras.layers.LSTMCell}
    return _cell(cells[name](H), H)


def compiled(stepper: Stepper) -> Callable[..., Any]:
    """The step as a function of (u, state)."""
    step, weights, _ = stepper
    if keras.backend.backend() == "jax":
        import jax

        run = jax.jit(step)
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        run = tf.function(step)
    else:
        import torch

        run = torch.no_grad()(step)
    return lambda u, state: run(weights, u, state)


def record(name: str, H: int, N: int, steps: int) -> dict[str, Any]:
    """Microseconds of a step, and seconds of the first one."""
    stepper = build(name, H, N)
    step, state = compiled(stepper), stepper.state
    u = keras.ops.convert_to_tensor(np.random.default_rng(0).normal(size=(1, H)).astype("float32"))
    times = []
    for _ in range(WARM_UP + steps):
        start = time.perf_counter()
        y, state = step(u, state)
        np.asarray(y)
        times.append(time.perf_counter() - start)
    p50, p99 = 1e6 * np.percentile(times[WARM_UP:], [50, 99])
    return {"p50_us": float(p50), "p99_us": float(p99), "first_s": times[0]}


def main() -> None:
    """Read the case from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=catalogue.STEPS)
    parser.add_argument("H", type=int)
    parser.add_argument("N", type=int)
    parser.add_argument("steps", type=int)
    parser.add_argument("limit", type=float, help="seconds for all steps")
    options = parser.parse_args()
    steps = isolated.limited(
        lambda: record(options.case, options.H, options.N, options.steps), options.limit
    )
    isolated.report(steps())


if __name__ == "__main__":
    main()
