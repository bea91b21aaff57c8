"""The layers as cells of `keras.layers.RNN`."""

from collections.abc import Sequence
from typing import Any, ClassVar

import keras

from keras_ssm.layers.arguments import check_size
from keras_ssm.layers.dss import DSS
from keras_ssm.layers.s4d import S4D
from keras_ssm.layers.s5 import S5
from keras_ssm.ops.complex import Tensor


class SSMCell(keras.layers.Layer):
    """Base of the cells: one step of a layer, with the layer's weights in the layer's order.

    Args:
        units: number of features in (and, for one output channel, out).
        name: of the cell.
        dtype: dtype or policy.
        **options: arguments of the layer, such as `state_size`.
    """

    layer_class: ClassVar[type]

    def __init__(
        self, units: int, name: str | None = None, dtype: Any = None, **options: Any
    ) -> None:
        super().__init__(name=name, dtype=dtype, autocast=False)
        check_size("units", units)
        self.units = units
        self.ssm = self.layer_class(**options, dtype=self.dtype_policy)
        if self.ssm.bidirectional:
            raise ValueError(
                "A cell has one direction; wrap its `keras.layers.RNN` in "
                "`keras.layers.Bidirectional`. Received: bidirectional=True"
            )
        self.state_size = self.ssm._state_width(units)
        self.output_size = units * self.ssm.output_channels

    def build(self, input_shape: Sequence[Any]) -> None:
        if input_shape[-1] != self.units:
            raise ValueError(
                f"The cell was made for {self.units} features. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        self.ssm.build((input_shape[0], None, self.units))
        self.built = True

    def call(
        self, inputs: Tensor, states: Any, training: bool | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """One step; `states` is a list of one tensor (batch, state_size)."""
        y, state = self.ssm.step(inputs, states[0])
        return y, [state]

    def get_initial_state(self, batch_size: Any = None) -> list[Tensor]:
        """The zero state."""
        zeros = keras.ops.zeros((batch_size, self.state_size), dtype=self.ssm.parameter_dtype)
        return [zeros]

    def get_config(self) -> dict[str, Any]:
        options = self.ssm.get_config()
        for name in ("name", "trainable", "dtype"):
            options.pop(name)
        return {
            "name": self.name,
            "dtype": super().get_config()["dtype"],
            "units": self.units,
            **options,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SSMCell":
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_ssm")
class DSSCell(SSMCell):
    """One step of `DSS`, for `keras.layers.RNN` and `StackedRNNCells`.

    Args:
        units: number of features.
        **options: arguments of `DSS`; `kernel="softmax"` needs `length`.

    Example:

    >>> layer = keras.layers.RNN(keras_ssm.layers.DSSCell(4, state_size=8, kernel="exp"))
    >>> tuple(layer(np.ones((2, 10, 4), "float32")).shape)
    (2, 4)
    """

    layer_class = DSS


@keras.saving.register_keras_serializable(package="keras_ssm")
class S4DCell(SSMCell):
    """One step of `S4D`, for `keras.layers.RNN` and `StackedRNNCells`.

    Args:
        units: number of features.
        **options: arguments of `S4D`.

    Example:

    >>> layer = keras.layers.RNN(keras_ssm.layers.S4DCell(4, state_size=8))
    >>> tuple(layer(np.ones((2, 10, 4), "float32")).shape)
    (2, 4)
    """

    layer_class = S4D


@keras.saving.register_keras_serializable(package="keras_ssm")
class S5Cell(SSMCell):
    """One step of `S5`, for `keras.layers.RNN` and `StackedRNNCells`.

    Args:
        units: number of features.
        **options: arguments of `S5`.

    Example:

    >>> layer = keras.layers.RNN(keras_ssm.layers.S5Cell(4, state_size=8))
    >>> tuple(layer(np.ones((2, 10, 4), "float32")).shape)
    (2, 4)
    """

    layer_class = S5
