"""Handwritten digits as sequences of pixels."""

import numpy as np

from keras_ssm.datasets import splits

Split = tuple[np.ndarray, np.ndarray]
CLASSES = 10


def load_data(
    validation_fraction: float = 0.1, test_fraction: float = 0.2, seed: int = 0
) -> tuple[Split, Split, Split]:
    """Load real handwritten digits, 8 x 8 pixels, read row by row as sequences of 64 steps.

    The 1797 images come with scikit-learn, so nothing is downloaded. They are
    split by class (stratified) and at random; the same arguments give the same
    split under every version of NumPy, and the test part does not depend on
    `validation_fraction`. A random split puts images of one
    writer on both sides, which makes the task easier than a split by writer.

    Args:
        validation_fraction: share of every class for choosing settings.
        test_fraction: share of every class for the final test.
        seed: seed of the split.

    Returns:
        `(x_train, y_train), (x_validation, y_validation), (x_test, y_test)`:
        x are float32 gray values in [0, 1], 0 for no ink, of shape (images, 64,
        1); y are int32 digits 0 to 9 of shape (images,).

    Raises:
        ValueError: for fractions that are not in [0, 1) or leave nothing to train on.
        ImportError: if scikit-learn is not installed.

    Example:

    >>> (x_train, y_train), _, (x_test, y_test) = keras_ssm.datasets.digits.load_data()
    >>> x_train.shape, x_test.shape
    ((1259, 64, 1), (359, 64, 1))

    References:
        E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI
        Machine Learning Repository, 1998 (its test part), through
        `sklearn.datasets.load_digits`.
    """
    splits.check_fractions(validation_fraction=validation_fraction, test_fraction=test_fraction)
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "The digits come with scikit-learn, which is not installed. "
            'Install it with `pip install "keras-ssm[data]"`.'
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    x = (pixels / 16).astype("float32")[:, :, None]
    y = labels.astype("int32")
    parts = splits.by_class(y, (validation_fraction, test_fraction), seed)
    train, validation, test = ((x[part], y[part]) for part in parts)
    return train, validation, test
