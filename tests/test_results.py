"""The page of results says what its files say."""

import importlib.util
import json
import pathlib
import re

import pytest

pytestmark = pytest.mark.backend_free
ROOT = pathlib.Path(__file__).parents[1]


def load():
    spec = importlib.util.spec_from_file_location("results", ROOT / "benchmarks" / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_table_is_that_of_its_file():
    results = load()
    page = results.PAGE.read_text(encoding="utf-8")
    names = re.findall(r"<!-- table (\w+) -->", page)
    assert "series" in names
    assert results.rendered(page) == page
    files = {path.stem for path in (results.PAGE.parent / "results").glob("*.json")}
    assert {name.removeprefix("origin_") for name in names} >= files
    # Another number in the file is another table.
    cell = {"set": "A", "model": "s5", "correct": 1, "count": 2}
    before, after = (
        results.series({"cells": [cell, {**cell, "correct": correct}]}) for correct in (1, 2)
    )
    assert before != after


def test_means_spreads_and_ranks():
    results = load()
    assert results.ranks({"a": 3.0, "b": 1.0, "c": 3.0}) == {"a": 1.5, "b": 3.0, "c": 1.5}
    cells = [
        {"set": name, "model": model, "correct": correct, "count": 50}
        for name, rows in (
            ("One", {"s5": (40, 42), "gru": (40, 40)}),
            ("Two", {"s5": (1, 1), "gru": (2, 2)}),
        )
        for model, row in rows.items()
        for correct in row
    ]
    lines = results.series({"cells": cells}).splitlines()
    assert lines[2] == "| S5 | **82.0** (2.8) | 2.0 (0.0) | 1.5 |"
    assert lines[3] == "| GRU | 80.0 (0.0) | **4.0** (0.0) | 1.5 |"


def test_every_cell_of_the_series_is_there():
    record = json.loads((ROOT / "docs" / "results" / "series.json").read_text())
    cells = {(cell["set"], cell["model"], cell["seed"]) for cell in record["cells"]}
    sets, models, seeds = (sorted({cell[n] for cell in cells}) for n in range(3))
    assert len(cells) == len(record["cells"]) == len(sets) * len(models) * len(seeds)
    assert (len(sets), len(models), len(seeds)) == (6, 8, 3)
