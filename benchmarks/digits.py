"""How well do the three layers learn the handwritten digits, on each backend?

Trains every layer on every installed backend through the `keras-ssm` command
with its default settings and seed, and prints the table of the README.

    python benchmarks/digits.py [--out runs/digits-table]
"""

import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

LAYERS = ("dss", "s4d", "s5")
BACKENDS = [
    name for name in ("jax", "tensorflow", "torch") if importlib.util.find_spec(name) is not None
]


def train(layer: str, backend: str, out: pathlib.Path) -> float:
    """Test accuracy of one run."""
    command = [sys.executable, "-m", "keras_ssm_cli", "train", "digits", "--layer", layer]
    command += ["--backend", backend, "--out", str(out), "--overwrite"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return float(json.loads((out / "result.json").read_text())["test_accuracy"])


def main() -> None:
    """Train all and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/digits-table"))
    folder = parser.parse_args().out
    print(f"{os.cpu_count()} CPU cores, Python {sys.version.split()[0]}")
    print("| layer | " + " | ".join(BACKENDS) + " |\n|---" + "|---" * len(BACKENDS) + "|")
    for layer in LAYERS:
        cells = [f"{train(layer, b, folder / f'{layer}-{b}'):.2%}" for b in BACKENDS]
        print(f"| {layer} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
