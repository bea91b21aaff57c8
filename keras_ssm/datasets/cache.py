"""Prepared arrays in one file per split, mapped into memory rather than read."""

import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_ssm.datasets import array_files
from keras_ssm.datasets.array_files import Rows
from keras_ssm.files import replacing

_log = logging.getLogger(__name__)


def data_folder(data_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """The folder with the archives, and with what is prepared from them.

    Args:
        data_dir: the folder; None takes that of the environment variable
            `KERAS_SSM_DATA`, else `datasets` in Keras' own folder, which is
            `KERAS_HOME` or `~/.keras`.

    Returns:
        Its path. It need not exist.
    """
    chosen = data_dir or os.environ.get("KERAS_SSM_DATA")
    if chosen:
        return pathlib.Path(chosen).expanduser()
    return pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "datasets"


def prepared(
    data_dir: str | os.PathLike | None, name: str, settings: Mapping[str, Any], split: str
) -> pathlib.Path:
    """Where the arrays of one split are kept: other settings, another file.

    Args:
        data_dir: see `data_folder`.
        name: name of the data set.
        settings: everything that decides the arrays; what JSON can hold.
        split: `"train"`, `"validation"` or `"test"`.

    Returns:
        `<data_dir>/keras_ssm/<name>-<hash of the settings>/<split>.h5`.
    """
    digest = hashlib.sha256(_canonical(settings).encode()).hexdigest()[:8]
    return data_folder(data_dir) / "keras_ssm" / f"{name}-{digest}" / f"{split}.h5"


def cached(
    path: str | os.PathLike,
    settings: Mapping[str, Any],
    build: Callable[[], Mapping[str, np.ndarray | Rows]],
    sources: Sequence[pathlib.Path] = (),
) -> dict[str, np.ndarray]:
    """Arrays of an HDF5 file, which is built if it is not there.

    A file is used if it is whole, made with the same settings, and its sources
    have the places, sizes and times they had. Sources that are gone are not missed. Otherwise
    it is built under a temporary name, flushed and renamed: at any moment, and
    with any number of processes at once, `path` is a whole file or none.

    Args:
        path: path of the file.
        settings: everything that decides the arrays; what JSON can hold.
        build: gives the arrays by name, none of them a scalar.
        sources: files that the arrays are made from.

    Returns:
        The arrays by name, as read-only `np.memmap`.

    Raises:
        ValueError: if `path` is a file that is not a cache, or if the parts of
            `Rows` do not make up its shape.
        OSError: if the file cannot be written; nothing of it is left.
    """
    path = pathlib.Path(path)
    marks = {"settings": _canonical(settings), "sources": _stamp(sources)}
    arrays = _read(path, marks)
    if arrays is not None:
        return arrays
    with array_files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        array_files.write(temporary, marks, build())
    arrays = _read(path, marks)
    if arrays is None:
        raise ValueError(f"{path} was changed by something else just after it was built")
    return arrays


def sequences(
    shape: tuple[int, ...],
    dtype: str,
    parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    lengths_shape: tuple[int, ...] | None = None,
) -> dict[str, Rows]:
    """Sequences, labels and lengths that come together, for a cache.

    Args:
        shape: shape of x.
        dtype: dtype of x.
        parts: `(x, y, lengths)`, each a part along the first axis.
        lengths_shape: shape of lengths, if not (count,).

    Returns:
        `x`, `y` and `lengths` as `Rows`.
    """
    y: list[np.ndarray] = []
    lengths: list[np.ndarray] = []

    def rows() -> Iterator[np.ndarray]:
        for x, labels, counts in parts:
            y.append(labels)
            lengths.append(counts)
            yield x

    # The lists are full when they are read: a cache writes x first.
    return {
        "x": Rows(shape, dtype, rows()),
        "y": Rows(shape[:1], "int32", y),
        "lengths": Rows(lengths_shape or shape[:1], "int32", lengths),
    }


def _canonical(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _stamp(sources: Sequence[pathlib.Path]) -> str:
    """Digest of paths, sizes and times, or nothing if a source is gone."""
    if not sources:
        return ""
    try:
        states = [source.stat() for source in sources]
    except FileNotFoundError:
        return ""
    # Relative to where all of them are: the folder may be moved as a whole, while a
    # file that moves inside it may become one of another class.
    paths = [str(source.absolute()) for source in sources]
    top = len(os.path.commonpath([os.path.dirname(path) for path in paths]))
    listed = [
        [path[top:].lstrip(os.sep), state.st_size, state.st_mtime_ns]
        for path, state in zip(paths, states, strict=True)
    ]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _read(path: pathlib.Path, marks: Mapping[str, str]) -> dict[str, np.ndarray] | None:
    """The arrays of a whole file with these marks; None if it must be built."""
    if not path.exists():
        return None
    try:
        content = array_files.read(path)
    except EOFError as error:
        _log.warning("%s; it is built anew", error)
        return None
    if content is None:
        raise ValueError(
            f"expected arrays prepared by keras_ssm in {path}, found a file of "
            f"{path.stat().st_size} bytes that is something else. Move it away"
        )
    found, arrays = content
    if found.get("settings") != marks["settings"]:
        return None
    if marks["sources"] and found.get("sources") not in ("", marks["sources"]):
        _log.warning("the sources of %s have changed; it is built anew", path)
        return None
    return arrays
