"""The page docs/speed.md, all of whose numbers are in the records it is made from."""

import statistics
from typing import Any

import catalogue
import tables

_HEAD = """# Speed, as measured

Written by `python benchmarks/report.py` from [speed.json](speed.json), which holds what the
commands of [benchmarks/README.md](../benchmarks/README.md) measured; every number here is from
there. Models that are compared took turns, so that ratios hold although the machine was used by
others as well; milliseconds of different tables do not compare.
"""


def page(records: list[dict[str, Any]]) -> str:
    """The whole page."""
    by_script: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_script.setdefault(record["script"], []).append(record)
    parts = [_HEAD, tables.machines(records)]
    if training := by_script.get("training"):
        parts += ["\n## Whole training steps\n", _WHOLE, tables.training(training)]
        parts += ["\nSlowest backend over fastest, of the models that took turns:\n"]
        parts += [_spread(training)]
    if parts_of := by_script.get("parts"):
        parts += ["\n## Where a step goes\n", _PARTS, tables.parts(parts_of)]
    if layers := by_script.get("layers"):
        results = tables.merged(layers)
        parts += ["\n## Layers\n", _LAYERS, tables.ratios(results)]
        for shape in tables.shapes(results):
            parts += [f"\n### At B x H x N x L = {shape}\n", tables.layers(results, shape)]
    if steps := by_script.get("steps"):
        parts += ["\n## Streaming steps\n", tables.steps(steps)]
    if lengths := by_script.get("lengths"):
        parts += ["\n## Time against length\n", tables.lengths(tables.merged(lengths))]
    return "\n".join(parts) + "\n"


def _spread(records: list[dict[str, Any]]) -> str:
    rows = []
    groups = sorted({(tuple(r["size"]), r["group"], r["case"]) for r in records})
    for size, group, case in groups:
        key = list(size), group, case
        alike = [r for r in records if (list(r["size"]), r["group"], r["case"]) == key]
        times = {r["backend"]: statistics.median(r["times_s"]) for r in alike if "skipped" not in r}
        if len(times) > 1 and case in catalogue.TRAINED:
            ratio = max(times.values()) / min(times.values())
            name = str(catalogue.Training(*size))
            slowest, fastest = max(times, key=times.get), min(times, key=times.get)
            rows.append([case, name, f"{ratio:.2f}", slowest, fastest])
    return tables.markdown(["model", "size", "ratio", "slowest", "fastest"], rows)


_WHOLE = """A classifier of some blocks, its loss and AdamW, by `model.train_on_batch`. S5 goes
both ways. Peers are the same classifier of plain Keras parts around the layer's textbook form,
`keras.layers.GRU`, `LSTM` or attention. "/ ours" is the median of a step over that of our model
which took turns with it on the same backend; the first step includes tracing and compiling, not
building the model; memory is the peak of a step beyond what the process held with the model built.
From `benchmarks/steps_of_training.py`.
"""
_PARTS = """Median milliseconds of the parts of one block, forward and backward, each compiled by
itself; the optimizer's step is that for a model of one block. The floor is Keras' own layer norm
and the dense products alone.
"""
_LAYERS = """Ratios of median times of one layer, forward and backward, from `benchmarks/layers.py`.
"""
