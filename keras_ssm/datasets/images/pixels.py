"""Images as sequences of pixels, in reading order or in another fixed order."""

from collections.abc import Iterable, Iterator

import numpy as np

from keras_ssm.arguments import check_choice
from keras_ssm.datasets import splits

__all__ = ["permutation"]

Split = tuple[np.ndarray, np.ndarray]
# From the first papers on permuted MNIST; fixed, so that results can be compared.
_SEED = 92916
_SIDE, _CLASSES = 28, 10


def permutation(name: str | None, length: int) -> np.ndarray:
    """Return the order in which the pixels of an image are read.

    Args:
        name: None for row by row; `"bit_reversal"`, as S4 and S5 permute: the
            numbers 0 to 2^ceil(log2 length) - 1 with their bits in reverse,
            without those that are not pixels; `"random"`, as many other papers do:
            the permutation of NumPy's `RandomState(92916)`.
        length: number of pixels.

    Returns:
        Integers of shape (length,).

    Raises:
        ValueError: for an unknown name.

    Example:

    >>> keras_ssm.datasets.images.pixels.permutation("bit_reversal", 6)
    array([0, 4, 2, 1, 5, 3])

    References:
        Repository state-spaces/s4, src/dataloaders/basic.py and src/utils/permutations.py.
    """
    if name is None:
        return np.arange(length)
    check_choice("permuted", name, ("bit_reversal", "random"))
    if name == "random":
        return np.random.RandomState(_SEED).permutation(length)
    bits = (length - 1).bit_length()
    numbers = np.arange(2**bits)
    reverse = np.zeros_like(numbers)
    for bit in range(bits):
        reverse |= (numbers >> bit & 1) << (bits - 1 - bit)
    return reverse[reverse < length]


def check_images(where: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Refuse what cannot be the images and labels of MNIST, or of a set that imitates it.

    Args:
        where: the files they are from.
        images: uint8 (count, 28, 28).
        labels: uint8 (count,), 0 to 9.

    Raises:
        ValueError: says what was found in which files.
    """
    if images.dtype != "uint8" or images.shape[1:] != (_SIDE, _SIDE) or not len(images):
        raise ValueError(
            f"expected uint8 images of {_SIDE} x {_SIDE} pixels in {where}, found {images.dtype} "
            f"of shape {images.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise ValueError(
            f"expected as many whole numbers as images in {where}, found {labels.dtype} labels of "
            f"shape {labels.shape} and images of shape {images.shape}"
        )
    if labels.min() < 0 or labels.max() >= _CLASSES:
        raise ValueError(
            f"expected labels from 0 to {_CLASSES - 1} in {where}, found {labels.min()} to "
            f"{labels.max()}"
        )


def sequences(
    images: np.ndarray, labels: np.ndarray, parts: Iterable[np.ndarray], permuted: str | None
) -> Iterator[Split]:
    """Parts of labeled images as sequences of pixels.

    Args:
        images: uint8 (count, height, width) or (count, pixels).
        labels: (count,).
        parts: indices of the images in every part.
        permuted: see `permutation`.

    Returns:
        (x, y) of every part: x uint8 (images, pixels), y int32 (images,).
    """
    pixels = images.reshape(len(images), -1)
    order = permutation(permuted, pixels.shape[1])
    for part in parts:
        yield pixels[part][:, order], labels[part].astype("int32")


def split(
    train: Split, test: Split, validation_fraction: float, seed: int, permuted: str | None
) -> tuple[Split, Split, Split]:
    """Sequences of pixels, with a part of the training images for validation.

    Args:
        train: images (count, height, width) and labels (count,).
        test: the same.
        validation_fraction: share of every class of the training images.
        seed: seed of the choice of the validation images.
        permuted: see `permutation`.

    Returns:
        `train, validation, test`, each as from `sequences`.

    Raises:
        ValueError: for a share that is not in [0, 1).
    """
    splits.check_fractions(validation_fraction=validation_fraction)
    parts = splits.by_class(train[1], (validation_fraction, 0), seed)[:2]
    kept, validation = sequences(*train, parts, permuted)
    (tested,) = sequences(*test, [np.arange(len(test[1]))], permuted)
    return kept, validation, tested
