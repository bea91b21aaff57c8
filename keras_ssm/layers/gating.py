"""What follows the state space inside a block: activation, position-wise mixing, gating."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssm.layers.arguments import check_choice
from keras_ssm.ops.complex import Tensor

GATINGS = ("gelu", "dense", "glu", "full_glu", "half_glu1", "half_glu2")


@keras.saving.register_keras_serializable(package="keras_ssm")
class Gating(keras.layers.Layer):
    """Activation and gating after a state space layer.

    With g = dropout(gelu(x)) and a final dropout on each but `"gelu"`:

    | gating        | output                              | source |
    |---------------|-------------------------------------|--------|
    | `"gelu"`      | g                                   | S5     |
    | `"dense"`     | W g + b                             | DSS    |
    | `"glu"`       | a * sigmoid(c), [a, c] = W g + b    | S4, S4D |
    | `"full_glu"`  | (W1 g + b1) * sigmoid(W2 g + b2)    | S5     |
    | `"half_glu1"` | g * sigmoid(W2 g + b2)              | S5     |
    | `"half_glu2"` | x * sigmoid(W2 g + b2)              | S5     |

    As in the sources, gelu is exact (erf) for `"dense"` and `"glu"` and the
    tanh approximation for the others. Dropout is shared over time: a feature
    is dropped for the whole sequence.

    Args:
        gating: one of the names above.
        units: output features of `"dense"`, `"glu"` and `"full_glu"`; the
            number of input features by default. The others keep their features.
        dropout: rate in [0, 1).
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Input shape:
        (batch, length, features)

    Output shape:
        (batch, length, units)

    Raises:
        ValueError: for an unknown name, or `units` that a gating cannot give.

    Example:

    >>> tuple(keras_ssm.layers.Gating("glu", units=4)(np.ones((2, 10, 8), "float32")).shape)
    (2, 10, 4)

    References:
        lindermanlab/S5 `s5/layers.py`, `SequenceLayer`; state-spaces/s4
        `sequence/modules/s4block.py`; ag1988/dss `standalone/dss.py`.
    """

    def __init__(
        self, gating: str = "glu", units: int | None = None, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_choice("gating", gating, GATINGS)
        self.gating = gating
        self.units = units
        self.dropout = dropout
        self.supports_masking = True
        self.activation_dropout = keras.layers.SpatialDropout1D(dropout, dtype=self.dtype_policy)
        self.output_dropout = keras.layers.SpatialDropout1D(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Sequence[Any]) -> None:
        features = input_shape[-1]
        units = self.units or features
        if units != features and self.gating in ("gelu", "half_glu1", "half_glu2"):
            raise ValueError(
                f"gating={self.gating!r} keeps the number of features. "
                f"Received: units={units}, input features={features}"
            )
        if self.gating in ("dense", "glu", "full_glu"):
            width = 2 * units if self.gating == "glu" else units
            self.out1 = keras.layers.Dense(width, dtype=self.dtype_policy, name="out1")
            self.out1.build(input_shape)
        if self.gating in ("full_glu", "half_glu1", "half_glu2"):
            self.out2 = keras.layers.Dense(units, dtype=self.dtype_policy, name="out2")
            self.out2.build(input_shape)
        self.built = True

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        approximate = self.gating not in ("dense", "glu")
        g = _gelu(inputs, approximate)
        g = self.activation_dropout(g, training=training)
        if self.gating == "gelu":
            return g
        return self.output_dropout(self._gated(inputs, g), training=training)

    def _gated(self, x: Tensor, g: Tensor) -> Tensor:
        if self.gating == "dense":
            return self.out1(g)
        if self.gating == "glu":
            value, gate = ops.split(self.out1(g), 2, axis=-1)
            return value * ops.sigmoid(gate)
        gate = ops.sigmoid(self.out2(g))
        if self.gating == "full_glu":
            return self.out1(g) * gate
        return (g if self.gating == "half_glu1" else x) * gate

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[Any, ...]:
        return (*input_shape[:-1], self.units or input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "gating": self.gating,
            "units": self.units,
            "dropout": self.dropout,
        }


def _gelu(x: Tensor, approximate: bool) -> Tensor:
    """`keras.ops.gelu`, but in float64 too: TensorFlow's rounds its constants to float32."""
    if approximate:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
        return 0.5 * x * (1 + ops.tanh(inner))
    return 0.5 * x * (1 + ops.erf(x * math.sqrt(0.5)))
