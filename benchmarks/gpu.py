"""How long do the layers take on a GPU, in float32 and bfloat16, beside what they are made of?

Forward with backward of our layers, their textbook forms, the framework's own
FFT convolution and two dense layers; first call, memory of the device, and
kernels. Each in a process of its own, the short ones first, until the minutes
are gone; what was not measured is told.

    python benchmarks/gpu.py [--backends torch jax] [--cases s5 s4d] [--dtypes float32 bfloat16]
        [--shapes 8,128,64,1024] [--minutes 8] [--out runs/gpu]

Without a GPU it runs on the CPU, which says nothing about one.
"""

import argparse
import pathlib
import time
from typing import Any

import catalogue
import isolated
import measure
import records

CASES = (
    *("s5", "s4d", "s4d-chunk", "dss", "dss-softmax", "ceiling-fft", "ceiling-dense"),
    *("s5-textbook", "s4d-textbook", "s5-pytorch"),
)
LENGTHS = (1024, 4096, 16384, 65536)
SHAPES = [
    *(catalogue.Shape(8, 128, 64, L) for L in LENGTHS),
    *(catalogue.Shape(64, 768, 64, L) for L in LENGTHS[:3]),
]
LIMIT = 60.0  # seconds for a case


def main() -> None:
    """Measure, write one JSON file for each process, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--backends", nargs="+", choices=catalogue.BACKENDS, default=("torch", "jax"))
    add("--cases", nargs="+", choices=catalogue.NAMES, default=CASES, metavar="CASE")
    add("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=("float32", "bfloat16"))
    add("--shapes", nargs="+", type=catalogue.parse_shape, default=SHAPES, metavar="B,H,N,L")
    add("--repeats", type=int, default=10)
    add("--minutes", type=float, default=8.0, help="no case starts after them")
    add("--out", type=pathlib.Path, default=pathlib.Path("runs/gpu"))
    options = parser.parse_args()
    todo = plan(options.backends, options.cases, options.dtypes, options.shapes)
    end = time.monotonic() + 60 * options.minutes
    found = []
    for backend, case, dtype, shape in todo:
        if time.monotonic() > end:
            print(f"{len(todo) - len(found)} of {len(todo)} were not measured in time")
            break
        measured = isolated.run(
            "gpu_process.py", [case, dtype, *shape, options.repeats], backend, LIMIT
        )
        key = {"script": "gpu", "backend": backend, "case": case, "dtype": dtype}
        entry = {**key, "shape": list(shape), **measured, "machine": measure.machine()}
        records.save(options.out, f"gpu-{backend}-{case}-{dtype}-{shape}", entry)
        found.append(entry)
    print(table(found))


def plan(
    backends: list[str], cases: list[str], dtypes: list[str], shapes: list[catalogue.Shape]
) -> list[tuple[str, str, str, catalogue.Shape]]:
    """What to measure, short work first; in bfloat16, layers of Keras alone."""
    return [
        (backend, case, dtype, shape)
        for shape in sorted(shapes, key=lambda shape: shape.B * shape.H * shape.L)
        for case in cases
        for dtype in dtypes
        for backend in backends
        if catalogue.exists(case, backend) and (dtype == "float32" or case in catalogue.OURS)
    ]


def table(found: list[dict[str, Any]]) -> str:
    """The records as a Markdown table."""
    head = ["case", "backend", "device", "dtype", "BxHxNxL"]
    head += ["median, ms", "first, s", "peak, MiB", "kernels"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for entry in found:
        cells = [entry["case"], entry["backend"], entry.get("device", "-"), entry["dtype"]]
        cells.append("x".join(map(str, entry["shape"])))
        if "skipped" in entry:
            cells += [entry["skipped"].replace("|", "/"), "", "", ""]
        else:
            peak, kernels = entry["peak_mib"], entry["kernels"]
            cells += [f"{entry['median_ms']:.2f}", f"{entry['first_s']:.2f}"]
            cells += ["-" if peak is None else f"{peak:.0f}", "-" if kernels is None else kernels]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
