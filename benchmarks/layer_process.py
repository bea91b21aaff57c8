"""Measures one case in this process and prints the record: `layer_process.py CASE B H N L ...`.

Forward first, then forward with backward: the first call, a warm-up, and the
repeated calls. Memory is what the process held at most during the repeated
calls, and during the first one with its compilation, beyond what it held with
the framework imported and weights and inputs made.
"""

import argparse
from typing import Any

import catalogue
import isolated
import keras
import measure
from cases import build
from compiled import compiled


def record(name: str, shape: catalogue.Shape, repeats: int, limit: float) -> dict[str, Any]:
    """Times and memory of both modes."""
    calls = [isolated.limited(call, limit) for call in compiled(build(name, shape))]
    measure.synchronise(keras.ops.matmul(keras.ops.ones((8, 8)), keras.ops.ones((8, 8))))
    baseline = measure.resident_mib()
    return {
        mode: _mode(call, baseline, repeats, budget=limit / 3)
        for mode, call in zip(("forward", "both"), calls, strict=True)
    }


def _mode(call: Any, baseline: float, repeats: int, budget: float) -> dict[str, Any]:
    measure.reset_peak()
    first = measure.seconds(call)
    first_peak = measure.peak_mib() - baseline
    measure.seconds(call)  # warm-up
    measure.reset_peak()
    times = measure.repeated(call, repeats, budget)
    peak = measure.peak_mib() - baseline
    return {"first_s": first, "first_peak_mib": first_peak, "times_s": times, "peak_mib": peak}


def main() -> None:
    """Read the case from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=catalogue.NAMES)
    parser.add_argument("sizes", type=int, nargs=4, metavar="SIZE", help="B H N L")
    parser.add_argument("repeats", type=int)
    parser.add_argument("limit", type=float, help="seconds for a call")
    options = parser.parse_args()
    shape = catalogue.Shape(*options.sizes)
    isolated.report(record(options.case, shape, options.repeats, options.limit))


if __name__ == "__main__":
    main()
