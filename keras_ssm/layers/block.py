"""The residual block around a state space layer."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssm.arguments import check_choice, serialized_part
from keras_ssm.backend import layer_norm
from keras_ssm.layers.base import SSM
from keras_ssm.layers.composite import Composite, as_tensor
from keras_ssm.layers.gating import GATINGS, Gating
from keras_ssm.types import Tensor


@keras.saving.register_keras_serializable(package="keras_ssm")
class SSMBlock(Composite):
    """Residual block: norm, state space layer, activation and gating, dropout, residual sum.

        prenorm:   y = x + gating(ssm(norm(x)))
        postnorm:  y = norm(x + gating(ssm(x)))

    Args:
        ssm: a state space layer.
        gating: what follows the layer, see `Gating`. None takes that of the
            layer's own paper: `"dense"` (DSS), `"glu"` (S4D, S4), `"half_glu1"`
            (S5), `"full_glu"` (LRU).
        norm: `"layer"`, `"batch"` or None.
        prenorm: norm before the layer, or (False) after the residual sum.
        dropout: rate, shared over time.
        residual: add the input of the block.
        norm_epsilon: epsilon of the norm. S5 uses 1e-6 in layer norm, torch
            code 1e-5.
        norm_momentum: share of the old average that batch norm keeps at each
            step: 0.95 in most S5 models, 0.9 in torch code.
        use_mask: leave masked steps out of norm and layer. False treats them
            like any other step, as the official code treats padding; the mask
            is passed on either way.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: tensor (batch, length, features).
        mask: boolean (batch, length).
        time_steps: durations of the steps (batch, length), for the layer.
        rate: factor on all step sizes of this call, for the layer.
        resets: boolean (batch, length), where the layer's state starts anew.

    Input shape:
        (batch, length, features)

    Output shape:
        (batch, length, features)

    Raises:
        ValueError: for an unknown name, an `ssm` that is not a state space layer
            or does not return sequences, or a gating that cannot bring the layer's
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
        gating: str | None = None,
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
        if norm is not None:
            check_choice("norm", norm, ("layer", "batch"))
        if not isinstance(ssm, SSM):
            raise ValueError(f"`ssm` must be a state space layer. Received: ssm={ssm!r}")
        gating = ssm.default_gating if gating is None else gating
        check_choice("gating", gating, GATINGS)
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
        self.gate: Any = None

    def build(self, input_shape: Sequence[Any]) -> None:
        if not self.trainable:
            self.ssm.trainable = False
        if not self.ssm.built:
            self.ssm.build(input_shape)
        if self.norm is not None:
            self.norm_layer = self.part("norm", self._norm())
            self.norm_layer.build(input_shape)
        gate = Gating(
            self.gating, input_shape[-1], self.dropout, dtype=self.dtype_policy, name="gating"
        )
        self.gate = self.part("gate", gate)
        self.gate.build(self.ssm.compute_output_shape(input_shape))
        self.built = True

    def _norm(self) -> keras.layers.Layer:
        options = {"epsilon": self.norm_epsilon, "dtype": self.dtype_policy, "name": "norm"}
        if self.norm == "layer":
            return keras.layers.LayerNormalization(**options)
        return keras.layers.BatchNormalization(momentum=self.norm_momentum, **options)

    def _parts(self) -> dict[str, keras.layers.Layer]:
        parts = {"norm": self.norm_layer, "gate": self.gate}
        return {name: part for name, part in parts.items() if part is not None}

    def call(
        self,
        inputs: Tensor,
        mask: Tensor | None = None,
        time_steps: Tensor | None = None,
        rate: Any = None,
        resets: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        if mask is not None and not self.use_mask:
            # Without the mask that Keras attaches to a tensor and gives every layer called on it.
            inputs, mask = ops.copy(inputs), None
        x = self._before(inputs, mask, training)
        y = self.ssm(
            x, mask=mask, time_steps=time_steps, rate=rate, resets=resets, training=training
        )
        return self._after(y, inputs, mask, training)

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
        return x if self.norm is None else layer_norm(self.norm_layer, x)

    def step(
        self,
        inputs: Tensor,
        state: Tensor,
        time_steps: Tensor | None = None,
        rate: Any = None,
        resets: Tensor | None = None,
        system: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """One step in inference mode: output (batch, features) and the layer's next state.

        Args:
            inputs: tensor (batch, features).
            state: tensor (batch, state_width), see `get_initial_state`.
            time_steps: see `SSM.step`.
            rate: see `SSM.step`.
            resets: see `SSM.step`.
            system: the result of `ssm.system().stepper()`, or None.
        """
        inputs = ops.cast(inputs, self.compute_dtype)[:, None]
        x = self._before(inputs, None, False)[:, 0]
        y, state = self.ssm.step(x, state, time_steps, rate, resets, system)
        return self._after(y[:, None], inputs, None, False)[:, 0], state

    def advance(
        self,
        inputs: Tensor,
        state: Tensor,
        mask: Tensor | None = None,
        time_steps: Tensor | None = None,
        rate: Any = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run a sequence from a given state: the result of a loop of `step`, computed at once.

        Args:
            inputs: tensor (batch, length, features).
            state: tensor (batch, state_width), see `get_initial_state`.
            mask: boolean (batch, length), or None.
            time_steps: see `SSM.advance`.
            rate: see `SSM.advance`.
            resets: see `SSM.advance`.

        Returns:
            Output (batch, length, features) and the layer's state after the
            last valid step.
        """
        inputs, mask = ops.cast(inputs, self.compute_dtype), as_tensor(mask)
        x = self._before(inputs, mask, False)
        y, state = self.ssm.advance(x, state, mask, time_steps, rate, resets)
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
            "ssm": serialized_part(self.ssm),
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
        return super().from_config(
            {**config, "ssm": keras.saving.deserialize_keras_object(config["ssm"])}
        )
