"""What follows the state space inside a block: activation, position-wise mixing, gating."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssm.arguments import check_choice
from keras_ssm.backend import gelu, glu
from keras_ssm.layers.composite import Composite
from keras_ssm.ops.exporting import erf, lacks_erf
from keras_ssm.types import Tensor

# Gatings whose sources have the exact gelu, and not its approximation by tanh.
EXACT = ("exact_gelu", "dense", "glu")
_ALONE = ("gelu", "exact_gelu")
GATINGS = ("gelu", "exact_gelu", "dense", "glu", "full_glu", "half_glu1", "half_glu2")


@keras.saving.register_keras_serializable(package="keras_ssm")
class Gating(Composite):
    """Activation and gating after a state space layer.

    With g = dropout(gelu(x)), and a final dropout on all but the plain gelus:

    | gating        | output                              | source |
    |---------------|-------------------------------------|--------|
    | `"gelu"`      | g                                   | S5     |
    | `"exact_gelu"` | g                                  | S4Block without final activation |
    | `"dense"`     | W g + b                             | DSS    |
    | `"glu"`       | a * sigmoid(c), [a, c] = W g + b    | S4, S4D |
    | `"full_glu"`  | (W1 g + b1) * sigmoid(W2 g + b2)    | S5     |
    | `"half_glu1"` | g * sigmoid(W2 g + b2)              | S5     |
    | `"half_glu2"` | x * sigmoid(W2 g + b2)              | S5     |

    As in the sources, gelu is exact (erf) for `"exact_gelu"`, `"dense"` and
    `"glu"` and the tanh approximation for the others. Dropout is shared over time: a feature
    is dropped for the whole sequence.

    Args:
        gating: one of the names above.
        units: output features of `"dense"`, `"glu"` and `"full_glu"`; the
            number of input features by default. The others keep the number of
            features.
        dropout: rate in [0, 1).
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Input shape:
        (batch, length, features)

    Output shape:
        (batch, length, units)

    Raises:
        ValueError: for an unknown name, or `units` that a gating cannot produce.

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
        if units != features and self.gating in (*_ALONE, "half_glu1", "half_glu2"):
            raise ValueError(
                f"gating={self.gating!r} keeps the number of features. "
                f"Received: units={units}, input features={features}"
            )
        if self.gating in ("dense", "glu", "full_glu"):
            width = 2 * units if self.gating == "glu" else units
            self.out1 = self._dense("out1", width)
            self.out1.build(input_shape)
        if self.gating in ("full_glu", "half_glu1", "half_glu2"):
            self.out2 = self._dense("out2", units)
            self.out2.build(input_shape)
        self.built = True

    def _dense(self, name: str, units: int) -> Any:
        return self.part(name, keras.layers.Dense(units, dtype=self.dtype_policy, name=name))

    def _parts(self) -> dict[str, keras.layers.Layer]:
        return {name: getattr(self, name) for name in ("out1", "out2") if hasattr(self, name)}

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        g = _gelu(ops.convert_to_tensor(inputs), self.gating not in EXACT)
        g = self.activation_dropout(g, training=training)
        if self.gating in _ALONE:
            return g
        return self.output_dropout(self._gated(inputs, g), training=training)

    def _gated(self, x: Tensor, g: Tensor) -> Tensor:
        if self.gating == "dense":
            return self.out1(g)
        if self.gating == "glu":
            return glu(self.out1(g))
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
    if not approximate and lacks_erf():
        return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))
    return gelu(x, approximate)
