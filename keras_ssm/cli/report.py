"""The commands that look at what was trained: `keras-ssm plot` and `keras-ssm summary`."""

import os
import pathlib
from typing import Any

import keras

from keras_ssm import recipes, visualization
from keras_ssm.cli import run_folder


def plot(path: str | os.PathLike, sampling_rate: float | None = None) -> list[pathlib.Path]:
    """Draw all pictures of a trained run or saved model, a set for every layer.

    Each picture of a run has the layer before training beside it, made again
    from the run's settings and seed.

    Args:
        path: a run folder, or a `.keras` file.
        sampling_rate: sampling rate of the data, in Hz; None for pictures in steps.

    Returns:
        The PNG files, `plots/<layer>-<picture>.png` in the run folder, or in
        `<name>-plots` beside the file `<name>.keras`.

    Raises:
        ValueError: for something that is neither, or a model without state space
            layers.
        ImportError: if matplotlib is not installed.

    Example:

    >>> from keras_ssm.cli import report
    >>> report.plot("runs/demo")[0].name  # doctest: +SKIP
    'block_0-s5-eigenvalues.png'
    """
    path = pathlib.Path(path)
    model, before, target = load(path), None, path.with_name(f"{path.stem}-plots")
    if not path.is_file():
        before, target = _untrained(run_folder.read_config(path), model), path / "plots"
    with run_folder.naming(target):
        return visualization.plot(model, target, sampling_rate, before)


def load(path: str | os.PathLike) -> keras.Model:
    """Load the model of a run folder or of a `.keras` file.

    Args:
        path: path of either.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ValueError: for something that is neither.

    Example:

    >>> from keras_ssm.cli import report
    >>> model = keras.Sequential([keras.Input((None, 2)), keras_ssm.layers.S5(4)])
    >>> model.save("mine.keras")
    >>> report.load("mine.keras").output_shape
    (None, None, 2)
    """
    path = pathlib.Path(path)
    return run_folder.read_model(path) if path.is_file() else run_folder.load_model(path)


def _untrained(config: dict[str, Any], model: keras.Model) -> keras.Model:
    """The model as the seed of the run made it."""
    keras.utils.set_random_seed(config["seed"])
    return recipes.build_model(config["recipe"], model.input_shape[1:])
