"""Which files of which layers work, how large, how exact and how fast are they?

Every format that a backend writes, for a classifier of one block of 64 features
with each layer: whole sequences of a fixed and of a free length, one step, and
ten steps a call. Each file is run in its own runtime and compared with Keras; a
step is timed beside the same step of `models.streaming` in Python.

    python benchmarks/deployment.py [--backends tensorflow torch] [--layers s5 s4d]
        [--steps 1000] [--docs docs]

writes `docs/deployment.json`, and the page `docs/deployment.md` from it; with
`--page`, the page alone.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import measure
import tables

HERE = pathlib.Path(__file__).parent
WRITERS = ("tensorflow", "torch")
KINDS = ("whole", "free length", "step", "chunk")
PACKAGES = ("onnx", "onnxruntime", "ai-edge-litert", "openvino", "tf2onnx", "onnxscript")
_HEAD = """# Files, as measured

Written by `python benchmarks/deployment.py` from [deployment.json](deployment.json). A classifier
of one block of 64 features with each layer, in every format that the backend writes: the largest
difference from the Keras model over the largest magnitude of its output, and kB of the file. A
step takes one sequence; its median time in the runtime of the file stands beside that of the step
of `keras_ssm.models.streaming` in Python under the same backend, output read in both.
"""


def main() -> None:
    """Measure, write the numbers and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", nargs="+", choices=WRITERS, default=WRITERS)
    parser.add_argument("--layers", nargs="+", default=None)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--docs", type=pathlib.Path, default=pathlib.Path("docs"))
    parser.add_argument("--page", action="store_true", help="write the page from the numbers")
    options = parser.parse_args()
    numbers = options.docs / "deployment.json"
    if not options.page:
        records = [
            record
            for backend in options.backends
            for record in measured(backend, options.layers, options.steps)
        ]
        machine = measure.machine()
        machine["packages"] |= {name: v for name in PACKAGES if (v := measure.version(name))}
        lines = ",\n".join(json.dumps(record) for record in records)
        numbers.write_text(f'{{"machine": {json.dumps(machine)},\n"records": [\n{lines}\n]}}\n')
    found = json.loads(numbers.read_text())
    (options.docs / "deployment.md").write_text(page(found))


def measured(backend: str, layers: list[str] | None, steps: int) -> list[dict[str, Any]]:
    """The records of a process of the backend."""
    command = [sys.executable, HERE / "deployment_process.py", "--steps", str(steps)]
    if layers:
        command += ["--layers", *layers]
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        records = []
        for line in process.stdout:
            if line.startswith("{"):
                records.append(json.loads(line))
                print(line, end="", flush=True)
    if process.returncode:
        raise SystemExit(f"{backend}: exit code {process.returncode}")
    return records


def page(found: dict[str, Any]) -> str:
    """The page of all records."""
    records = found["records"]
    python = {(r["backend"], r["layer"]): r["python"] for r in records if "python" in r}
    files = [r for r in records if "format" in r]
    cells = {(r["format"], r["backend"], r["layer"], r["kind"]): r for r in files}
    rows, times, reasons = [], [], []
    for form, backend, layer in dict.fromkeys(key[:3] for key in cells):
        row = [form, backend, layer]
        for kind in KINDS:
            record = cells.get((form, backend, layer, kind))
            row.append(_cell(record, reasons))
        rows.append(row)
        step = cells.get((form, backend, layer, "step"), {})
        if "microseconds" in step:
            here, there = python[backend, layer], step["microseconds"]
            numbers = [f"{there:.0f}", f"{here:.0f}", f"{there / here:.2f}"]
            times.append([form, backend, layer, *numbers])
    head = ["format", "written with", "layer", *KINDS]
    parts = [
        _HEAD,
        tables.machines([found]),
        "\n## Errors and sizes\n",
        tables.markdown(head, rows),
    ]
    if reasons:
        parts += ["", *[f"{number}. {text}" for number, text in enumerate(reasons, 1)]]
    head = ["format", "written with", "layer", "step, us", "step in Python, us", "ratio"]
    parts += ["\n## Time of a step\n", tables.markdown(head, times)]
    return "\n".join(parts) + "\n"


def _cell(record: dict[str, Any] | None, reasons: list[str]) -> str:
    if record is None:
        return ""
    if "failed" not in record:
        return f"{record['error']:.0e}, {record['bytes'] / 1000:.0f} kB"
    reason = " ".join(record["failed"].split())[:300]
    if reason not in reasons:
        reasons.append(reason)
    return f"({reasons.index(reason) + 1})"


if __name__ == "__main__":
    main()
