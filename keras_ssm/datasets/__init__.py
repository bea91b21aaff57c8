"""Data sets as NumPy arrays, in the manner of `keras.datasets`."""

from keras_ssm.datasets import digits, fashion_mnist, mnist, mnist_5k
from keras_ssm.datasets.batches import FollowEpochs, SequenceBatches

__all__ = ["digits", "fashion_mnist", "mnist", "mnist_5k", "FollowEpochs", "SequenceBatches"]
