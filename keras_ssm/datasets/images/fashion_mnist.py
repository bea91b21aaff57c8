"""Fashion-MNIST as sequences of pixels."""

import os

from keras_ssm.datasets import cache, downloads
from keras_ssm.datasets.images import idx, pixels
from keras_ssm.datasets.images.pixels import Split

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
LENGTH = 784
# To [0, 1], as MNIST is scaled by the official code of S4 and S5.
MEAN, STD = 0.0, 255.0

_PLACES = (
    "fashion-mnist",
    "fashion_mnist",
    "FashionMNIST/raw",
    "fashion-mnist/FashionMNIST/raw",
    "",
    "/usr/share/datasets/fashion-mnist",  # where Debian's package has them
)
_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
# MD5, as the README of the data set gives them.
_CHECKSUMS = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


def load_data(
    validation_fraction: float = 0.1,
    seed: int = 0,
    permuted: str | None = None,
    data_dir: str | os.PathLike | None = None,
) -> tuple[Split, Split, Split]:
    """Load Fashion-MNIST: clothes, 28 x 28 pixels, read row by row as sequences of 784 steps.

    The pictures are taken from the four IDX files, compressed or not, in a folder
    `fashion-mnist` or `FashionMNIST/raw` of the data folder, in the data folder itself
    (where MNIST's have the same names) or where Debian's package
    `dataset-fashion-mnist` has them; they are downloaded if they are in none of these.

    Args:
        validation_fraction: share of every class of the 60,000 training images
            for choosing settings.
        seed: seed of that choice.
        permuted: None, `"bit_reversal"` or `"random"`; see
            `keras_ssm.datasets.images.pixels.permutation`.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        `(x_train, y_train), (x_validation, y_validation), (x_test, y_test)`:
        x uint8 (count, 784), 0 for background to 255, y int32 numbers of the
        `CLASSES`. The test part is the official one of 10,000 images.

    Raises:
        ValueError: for a file that is missing, cut short or damaged, and for
            unknown arguments.
        OSError: if the download fails.

    Example:

    >>> train, _, test = keras_ssm.datasets.fashion_mnist.load_data()  # doctest: +SKIP
    >>> train[0].shape, test[0].shape  # doctest: +SKIP
    ((54000, 784), (10000, 784))

    References:
        H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for
        Benchmarking Machine Learning Algorithms, 2017.
    """
    folder = cache.data_folder(data_dir)
    place = idx.find(folder, _PLACES)
    if place is None:
        place = folder / "fashion-mnist"
        for name, checksum in _CHECKSUMS.items():
            downloads.fetch(_URL + name, checksum, name, place)
    train, test = idx.load_data(place, "It is one of the four files of Fashion-MNIST")
    return pixels.split(train, test, validation_fraction, seed, permuted)
