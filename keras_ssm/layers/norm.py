"""Batch norm that takes its statistics over padding too."""

from typing import Any

import keras

from keras_ssm.types import Tensor


@keras.saving.register_keras_serializable(package="keras_ssm")
class UnmaskedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` whose statistics ignore the mask, as in torch and flax.

    The mask is passed on to the layers that follow. Arguments are those of
    `keras.layers.BatchNormalization`.

    Example:

    >>> layer = keras_ssm.layers.UnmaskedBatchNormalization()
    >>> tuple(layer(np.ones((2, 10, 8), "float32"), training=True).shape)
    (2, 10, 8)
    """

    def call(self, inputs: Tensor, training: bool | None = None, mask: Any = None) -> Tensor:
        return super().call(inputs, training=training)
