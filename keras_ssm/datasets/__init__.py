"""Data sets as NumPy arrays, in the manner of `keras.datasets`."""

from keras_ssm.datasets import digits

__all__ = ["digits"]
