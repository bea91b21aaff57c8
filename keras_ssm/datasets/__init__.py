"""Data sets as NumPy arrays, in the manner of `keras.datasets`."""

from keras_ssm.datasets import generators, series
from keras_ssm.datasets.batches import FollowEpochs, SequenceBatches
from keras_ssm.datasets.images import cifar10, digits, fashion_mnist, mnist, mnist_5k
from keras_ssm.datasets.lra import listops, lra_image, pathfinder, retrieval, text
from keras_ssm.datasets.speech import folder, speech_commands

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
    "series",
    "speech_commands",
    "text",
    "FollowEpochs",
    "SequenceBatches",
]
