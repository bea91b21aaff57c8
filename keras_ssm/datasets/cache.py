"""Prepared arrays in one file per split, mapped into memory rather than read."""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_ssm.datasets import array_files
from keras_ssm.datasets.array_files import Rows

_DAY = 24 * 60 * 60
_log = logging.getLogger(__name__)


def data_folder(data_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """The folder with the archives, and with what is prepared from them.

    Args:
        data_dir: the folder; None takes that of the environment variable
            `KERAS_SSM_DATA`, else `datasets` in Keras' own folder, which is
            `KERAS_HOME` or `~/.keras`.

    Returns:
        Its path. It need not exist.

    Example:

    >>> keras_ssm.datasets.cache.data_folder("/data")
    PosixPath('/data')
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
        name: of the data set.
        settings: everything that decides the arrays; what JSON can hold.
        split: `"train"`, `"validation"` or `"test"`.

    Returns:
        `<data_dir>/keras_ssm/<name>-<hash of the settings>/<split>.h5`.

    Example:

    >>> keras_ssm.datasets.cache.prepared("/data", "listops", {"max_length": 2048}, "train")
    PosixPath('/data/keras_ssm/listops-264ebf8d/train.h5')
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
    have the sizes and times they had. Sources that are gone are not missed. Else
    it is built under a temporary name, flushed and renamed: at any moment, and
    with any number of processes at once, `path` is a whole file or none.

    Args:
        path: of the file.
        settings: everything that decides the arrays; what JSON can hold.
        build: gives the arrays by name, none of them a scalar.
        sources: files that the arrays are made from.

    Returns:
        The arrays by name, as read-only `np.memmap`.

    Raises:
        ValueError: if `path` is a file that is not a cache, or if the parts of
            `Rows` do not make up its shape.
        OSError: if the file cannot be written; nothing of it is left.

    Example:

    >>> squares = keras_ssm.datasets.cache.cached(
    ...     "squares.h5", {"count": 4}, lambda: {"x": np.arange(4) ** 2}
    ... )
    >>> squares["x"].tolist()
    [0, 1, 4, 9]
    """
    path = pathlib.Path(path)
    marks = {"settings": _canonical(settings), "sources": _stamp(sources)}
    arrays = _read(path, marks)
    if arrays is not None:
        return arrays
    with _replacing(path) as temporary:
        array_files.write(temporary, marks, build())
    arrays = _read(path, marks)
    if arrays is None:
        raise ValueError(f"{path} was changed by something else just after it was built")
    return arrays


def _canonical(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _stamp(sources: Sequence[pathlib.Path]) -> str:
    """Digest of names, sizes and times, or nothing if a source is gone."""
    try:
        states = [(source.name, source.stat()) for source in sources]
    except FileNotFoundError:
        return ""
    listed = [[name, state.st_size, state.st_mtime_ns] for name, state in states]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest() if listed else ""


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
    if found["settings"] != marks["settings"]:
        return None
    if marks["sources"] and found["sources"] not in ("", marks["sources"]):
        _log.warning("the sources of %s have changed; it is built anew", path)
        return None
    return arrays


@contextlib.contextmanager
def _replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary name of this process' own, renamed to `path` if all goes well."""
    with array_files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_stale(path: pathlib.Path) -> None:
    """Remove what killed processes left. A day without a write: nobody is writing it."""
    for old in path.parent.glob(f".{path.name}.*.partial"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > _DAY:
                old.unlink()
