"""Builders of functional Keras models."""

from keras_ssm.models.classifier import classifier
from keras_ssm.models.retrieval import retrieval
from keras_ssm.models.streaming import Streaming, streaming

__all__ = ["Streaming", "classifier", "retrieval", "streaming"]
