"""CIFAR-10 as sequences of colored pixels."""

import io
import os
import pathlib
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_ssm.datasets import splits
from keras_ssm.datasets.archives import missing
from keras_ssm.datasets.sources import Arrays, Build, Source, prepare

__all__ = ["CLASSES", "LENGTH", "MEAN", "SOURCE", "STD", "load_data"]

Split = tuple[np.ndarray, np.ndarray]
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
LENGTH = 1024
# Of raw values, by channel; state-spaces/s4, src/dataloaders.
MEAN = (0.4914 * 255, 0.4822 * 255, 0.4465 * 255)
STD = (0.247 * 255, 0.243 * 255, 0.261 * 255)

SOURCE = Source(
    "cifar-10-batches-py",
    "cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    checksum="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",  # as in Keras
    note="170 MB",
    under=("", "cifar-10-batches-py-target"),  # where keras.datasets.cifar10 leaves it
)
_TRAIN = tuple(f"data_batch_{index}" for index in range(1, 6))
_TEST = ("test_batch",)
_PARTS = ("train", "validation", "test")
# The name of the module depends on the version of NumPy.
_RECONSTRUCT = tuple((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core"))


def load_data(
    validation_fraction: float = 0.1, seed: int = 0, data_dir: str | os.PathLike | None = None
) -> tuple[Split, Split, Split]:
    """Load CIFAR-10: 32 x 32 pixels in ten classes, read row by row as 1024 steps.

    The images are read from the batches for Python, in their folder or unpacked from
    `cifar-10-python.tar.gz`.

    Args:
        validation_fraction: share of every class of the training images.
        seed: seed of that choice. The published models draw theirs with PyTorch, whose
            permutation is a different one.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        `(x, y)` for training, validation and test, 45,000, 5,000 and 10,000: x
        uint8 red, green and blue (count, 1024, 3); y int32 (count,), numbers of
        `CLASSES`.

    Raises:
        ValueError: for a fraction that leaves nothing to train on, or if a batch
            is missing or cannot be read: names it.

    Example:

    >>> train, _, test = keras_ssm.datasets.cifar10.load_data()  # doctest: +SKIP
    >>> train[0].shape, test[0].shape  # doctest: +SKIP
    ((45000, 1024, 3), (10000, 1024, 3))

    References:
        Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    return load(validation_fraction, seed, data_dir, "cifar10", np.ascontiguousarray)


def load(
    validation_fraction: float,
    seed: int,
    data_dir: str | os.PathLike | None,
    name: str,
    convert: Callable[[np.ndarray], np.ndarray],
) -> tuple[Split, Split, Split]:
    """Load the images with a conversion of their colors.

    Args:
        validation_fraction: see `load_data`.
        seed: see `load_data`.
        data_dir: see `load_data`.
        name: name of the conversion's result, for the cache.
        convert: takes uint8 (count, 1024, 3) to the x that is wanted.

    Returns:
        `(x, y)` for training, validation and test.
    """
    splits.check_fractions(validation_fraction=validation_fraction)

    def build(part: str) -> Build:
        def arrays(folder: pathlib.Path, _: Mapping[str, Arrays]) -> Mapping[str, np.ndarray]:
            x, y = _read(folder, _TEST if part == "test" else _TRAIN)
            if part != "test":
                chosen = splits.by_class(y, (validation_fraction, 0.0), seed)[_PARTS.index(part)]
                x, y = x[chosen], y[chosen]
            return {"x": convert(x), "y": y}

        return arrays

    parts = prepare(
        SOURCE,
        data_dir,
        name,
        {"validation_fraction": validation_fraction, "seed": seed},
        {part: build(part) for part in _PARTS},
        _files,
    )
    train, validation, test = ((part["x"], part["y"]) for part in parts.values())
    return train, validation, test


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    for name in _TRAIN + _TEST:
        if not (folder / name).is_file():
            raise missing(folder, name, ("",), f"It belongs to {SOURCE.archive}")
    return [folder / name for name in _TRAIN + _TEST]


def _read(folder: pathlib.Path, names: tuple[str, ...]) -> Split:
    images, labels = zip(*(_read_batch(folder / name) for name in names), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _read_batch(path: pathlib.Path) -> Split:
    # In memory: nothing that the file says can make room for more than it holds.
    content = path.read_bytes()
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        data, labels = batch[b"data"].bytes_of(3 * LENGTH), batch[b"labels"]
        if type(labels) is not list or any(type(label) is not int for label in labels):
            raise ValueError("the labels are not a list of whole numbers")
    except Exception as error:  # damaged pickles fail in many ways
        raise ValueError(
            f"expected a batch of CIFAR-10 in {path}, found {len(content)} bytes that "
            f"cannot be read as one ({type(error).__name__}: {error})"
        ) from error
    if len(data) != 3 * LENGTH * len(labels) or not labels:
        raise ValueError(
            f"expected as many labels as images, at least one, in {path}, found {len(labels)} and "
            f"{len(data) / (3 * LENGTH):g}"
        )
    if min(labels) < 0 or max(labels) >= len(CLASSES):
        raise ValueError(
            f"expected labels from 0 to {len(CLASSES) - 1} in {path}, found {min(labels)} to "
            f"{max(labels)}"
        )
    # One channel after the other in the file.
    x = np.frombuffer(data, "uint8").reshape(-1, 3, LENGTH).transpose(0, 2, 1)
    return x, np.array(labels, "int32")


class _Pickled:
    """What a pickle makes an array or its type of: states without any effect."""

    state: Any

    def __init__(self, *arguments: Any) -> None:
        self.arguments, self.state = arguments, None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def bytes_of(self, width: int) -> bytes:
        """The content of a uint8 array in order of rows of `width`."""
        _, shape, kind, fortran, content = self.state
        if kind.arguments[:1] not in ((b"u1",), ("u1",)) or fortran or type(content) is not bytes:
            raise ValueError("the pixels are not bytes in order of rows")
        if shape != (len(content) // width, width):
            raise ValueError(f"the pixels have the shape {shape}, in {len(content)} bytes")
        return content


# In Python: the one in C makes room for whatever number a pickle names.
class _Unpickler(pickle._Unpickler):
    """Plain values and stand-ins for arrays: NumPy's own classes take any bytes for pointers."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "dtype"), *_RECONSTRUCT):
            # New for every call: a pickle may also set attributes.
            return lambda *arguments: _Pickled(*arguments)
        if (module, name) == ("numpy", "ndarray"):
            return name
        if (module, name) == ("_codecs", "encode"):
            # Bytes in a pickle of Python 3 in the protocol of Python 2.
            return lambda text, encoding: text.encode("latin1")
        raise pickle.UnpicklingError(f"{module}.{name} is not part of an array")
