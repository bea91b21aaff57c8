"""Data sets as NumPy arrays, in the manner of `keras.datasets`."""

from keras_ssm.datasets import digits
from keras_ssm.datasets.batches import FollowEpochs, SequenceBatches

__all__ = ["digits", "FollowEpochs", "SequenceBatches"]
