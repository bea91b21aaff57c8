"""Prepared arrays in one file per split, mapped into memory rather than read."""

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import h5py
import numpy as np

_FORMAT = "keras_ssm arrays 1"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_DAY = 24 * 60 * 60
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Rows:
    """An array that is written part by part, because it should not be in memory at once.

    Args:
        shape: of the whole array.
        dtype: of the array and of every part.
        chunks: parts, in order, along the first axis. Taken only once the
            arrays before this one in the dictionary are written, so that one
            pass over a source can leave the values of a later array behind.

    Example:

    >>> rows = keras_ssm.datasets.cache.Rows((4, 2), "int16", (np.zeros((2, 2), "int16"),) * 2)
    >>> rows.shape
    (4, 2)
    """

    shape: tuple[int, ...]
    dtype: Any
    chunks: Iterable[np.ndarray]


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
    stamp = _stamp(sources)
    arrays = _read(path, settings, stamp)
    if arrays is not None:
        return arrays
    with _replacing(path) as temporary:
        _write(temporary, settings, stamp, build())
    arrays = _read(path, settings, stamp)
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


def _read(
    path: pathlib.Path, settings: Mapping[str, Any], stamp: str
) -> dict[str, np.ndarray] | None:
    """The arrays of a whole file with these settings; None if it must be built."""
    if not path.exists():
        return None
    # One open file for the header and the maps: the path may be replaced in between.
    # Its name is a str, so that the maps keep it.
    with open(os.fspath(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        known = file.read(len(_SIGNATURE)) == _SIGNATURE[:size]
        try:
            content = _content(file, size) if known else None
        except Exception as error:  # a damaged header fails in many ways inside HDF5
            _log.warning("%s, of %d bytes, is not whole (%s); it is built anew", path, size, error)
            return None
    if content is None:
        raise ValueError(
            f"expected arrays prepared by keras_ssm in {path}, found a file of {size} bytes that "
            "is something else. Move it away"
        )
    marks, arrays = content
    if (marks["format"], marks["settings"]) != (_FORMAT, _canonical(settings)):
        return None
    if stamp and marks["sources"] not in ("", stamp):
        _log.warning("the sources of %s have changed; it is built anew", path)
        return None
    return arrays


def _content(file: BinaryIO, size: int) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Marks and arrays of a file, None if it has no marks of ours."""
    with h5py.File(file, "r") as content:
        if "format" not in content.attrs:
            return None
        if not content.attrs["complete"]:
            raise EOFError("the mark of a complete file is missing")
        marks = dict(content.attrs)
        return marks, {name: _map(file, size, content[name]) for name in content}


def _map(file: BinaryIO, size: int, dataset: h5py.Dataset) -> np.ndarray:
    if dataset.size == 0:
        empty = np.empty(dataset.shape, dataset.dtype)
        empty.flags.writeable = False
        return empty
    offset = dataset.id.get_offset()
    if offset is None or offset + dataset.nbytes > size:
        raise EOFError(f"the array {dataset.name} does not lie in the file")
    return np.memmap(file, dataset.dtype, "r", offset, dataset.shape)


def _write(
    path: pathlib.Path,
    settings: Mapping[str, Any],
    stamp: str,
    arrays: Mapping[str, np.ndarray | Rows],
) -> None:
    rows = {name: _rows(array) for name, array in arrays.items()}
    with _writing(path), h5py.File(path, "w") as content:
        content.attrs.update(format=_FORMAT, settings=_canonical(settings), sources=stamp)
        content.attrs["complete"] = False
        offsets = {name: _allocate(content, name, row) for name, row in rows.items()}
    # Not through HDF5, which does not survive a full disk, and not through a map,
    # which would be a bus error there: plain unbuffered writes fail plainly.
    with open(path, "r+b", buffering=0) as file:
        for name, row in rows.items():
            file.seek(offsets[name])
            for chunk in _checked(name, row):
                with _writing(path):
                    _write_all(file, chunk)
    with _writing(path):
        with h5py.File(path, "r+") as content:
            content.attrs["complete"] = True
        with open(path, "r+b") as file:
            os.fsync(file.fileno())


def _rows(array: np.ndarray | Rows) -> Rows:
    return array if isinstance(array, Rows) else Rows(array.shape, array.dtype, (array,))


def _allocate(content: h5py.File, name: str, rows: Rows) -> int:
    """Room for an array in one piece; its offset in the file."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.CONTIGUOUS)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    kind = h5py.h5t.py_create(np.dtype(rows.dtype), logical=True)
    space = h5py.h5s.create_simple(rows.shape)
    dataset = h5py.h5d.create(content.id, name.encode(), kind, space, plan)
    return dataset.get_offset() or 0  # nothing is written at the offset of an empty one


def _checked(name: str, rows: Rows) -> Iterator[np.ndarray]:
    """The parts, which make up the announced array."""
    count = 0
    for chunk in rows.chunks:
        count += len(chunk)
        if (
            chunk.dtype != np.dtype(rows.dtype)
            or chunk.shape[1:] != tuple(rows.shape[1:])
            or count > rows.shape[0]
        ):
            raise ValueError(
                f"expected parts of {name} that make up {rows.shape} of {np.dtype(rows.dtype)}, "
                f"found {chunk.shape} of {chunk.dtype}, {count} rows so far"
            )
        yield chunk
    if count != rows.shape[0]:
        raise ValueError(f"expected {rows.shape[0]} rows of {name}, found {count}")


def _write_all(file: io.RawIOBase, array: np.ndarray) -> None:
    rest = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    while rest:
        rest = rest[file.write(rest) :]


@contextlib.contextmanager
def _replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary name of this process' own, renamed to `path` if all goes well."""
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        handle, name = tempfile.mkstemp(".partial", f".{path.name}.", path.parent)
        os.close(handle)
    temporary = pathlib.Path(name)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # HDF5 has a RuntimeError for some of its own
        raise OSError(
            f"prepared data cannot be written to {path.parent}, and nothing half-written is left "
            f"({error}). If no room can be made there, a folder elsewhere with links to the "
            "archives can be the data folder"
        ) from error


def _remove_stale(path: pathlib.Path) -> None:
    """Remove what killed processes left. A day without a write: nobody is writing it."""
    for old in path.parent.glob(f".{path.name}.*.partial"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > _DAY:
                old.unlink()
