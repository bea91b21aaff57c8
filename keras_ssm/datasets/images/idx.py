"""IDX files, the format of MNIST and of the data sets that imitate it."""

import gzip
import math
import os
import pathlib
import struct
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from keras_ssm.datasets import splits
from keras_ssm.datasets.archives import missing
from keras_ssm.datasets.images import pixels

Labelled = tuple[np.ndarray, np.ndarray]
TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_UNSIGNED_BYTES = bytes([0, 0, 8])
_GZIP = b"\x1f\x8b"
# Labels, and images.
_AXES = (1, 3)
# gzip makes a file smaller by this factor at most.
_LARGEST_RATIO = 1032


def load_data(folder: pathlib.Path, hint: str) -> tuple[Labelled, Labelled]:
    """The images and labels of the four files of MNIST.

    Args:
        folder: folder with the files, compressed by gzip or not.
        hint: where they come from, for the error if one is missing.

    Returns:
        `(x_train, y_train), (x_test, y_test)`, all uint8.

    Raises:
        ValueError: for a file that is missing, cut short, damaged or of
            something other than images of 28 x 28 pixels and their labels.
    """
    parts = _part(folder, TRAIN, hint), _part(folder, TEST, hint)
    splits.check_distinct([_paths(folder, name)[0] for name in (TRAIN[0], TEST[0])])
    return parts


def find(folder: pathlib.Path, places: Sequence[str]) -> pathlib.Path | None:
    """The first folder that holds any of the four files.

    Args:
        folder: folder to look in.
        places: relative or absolute folders, the preferred ones first.

    Returns:
        Its path, or None.
    """
    candidates = (folder / place for place in places)
    names = TRAIN + TEST
    return next((place for place in candidates if any(_paths(place, name) for name in names)), None)


def read(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file of unsigned bytes.

    Args:
        path: path of the file, compressed by gzip or not.

    Returns:
        uint8 of the shape that the header of the file says.

    Raises:
        ValueError: for a file that is cut short, damaged or something else.
    """
    path = pathlib.Path(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        compressed = file.read(2) == _GZIP
    opened: Any = gzip.open if compressed else open
    try:
        with opened(path, "rb") as content:
            shape = _shape(path, content)
            count = math.prod(shape)
            # Compared before room is made for that many.
            if count > size * (_LARGEST_RATIO if compressed else 1):
                raise _unreadable(path, f"the header says {shape} values")
            data = content.read(count)
            more = content.read(1)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, f"the compression is cut short or damaged, {error}") from error
    if len(data) != count or more:
        found = "more" if more else str(len(data))
        raise _unreadable(path, f"the header says {shape} values, {found} bytes follow it")
    return np.frombuffer(data, "uint8").reshape(shape)


def _shape(path: pathlib.Path, content: BinaryIO) -> tuple[int, ...]:
    start = content.read(4)
    axes = start[3] if len(start) == 4 and start[:3] == _UNSIGNED_BYTES else 0
    sizes = content.read(4 * axes)
    if axes not in _AXES or len(sizes) < 4 * axes:
        raise _unreadable(path, "the header is not that of IDX images or labels of unsigned bytes")
    return struct.unpack(f">{axes}I", sizes)


def _part(folder: pathlib.Path, names: tuple[str, str], hint: str) -> Labelled:
    paths = [_paths(folder, name) for name in names]
    for found, name in zip(paths, names, strict=True):
        if not found:
            raise missing(folder, f"{name}.gz", ("",), hint)
    images, labels = (read(found[0]) for found in paths)
    pixels.check_images(" and ".join(str(found[0]) for found in paths), images, labels)
    return images, labels


def _paths(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
    """The file under the names it is known by."""
    names = (name, f"{name}.gz", name.replace("-idx", ".idx"))
    return [folder / name for name in names if (folder / name).is_file()]


def _unreadable(path: pathlib.Path, found: str) -> ValueError:
    return ValueError(
        f"expected a whole IDX file in {path}, of {path.stat().st_size} bytes: {found}"
    )
