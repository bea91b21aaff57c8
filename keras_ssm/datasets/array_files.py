"""Arrays by name in one HDF5 file, written part by part and mapped into memory."""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import h5py
import numpy as np

from keras_ssm.datasets.progress import Progress

_FORMAT = "keras_ssm arrays 1"
# Booleans, integers, floats and bytes.
_KINDS = "buifS"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclasses.dataclass(frozen=True)
class Rows:
    """An array that is written part by part, because it should not be in memory at once.

    Args:
        shape: shape of the whole array.
        dtype: dtype of the array and of every part.
        chunks: parts, in order, along the first axis. Taken only once the
            arrays before this one in the dictionary are written, so that one
            pass over a source can collect the values of a later array.
    """

    shape: tuple[int, ...]
    dtype: Any
    chunks: Iterable[np.ndarray]


def read(path: str | os.PathLike) -> tuple[dict[str, str], dict[str, np.ndarray]] | None:
    """Marks and arrays of a file that `write` has written.

    Args:
        path: path of the file.

    Returns:
        `(marks, arrays)`, the arrays as read-only `np.memmap`; None for any
        other file.

    Raises:
        EOFError: if the file is not whole, or of another version.
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
                if not all(isinstance(mark, str) for mark in marks.values()):
                    raise EOFError("a mark is not a text")
                arrays = {name: _map(file, size, content, name) for name in content}
                # HDF5 does not protect its own headers: a changed length would go unseen.
                if marks.pop("layout", None) != _layout(content):
                    raise EOFError("the arrays are not those that were written")
                return marks, arrays
        except Exception as error:  # a damaged header fails in many ways inside HDF5
            raise EOFError(f"{path}, of {size} bytes, cannot be used ({error})") from error


def write(
    path: str | os.PathLike, marks: Mapping[str, str], arrays: Mapping[str, np.ndarray | Rows]
) -> None:
    """Write a new file; making sure that it reaches the disk is left to the caller.

    Args:
        path: path of the file.
        marks: texts to be kept with the arrays.
        arrays: by name, none of them a scalar.

    Raises:
        ValueError: if the parts of `Rows` do not make up its shape.
        OSError: if the file cannot be written.
    """
    rows = {name: _rows(array) for name, array in arrays.items()}
    with writing(path), h5py.File(path, "x") as content:
        content.attrs.update({**marks, "format": _FORMAT, "complete": False})
        offsets = {name: _allocate(content, name, row) for name, row in rows.items()}
        content.attrs["layout"] = _layout(content)
    # Not through HDF5, which does not survive a full disk, and not through a map,
    # which would be a bus error there: plain unbuffered writes fail plainly.
    with open(path, "r+b", buffering=0) as file:
        for name, row in rows.items():
            file.seek(offsets[name])
            title = f"preparing {name} of {pathlib.Path(path).parent.name}"
            with Progress(title, row.shape[0]) as progress:
                for chunk in _checked(name, row):
                    with writing(path):
                        _write_all(file, chunk)
                    progress.add(len(chunk))
    with writing(path), h5py.File(path, "r+") as content:
        content.attrs["complete"] = True


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Say where it was if something cannot be written.

    Args:
        path: path of the file that is written in the block.

    Returns:
        A context manager that raises `OSError` for what fails in its block.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # HDF5 has a RuntimeError for some of its own
        raise OSError(
            f"prepared data cannot be written to {pathlib.Path(path).parent}, and nothing "
            f"half-written is left ({error}). If no room can be made there, a folder elsewhere "
            "with links to the archives can be the data folder"
        ) from error


def _layout(content: h5py.File) -> str:
    """Names, types, shapes and places of the arrays."""
    return json.dumps(
        {
            name: [array.dtype.str, array.shape, array.id.get_offset()]
            for name, array in content.items()
        }
    )


def _map(file: BinaryIO, size: int, content: h5py.File, name: str) -> np.ndarray:
    """The array in place, once nothing about it can be anything but numbers in this file."""
    if not isinstance(content.get(name, getlink=True), h5py.HardLink):
        raise EOFError(f"{name} is a link to somewhere else")
    dataset = content[name]
    if not isinstance(dataset, h5py.Dataset):
        raise EOFError(f"{name} is not an array")
    dtype = dataset.dtype
    if dtype.hasobject or dtype.kind not in _KINDS:
        raise EOFError(f"{name} is an array of {dtype}, not of numbers")
    # Chunks, filters, other files and other arrays all exclude a contiguous layout.
    plan = dataset.id.get_create_plist()
    if plan.get_layout() != h5py.h5d.CONTIGUOUS or plan.get_external_count():
        raise EOFError(f"{name} does not lie in one piece in this file")
    if dataset.size == 0:
        empty = np.empty(dataset.shape, dtype)
        empty.flags.writeable = False
        return empty
    offset = dataset.id.get_offset()
    if offset is None or offset + dataset.size * dtype.itemsize > size:
        raise EOFError(f"{name}, {dtype} of shape {dataset.shape}, is not there as a whole")
    return np.memmap(file, dtype, "r", offset, dataset.shape)


def _rows(array: np.ndarray | Rows) -> Rows:
    return array if isinstance(array, Rows) else Rows(array.shape, array.dtype, (array,))


def _allocate(content: h5py.File, name: str, rows: Rows) -> int:
    """Make room for an array in one piece, and return its offset in the file."""
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
