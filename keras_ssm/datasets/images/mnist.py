"""MNIST as sequences of pixels: sequential and permuted MNIST."""

import os
import pathlib

import numpy as np

from keras_ssm.datasets import cache, downloads, npz
from keras_ssm.datasets.images import idx, pixels
from keras_ssm.datasets.images.pixels import Split

CLASSES = 10
LENGTH = 784
# The official code of S4 and S5 scales to [0, 1] and does not standardise.
MEAN, STD = 0.0, 255.0

_PLACES = ("mnist", "MNIST/raw", "mnist/MNIST/raw", "MNIST", "")
_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
_NAMES = {"x_train", "y_train", "x_test", "y_test"}
_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"


def load_data(
    validation_fraction: float = 0.1,
    seed: int = 0,
    permuted: str | None = None,
    data_dir: str | os.PathLike | None = None,
) -> tuple[Split, Split, Split]:
    """Load MNIST: handwritten digits, 28 x 28 pixels, read row by row as sequences of 784 steps.

    The images are taken from the data folder: the four IDX files, compressed or not, in a
    folder `mnist`, `MNIST/raw` or in the data folder itself (where Fashion-MNIST's
    have the same names); else `mnist.npz`, as `keras.datasets.mnist` keeps it,
    which is downloaded if it is not there. `keras_ssm.datasets.mnist_5k` has
    5,000 of the images without a download.

    Args:
        validation_fraction: share of every class of the 60,000 training images
            for choosing settings.
        seed: seed of that choice.
        permuted: None, `"bit_reversal"` (S4, S5) or `"random"` (most other
            papers); see `keras_ssm.datasets.images.pixels.permutation`.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        `(x_train, y_train), (x_validation, y_validation), (x_test, y_test)`:
        x uint8 (count, 784), 0 for no ink to 255, y int32 digits 0 to 9. The test
        part is the official one of 10,000 images.

    Raises:
        ValueError: for a file that is missing, cut short, damaged or of other
            images, and for unknown arguments.
        OSError: if the download fails.

    Example:

    >>> train, _, test = keras_ssm.datasets.mnist.load_data()  # doctest: +SKIP
    >>> train[0].shape, test[0].shape  # doctest: +SKIP
    ((54001, 784), (10000, 784))

    References:
        Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits.
    """
    folder = cache.data_folder(data_dir)
    place = idx.find(folder, _PLACES)
    if place is None:
        path = folder / "mnist.npz"
        train, test = _read_npz(
            path if path.exists() else downloads.fetch(_URL, _SHA256, path.name, folder)
        )
    else:
        train, test = idx.load_data(place, "It is one of the four files of MNIST")
    return pixels.split(train, test, validation_fraction, seed, permuted)


def _read_npz(path: pathlib.Path) -> tuple[Split, Split]:
    arrays = npz.read(path)
    if set(arrays) != _NAMES:
        found = ", ".join(arrays) or "none"
        raise ValueError(
            f"expected the arrays {', '.join(sorted(_NAMES))} in {path}, found {found}"
        )
    train, test = ((arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test"))
    for images, labels in (train, test):
        pixels.check_images(str(path), images, labels)
    if np.array_equal(train[0], test[0]):
        raise ValueError(f"expected other images to test than to train on in {path}")
    return train, test
