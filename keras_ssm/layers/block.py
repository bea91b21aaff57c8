"""The residual block around a state space layer."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssm.layers.arguments import check_choice
from keras_ssm.layers.gating import GATINGS, Gating
from keras_ssm.layers.ssm import SSM
from keras_ssm.ops.complex import Tensor


@keras.saving.register_keras_serializable(package="keras_ssm")
class SSMBlock(keras.layers.Layer):
    """Residual block: norm, state space layer, activation and gating, dropout, residual sum.

        prenorm:   y = x + gating(ssm(norm(x)))
        postnorm:  y = norm(x + gating(ssm(x)))

    Args:
        ssm: a `DSS`, `S4D` or `S5` layer.
        gating: what follows the layer, see `Gating`. The papers use `"dense"`
            (DSS), `"glu"` (S4D), `"half_glu1"` or `"half_glu2"` (S5).
        norm: `"layer"`, `"batch"` or None.
        prenorm: norm before the layer, or (False) after the residual sum.
        dropout: rate, shared over time.
        residual: add the input of the block.
        norm_epsilon: epsilon of the norm. S5 used 1e-6 in layer norm; torch
            code 1e-5.
        norm_momentum: share of the old average that batch norm keeps in a
            step: 0.95 in most S5 models, 0.9 in torch code.
        use_mask: leave masked steps out of norm and layer. False treats them
            like any other step, as the official code treats padding; the mask
            is passed on either way.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Input shape:
        (batch, length, features)

    Output shape:
        (batch, length, features)

    Raises:
        ValueError: for an unknown name, an `ssm` that is no state space layer or
            does not return sequences, or a gating that cannot bring the layer's
            output channels back to the features of the input.

    Example:

    >>> block = keras_ssm.layers.SSMBlock(keras_ssm.layers.S5(16), gating="half_glu1")
    >>> tuple(block(np.ones((2, 100, 8), "float32")).shape)
    (2, 100, 8)

    References:
        lindermanlab/S5 `s5/layers.py`, `SequenceLayer`; state-spaces/s4
        `example.py`, `S4Model`.
    """

    def __init__(
        self,
        ssm: Any,
        gating: str = "glu",
        norm: str | None = "layer",
        prenorm: bool = True,
        dropout: float = 0.0,
        residual: bool = True,
        norm_epsilon: float = 1e-5,
        norm_momentum: float = 0.9,
        use_mask: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choice("gating", gating, GATINGS)
        if norm is not None:
            check_choice("norm", norm, ("layer", "batch"))
        if not isinstance(ssm, SSM):
            raise ValueError(f"`ssm` must be a DSS, S4D or S5 layer. Received: ssm={ssm!r}")
        if not ssm.return_sequences or ssm.return_state or ssm.go_backwards:
            # A reversed output would be added to the input of another time.
            raise ValueError(
                "`ssm` must have return_sequences=True, return_state=False and "
                f"go_backwards=False. Received: return_sequences={ssm.return_sequences}, "
                f"return_state={ssm.return_state}, go_backwards={ssm.go_backwards}"
            )
        self.ssm = ssm
        self.gating = gating
        self.norm = norm
        self.prenorm = prenorm
        self.dropout = dropout
        self.residual = residual
        self.norm_epsilon = norm_epsilon
        self.norm_momentum = norm_momentum
        self.use_mask = use_mask
        self.supports_masking = True
        self.norm_layer: Any = None
        if norm == "layer":
            self.norm_layer = keras.layers.LayerNormalization(
                epsilon=norm_epsilon, dtype=self.dtype_policy, name="norm"
            )
        elif norm == "batch":
            self.norm_layer = keras.layers.BatchNormalization(
                epsilon=norm_epsilon, momentum=norm_momentum, dtype=self.dtype_policy, name="norm"
            )

    def build(self, input_shape: Sequence[Any]) -> None:
        if not self.ssm.built:
            self.ssm.build(input_shape)
        if self.norm_layer is not None:
            self.norm_layer.build(input_shape)
        self.gate = Gating(
            self.gating, input_shape[-1], self.dropout, dtype=self.dtype_policy, name="gating"
        )
        self.gate.build(self.ssm.compute_output_shape(input_shape))
        self.built = True

    def call(
        self, inputs: Tensor, mask: Tensor | None = None, training: bool | None = None
    ) -> Tensor:
        if mask is not None and not self.use_mask:
            # Without the mask that Keras hangs on a tensor and gives to every layer called on it.
            inputs, mask = ops.copy(inputs), None
        x = self._before(inputs, mask, training)
        return self._after(self.ssm(x, mask=mask, training=training), inputs, mask, training)

    def _before(self, inputs: Tensor, mask: Tensor | None, training: bool | None) -> Tensor:
        return self._normalised(inputs, mask, training) if self.prenorm else inputs

    def _after(
        self, y: Tensor, inputs: Tensor, mask: Tensor | None, training: bool | None
    ) -> Tensor:
        x = self.gate(y, training=training)
        if self.residual:
            x = x + inputs
        return x if self.prenorm else self._normalised(x, mask, training)

    def _normalised(self, x: Tensor, mask: Tensor | None, training: bool | None) -> Tensor:
        if self.norm == "batch":
            return self.norm_layer(x, training=training, mask=mask)
        return x if self.norm is None else self.norm_layer(x)

    def step(self, inputs: Tensor, state: Tensor, system: Any = None) -> tuple[Tensor, Tensor]:
        """One step in inference mode: output (batch, features) and the layer's next state.

        Args:
            inputs: tensor (batch, features).
            state: tensor (batch, state_width), see `get_initial_state`.
            system: what `ssm.system()` gave, or None.
        """
        inputs = inputs[:, None]
        y, state = self.ssm.step(self._before(inputs, None, False)[:, 0], state, system=system)
        return self._after(y[:, None], inputs, None, False)[:, 0], state

    def advance(
        self, inputs: Tensor, state: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What a loop of `step` gives, computed as a whole sequence.

        Args:
            inputs: tensor (batch, length, features).
            state: tensor (batch, state_width), see `get_initial_state`.
            mask: boolean (batch, length), or None.

        Returns:
            Output (batch, length, features) and the layer's state after the
            last valid step.
        """
        y, state = self.ssm.advance(self._before(inputs, mask, False), state, mask)
        return self._after(y, inputs, mask, False), state

    @property
    def parameter_dtype(self) -> str:
        """Precision of the state."""
        return self.ssm.parameter_dtype

    @property
    def state_width(self) -> int:
        """Size of the state of one sequence."""
        return self.ssm.state_width

    def get_initial_state(self, batch_size: Any) -> Tensor:
        """The zero state of `batch_size` sequences."""
        return self.ssm.get_initial_state(batch_size)

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "ssm": keras.saving.serialize_keras_object(self.ssm),
            "gating": self.gating,
            "norm": self.norm,
            "prenorm": self.prenorm,
            "dropout": self.dropout,
            "residual": self.residual,
            "norm_epsilon": self.norm_epsilon,
            "norm_momentum": self.norm_momentum,
            "use_mask": self.use_mask,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SSMBlock":
        # Built by the block, so that the weights keep their paths.
        ssm = {key: value for key, value in config["ssm"].items() if key != "build_config"}
        return cls(**{**config, "ssm": keras.saving.deserialize_keras_object(ssm)})
