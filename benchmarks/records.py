"""Results as JSON: one file for every process that measured something."""

import json
import os
import pathlib
from typing import Any


def save(folder: pathlib.Path, name: str, record: dict[str, Any]) -> None:
    """Write `name`.json at once or not at all, over an older one."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{name}.json.part"
    unfinished.write_text(json.dumps(record, indent=1) + "\n")
    os.replace(unfinished, folder / f"{name}.json")


def load(folder: pathlib.Path, script: str | None = None) -> list[dict[str, Any]]:
    """All records that `script`, or any, wrote into the folder."""
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return [record for record in records if script in (None, record["script"])]


def read(path: pathlib.Path) -> dict[str, Any]:
    """One record."""
    return json.loads(path.read_text())
