"""Data sets as NumPy arrays, in the manner of `keras.datasets`."""

from keras_ssm.datasets import (
    cifar10,
    digits,
    fashion_mnist,
    folder,
    generators,
    listops,
    lra_image,
    mnist,
    mnist_5k,
    pathfinder,
    retrieval,
    speech_commands,
    text,
)
from keras_ssm.datasets.batches import FollowEpochs, SequenceBatches

__all__ = [
    "cifar10",
    "digits",
    "fashion_mnist",
    "folder",
    "generators",
    "listops",
    "lra_image",
    "mnist",
    "mnist_5k",
    "pathfinder",
    "retrieval",
    "speech_commands",
    "text",
    "FollowEpochs",
    "SequenceBatches",
]
