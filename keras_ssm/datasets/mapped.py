"""Memory maps that travel to another process as the name of their file."""

import mmap
from typing import Any, NamedTuple

import numpy as np


class MappedView(NamedTuple):
    """Where in which file an array lies."""

    filename: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype


def described(array: np.ndarray) -> Any:
    """A `MappedView` of an array that lies in a memory map, any other array itself."""
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or root.filename is None:
        return array
    if not isinstance(root.base, mmap.mmap) or min(array.strides, default=0) < 0:
        return array
    start = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    return MappedView(
        str(root.filename), root.offset + start, array.shape, array.strides, array.dtype
    )


def mapped(view: Any) -> np.ndarray:
    """The array that `described` was given; from a `MappedView`, read-only."""
    if not isinstance(view, MappedView):
        return view
    steps = zip(view.shape, view.strides, strict=True)
    size = sum((count - 1) * stride for count, stride in steps) + view.dtype.itemsize
    buffer = np.memmap(view.filename, "uint8", "r", view.offset, (size,))
    return np.ndarray(view.shape, view.dtype, buffer, 0, view.strides)
