"""Presets: folders that keras-hub models are saved to."""

import json
import os
import pathlib
from typing import Any

CONFIG, TASK = "config.json", "task.json"
WEIGHTS, SHARDED_WEIGHTS, TASK_WEIGHTS = (
    "model.weights.h5",
    "model.weights.json",
    "task.weights.h5",
)


class WholePreset:
    """Mixin of backbones and tasks: `from_preset` refuses a folder that lacks a file.

    keras-hub takes some missing files for a choice: without `task.weights.h5`, for
    instance, it gives a head with random weights.
    """

    @classmethod
    def from_preset(cls, preset: Any, load_weights: bool = True, **kwargs: Any) -> Any:
        """Load a preset as keras-hub does, but refuse a folder that lacks a file.

        Args:
            preset: path of a folder, or whatever else keras-hub takes.
            load_weights: False for random weights.
            **kwargs: arguments to replace those saved; `num_classes` gives a
                classifier a new head.

        Raises:
            ValueError: for a folder that lacks a file, naming it, or holds only a part of one.
        """
        if isinstance(preset, os.PathLike):
            preset = os.fspath(preset)
        load = super().from_preset  # type: ignore[misc]
        if not os.path.isdir(preset):
            return load(preset, load_weights=load_weights, **kwargs)
        _check_whole(pathlib.Path(preset), load_weights, "num_classes" not in kwargs)
        try:
            return load(preset, load_weights=load_weights, **kwargs)
        except OSError as error:  # HDF5's, which does not name the file
            raise ValueError(
                f"expected whole files of weights in {preset}, found one that cannot be read "
                f"({error})"
            ) from error


def _check_whole(folder: pathlib.Path, load_weights: bool, load_head: bool) -> None:
    _check(folder, CONFIG)
    _read(folder / CONFIG)
    if (folder / TASK_WEIGHTS).exists():
        _check(folder, TASK)
    if not load_weights:
        return
    if (folder / SHARDED_WEIGHTS).exists():
        shards = _read(folder / SHARDED_WEIGHTS)["weight_map"]
        for name in {name for names in shards.values() for name in _listed(names)}:
            _check(folder, name)
    else:
        _check(folder, WEIGHTS)
    task = _read(folder / TASK)["config"] if (folder / TASK).exists() else {}
    if load_head and "num_classes" in task:
        _check(folder, TASK_WEIGHTS)


def _check(folder: pathlib.Path, name: str) -> None:
    if not (folder / name).exists():
        found = ", ".join(sorted(path.name for path in folder.iterdir()))
        raise ValueError(
            f"expected a whole preset in {folder}, which lacks {name}; found {found or 'nothing'}"
        )


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"expected whole JSON in {path}, found {path.stat().st_size} bytes that are not "
            f"({error})"
        ) from error


def _listed(names: Any) -> list[str]:
    return names if isinstance(names, list) else [names]
