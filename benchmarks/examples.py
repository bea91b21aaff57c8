"""How large are the errors of the examples of irregular times and of forecasting?

    KERAS_BACKEND=jax python benchmarks/examples.py pendulum --json docs/results/pendulum.json
    KERAS_BACKEND=jax python benchmarks/examples.py forecasting --json docs/results/forecasting.json

Runs `examples/irregular_pendulum.py` or `examples/forecasting.py` with its default settings.
"""

import argparse
import datetime
import importlib.util
import pathlib
import time
from types import ModuleType
from typing import Any

import measure
import numpy as np
import records

EXAMPLES = {"pendulum": "irregular_pendulum", "forecasting": "forecasting"}
# Arguments of every call of their `main`.
CALLS: dict[str, list[dict[str, Any]]] = {
    "pendulum": [{"layer": "S5", "epochs": 40}, {"layer": "LRU", "epochs": 40}],
    "forecasting": [{"epochs": 10}],
}


def load(name: str) -> ModuleType:
    """The module of an example."""
    path = pathlib.Path(__file__).parents[1] / "examples" / f"{EXAMPLES[name]}.py"
    spec = importlib.util.spec_from_file_location(EXAMPLES[name], path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def listed(errors: dict[str, Any]) -> dict[str, Any]:
    """Arrays as JSON can hold them."""
    return {name: np.asarray(value, "float64").round(6).tolist() for name, value in errors.items()}


def main() -> None:
    """Run an example and write its errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("example", choices=EXAMPLES)
    parser.add_argument("--plot", help="path of the picture; {layer} becomes the layer")
    parser.add_argument("--json", type=pathlib.Path, help="where the errors are written to")
    options = parser.parse_args()
    example = load(options.example)
    start = time.perf_counter()
    errors: dict[str, Any] = {}
    for arguments in CALLS[options.example]:
        path = options.plot and options.plot.format(**arguments)
        errors |= listed(example.main(**arguments, plot=path)["errors"])
    record = {
        "command": f"python benchmarks/examples.py {options.example}",
        "date": datetime.date.today().isoformat(),
        "machine": measure.machine(),
        "seconds": round(time.perf_counter() - start),
        "calls": CALLS[options.example],
        "errors": errors,
    }
    if options.example == "forecasting":
        record["horizons"] = list(example.HORIZONS)
    if options.json:
        records.save(options.json.parent, options.json.stem, record)


if __name__ == "__main__":
    main()
