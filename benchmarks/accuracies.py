"""How well do the small recipes learn?

    python benchmarks/accuracies.py --tasks digits --json docs/results/recipes.json

Trains every layer by the recipe of every task under every backend that is asked for, through
the `keras-ssm` command, seed 0. The epoch with the best validation accuracy is tested. Runs
are folders in `runs/accuracies`; what is finished there is not run again.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import measure
import records
import results

LAYERS = ("dss", "lru", "s4", "s4d", "s5")


def run(task: str, layer: str, backend: str, folder: pathlib.Path) -> dict[str, Any]:
    """Result of one training run."""
    path = folder / f"{task}-{layer}-{backend}"
    if not (path / "result.json").exists():
        command = [sys.executable, "-m", "keras_ssm_cli", "train", task, "--layer", layer]
        command += ["--scale", "small", "--backend", backend, "--out", str(path)]
        # An unfinished run goes on after its last whole epoch, if it has one.
        command.append("--resume" if (path / "best.keras").exists() else "--overwrite")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    result = records.read(path / "result.json")
    return {
        "task": task,
        "layer": layer,
        "backend": backend,
        "correct": result["test_correct"],
        "count": result["test_count"],
        "seconds": result["training_seconds"],
    }


def main() -> None:
    """Train all, then print the table and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=["digits"])
    parser.add_argument("--layers", nargs="+", default=list(LAYERS), choices=LAYERS)
    parser.add_argument("--backends", nargs="+", default=["jax"])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/accuracies"))
    parser.add_argument("--json", type=pathlib.Path, help="where all results are written to")
    options = parser.parse_args()
    cells = []
    for task in options.tasks:
        for backend in options.backends:
            for layer in options.layers:
                cells.append(run(task, layer, backend, options.out))
                print(json.dumps(cells[-1]), flush=True)
    record = {
        "command": f"python benchmarks/accuracies.py --tasks {' '.join(options.tasks)}",
        "date": datetime.date.today().isoformat(),
        "machine": measure.machine(),
        "cells": cells,
    }
    print(results.recipes(record))
    if options.json:
        records.save(options.json.parent, options.json.stem, record)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
