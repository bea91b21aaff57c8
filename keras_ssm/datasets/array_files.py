"""Arrays by name in one HDF5 file, written part by part and mapped into memory."""

import contextlib
import dataclasses
import io
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import h5py
import numpy as np

_FORMAT = "keras_ssm arrays 1"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


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

    >>> part = np.zeros((2, 3), "int16")
    >>> rows = keras_ssm.datasets.cache.Rows((4, 3), "int16", [part, part])
    """

    shape: tuple[int, ...]
    dtype: Any
    chunks: Iterable[np.ndarray]


def read(path: str | os.PathLike) -> tuple[dict[str, str], dict[str, np.ndarray]] | None:
    """Marks and arrays of a file that `write` has written.

    Args:
        path: of the file.

    Returns:
        `(marks, arrays)`, the arrays as read-only `np.memmap`; None for a file of
        something else.

    Raises:
        EOFError: if the file is not whole, or of another version.

    Example:

    >>> keras_ssm.datasets.array_files.write("squares.h5", {}, {"x": np.arange(4) ** 2})
    >>> marks, arrays = keras_ssm.datasets.array_files.read("squares.h5")
    >>> arrays["x"].tolist()
    [0, 1, 4, 9]
    """
    # One open file for the header and the maps: the path may be replaced in between.
    # Its name is a str, so that the maps keep it.
    with open(os.fspath(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(len(_SIGNATURE)) != _SIGNATURE[:size]:
            return None
        try:
            with h5py.File(file, "r") as content:
                marks = dict(content.attrs)
                version, complete = (marks.pop(name, None) for name in ("format", "complete"))
                if version is None:
                    return None
                if version != _FORMAT:
                    raise EOFError(f"it is of another version, {version}")
                if not complete:
                    raise EOFError("the mark of a complete file is missing")
                return marks, {name: _map(file, content[name]) for name in content}
        except Exception as error:  # a damaged header fails in many ways inside HDF5
            raise EOFError(f"{path}, of {size} bytes, cannot be used ({error})") from error


def write(
    path: str | os.PathLike, marks: Mapping[str, str], arrays: Mapping[str, np.ndarray | Rows]
) -> None:
    """Write a new file, flushed to the disk.

    Args:
        path: of the file.
        marks: texts to be kept with the arrays.
        arrays: by name, none of them a scalar.

    Raises:
        ValueError: if the parts of `Rows` do not make up its shape.
        OSError: if the file cannot be written.

    Example:

    >>> keras_ssm.datasets.array_files.write("cubes.h5", {}, {"x": np.arange(4) ** 3})
    """
    rows = {name: _rows(array) for name, array in arrays.items()}
    with writing(path), h5py.File(path, "x") as content:
        content.attrs.update({**marks, "format": _FORMAT, "complete": False})
        offsets = {name: _allocate(content, name, row) for name, row in rows.items()}
    # Not through HDF5, which does not survive a full disk, and not through a map,
    # which would be a bus error there: plain unbuffered writes fail plainly.
    with open(path, "r+b", buffering=0) as file:
        for name, row in rows.items():
            file.seek(offsets[name])
            for chunk in _checked(name, row):
                with writing(path):
                    _write_all(file, chunk)
    with writing(path):
        with h5py.File(path, "r+") as content:
            content.attrs["complete"] = True
        with open(path, "r+b") as file:
            os.fsync(file.fileno())


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Say where it was that something could not be written.

    Args:
        path: of the file that is written in the block.

    Returns:
        A context manager that raises `OSError` for what fails in its block.

    Example:

    >>> import os
    >>> with keras_ssm.datasets.array_files.writing("data/train.h5"):
    ...     os.makedirs("data", exist_ok=True)
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # HDF5 has a RuntimeError for some of its own
        raise OSError(
            f"prepared data cannot be written to {pathlib.Path(path).parent}, and nothing "
            f"half-written is left ({error}). If no room can be made there, a folder elsewhere "
            "with links to the archives can be the data folder"
        ) from error


def _map(file: BinaryIO, dataset: h5py.Dataset) -> np.ndarray:
    if dataset.size == 0:
        empty = np.empty(dataset.shape, dataset.dtype)
        empty.flags.writeable = False
        return empty
    return np.memmap(file, dataset.dtype, "r", dataset.id.get_offset(), dataset.shape)


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
        if chunk.dtype != np.dtype(rows.dtype) or chunk.shape[1:] != tuple(rows.shape[1:]):
            raise ValueError(
                f"expected parts of {name} that make up {rows.shape} of {np.dtype(rows.dtype)}, "
                f"found {chunk.shape} of {chunk.dtype}"
            )
        yield chunk
    if count != rows.shape[0]:
        raise ValueError(f"expected {rows.shape[0]} rows of {name}, found {count}")


def _write_all(file: io.RawIOBase, array: np.ndarray) -> None:
    rest = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    while rest:
        rest = rest[file.write(rest) :]
