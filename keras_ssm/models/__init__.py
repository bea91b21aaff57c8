"""Functional Keras models: built, run step by step, and set to another rate."""

from keras_ssm.models.classification import classifier
from keras_ssm.models.pairs import retrieval
from keras_ssm.models.rate import with_rate
from keras_ssm.models.stepping import register_step
from keras_ssm.models.stream import Streaming, streaming

__all__ = ["Streaming", "classifier", "register_step", "retrieval", "streaming", "with_rate"]
