"""Pooling of a sequence of features into one vector."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssm.arguments import check_choice
from keras_ssm.types import Tensor


@keras.saving.register_keras_serializable(package="keras_ssm")
class SequencePooling(keras.layers.Layer):
    """Pool a sequence into one vector: the mean over its steps, or the last one.

    Args:
        mode: `"mean"` over the steps that the mask keeps; `"last"`, the last of
            them; or `"all_mean"` over all steps, padding included, as the papers'
            code has it for inputs without lengths. Without a mask every step
            counts; a sequence without a valid step gives zeros. What
            masked steps hold, NaN included, does not affect `"mean"` and `"last"`.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Input shape:
        (batch, length, features)

    Output shape:
        (batch, features)

    Example:

    >>> tuple(keras_ssm.layers.SequencePooling("last")(np.ones((2, 10, 8), "float32")).shape)
    (2, 8)
    """

    def __init__(self, mode: str = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_choice("mode", mode, ("mean", "last", "all_mean"))
        self.mode = mode
        self.supports_masking = True

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        # Half precision holds neither a long sum nor a large count of steps.
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        return ops.cast(self._pooled(x, mask), self.compute_dtype)

    def _pooled(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None or self.mode == "all_mean":
            return x[:, -1] if self.mode == "last" else ops.mean(x, axis=1)
        kept = ops.cast(mask, "bool")
        mask = ops.cast(mask, x.dtype)
        if self.mode == "mean":
            weights = mask / ops.maximum(ops.sum(mask, axis=1, keepdims=True), 1)
        else:
            # The last valid step is the one after which no valid step comes.
            later = ops.flip(ops.cumsum(ops.flip(mask, axis=1), axis=1), axis=1)
            weights = mask * ops.cast(ops.equal(later, 1), x.dtype)
        # `where` and not the product alone: a masked step may hold NaN.
        x = ops.where(kept[..., None], x, ops.zeros_like(x))
        return ops.sum(x * weights[..., None], axis=1)

    def build(self, input_shape: Sequence[Any]) -> None:
        self.width = input_shape[-1]
        self.built = True

    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The pooled vector after one more valid step, and the next state: running sum and count.

        Args:
            inputs: tensor (batch, features).
            state: tensor (batch, features + 1), see `get_initial_state`.
        """
        width = inputs.shape[-1]  # and not -1: OpenVINO loses the size of what is cut from the end
        total = state[:, :width] + ops.cast(inputs, state.dtype)
        count = state[:, width : width + 1] + 1
        y = ops.cast(total / count, self.compute_dtype)
        return y, ops.concatenate([total, count], axis=-1)

    @property
    def parameter_dtype(self) -> str:
        """Precision of the running sum: a half-precision one would stop growing."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    @property
    def state_width(self) -> int:
        """Size of the state of one sequence; `"last"` needs none."""
        return 0 if self.mode == "last" else self.width + 1

    def get_initial_state(self, batch_size: Any) -> Tensor:
        """The zero state of `batch_size` sequences."""
        return ops.zeros((batch_size, self.state_width), dtype=self.parameter_dtype)

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> None:
        return None

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[Any, ...]:
        return input_shape[0], input_shape[-1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}
