"""Builders of functional Keras models."""

from keras_ssm.models.classifier import classifier

__all__ = ["classifier"]
