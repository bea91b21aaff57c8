"""Problems of the UEA and UCR archives as tasks, `uea:NAME`."""

import os
import pathlib
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from keras_ssm.datasets import series

Part: TypeAlias = tuple[np.ndarray, ...]

PREFIX = "uea:"
# Parts of Walker et al., who mix the archive's training and test parts.
_MIXED_SHARES = (0.7, 0.15)


class Facts(NamedTuple):
    """What a recipe has to know about a problem.

    Attributes:
        length: steps of the longest series.
        features: number of features per step.
        classes: number of classes.
        size: number of series to train on.
        fewest: smallest number of them in a class.
        unequal: whether their lengths differ.
    """

    length: int
    features: int
    classes: int
    size: int
    fewest: int
    unequal: bool


def facts(task: str, data_dir: str | os.PathLike | None = None) -> Facts:
    """Look a problem up in its files.

    Args:
        task: `uea:NAME`.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        Its `Facts`.

    Raises:
        ValueError: see `keras_ssm.datasets.series.load_data`; for a regression problem.
        ImportError: for `.ts` files, if sktime is not installed.

    Example:

    >>> import pathlib
    >>> from keras_ssm.recipes import series
    >>> for part in ("TRAIN", "TEST"):
    ...     _ = pathlib.Path(f"Mine_{part}.tsv").write_text("1 0.1 0.3 NaN\\n2 0.5 0.4 0.3\\n")
    >>> series.facts("uea:Mine", data_dir=".")
    Facts(length=3, features=1, classes=2, size=2, fewest=1, unequal=True)
    """
    name = task.removeprefix(PREFIX)
    names = series.classes(name, data_dir)
    if not names:
        raise ValueError(
            f"expected a classification problem, not a regression problem. Received: {task!r}"
        )
    (x, y, lengths), _, (_, _, test_lengths) = series.load_data(
        name, validation_fraction=0, missing="zero", data_dir=data_dir
    )
    counts = np.bincount(y, minlength=len(names))
    every = np.concatenate([lengths, test_lengths])
    return Facts(
        length=x.shape[1],
        features=x.shape[2],
        classes=len(names),
        size=len(x),
        fewest=int(counts[counts > 0].min()),
        unequal=bool(np.ptp(every)),
    )


def load(name: str, settings: dict[str, Any], folder: pathlib.Path) -> tuple[Part, Part, Part]:
    """Training, validation and test part by the `data` settings of a recipe.

    Args:
        name: name of the problem.
        settings: `validation_fraction`, `scale` and `missing` of
            `keras_ssm.datasets.series.load_data`; `mixed`, to mix the archive's
            parts and split them at random, 70 : 15 : 15; `time`, for the time from 0 to
            1 as a first feature; `presence`, for a last feature that is 1 at all steps
            that are there, which tells steps of zeros from padding.
        folder: data folder.

    Returns:
        Parts `(x, y)`, or `(x, y, lengths)` with `presence`.

    Raises:
        ValueError: for data that are missing, damaged, or not those that the recipe is for.
    """
    options = {key: settings[key] for key in ("scale", "missing") if key in settings}
    mixed = settings.get("mixed", False)
    fraction = 0 if mixed else settings.get("validation_fraction", 0.2)
    parts: tuple[Part, ...] = series.load_data(name, fraction, data_dir=folder, **options)
    if mixed:
        parts = _mixed(parts[0], parts[2])
    train, validation, test = (_with_features(part, settings) for part in parts)
    shape, classes = train[0].shape[1:], int(train[1].max()) + 1
    if shape != tuple(settings["input_shape"]) or classes > settings["num_classes"]:
        raise ValueError(
            f"expected series of shape {settings['input_shape']} in {settings['num_classes']} "
            f"classes for {PREFIX}{name}, found {list(shape)} in {classes}"
        )
    return train, validation, test


def _with_features(part: Part, settings: dict[str, Any]) -> Part:
    x, y, lengths = part
    steps = np.arange(x.shape[1], dtype="float32")
    features = [x]
    if settings.get("time"):
        time = np.broadcast_to(steps / x.shape[1], x.shape[:2])
        features.insert(0, time[..., None])
    if settings.get("presence"):
        features.append((steps < lengths[:, None]).astype("float32")[..., None])
    x = np.concatenate(features, axis=-1)
    return (x, y, lengths) if settings.get("presence") else (x, y)


def _mixed(*parts: Part) -> tuple[Part, ...]:
    """All series but repeated ones, split at random, the same in every run."""
    x, y, lengths = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    # Sorted, as by the code of the source.
    first = np.unique(x, axis=0, return_index=True)[1]
    order = np.random.RandomState(0).permutation(first)
    stops = [int(sum(_MIXED_SHARES[: n + 1]) * len(order)) for n in range(2)]
    return tuple((x[rows], y[rows], lengths[rows]) for rows in np.split(order, stops))
