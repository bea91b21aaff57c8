"""One step of a layer as a cell of `keras.layers.RNN`."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_ssm.arguments import check_size, serialized_part
from keras_ssm.layers.base import SSM
from keras_ssm.layers.composite import Composite
from keras_ssm.types import Tensor


@keras.saving.register_keras_serializable(package="keras_ssm")
class SSMCell(Composite):
    """One step of a state space layer, for `keras.layers.RNN` and `StackedRNNCells`.

    It has the layer's weights, in the layer's order. `state_size`, as Keras names
    it, is the size of the state tensor of one sequence.

    Args:
        ssm: a state space layer of one direction; a softmax kernel needs a
            `length`.
        units: number of features in (and, for one output channel, out).
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Raises:
        ValueError: for anything other than a state space layer, or one that
            reads backwards.

    Example:

    >>> cell = keras_ssm.layers.SSMCell(keras_ssm.layers.S5(8), units=4)
    >>> tuple(keras.layers.RNN(cell)(np.ones((2, 10, 4), "float32")).shape)
    (2, 4)
    """

    def __init__(self, ssm: Any, units: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        check_size("units", units)
        if not isinstance(ssm, SSM):
            raise ValueError(f"`ssm` must be a state space layer. Received: ssm={ssm!r}")
        if ssm.bidirectional or ssm.go_backwards:
            raise ValueError(
                "A cell has one direction; wrap its `keras.layers.RNN` in "
                "`keras.layers.Bidirectional`. Received: "
                f"bidirectional={ssm.bidirectional}, go_backwards={ssm.go_backwards}"
            )
        self.ssm = ssm
        self.units = units
        self.state_size = ssm.state_width_of(units)
        self.output_size = units * ssm.channels

    def build(self, input_shape: Sequence[Any]) -> None:
        if input_shape[-1] != self.units:
            raise ValueError(
                f"The cell was made for {self.units} features. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        if not self.trainable:
            self.ssm.trainable = False
        if not self.ssm.built:
            self.ssm.build((input_shape[0], None, self.units))
        self.built = True

    def call(
        self, inputs: Tensor, states: Any, training: bool | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """One step; `states` is a list of one tensor (batch, state_size)."""
        y, state = self.ssm.step(inputs, states[0])
        return y, [state]

    def get_initial_state(self, batch_size: Any = None) -> list[Tensor]:
        """The zero state of `batch_size` sequences."""
        zeros = keras.ops.zeros((batch_size, self.state_size), dtype=self.ssm.parameter_dtype)
        return [zeros]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ssm": serialized_part(self.ssm), "units": self.units}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SSMCell":
        return super().from_config(
            {**config, "ssm": keras.saving.deserialize_keras_object(config["ssm"])}
        )
