"""From integer tokens to features."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssm.arguments import check_size
from keras_ssm.types import Tensor


@keras.saving.register_keras_serializable(package="keras_ssm")
class OneHotDense(keras.layers.Layer):
    """Embed integer tokens as a dense layer with bias on one-hot vectors, by looking up its rows.

        y = one_hot(token) W + b = W[token] + b

    S5 models read tokens this way; DSS and S4D models have a plain
    `keras.layers.Embedding`, without b.

    Args:
        vocabulary_size: width of the one-hot vectors, larger than every token.
        units: number of output features.
        kernel_initializer: initializer of W; by default that of the dense layers of the S5
            code, whose variance is 1 / vocabulary_size.
        mask_zero: mask the steps whose token is 0.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Input shape:
        (batch, length), integers

    Output shape:
        (batch, length, units)

    Raises:
        ValueError: for a size that is not a positive integer.

    Example:

    >>> layer = keras_ssm.layers.OneHotDense(20, 128)
    >>> tuple(layer(np.array([[3, 17, 0]])).shape)
    (1, 3, 128)

    References:
        lindermanlab/S5 `s5/train_helpers.py`, `prep_batch`, and
        `s5/seq_model.py`, `StackedEncoderModel`.
    """

    def __init__(
        self,
        vocabulary_size: int,
        units: int,
        kernel_initializer: Any = "lecun_normal",
        mask_zero: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_size("vocabulary_size", vocabulary_size)
        check_size("units", units)
        self.vocabulary_size = vocabulary_size
        self.units = units
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.mask_zero = mask_zero
        self.supports_masking = mask_zero

    def build(self, input_shape: Sequence[Any] | None = None) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.vocabulary_size, self.units),
            initializer=self.kernel_initializer,
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        tokens = ops.cast(inputs, "int32")
        return ops.take(self.kernel, tokens, axis=0) + ops.convert_to_tensor(self.bias)

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return ops.not_equal(inputs, 0) if self.mask_zero else None

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[Any, ...]:
        return (*input_shape, self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "units": self.units,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "mask_zero": self.mask_zero,
        }
