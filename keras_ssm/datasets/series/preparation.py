"""Series of unequal lengths, with gaps and scales of their own, as one array."""

from collections.abc import Sequence

import numpy as np

MISSING = ("error", "interpolate", "previous", "zero")
SCALES = ("none", "series", "train")


def moments(series: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every feature over the values that are there.

    Args:
        series: arrays (steps, features).

    Returns:
        Two arrays (features,). A feature that is constant or never there gets a
        deviation of 1, and one that is never there a mean of 0.
    """
    values = np.concatenate(series)
    there = ~np.isnan(values)
    count = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, values, 0).sum(axis=0) / count
    variance = (np.where(there, values - mean, 0) ** 2).sum(axis=0) / count
    # Rounding leaves a constant a little variance, which must not be blown up.
    constant = variance <= (1e-7 * np.maximum(np.abs(mean), 1e-300)) ** 2
    return mean, np.where(constant, 1.0, np.sqrt(variance))


def filled(series: np.ndarray, missing: str) -> np.ndarray:
    """Fill the gaps of a series.

    Args:
        series: array (steps, features), NaN where a value is missing.
        missing: `"interpolate"`, straight lines between the neighbors and the
            nearest value at the ends; `"previous"`, the value before, which takes
            nothing from the future unless a series begins with a gap; or `"zero"`.

    Returns:
        Array of the same shape. A feature that is never there becomes 0.
    """
    gaps = np.isnan(series)
    if not gaps.any():
        return series
    series = np.where(gaps, 0.0, series)
    if missing == "zero":
        return series
    steps = np.arange(len(series))
    for feature in np.flatnonzero(gaps.any(axis=0) & ~gaps.all(axis=0)):
        there = np.flatnonzero(~gaps[:, feature])
        values = series[there, feature]
        if missing == "interpolate":
            series[:, feature] = np.interp(steps, there, values)
        else:
            last = np.searchsorted(there, steps, side="right") - 1
            series[:, feature] = values[np.maximum(last, 0)]
    return series


def padded(series: Sequence[np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Series as one array, with zeros after the end of shorter ones.

    Args:
        series: arrays (steps, features), at least one.
        length: steps of the array, at least those of the longest series.

    Returns:
        float32 (count, length, features), and int32 lengths (count,).
    """
    x = np.zeros((len(series), length, series[0].shape[1]), "float32")
    for row, values in zip(x, series, strict=True):
        row[: len(values)] = values
    return x, np.array([len(values) for values in series], "int32")
