"""Image of the Long Range Arena: CIFAR-10 as sequences of gray pixels."""

import os

import numpy as np

from keras_ssm.datasets.images import cifar10

Split = tuple[np.ndarray, np.ndarray]
CLASSES = cifar10.CLASSES
LENGTH = cifar10.LENGTH
# Of raw values; state-spaces/s4, src/dataloaders.
MEAN, STD = 122.6, 61.0

SOURCE = cifar10.SOURCE
# ITU-R 601 luma in 16 bits, as in Pillow's mode "L".
_LUMA = np.array([19595, 38470, 7471], "uint32")


def load_data(
    validation_fraction: float = 0.1, seed: int = 0, data_dir: str | os.PathLike | None = None
) -> tuple[Split, Split, Split]:
    """Load CIFAR-10 in gray: 32 x 32 pixels in ten classes, read row by row as 1024 steps.

    Gray values are those of Pillow's mode "L", as in S4 and S5.

    Args:
        validation_fraction: share of every class of the training images.
        seed: seed of that choice; see `keras_ssm.datasets.cifar10.load_data`.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        `(x, y)` for training, validation and test, 45,000, 5,000 and 10,000: x
        uint8 gray values (count, 1024); y int32 (count,), numbers of `CLASSES`.

    Raises:
        ValueError: see `keras_ssm.datasets.cifar10.load_data`.

    Example:

    >>> train, validation, test = keras_ssm.datasets.lra_image.load_data()  # doctest: +SKIP
    >>> train[0].shape  # doctest: +SKIP
    (45000, 1024)

    References:
        Tay et al.: Long Range Arena, ICLR 2021. As in state-spaces/s4
        `src/dataloaders`, `CIFAR10` with `grayscale`.
    """
    return cifar10.load(validation_fraction, seed, data_dir, "lra_image", _grey)


def _grey(x: np.ndarray) -> np.ndarray:
    # In parts: the sums take four bytes a value.
    parts = np.array_split(x, max(1, len(x) // 1024))
    return np.concatenate([((part @ _LUMA + 0x8000) >> 16).astype("uint8") for part in parts])
