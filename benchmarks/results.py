"""What did the commands find that train models? Fills in the tables of `docs/results.md`.

    python benchmarks/results.py

Every table of that page stands between `<!-- table NAME -->` and `<!-- end -->`, and is made from
`docs/results/FILE.json`, which the command that is named there has written.
"""

import json
import pathlib
import re
import statistics
from collections.abc import Callable
from typing import Any

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "results.md"
_BLOCK = re.compile(r"(<!-- table (\w+) -->\n).*?(?=<!-- end -->)", re.S)

Record = dict[str, Any]
Rows = list[list[str]]


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def rendered(page: str) -> str:
    """The page with all tables as the files have them."""
    return _BLOCK.sub(lambda match: f"{match[1]}\n{table(match[2])}\n\n", page)


def table(name: str) -> str:
    """The Markdown of one table."""
    kind, _, file = name.partition("_")
    record = json.loads((PAGE.parent / "results" / f"{file or kind}.json").read_text())
    return TABLES[name](record)


def markdown(header: list[str], rows: Rows) -> str:
    """A table whose first column are names."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def origin(record: Record) -> str:
    """Command, date, machine and versions."""
    machine = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"`{record['command']}`, {record['date']}: {machine['cores']} shared cores of "
        f"{machine['cpu']}, {machine['system']}, Python {machine['python']}, {versions}."
    )


def accuracies(record: Record) -> dict[str, dict[str, list[float]]]:
    """Per cent of the test part for every seed, by set and model."""
    found: dict[str, dict[str, list[float]]] = {}
    for cell in record["cells"]:
        percent = 100 * cell["correct"] / cell["count"]
        found.setdefault(cell["set"], {}).setdefault(cell["model"], []).append(percent)
    return found


def ranks(means: dict[str, float]) -> dict[str, float]:
    """1 for the highest; equal ones share the mean of their places."""
    return {
        name: sum(other > value for other in means.values())
        + (1 + sum(other == value for other in means.values())) / 2
        for name, value in means.items()
    }


def series(record: Record) -> str:
    """Mean and spread of every model on every set, and the mean rank."""
    found = accuracies(record)
    models = list(dict.fromkeys(cell["model"] for cell in record["cells"]))
    means = {
        name: {model: statistics.mean(values) for model, values in cells.items()}
        for name, cells in found.items()
    }
    places = {name: ranks(values) for name, values in means.items()}
    rows = []
    for model in models:
        cells = []
        for name, best in ((name, max(values.values())) for name, values in means.items()):
            text = f"{means[name][model]:.1f}"
            text = f"**{text}**" if means[name][model] == best else text
            cells.append(f"{text} ({statistics.stdev(found[name][model]):.1f})")
        rank = statistics.mean(places[name][model] for name in found)
        rows.append([_NAMES.get(model, model), *cells, f"{rank:.1f}"])
    return markdown(["test accuracy, %", *found, "mean rank"], rows)


def series_sets(record: Record) -> str:
    """What the sets are, and the best of ours beside the others."""
    rows = []
    for name, cells in accuracies(record).items():
        means = {model: statistics.mean(values) for model, values in cells.items()}
        facts = next(cell for cell in record["cells"] if cell["set"] == name)
        best = max(record["ours"], key=lambda model: means[model])
        sizes = [facts[key] for key in ("train", "count", "steps", "features", "classes")]
        others = [f"{means[m]:.1f}" for m in means if m not in record["ours"]]
        ours = f"{means[best]:.1f} ({_NAMES.get(best, best)})"
        rows.append([name, *map(str, sizes), str(facts["merged"]), ours, *others])
    header = ["set", "train", "test", "steps", "features", "classes", "merged", "best of ours"]
    others = list(dict.fromkeys(cell["model"] for cell in record["cells"]))
    return markdown([*header, *(_NAMES.get(m, m) for m in others if m not in record["ours"])], rows)


def series_cost(record: Record) -> str:
    """Weights, chosen settings and seconds."""
    models = list(dict.fromkeys(cell["model"] for cell in record["cells"]))
    sets = list(dict.fromkeys(cell["set"] for cell in record["cells"]))
    settings = {
        (one["set"], one["model"]): "{:g}, {}".format(*one["settings"]) for one in record["chosen"]
    }
    rows = []
    for model in models:
        cells = [cell for cell in record["cells"] if cell["model"] == model]
        weights = [cell["weights"] for cell in cells]
        seconds = sum(cell["seconds"] for cell in cells)
        own = [settings.get((name, model), "-") for name in sets]
        spread = f"{min(weights):,} to {max(weights):,}"
        rows.append([_NAMES.get(model, model), spread, f"{seconds:.0f}", *own])
    return markdown(["model", "weights", "core seconds", *sets], rows)


def recipes(record: Record) -> str:
    """Test accuracy of the small recipes by task, layer and backend."""
    layers = list(dict.fromkeys(cell["layer"] for cell in record["cells"]))
    rows = []
    keys = dict.fromkeys((cell["task"], cell["backend"]) for cell in record["cells"])
    for task, backend in keys:
        found = {
            cell["layer"]: cell
            for cell in record["cells"]
            if (cell["task"], cell["backend"]) == (task, backend)
        }
        cells = [
            f"{100 * found[n]['correct'] / found[n]['count']:.2f}" if n in found else "-"
            for n in layers
        ]
        count = str(next(iter(found.values()))["count"])
        seconds = sum(cell["seconds"] for cell in found.values())
        rows.append([task, backend, count, *cells, f"{seconds:.0f}"])
    return markdown(["test accuracy, %", "backend", "test part", *layers, "seconds"], rows)


def keywords(record: Record) -> str:
    """Files of models that spot words: accuracy in float and 8 bits, sizes, speed."""
    rows = []
    cells = {(c["model"], c["format"], c["int8"]): c for c in record["cells"]}
    for name, form in dict.fromkeys(key[:2] for key in cells):
        pair = [cells[name, form, int8] for int8 in (False, True)]
        row = [name, form, *(f"{100 * c['correct'] / c['count']:.1f}" for c in pair)]
        row += [f"{c['bytes'] / 1000:.0f}" if "bytes" in c else "-" for c in pair]
        row += [f"{c['real_time']:.3f}" if "bytes" in c else "-" for c in pair]
        rows.append([*row, str(pair[0].get("state_bytes", "-"))])
    header = ["model", "format", "accuracy, %, float", "8 bits", "kB, float", "8 bits"]
    return markdown([*header, "real-time factor, float", "8 bits", "bytes of state"], rows)


def pendulum(record: Record) -> str:
    """Squared errors of the example of irregular times."""
    rows = [[name, f"{error:.4f}"] for name, error in record["errors"].items()]
    return markdown(["mean squared error of sine and cosine", "test"], rows)


def forecasting(record: Record) -> str:
    """Absolute errors of the example of forecasting by horizon."""
    rows = [[name, *(f"{e:.2f}" for e in errors)] for name, errors in record["errors"].items()]
    header = ["mean absolute error, degrees Fahrenheit", *(f"{h} h" for h in record["horizons"])]
    return markdown(header, rows)


_NAMES = {
    "dss": "DSS", "s4d": "S4D", "s5": "S5", "s4": "S4", "lru": "LRU", "gru": "GRU",
    "conv": "dilated Conv1D", "minirocket": "MiniRocket",
}  # fmt: skip
FILES = ("series", "recipes", "keywords", "pendulum", "forecasting")
TABLES: dict[str, Callable[[Record], str]] = {
    "series": series,
    "sets_series": series_sets,
    "cost_series": series_cost,
    "recipes": recipes,
    "keywords": keywords,
    "pendulum": pendulum,
    "forecasting": forecasting,
    **{f"origin_{file}": origin for file in FILES},
}


if __name__ == "__main__":
    main()
