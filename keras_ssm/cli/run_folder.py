"""Run folders: what a training run leaves behind, and reading it back.

    config.json         recipe, seed and backend, and the versions they ran under
    model.keras         model, optimizer and history after the last complete epoch, for --resume
    best.keras          the model of the epoch with the best validation accuracy
    history.csv         one row per epoch
    learning-curve.png  the history as a picture
    result.json         test accuracy; written last, so it marks a finished run

Every file appears whole or not at all.
"""

import contextlib
import json
import os
import pathlib
import platform
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import keras
import numpy as np

from keras_ssm import recipes
from keras_ssm._version import __version__
from keras_ssm.files import replacing

CONFIG, MODEL, BEST, HISTORY = "config.json", "model.keras", "best.keras", "history.csv"
CURVE, RESULT = "learning-curve.png", "result.json"
# Removed in this order: a folder without its result is known to be unfinished.
_FILES = (RESULT, CURVE, HISTORY, BEST, MODEL, CONFIG)


def create(folder: str | os.PathLike, config: dict[str, Any], overwrite: bool = False) -> None:
    """Start a run folder with its `config.json`.

    Args:
        folder: folder of the run; made if it is missing.
        config: settings; `versions` are added.
        overwrite: remove the files of a run that the folder holds. Other files stay.

    Raises:
        ValueError: if `folder` holds files of a run without `overwrite`.

    Example:

    >>> from keras_ssm.cli import run_folder
    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> run_folder.create("runs/mine", {"recipe": recipe, "seed": 0, "backend": "jax"})
    >>> sorted(run_folder.read_config("runs/mine"))
    ['backend', 'recipe', 'seed', 'versions']
    """
    folder = pathlib.Path(folder)
    if not overwrite:
        check_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    versions = {
        "keras_ssm": __version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        **backend_version(),
    }
    write_json(folder / CONFIG, {**config, "versions": versions})


def check_free(folder: str | os.PathLike) -> None:
    """Check that a folder holds no run yet.

    Args:
        folder: folder of a new run.

    Raises:
        ValueError: if it holds files of a run: names them.

    Example:

    >>> from keras_ssm.cli import run_folder
    >>> run_folder.check_free("runs/new")
    """
    old = [name for name in _FILES if (pathlib.Path(folder) / name).exists()]
    if old:
        raise ValueError(
            "expected a new or empty run folder; --overwrite replaces a run, --out names another "
            f"folder. Received: {folder}, which holds {', '.join(sorted(old))}"
        )


@contextlib.contextmanager
def naming(folder: str | os.PathLike) -> Iterator[None]:
    """Add the folder to what the system says about a failure inside the block.

    A full disk, for instance, is reported without the file that was written.

    Args:
        folder: folder that is written to.

    Returns:
        A context manager.

    Raises:
        OSError: that of the block, with the folder in its message.

    Example:

    >>> from keras_ssm.cli import run_folder
    >>> with run_folder.naming("runs/mine"):
    ...     raise OSError("No space left on device")
    Traceback (most recent call last):
    OSError: runs/mine: No space left on device
    """
    try:
        yield
    except OSError as error:
        if str(folder) in str(error):
            raise
        raise OSError(f"{folder}: {error}") from error


def backend_version() -> dict[str, str]:
    """Find name and version of the framework behind the running Keras backend.

    Returns:
        For instance `{"jax": "0.10.2"}`.

    Example:

    >>> from keras_ssm.cli import run_folder
    >>> run_folder.backend_version()
    {'...': '...'}
    """
    name = keras.backend.backend()
    try:
        return {name: metadata.version(name)}
    except metadata.PackageNotFoundError:
        return {name: "unknown"}


def read_config(folder: str | os.PathLike, name: str = CONFIG) -> dict[str, Any]:
    """Read the settings of a run.

    Args:
        folder: folder of the run.
        name: name of the file.

    Returns:
        The content of `config.json`, whose recipe and seed are checked.

    Raises:
        ValueError: if it is missing or not the settings of a run.

    Example:

    >>> from keras_ssm.cli import run_folder
    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> run_folder.create("runs/mine", {"recipe": recipe, "seed": 0})
    >>> run_folder.read_config("runs/mine")["recipe"]["task"]
    'digits'
    """
    path = pathlib.Path(folder) / name
    _check_exists(path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"expected the settings of a run in {path}, found {path.stat().st_size} bytes that "
            f"are not whole JSON ({_one_line(error)})"
        ) from error
    if not isinstance(config, dict) or not {"recipe", "seed", "versions"} <= set(config):
        found = ", ".join(config) if isinstance(config, dict) else f"a {type(config).__name__}"
        raise ValueError(
            f"expected the settings of a run in {path}, with recipe, seed and versions; "
            f"found {found or 'no settings'}"
        )
    try:
        recipes.check(config["recipe"])
        check_seed(config["seed"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return config


def check_seed(seed: int) -> None:
    """Check that a seed is one that NumPy and every backend accept.

    Args:
        seed: seed of a training run.

    Raises:
        ValueError: unless it is an integer from 0 to 2^32 - 1.

    Example:

    >>> from keras_ssm.cli import run_folder
    >>> run_folder.check_seed(-1)
    Traceback (most recent call last):
    ValueError: the seed must be an integer from 0 to 4294967295. Received: seed=-1
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(
            f"the seed must be an integer from 0 to {2**32 - 1}. Received: seed={seed!r}"
        )


def check_same(folder: str | os.PathLike, config: dict[str, Any]) -> None:
    """Check that a run can be resumed with these settings.

    Args:
        folder: folder of the run.
        config: settings, without versions.

    Raises:
        ValueError: if there is no run, it is finished, or its settings differ:
            names those that do.

    Example:

    >>> from keras_ssm.cli import run_folder
    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> run_folder.create("runs/mine", {"recipe": recipe, "seed": 0})
    >>> run_folder.check_same("runs/mine", {"recipe": recipe, "seed": 1})
    Traceback (most recent call last):
    ValueError: expected ... Received: seed=1 where the run has 0
    """
    found = read_config(folder)
    if (pathlib.Path(folder) / RESULT).exists():
        raise ValueError(
            f"expected a run that is not finished. Received: {folder}, which has {RESULT}"
        )
    del found["versions"]
    found, wanted = flat(found), flat(json.loads(json.dumps(config)))
    different = [
        f"{name}={wanted.get(name)!r} where the run has {found.get(name)!r}"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]
    if different:
        raise ValueError(
            f"expected the settings of the run in {folder}. Received: {', '.join(different)}"
        )


def flat(content: Any, name: str = "") -> dict[str, Any]:
    """Flatten nested settings into one dict, with dots in the names.

    Args:
        content: nested dicts.
        name: name of the whole, before the first dot.

    Returns:
        The values by their names.

    Example:

    >>> from keras_ssm.cli import run_folder
    >>> run_folder.flat({"seed": 0, "recipe": {"task": "digits"}})
    {'seed': 0, 'recipe.task': 'digits'}
    """
    if not isinstance(content, dict):
        return {name: content}
    start = f"{name}." if name else ""
    return {k: v for key in content for k, v in flat(content[key], start + key).items()}


def load_model(folder: str | os.PathLike) -> keras.Model:
    """Load the best model of a run by validation accuracy, not compiled, under any backend.

    Args:
        folder: folder of the run.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: if `best.keras` is missing or cannot be read whole.

    Example:

    >>> from keras_ssm.cli import run_folder
    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> run_folder.create("runs/mine", {"recipe": recipe, "seed": 0})
    >>> model = keras.Sequential([keras.Input((None, 2)), keras_ssm.layers.S5(4)])
    >>> model.save("runs/mine/best.keras")
    >>> run_folder.load_model("runs/mine").output_shape
    (None, None, 2)
    """
    path = pathlib.Path(folder) / BEST
    _check_exists(path)
    return read_model(path)


def read_model(path: str | os.PathLike) -> keras.Model:
    """Load a saved model, not compiled, under any backend.

    Args:
        path: path of the `.keras` file.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: if it cannot be read whole.

    Example:

    >>> from keras_ssm.cli import run_folder
    >>> model = keras.Sequential([keras.Input((None, 2)), keras_ssm.layers.S5(4)])
    >>> model.save("mine.keras")
    >>> run_folder.read_model("mine.keras").output_shape
    (None, None, 2)
    """
    path = pathlib.Path(path)
    try:
        # compile=False: an optimizer saved under torch does not load elsewhere.
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # zip, HDF5 and JSON readers each raise their own
        raise ValueError(
            f"expected a whole Keras model in {path}, found {path.stat().st_size} bytes that "
            f"cannot be read as one ({_one_line(error)})"
        ) from error


def write_json(path: str | os.PathLike, content: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all.

    Args:
        path: path of the file.
        content: what JSON can hold.

    Example:

    >>> from keras_ssm.cli import run_folder
    >>> run_folder.write_json("result.json", {"test_accuracy": 0.5})
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _check_exists(path: pathlib.Path) -> None:
    if not path.is_file():
        folder = path.parent
        found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else None
        what = "no such folder" if found is None else ", ".join(found[:8]) or "an empty folder"
        raise ValueError(
            f"expected a run folder with {CONFIG} and {BEST}, which training writes from the end "
            f"of its first epoch on. Received: {folder}: found {what}"
        )


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
