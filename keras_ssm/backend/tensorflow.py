"""TensorFlow."""

from typing import Any

import tensorflow as tf


def matmul(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Product in the precision of the inputs.

    TensorFlow has no precision argument: on GPUs with TF32 it rounds float32
    inputs unless `tf.config.experimental.enable_tensor_float_32_execution(False)`
    was called, which is a setting of the program and so left to it.
    """
    return tf.matmul(a, b)


def arctan2(y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Angle of (x, y), in the precision of the inputs (`keras.ops` drops float64 in torch)."""
    return tf.atan2(y, x)


def compiled(model: Any) -> Any:
    """A Keras model in inference mode as a compiled function of its inputs."""
    return tf.function(lambda inputs: model(inputs, training=False))
