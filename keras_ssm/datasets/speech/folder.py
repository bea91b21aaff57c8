"""Data of your own: sound files in a folder per class, or a NumPy archive of sequences."""

import functools
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from keras_ssm.datasets import npz, splits
from keras_ssm.datasets.archives import missing
from keras_ssm.datasets.cache import Rows, cached, prepared, sequences
from keras_ssm.datasets.speech import wav

Split = tuple[np.ndarray, ...]
_PARTS = ("train", "validation", "test")
_CHUNK = 256
_HINT = "Sounds lie in a folder per class, as yes/1.wav; sequences in a .npz file as x and y"


def load_data(
    path: str | os.PathLike,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> tuple[Split, Split, Split]:
    """Load sequences of your own, split by class and at random.

    A folder has a folder for every class, whose `.wav` files have 16-bit samples,
    one rate and one number of channels. Names that begin with `_` or `.` are left
    out, as is `_background_noise_` in Speech Commands. A random split puts clips of
    one speaker on both sides.

    A `.npz` file has `x`, features (count, length, features) or (count, length) or
    whole numbers for tokens (count, length); `y`, whole numbers from 0; and, where
    sequences are padded on the right, `lengths`.

    Args:
        path: path of the folder or of the `.npz` file.
        validation_fraction: share of every class for choosing settings.
        test_fraction: share of every class for the final test.
        seed: seed of the split.
        data_dir: where prepared sounds are kept, see
            `keras_ssm.datasets.cache.data_folder`.

    Returns:
        `(x, y, lengths)` for training, validation and test. Sounds: x int16 (count,
        length) or (count, length, channels), 0 after the end of shorter clips; y int32
        (count,), numbers of `classes`; lengths int32 (count,). Sequences: x float32
        (count, length, features) or tokens as they are; no lengths if the file has
        none.

    Raises:
        ValueError: if files are missing, damaged, do not fit together or occur
            twice: names them; if a part that is asked for would be empty.

    Example:

    >>> np.savez("mine.npz", x=np.zeros((10, 50, 3)), y=np.arange(10) % 2)
    >>> train, validation, test = keras_ssm.datasets.folder.load_data(
    ...     "mine.npz", validation_fraction=0.2, test_fraction=0.2
    ... )
    >>> train[0].shape, train[1].shape
    ((6, 50, 3), (6,))
    """
    splits.check_fractions(validation_fraction=validation_fraction, test_fraction=test_fraction)
    path, fractions = pathlib.Path(path), (validation_fraction, test_fraction)
    if path.suffix == ".npz" and path.is_file():
        arrays = _load_npz(path)
        parts = splits.by_class(arrays["y"], fractions, seed)
        train, validation, test = (
            tuple(array[part] for array in arrays.values()) for part in parts
        )
        return train, validation, test
    names, files = _sounds(path)
    y = np.repeat(np.arange(len(names), dtype="int32"), [len(paths) for paths in files])
    clips = [clip for paths in files for clip in paths]
    chosen = dict(zip(_PARTS, splits.by_class(y, fractions, seed), strict=True))
    settings = {"path": str(path.resolve()), "fractions": list(fractions), "seed": seed}

    def build(part: str) -> dict[str, Rows]:
        splits.check_distinct(clips)
        shape = _common_shape(clips)
        rows = [(clips[index], y[index]) for index in chosen[part]]
        return sequences((len(rows), *shape), "int16", _read(rows, shape))

    done = (
        cached(
            prepared(data_dir, f"folder-{path.resolve().name}", settings, part),
            settings,
            functools.partial(build, part),
            clips,
        )
        for part in _PARTS
    )
    train, validation, test = ((part["x"], part["y"], part["lengths"]) for part in done)
    return train, validation, test


def classes(path: str | os.PathLike) -> tuple[str, ...]:
    """List the classes, in the order of their numbers.

    Args:
        path: path of the folder or of the `.npz` file.

    Returns:
        Names of the folders, or the numbers of a `.npz` file.

    Raises:
        ValueError: see `load_data`.

    Example:

    >>> import pathlib
    >>> for word in ("yes", "no"):
    ...     pathlib.Path("words", word).mkdir(parents=True)
    ...     pathlib.Path("words", word, "1.wav").touch()
    >>> keras_ssm.datasets.folder.classes("words")
    ('no', 'yes')
    """
    path = pathlib.Path(path)
    if path.suffix == ".npz" and path.is_file():
        return tuple(str(label) for label in range(int(_load_npz(path)["y"].max()) + 1))
    return _sounds(path)[0]


def _sounds(path: pathlib.Path) -> tuple[tuple[str, ...], list[list[pathlib.Path]]]:
    """Names of the classes, and the files of each."""
    folders = (
        sorted(entry for entry in path.iterdir() if entry.is_dir() and entry.name[0] not in "_.")
        if path.is_dir()
        else []
    )
    if not folders:
        raise missing(path, "a folder per class, or a .npz file,", ("",), _HINT)
    files = [
        sorted(entry for entry in folder.iterdir() if entry.suffix.lower() == ".wav")
        for folder in folders
    ]
    for folder, clips in zip(folders, files, strict=True):
        if not clips:
            raise missing(folder, "sounds (*.wav)", ("",), _HINT)
    return tuple(folder.name for folder in folders), files


def _common_shape(clips: Sequence[pathlib.Path]) -> tuple[int, ...]:
    """Length of the longest clip, and channels if there are several."""
    headers = [wav.header(clip) for clip in clips]
    for clip, found in zip(clips, headers, strict=True):
        if found[1:] != headers[0][1:]:
            raise ValueError(
                f"expected one rate and one number of channels, found {headers[0].rate} Hz and "
                f"{headers[0].channels} in {clips[0]}, but {found.rate} Hz and {found.channels} "
                f"in {clip}"
            )
        if found.frames == 0:
            raise ValueError(f"expected sound in {clip}, found 0 frames")
    longest, channels = max(found.frames for found in headers), headers[0].channels
    return (longest, channels) if channels > 1 else (longest,)


def _read(
    rows: Sequence[tuple[pathlib.Path, np.int32]], shape: tuple[int, ...]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        x = np.zeros((len(part), *shape), "int16")
        lengths = np.zeros(len(part), "int32")
        for index, (clip, _) in enumerate(part):
            samples, _ = wav.read(clip)
            x[index, : len(samples)] = samples
            lengths[index] = len(samples)
        yield x, np.array([label for _, label in part], "int32"), lengths


def _load_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    found = npz.read(path)
    shapes = ", ".join(f"{name} {array.dtype}{array.shape}" for name, array in found.items())
    unknown = set(found) - {"x", "y", "lengths"}
    if not {"x", "y"} <= set(found) or unknown:
        raise ValueError(
            f"expected arrays x, y and, if you like, lengths in {path}, found {shapes or 'none'}"
        )
    x, y = found["x"], found["y"]
    tokens = x.dtype.kind in "iu"
    floats = x.dtype.kind == "f" and x.ndim in (2, 3)
    if not (floats or (tokens and x.ndim == 2)) or 0 in x.shape[1:]:
        raise ValueError(
            "expected x as floats (count, length, features) or (count, length), or as whole "
            f"numbers (count, length) in {path}, found {shapes}"
        )
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1] or len(y) == 0 or y.min() < 0:
        raise ValueError(
            f"expected y as {len(x)} whole numbers from 0, at least one, in {path}, found {shapes}"
        )
    if y.max() >= len(y):
        raise ValueError(
            f"expected labels below {len(y)}, the number of sequences, so that classes can have "
            f"one, in {path}, found {y.max()}"
        )
    if tokens and (x.min() < 0 or x.max() >= 2**31):
        raise ValueError(
            f"expected tokens from 0 to 2**31 - 1 in {path}, found {x.min()} to {x.max()}"
        )
    if not tokens:
        with np.errstate(over="ignore"):  # float64 that does not fit is found below
            x = (x if x.ndim == 3 else x[:, :, None]).astype("float32")
        wrong = np.flatnonzero(~np.isfinite(x).all(axis=(1, 2)))
        if len(wrong):
            raise ValueError(
                f"expected finite numbers of float32 in {path}, found others in x[{wrong[0]}]"
            )
    arrays = {"x": x, "y": y.astype("int32")}
    if "lengths" in found:
        arrays["lengths"] = _lengths(path, found["lengths"], x, shapes)
    return arrays


def _lengths(path: pathlib.Path, lengths: np.ndarray, x: np.ndarray, shapes: str) -> np.ndarray:
    count, steps = x.shape[:2]
    if lengths.dtype.kind not in "iu" or lengths.shape != (count,):
        raise ValueError(f"expected lengths as {count} whole numbers in {path}, found {shapes}")
    if lengths.min() < 1 or lengths.max() > steps:
        raise ValueError(
            f"expected lengths from 1 to {steps} in {path}, found {lengths.min()} to "
            f"{lengths.max()}"
        )
    return lengths.astype("int32")
