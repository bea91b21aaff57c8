"""Stacks of state space blocks as keras-hub backbones."""

from collections.abc import Sequence
from typing import Any

import keras
import keras_hub

from keras_ssm.arguments import check_size
from keras_ssm.hub.presets import WholePreset
from keras_ssm.layers import SSMBlock
from keras_ssm.layers.names import layer_class, layer_name, make_layer

# Inputs that a backbone may have besides its own, with their types.
_EXTRA_INPUTS = {"time_steps": "float32", "resets": "bool"}


class BlockBackbone(WholePreset, keras_hub.models.Backbone):
    """Base of the backbones: what embeds a step, `depth` blocks, and a final norm.

    Args:
        inputs: symbolic input, (batch, length, ...), named as in the inputs' dictionary.
        embedded: the same embedded, (batch, length, width).
        **options: arguments of the leaves.
    """

    def __init__(
        self,
        inputs: Any,
        embedded: Any,
        layer: Any,
        depth: int,
        width: int,
        state_size: int,
        dropout: float,
        ssm_options: dict[str, Any] | None,
        extra_inputs: Sequence[str],
        dtype: Any,
        **kwargs: Any,
    ) -> None:
        check_size("depth", depth)
        unknown = sorted(set(extra_inputs) - set(_EXTRA_INPUTS))
        if unknown:
            raise ValueError(
                f"`extra_inputs` may have {', '.join(map(repr, _EXTRA_INPUTS))}. "
                f"Received: extra_inputs={tuple(extra_inputs)!r}"
            )
        options = {**layer_class(layer).any_length, **(ssm_options or {})}
        self.blocks = [
            SSMBlock(
                make_layer(layer, state_size, dtype=dtype, **options),
                dropout=dropout,
                dtype=dtype,
                name=f"block_{index}",
            )
            for index in range(depth)
        ]
        self.final_norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=dtype, name="final_norm"
        )
        padding_mask = keras.Input((None,), dtype="int32", name="padding_mask")
        extra = {
            name: keras.Input((None,), dtype=_EXTRA_INPUTS[name], name=name)
            for name in extra_inputs
        }
        x = embedded
        for block in self.blocks:
            x = block(x, mask=padding_mask, **extra)
        super().__init__(
            inputs={inputs.name: inputs, "padding_mask": padding_mask, **extra},
            outputs=self.final_norm(x),
            dtype=dtype,
            **kwargs,
        )
        self.layer = layer_name(layer)
        self.depth = depth
        self.width = width
        self.state_size = state_size
        self.dropout = dropout
        self.ssm_options = dict(ssm_options or {})
        self.extra_inputs = tuple(extra_inputs)

    def default_lora_layer_names(self) -> list[str]:
        """The dense layers after each state space layer: the weights that mix features."""
        return ["out1", "out2"]

    def enable_lora(self, rank: int, target_layer_names: list[str] | None = None) -> None:
        """Freeze the backbone and give some of its dense layers LoRA weights.

        Args:
            rank: of the added weights.
            target_layer_names: names of layers; None takes those of the gates,
                `"out1"` and `"out2"`.

        Raises:
            ValueError: if no layer that can take LoRA has one of the names.
        """
        targets = target_layer_names or self.default_lora_layer_names()
        layers = self._flatten_layers(include_self=False)
        able = {layer.name for layer in layers if hasattr(layer, "enable_lora")}
        if not able & set(targets):
            raise ValueError(
                f"expected the name of a layer that can take LoRA, one of {sorted(able)}. "
                f"Received: target_layer_names={targets}"
            )
        super().enable_lora(rank, target_layer_names=targets)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "layer": self.layer,
            "depth": self.depth,
            "width": self.width,
            "state_size": self.state_size,
            "dropout": self.dropout,
            "ssm_options": dict(self.ssm_options),
            "extra_inputs": self.extra_inputs,
        }


@keras.saving.register_keras_serializable(package="keras_ssm")
class SSMBackbone(BlockBackbone):
    """Keras-hub backbone from token ids to hidden vectors, through a stack of `SSMBlock`.

    The gating is that of the layer's own paper; the norm comes before each layer
    and once more at the end.

    Args:
        vocabulary_size: number of token ids.
        layer: `"s5"`, `"s4d"`, `"s4"`, `"dss"`, `"lru"`, or a registered class of your own.
        depth: number of blocks.
        width: features between the blocks.
        state_size: N (DSS, S4D) or P (S5) of the layer.
        dropout: rate, shared over time.
        ssm_options: further arguments of the layer that JSON can hold, such as
            `{"step_min": 1e-4}` or, for classifiers, `{"bidirectional": True}`.
            DSS has `kernel="exp"` here unless another is given.
        extra_inputs: further inputs of the dictionary, some of `"time_steps"`,
            the durations of the steps, and `"resets"`, where a packed document
            begins, both (batch, length).
        dtype: dtype or policy of all layers.
        **kwargs: `name`, `trainable` of `keras.Model`.

    Inputs:
        a dictionary of `token_ids`, integers (batch, length), and
        `padding_mask`, (batch, length), 0 where a token is padding. Padding may
        lie anywhere and changes no output of a token.

    Output shape:
        (batch, length, width)

    Raises:
        ValueError: for an unknown layer or a size that is not positive.

    Example:

    >>> from keras_ssm import hub
    >>> backbone = hub.SSMBackbone(256, depth=2, width=8, state_size=8)
    >>> ids = np.ones((2, 10), "int32")
    >>> tuple(backbone({"token_ids": ids, "padding_mask": ids}).shape)
    (2, 10, 8)
    """

    def __init__(
        self,
        vocabulary_size: int,
        layer: Any = "s5",
        depth: int = 4,
        width: int = 128,
        state_size: int = 64,
        dropout: float = 0.0,
        ssm_options: dict[str, Any] | None = None,
        extra_inputs: Sequence[str] = (),
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        check_size("vocabulary_size", vocabulary_size)
        check_size("width", width)
        self.token_embedding = keras_hub.layers.ReversibleEmbedding(
            vocabulary_size,
            width,
            # It is the output matrix as well: the first logits should be small.
            embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype=dtype,
            name="token_embedding",
        )
        # As the output matrix it is given a mask, which ends there; Keras would warn of that.
        self.token_embedding.supports_masking = True
        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        super().__init__(
            token_ids,
            self.token_embedding(token_ids),
            layer, depth, width, state_size, dropout, ssm_options, extra_inputs, dtype,
            **kwargs,
        )  # fmt: skip
        self.vocabulary_size = vocabulary_size

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "vocabulary_size": self.vocabulary_size}


@keras.saving.register_keras_serializable(package="keras_ssm")
class SSMFeatureBackbone(BlockBackbone):
    """Keras-hub backbone for audio and other time series, which a linear map embeds.

    Args:
        features: channels of a step: 1 for a waveform.
        **kwargs: see `SSMBackbone`; long sequences need a small `step_min`, e.g.
            `ssm_options={"step_min": 1e-4}`.

    Inputs:
        a dictionary of `features`, floats (batch, length, features), and
        `padding_mask`, (batch, length).

    Output shape:
        (batch, length, width)

    Raises:
        ValueError: for an unknown layer or a size that is not positive.

    Example:

    >>> from keras_ssm import hub
    >>> backbone = hub.SSMFeatureBackbone(1, depth=2, width=8, state_size=8)
    >>> x = np.ones((2, 10, 1), "float32")
    >>> tuple(backbone({"features": x, "padding_mask": x[..., 0]}).shape)
    (2, 10, 8)
    """

    def __init__(
        self,
        features: int = 1,
        layer: Any = "s5",
        depth: int = 4,
        width: int = 128,
        state_size: int = 64,
        dropout: float = 0.0,
        ssm_options: dict[str, Any] | None = None,
        extra_inputs: Sequence[str] = (),
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        check_size("features", features)
        check_size("width", width)
        self.feature_projection = keras.layers.Dense(width, dtype=dtype, name="feature_projection")
        inputs = keras.Input((None, features), name="features")
        super().__init__(
            inputs,
            self.feature_projection(inputs),
            layer, depth, width, state_size, dropout, ssm_options, extra_inputs, dtype,
            **kwargs,
        )  # fmt: skip
        self.features = features

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "features": self.features}
