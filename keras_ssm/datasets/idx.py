"""IDX files, the format of MNIST and of the data sets that imitate it."""

import gzip
import os
import pathlib
import zlib
from collections.abc import Sequence

import numpy as np

from keras_ssm.datasets.archives import missing

Labelled = tuple[np.ndarray, np.ndarray]
TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_UNSIGNED_BYTES = 8


def load_data(folder: pathlib.Path, hint: str) -> tuple[Labelled, Labelled]:
    """The images and labels of the four files of MNIST.

    Args:
        folder: with the files, compressed by gzip or not.
        hint: where they come from, for the error if one is missing.

    Returns:
        `(x_train, y_train), (x_test, y_test)`, all uint8.

    Raises:
        ValueError: for a file that is missing, cut short, damaged or of
            something else than images or labels.

    Example:

    >>> import pathlib
    >>> image, label = [0, 0, 8, 3, *3 * [0, 0, 0, 1], 255], [0, 0, 8, 1, 0, 0, 0, 1, 7]
    >>> for part in ("train", "t10k"):
    ...     size = pathlib.Path(f"{part}-images-idx3-ubyte").write_bytes(bytes(image))
    ...     size = pathlib.Path(f"{part}-labels-idx1-ubyte").write_bytes(bytes(label))
    >>> (x_train, y_train), test = keras_ssm.datasets.idx.load_data(pathlib.Path("."), "")
    >>> x_train.shape, y_train
    ((1, 1, 1), array([7], dtype=uint8))
    """
    return _part(folder, TRAIN, hint), _part(folder, TEST, hint)


def find(folder: pathlib.Path, places: Sequence[str]) -> pathlib.Path | None:
    """The first folder that holds any of the four files.

    Args:
        folder: to look in.
        places: relative or absolute folders, the preferred ones first.

    Returns:
        Its path, or None.

    Example:

    >>> import pathlib
    >>> pathlib.Path("MNIST/raw").mkdir(parents=True)
    >>> pathlib.Path("MNIST/raw/train-labels-idx1-ubyte").touch()
    >>> keras_ssm.datasets.idx.find(pathlib.Path("."), ("MNIST/raw", ""))
    PosixPath('MNIST/raw')
    """
    candidates = (folder / place for place in places)
    names = TRAIN + TEST
    return next((place for place in candidates if any(_paths(place, name) for name in names)), None)


def read(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file of unsigned bytes.

    Args:
        path: of the file, compressed by gzip or not.

    Returns:
        uint8 of the shape that the header of the file says.

    Raises:
        ValueError: for a file that is cut short, damaged or something else.

    Example:

    >>> import pathlib
    >>> size = pathlib.Path("labels").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 5, 7]))
    >>> keras_ssm.datasets.idx.read("labels")
    array([5, 7], dtype=uint8)
    """
    path = pathlib.Path(path)
    raw = path.read_bytes()
    try:
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, f"the compression is cut short or damaged, {error}") from error
    axes = content[3] if content[:3] == bytes([0, 0, _UNSIGNED_BYTES]) and content[3:4] else 0
    start = 4 + 4 * axes
    if axes == 0 or len(content) < start:
        raise _unreadable(path, "the header is not that of IDX data of unsigned bytes")
    shape = tuple(np.frombuffer(content, ">u4", axes, 4).tolist())
    if len(content) - start != np.prod(shape, dtype="int64"):
        found = f"the header says {shape} values, {len(content) - start} bytes follow it"
        raise _unreadable(path, found)
    return np.frombuffer(content, "uint8", offset=start).reshape(shape)


def _part(folder: pathlib.Path, names: tuple[str, str], hint: str) -> Labelled:
    paths = [_paths(folder, name) for name in names]
    for found, name in zip(paths, names, strict=True):
        if not found:
            raise missing(folder, f"{name}.gz", ("",), hint)
    images, labels = (read(found[0]) for found in paths)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"expected images and as many labels in {paths[0][0]} and {paths[1][0].name}, found "
            f"shapes {images.shape} and {labels.shape}"
        )
    return images, labels


def _paths(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
    """The file under the names it is known by."""
    names = (name, f"{name}.gz", name.replace("-idx", ".idx"))
    return [folder / name for name in names if (folder / name).is_file()]


def _unreadable(path: pathlib.Path, found: str) -> ValueError:
    return ValueError(
        f"expected a whole IDX file in {path}, of {path.stat().st_size} bytes: {found}"
    )
