"""Run folders: what a training leaves behind, and reading it back.

    config.json         recipe, seed and backend, and the versions they ran under
    model.keras         the training after the last complete epoch: what --resume reads
    best.keras          the model of the epoch with the best validation accuracy
    history.csv         one row per epoch
    learning-curve.png  the same as a picture
    result.json         test accuracy; written last, so it marks a finished run

Every file appears whole or not at all.
"""

import csv
import json
import os
import pathlib
import platform
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_ssm._version import __version__
from keras_ssm.callbacks import replacing

CONFIG, MODEL, BEST, HISTORY = "config.json", "model.keras", "best.keras", "history.csv"
CURVE, RESULT = "learning-curve.png", "result.json"

Row = dict[str, float]


def create(folder: str | os.PathLike, config: dict[str, Any], overwrite: bool = False) -> None:
    """Start a run folder with its `config.json`.

    Args:
        folder: of the run; made if it is missing.
        config: settings; `versions` are added.
        overwrite: remove the files of a run that the folder holds. Other files stay.

    Raises:
        ValueError: if `folder` is a file, or holds files of a run without `overwrite`.

    Example:

    >>> from keras_ssm import runs
    >>> runs.create("runs/mine", {"recipe": {}, "seed": 0, "backend": "jax"})
    >>> sorted(runs.read_config("runs/mine"))
    ['backend', 'recipe', 'seed', 'versions']
    """
    folder = pathlib.Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"expected a folder to write the run to. Received: {folder}, a file")
    # The result goes first: a folder without it is known to be unfinished.
    old = [
        name for name in (RESULT, CURVE, HISTORY, BEST, MODEL, CONFIG) if (folder / name).exists()
    ]
    if old and not overwrite:
        raise ValueError(
            "expected a new or empty run folder; --overwrite replaces a run, --out names another "
            f"folder. Received: {folder}, which holds {', '.join(sorted(old))}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in old:
        (folder / name).unlink()
    versions = {
        "keras_ssm": __version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        **backend_version(),
    }
    write_json(folder / CONFIG, {**config, "versions": versions})


def backend_version() -> dict[str, str]:
    """Name and version of the framework behind the running Keras backend.

    Returns:
        For instance `{"jax": "0.10.2"}`.

    Example:

    >>> from keras_ssm import runs
    >>> runs.backend_version()
    {'...': '...'}
    """
    from importlib import metadata

    name = keras.backend.backend()
    try:
        return {name: metadata.version(name)}
    except metadata.PackageNotFoundError:
        return {name: "unknown"}


def read_config(folder: str | os.PathLike, name: str = CONFIG) -> dict[str, Any]:
    """The settings of a run.

    Args:
        folder: of the run.
        name: of the file.

    Returns:
        The content of `config.json`.

    Raises:
        ValueError: if it is missing or not the settings of a run.

    Example:

    >>> from keras_ssm import runs
    >>> runs.create("runs/mine", {"recipe": {"task": "digits"}, "seed": 0})
    >>> runs.read_config("runs/mine")["recipe"]["task"]
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
    return config


def check_same(folder: str | os.PathLike, config: dict[str, Any]) -> None:
    """Make sure that a run can go on with these settings.

    Args:
        folder: of the run.
        config: settings, without versions.

    Raises:
        ValueError: if there is no run, it is finished, or its settings differ:
            names those that do.

    Example:

    >>> from keras_ssm import runs
    >>> runs.create("runs/mine", {"recipe": {}, "seed": 0})
    >>> runs.check_same("runs/mine", {"recipe": {}, "seed": 1})
    Traceback (most recent call last):
    ValueError: expected ... Received: seed=1 where the run has 0
    """
    found = read_config(folder)
    if (pathlib.Path(folder) / RESULT).exists():
        raise ValueError(
            f"expected a run that is not finished. Received: {folder}, which has {RESULT}"
        )
    del found["versions"]
    found, wanted = _flat(found), _flat(json.loads(json.dumps(config)))
    different = [
        f"{name}={wanted.get(name)!r} where the run has {found.get(name)!r}"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]
    if different:
        raise ValueError(
            f"expected the settings of the run in {folder}. Received: {', '.join(different)}"
        )


def _flat(content: Any, name: str = "") -> dict[str, Any]:
    """Nested settings as one dict, with dots in the names."""
    if not isinstance(content, dict):
        return {name: content}
    start = f"{name}." if name else ""
    return {k: v for key in content for k, v in _flat(content[key], start + key).items()}


def load_model(folder: str | os.PathLike) -> keras.Model:
    """The best model of a run by validation accuracy, not compiled, under any backend.

    Args:
        folder: of the run.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: if `best.keras` is missing or cannot be read whole.

    Example:

    >>> from keras_ssm import runs
    >>> runs.create("runs/mine", {"recipe": {}, "seed": 0})
    >>> model = keras.Sequential([keras.Input((None, 2)), keras_ssm.layers.S5(4)])
    >>> model.save("runs/mine/best.keras")
    >>> runs.load_model("runs/mine").output_shape
    (None, None, 2)
    """
    path = pathlib.Path(folder) / BEST
    _check_exists(path)
    return read_model(path)


def read_model(path: str | os.PathLike) -> keras.Model:
    """A saved model, not compiled, under any backend.

    Args:
        path: of the `.keras` file.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: if it cannot be read whole.

    Example:

    >>> from keras_ssm import runs
    >>> model = keras.Sequential([keras.Input((None, 2)), keras_ssm.layers.S5(4)])
    >>> model.save("mine.keras")
    >>> runs.read_model("mine.keras").output_shape
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
        path: of the file.
        content: what JSON can hold.

    Example:

    >>> from keras_ssm import runs
    >>> runs.write_json("result.json", {"test_accuracy": 0.5})
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


class History(keras.callbacks.Callback):
    """Keeps a CSV file with one row per epoch, whole at any time.

    Args:
        path: of the file.
        rows: of the epochs before a training that goes on.

    Example:

    >>> from keras_ssm import runs
    >>> x, y = np.eye(4, dtype="float32"), np.arange(4)
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> rows = runs.History("history.csv")
    >>> history = model.fit(x, y, epochs=2, verbose=0, callbacks=[rows])
    >>> [row["epoch"] for row in rows.rows]
    [1, 2]
    """

    def __init__(self, path: str | os.PathLike, rows: Sequence[Row] = ()) -> None:
        super().__init__()
        self.path = pathlib.Path(path)
        self.rows = list(rows)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": epoch + 1, **values})
        with (
            replacing(self.path) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)


def plot_history(path: str | os.PathLike, rows: Sequence[Row], title: str = "") -> None:
    """Draw loss and accuracy over the epochs.

    Args:
        path: of the PNG file.
        rows: of a `History`, with `loss`, `accuracy` and the same with `val_`.
        title: above the picture.

    Raises:
        ImportError: if matplotlib is not installed.

    Example:

    >>> from keras_ssm import runs
    >>> row = {"loss": 0.7, "val_loss": 0.8, "accuracy": 0.6, "val_accuracy": 0.5}
    >>> runs.plot_history("learning-curve.png", [{"epoch": 1, **row}, {"epoch": 2, **row}])
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ImportError(
            "the learning curve is drawn by matplotlib, which is not installed. "
            'Install it with `pip install "keras-ssm[plot]"`.'
        ) from error
    # A Figure of its own, not pyplot: the user's backend and figures stay as they are.
    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    epochs = [row["epoch"] for row in rows]
    scales: dict[str, Callable[[float], float]] = {
        "loss": lambda value: value,
        "accuracy": lambda value: 100 * value,
    }
    for axes, (name, scale) in zip(figure.subplots(1, 2), scales.items(), strict=True):
        for key, label in ((name, "training, with dropout"), (f"val_{name}", "validation")):
            axes.plot(epochs, [scale(row[key]) for row in rows], marker=".", label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel("accuracy (%)" if name == "accuracy" else "cross-entropy (nats)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


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
