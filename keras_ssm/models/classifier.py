"""The sequence classifier of the DSS, S4D and S5 papers."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_ssm import initializers
from keras_ssm.layers import (
    DSS,
    S4D,
    S5,
    OneHotDense,
    SequencePooling,
    SSMBlock,
    UnmaskedBatchNormalization,
)
from keras_ssm.layers.arguments import check_choice

LAYERS: dict[str, type] = {"dss": DSS, "s4d": S4D, "s5": S5}
GATINGS = {"dss": "dense", "s4d": "glu", "s5": "half_glu1"}


def classifier(
    num_classes: int | None,
    input_shape: Sequence[int | None],
    layer: str = "s5",
    depth: int = 4,
    width: int = 128,
    state_size: int = 64,
    vocabulary_size: int | None = None,
    one_hot: bool = False,
    encoder_initializer: Any = None,
    masked: bool | str = False,
    pooling: str | None = "mean",
    gating: str | None = None,
    norm: str | None = "layer",
    prenorm: bool = True,
    final_norm: bool = False,
    dropout: float = 0.0,
    norm_epsilon: float = 1e-5,
    norm_momentum: float = 0.9,
    name: str | None = None,
    **ssm_options: Any,
) -> keras.Model:
    """Encoder, a stack of `SSMBlock`, pooling and a linear head that gives logits.

    Args:
        num_classes: number of logits; None for no head, which gives the pooled
            features.
        input_shape: (length, features), or (length,) for integer tokens; the
            length may be None.
        layer: `"dss"`, `"s4d"` or `"s5"`.
        depth: number of blocks.
        width: features between the blocks.
        state_size: N (DSS, S4D) or P (S5) of the layer.
        vocabulary_size: for integer tokens: size of the embedding that takes
            the place of the dense encoder.
        one_hot: give the embedding the bias of a dense layer that reads one-hot
            tokens, as in S5 models (see `OneHotDense`).
        encoder_initializer: of the encoder's or embedding's weights, see
            `initializers.get`; None takes the layer's own.
        masked: hide steps that are padding, token 0 or all features 0:
            everywhere (True), or from the pooling alone (`"pooling"`), as the
            official code of all three papers does; there, blocks and norms
            process padding like any other step.
        pooling: `"mean"`, `"masked_mean"` or `"last"` (see `SequencePooling`),
            or None for logits at every step.
        gating: see `Gating`; None takes the paper's, `"dense"` for DSS, `"glu"`
            for S4D, `"half_glu1"` for S5.
        norm: `"layer"`, `"batch"` or None.
        prenorm: norm at the start of a block, or after its sum.
        final_norm: one more norm after the last block, which DSS and S4D models
            with `prenorm` have.
        dropout: rate, shared over time.
        norm_epsilon: see `SSMBlock`.
        norm_momentum: see `SSMBlock`.
        name: of the model.
        **ssm_options: further arguments of the layer.

    Returns:
        A functional `keras.Model` from (batch, *input_shape) to (batch,
        num_classes), or (batch, length, num_classes) without pooling.

    Raises:
        ValueError: for an unknown layer, a non-positive depth, an input shape
            that does not fit `vocabulary_size`, a `final_norm` without `norm`,
            or a mask for a pooling that takes none.

    Example:

    >>> model = keras_ssm.models.classifier(10, (None, 1), layer="s4d", depth=2, width=16)
    >>> model.input_shape, model.output_shape
    ((None, None, 1), (None, 10))
    """
    check_choice("layer", layer, LAYERS)
    if not isinstance(depth, int) or depth <= 0:
        raise ValueError(f"`depth` must be a positive integer. Received: depth={depth!r}")
    if masked not in (False, True, "pooling"):
        raise ValueError(f"`masked` must be False, True or 'pooling'. Received: masked={masked!r}")
    if masked == "pooling" and pooling not in ("masked_mean", "last"):
        raise ValueError(
            "masked='pooling' needs pooling='masked_mean' or 'last'. "
            f"Received: masked={masked!r}, pooling={pooling!r}"
        )
    if final_norm and norm is None:
        raise ValueError("`final_norm` needs a `norm`. Received: final_norm=True, norm=None")
    inputs, x = _encoder(
        tuple(input_shape), width, vocabulary_size, one_hot, encoder_initializer, bool(masked)
    )
    for index in range(depth):
        x = SSMBlock(
            LAYERS[layer](state_size, name=layer, **ssm_options),
            gating=gating or GATINGS[layer],
            norm=norm,
            prenorm=prenorm,
            dropout=dropout,
            norm_epsilon=norm_epsilon,
            norm_momentum=norm_momentum,
            use_mask=masked is True,
            name=f"block_{index}",
        )(x)
    if final_norm and norm == "layer":
        x = keras.layers.LayerNormalization(epsilon=norm_epsilon, name="norm")(x)
    elif final_norm:
        batch_norm = (
            UnmaskedBatchNormalization if masked == "pooling" else keras.layers.BatchNormalization
        )
        x = batch_norm(epsilon=norm_epsilon, momentum=norm_momentum, name="norm")(x)
    if pooling is not None:
        x = SequencePooling(pooling, name="pooling")(x)
    if num_classes is not None:
        x = keras.layers.Dense(num_classes, name="head")(x)
    return keras.Model(inputs, x, name=name)


def _encoder(
    input_shape: tuple[int | None, ...],
    width: int,
    vocabulary_size: int | None,
    one_hot: bool,
    initializer: Any,
    masked: bool,
) -> tuple[Any, Any]:
    """The model's input and its `width` features at every step."""
    if len(input_shape) != (2 if vocabulary_size is None else 1):
        raise ValueError(
            "`input_shape` must be (length, features), or (length,) with `vocabulary_size`. "
            f"Received: input_shape={input_shape}, vocabulary_size={vocabulary_size}"
        )
    if one_hot and vocabulary_size is None:
        raise ValueError("`one_hot` needs a `vocabulary_size`. Received: vocabulary_size=None")
    options: dict[str, Any] = {"name": "encoder"}
    if initializer is not None:
        embeds = vocabulary_size is not None and not one_hot
        key = "embeddings_initializer" if embeds else "kernel_initializer"
        options[key] = initializers.get(initializer)
    if vocabulary_size is None:
        inputs = keras.Input(input_shape, name="inputs")
        x = keras.layers.Masking(0.0, name="masking")(inputs) if masked else inputs
        return inputs, keras.layers.Dense(width, **options)(x)
    inputs = keras.Input(input_shape, dtype="int32", name="inputs")
    embedding = OneHotDense if one_hot else keras.layers.Embedding
    return inputs, embedding(vocabulary_size, width, mask_zero=masked, **options)(inputs)
