"""Records to Markdown tables."""

import statistics
from typing import Any, NamedTuple

import catalogue

# Ratios of the median time of the first to the time of the second case, forward with backward.
RATIOS = (
    ("s4d-textbook", "s4d"),
    ("s4d-textbook", "s4d-chunk"),
    ("s5-textbook", "s5"),
    ("s5-pytorch", "s5"),
    ("lstm", "s5"),
    ("gru", "s5"),
    ("conv", "s5"),
    ("attention", "s5"),
    ("s4d", "ceiling-fft"),
    ("s4d-chunk", "ceiling-fft"),
    ("dss", "ceiling-fft"),
    ("dss-softmax", "ceiling-fft"),
    ("s5", "ceiling-dense"),
    ("s5-time-steps", "s5"),
    *((piece, piece.partition("-")[0]) for piece in catalogue.PIECES),
)
PARTS = ("block", "layer", "norm", "gating", "block without layer", "floor", "optimizer")
Key = tuple[str, str, catalogue.Shape]


class Result(NamedTuple):
    """One mode of one case over all rounds."""

    min_ms: float
    median_ms: float
    first_s: float
    peak_mib: float
    count: int


Results = dict[Key, dict[str, Result] | str]


def merged(records: list[dict[str, Any]]) -> Results:
    """By (backend, case, shape): the results of both modes, or the reason why there are none."""
    rounds: dict[Key, list[dict[str, Any]]] = {}
    for record in records:
        key = record["backend"], record["case"], catalogue.Shape(*record["shape"])
        rounds.setdefault(key, []).append(record)
    return {key: _over_rounds(group) for key, group in rounds.items()}


def _over_rounds(group: list[dict[str, Any]]) -> dict[str, Result] | str:
    reasons = [record["skipped"] for record in group if "skipped" in record]
    if reasons:
        return reasons[0]
    return {mode: _mode([record[mode] for record in group]) for mode in ("forward", "both")}


def _mode(rounds: list[dict[str, Any]]) -> Result:
    times = [1e3 * t for r in rounds for t in r["times_s"]]
    return Result(
        min(times),
        statistics.median(times),
        min(r["first_s"] for r in rounds),
        max(r["peak_mib"] for r in rounds),
        len(times),
    )


def value(results: Results, backend: str, case: str, shape: Any, field: str = "min_ms") -> Any:
    """A field of a case's forward with backward, or None where there is none."""
    result = results.get((backend, case, shape))
    return getattr(result["both"], field) if isinstance(result, dict) else None


def shapes(results: Results) -> list[catalogue.Shape]:
    """All shapes of the results, in the order of their lengths."""
    return sorted({shape for _, _, shape in results}, key=lambda shape: (shape.L, shape))


def backends(results: Results) -> list[str]:
    """All backends of the results."""
    return [b for b in catalogue.BACKENDS if any(key[0] == b for key in results)]


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table; the first two columns are names, the others numbers."""
    lines = [header, ["---"] * 2 + ["---:"] * (len(header) - 2), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def ratios(results: Results) -> str:
    """Ratios of median times (and of memory and of backends), one column for each shape."""
    columns = shapes(results)
    rows = []
    for above, below in RATIOS:
        for backend in backends(results):
            cells = [_ratio(results, backend, above, below, shape) for shape in columns]
            if any(cells):
                rows.append([f"{above} / {below}", backend, *cells])
    for backend in backends(results):
        cells = [
            _ratio(results, backend, "s4d-textbook", "s4d", shape, "peak_mib") for shape in columns
        ]
        if any(cells):
            rows.append(["memory of s4d-textbook / s4d", backend, *cells])
    for case in ("s5", "s5-textbook"):
        for backend in backends(results):
            times = [value(results, backend, case, shape, "first_s") for shape in columns]
            if any(times):
                cells = [f"{t:.2f} s" if t else "" for t in times]
                rows.append([f"first call of {case}", backend, *cells])
    for case in catalogue.OURS:
        cells = [_spread(results, case, shape) for shape in columns]
        if any(cells):
            rows.append([f"{case}, slowest / fastest backend", "all", *cells])
    return markdown(["forward and backward", "backend", *map(str, columns)], rows)


def lengths(results: Results) -> str:
    """Milliseconds of forward with backward, one column for each length."""
    columns = shapes(results)
    rows = []
    for backend in backends(results):
        for case in catalogue.CASES:
            times = [value(results, backend, case, shape) for shape in columns]
            if any(times):
                cells = [f"{t:.1f}" if t else "" for t in times]
                rows.append([case, backend, *cells])
    return markdown(["ms", "backend", *(f"L = {shape.L}" for shape in columns)], rows)


def _ratio(
    results: Results, backend: str, above: str, below: str, shape: Any, field: str = "median_ms"
) -> str:
    a = value(results, backend, above, shape, field)
    b = value(results, backend, below, shape, field)
    return f"{a / b:.2f}" if a and b else ""


def _spread(results: Results, case: str, shape: Any) -> str:
    times = [t for b in backends(results) if (t := value(results, b, case, shape, "median_ms"))]
    return f"{max(times) / min(times):.2f}" if len(times) > 1 else ""


def steps(records: list[dict[str, Any]]) -> str:
    """Microseconds of a streaming step, the best of all rounds, and the ratio to the GRU cell."""
    rounds: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for record in records:
        if "skipped" not in record:
            sizes = " ".join(f"{a}={b}" for a, b in zip("HN", record["sizes"], strict=True))
            rounds.setdefault((sizes, record["backend"], record["case"]), []).append(record)
    best = {
        key: {field: min(r[field] for r in group) for field in ("p50_us", "p99_us")}
        for key, group in rounds.items()
    }
    rows = []
    for sizes, backend, case in sorted(best, key=lambda k: (*k[:2], catalogue.STEPS.index(k[2]))):
        times, cell = best[sizes, backend, case], best.get((sizes, backend, "gru-cell"))
        ratio = f"{times['p50_us'] / cell['p50_us']:.2f}" if cell else ""
        numbers = [f"{times[field]:.0f}" for field in ("p50_us", "p99_us")]
        rows.append([case, backend, sizes, *numbers, ratio])
    header = ["one step", "backend", "sizes", "p50 us", "p99 us", "p50 / p50 of gru-cell"]
    return markdown(header, rows)


def layers(results: Results, shape: catalogue.Shape) -> str:
    """Times and memory of all cases at one shape, and why a case has none."""
    rows = []
    for case in catalogue.NAMES:
        for backend in backends(results):
            result = results.get((backend, case, shape))
            if isinstance(result, dict):
                forward, both = result["forward"], result["both"]
                times = [f"{t:.1f}" for r in (forward, both) for t in (r.min_ms, r.median_ms)]
                first = [f"{r.first_s:.2f}" for r in (forward, both)]
                rows.append([case, backend, *times, *first, f"{both.peak_mib:.0f}", ""])
            elif result is not None:
                rows.append([case, backend, *[""] * 7, result])
    header = ["case", "backend", "forward min, ms", "median", "with backward min, ms", "median"]
    header += ["first forward, s", "first with backward, s", "peak, MiB", "skipped"]
    return markdown(header, rows)


def machines(records: list[dict[str, Any]]) -> str:
    """The machines and versions that the records come from, one line each."""
    lines = []
    for machine in (record["machine"] for record in records):
        packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
        line = f"{machine['cores']} cores of {machine['cpu']}, {machine['system']}, "
        line += f"Python {machine['python']}, {packages}."
        if line not in lines:
            lines.append(line)
    return "\n".join(lines)


def training(records: list[dict[str, Any]]) -> str:
    """Whole steps: medians of one group of processes that took turns, and ratios within it."""
    rows = []
    for record in sorted(records, key=_training_order):
        name = [record["case"], record["backend"], str(catalogue.Training(*record["size"]))]
        if "skipped" in record:
            rows.append([*name, *[""] * 4, record["skipped"]])
            continue
        base = _ours_beside(record, records)
        ratio = f"{_median_ms(record) / _median_ms(base):.2f}" if base else ""
        numbers = [f"{_median_ms(record):.0f}", ratio, f"{record['first_s']:.1f}"]
        rows.append([*name, *numbers, f"{record['peak_mib']:.0f}", ""])
    header = ["model", "backend", "size", "step, ms", "/ ours", "first step, s"]
    return markdown([*header, "peak, MiB", "skipped"], rows)


def _training_order(record: dict[str, Any]) -> Any:
    order = (*catalogue.TRAINED, *catalogue.TRAINED_PEERS)
    return record["size"], record["group"], order.index(record["case"]), record["backend"]


def _ours_beside(record: dict[str, Any], records: list[dict[str, Any]]) -> Any:
    """Our model that took turns with a peer, on the same backend."""
    for other in records:
        alike = all(other[key] == record[key] for key in ("group", "size", "backend"))
        if alike and other["case"] in catalogue.TRAINED and "skipped" not in other:
            return other
    return None


def _median_ms(record: dict[str, Any]) -> float:
    return 1e3 * statistics.median(record["times_s"])


def parts(records: list[dict[str, Any]]) -> str:
    """Median milliseconds of the parts of one block, and of the optimizer for a model of one."""
    rows = []
    for record in sorted(records, key=lambda r: (r["size"], r["case"], r["backend"])):
        name = [record["case"], record["backend"], str(catalogue.Training(*record["size"]))]
        if "skipped" in record:
            rows.append([*name, record["skipped"], *[""] * 7])
            continue
        ms = {part: 1e3 * statistics.median(times) for part, times in record["times_s"].items()}
        ratio = ms["block without layer"] / ms["floor"]
        rows.append([*name, *(f"{ms[part]:.1f}" for part in PARTS), f"{ratio:.2f}"])
    return markdown(["layer", "backend", "size", *PARTS, "block without layer / floor"], rows)
