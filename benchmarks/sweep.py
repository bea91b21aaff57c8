"""Rounds through many cases in turn, each in a process of its own, written as they come."""

import pathlib
from typing import Any

import catalogue
import isolated
import measure
import records

Entry = tuple[str, str, catalogue.Shape]


def plan(backends: list[str], cases: list[str], shapes: list[catalogue.Shape]) -> list[Entry]:
    """Every (backend, case, shape) that exists."""
    return [
        (backend, case, shape)
        for shape in shapes
        for backend in backends
        for case in cases
        if catalogue.exists(case, backend)
    ]


def sweep(
    script: str, entries: list[Entry], rounds: int, repeats: int, limit: float, out: pathlib.Path
) -> list[Entry]:
    """Measure all entries; those that are skipped once are not tried again.

    Returns:
        The entries that were measured.
    """
    entries, machine = list(entries), measure.machine()
    for number in range(rounds):
        for entry in list(entries):
            backend, case, shape = entry
            result = isolated.run("layer_process.py", [case, *shape, repeats], backend, limit)
            if "skipped" in result:
                entries.remove(entry)
            key = {"script": script, "backend": backend, "case": case, "shape": shape}
            records.save(
                out,
                f"{script}-{backend}-{case}-{shape}-{number}",
                {**key, "round": number, **result, "machine": machine},
            )
            print(f"round {number}  {backend}  {shape}  {case}: {_line(result)}", flush=True)
    return entries


def _line(result: dict[str, Any]) -> str:
    if "skipped" in result:
        return f"skipped, {result['skipped']}"
    forward, both = (1e3 * min(result[mode]["times_s"]) for mode in ("forward", "both"))
    return f"forward {forward:.1f} ms, with backward {both:.1f} ms"
