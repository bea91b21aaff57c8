"""The text files of the UEA and UCR archives: `.ts`, and tables as `.tsv` or `.txt`."""

import pathlib
from typing import NamedTuple

import numpy as np


class Cases(NamedTuple):
    """What one file holds.

    Attributes:
        series: float64 arrays (steps, features), NaN where a value is missing.
        labels: label of every series; text, or floats in a regression problem.
        classes: the labels that the file declares, in its order; empty for regression.
    """

    series: list[np.ndarray]
    labels: np.ndarray
    classes: tuple[str, ...]


def read(path: pathlib.Path) -> Cases:
    """Read one file by the format that its name ends in.

    Args:
        path: ends in `.ts`, `.tsv` or `.txt`.

    Returns:
        Its series and labels.

    Raises:
        ValueError: if the file is damaged, holds no series, or has no labels.
        ImportError: for a `.ts` file, if sktime is not installed.
    """
    cases = _read_ts(path) if path.suffix == ".ts" else _read_table(path)
    if not cases.series:
        raise ValueError(f"expected series in {path}, found none")
    widths = {series.shape[1] for series in cases.series}
    if len(widths) > 1:
        raise ValueError(
            f"expected the same number of features in every series of {path}, found {widths}"
        )
    for number, series in enumerate(cases.series):
        if not len(series):
            raise ValueError(f"expected steps in every series of {path}, found 0 in {number}")
        if np.isinf(series).any():
            raise ValueError(f"expected finite values in {path}, found infinity in {number}")
    return cases


def _read_ts(path: pathlib.Path) -> Cases:
    tags = _tags(path)
    if tags.get("timestamps") == ["true"]:
        raise ValueError(f"expected series without time stamps in {path}, found @timeStamps true")
    regression = tags.get("targetlabel") == ["true"]
    classes = tags.get("classlabel", [])
    if not regression and classes[:1] != ["true"]:
        raise ValueError(
            f"expected @classLabel true or @targetLabel true in {path}, found {sorted(tags)}"
        )
    try:
        from sktime.datasets import load_from_tsfile_to_dataframe
    except ImportError as error:
        raise ImportError(
            "Files in the format .ts are read by sktime, which is not installed. "
            'Install it with `pip install "keras-ssm[series]"`.'
        ) from error
    try:
        table, labels = load_from_tsfile_to_dataframe(str(path))
        cells = [[np.asarray(cell, "float64") for cell in row] for row in table.to_numpy()]
    # The reader raises OSError for what it checks; what it does not check ends in the others.
    except (OSError, ValueError, TypeError, IndexError, KeyError, UnboundLocalError) as error:
        raise ValueError(f"expected series in the format .ts in {path}, found: {error}") from error
    for number, cell in enumerate(cells):
        lengths = sorted({len(channel) for channel in cell})
        if len(lengths) > 1:
            raise ValueError(
                f"expected one length for all features of a series in {path}, "
                f"found {lengths} in series {number}"
            )
    series = [np.stack(cell, axis=1) for cell in cells]
    if regression:
        return Cases(series, np.asarray(labels, "float64"), ())
    return Cases(series, np.asarray(labels, str), tuple(classes[1:]))


def _tags(path: pathlib.Path) -> dict[str, list[str]]:
    """The words after every `@tag` before `@data`, in lower case as the reader gives labels."""
    tags = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.strip().lower().split()
            if words[:1] == ["@data"]:
                break
            if words and words[0].startswith("@"):
                tags[words[0][1:]] = words[1:]
    return tags


def _read_table(path: pathlib.Path) -> Cases:
    """A label and a series in every row; NaN at its end is padding."""
    try:
        rows = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise ValueError(f"expected a label and a series per line in {path}: {error}") from error
    labels, values = rows[:, :1], rows[:, 1:]
    if not values.size:
        raise ValueError(f"expected a label and a series per line in {path}, found {rows.shape}")
    if not np.array_equal(labels, np.round(labels)):
        raise ValueError(f"expected whole numbers as labels in {path}, found {labels[:3, 0]}")
    # One more than the place of the last value that is there.
    lengths = values.shape[1] - np.argmax(~np.isnan(values[:, ::-1]), axis=1)
    lengths[np.isnan(values).all(axis=1)] = 0
    series = [row[:length, None] for row, length in zip(values, lengths, strict=True)]
    numbers = labels[:, 0].astype(int)
    classes = tuple(str(label) for label in np.unique(numbers))
    return Cases(series, numbers.astype(str), classes)
