"""The sequence classifier of the papers."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_ssm import initializers
from keras_ssm.layers import OneHotDense, SequencePooling, SSMBlock, UnmaskedBatchNormalization
from keras_ssm.layers.names import LayerLike, make_layer

# Arguments of `SSMBlock` that `block` may have.
BLOCK_OPTIONS = ("gating", "norm", "prenorm", "norm_epsilon", "norm_momentum")


def classifier(
    num_classes: int | None,
    input_shape: Sequence[int | None],
    layer: LayerLike = "s5",
    depth: int = 4,
    width: int = 128,
    state_size: int | None = None,
    vocabulary_size: int | None = None,
    one_hot: bool = False,
    encoder_initializer: Any = None,
    masked: bool | str = False,
    pooling: str | None = "mean",
    dropout: float = 0.0,
    time_steps: bool = False,
    resets: bool = False,
    block: Mapping[str, Any] | None = None,
    final_norm: bool = False,
    name: str | None = None,
    **layer_options: Any,
) -> keras.Model:
    """Build the papers' sequence classifier: encoder, `SSMBlock`s, pooling and a linear head.

    Args:
        num_classes: number of logits; None for no head, which gives the pooled
            features.
        input_shape: (length, features), or (length,) for integer tokens; the
            length may be None.
        layer: `"s5"`, `"s4d"`, `"s4"`, `"dss"` or `"lru"`, a class of your own or
            its registered name, a layer of which every block gets a copy, or a
            function that makes one.
        depth: number of blocks.
        width: features between the blocks.
        state_size: of the layer; None takes the layer's default.
        vocabulary_size: for integer tokens: size of the embedding that takes
            the place of the dense encoder.
        one_hot: give the embedding the bias of a dense layer that reads one-hot
            tokens, as in S5 models (see `OneHotDense`).
        encoder_initializer: of the encoder's or embedding's weights, see
            `initializers.get`; None takes the layer's own.
        masked: hide steps that are padding, token 0 or all features 0:
            everywhere (True), or from the pooling alone (`"pooling"`), as the
            official code of the papers does; there, blocks and norms process
            padding like any other step.
        pooling: `"mean"`, `"all_mean"` or `"last"` (see `SequencePooling`), or
            None for logits at every step.
        dropout: rate, shared over time.
        time_steps: give the model a second input, the durations of the steps
            (batch, length), for irregular sampling.
        resets: give it another one, booleans (batch, length), which are true
            where one of the documents packed into a sequence begins.
        block: further arguments of `SSMBlock`: `gating`, `norm`, `prenorm`,
            `norm_epsilon`, `norm_momentum`.
        final_norm: one more norm after the last block, which DSS and S4D models
            with `prenorm` have.
        name: of the model.
        **layer_options: further arguments of the layer, such as
            `bidirectional=True`.

    Returns:
        A functional `keras.Model` from (batch, *input_shape) to (batch,
        num_classes), or (batch, length, num_classes) without pooling. With
        `time_steps` or `resets` it takes a dictionary of `"inputs"` and these.

    Raises:
        ValueError: for an unknown layer or block option, a non-positive depth,
            an input shape that does not fit `vocabulary_size`, a `final_norm`
            without a norm, or a mask for a pooling that takes none.

    Example:

    >>> model = keras_ssm.models.classifier(10, (None, 1), layer="s4d", depth=2, width=16)
    >>> model.input_shape, model.output_shape
    ((None, None, 1), (None, 10))
    """
    if isinstance(depth, bool) or not isinstance(depth, int) or depth <= 0:
        raise ValueError(f"`depth` must be a positive integer. Received: depth={depth!r}")
    if masked not in (False, True, "pooling"):
        raise ValueError(f"`masked` must be False, True or 'pooling'. Received: masked={masked!r}")
    if masked == "pooling" and pooling not in ("mean", "last"):
        raise ValueError(
            "masked='pooling' needs pooling='mean' or 'last'. "
            f"Received: masked={masked!r}, pooling={pooling!r}"
        )
    options = {"norm": "layer", "norm_epsilon": 1e-5, "norm_momentum": 0.9, **(block or {})}
    unknown = sorted(set(options) - {*BLOCK_OPTIONS})
    if unknown:
        raise ValueError(
            f"`block` may have {', '.join(map(repr, BLOCK_OPTIONS))}. Received: block={block!r}"
        )
    if final_norm and options["norm"] is None:
        raise ValueError("`final_norm` needs a `norm`. Received: final_norm=True, norm=None")
    inputs, x = _encoder(
        tuple(input_shape), width, vocabulary_size, one_hot, encoder_initializer, bool(masked)
    )
    length = (next(iter(input_shape)),)
    extra: dict[str, Any] = {}
    if time_steps:
        extra["time_steps"] = keras.Input(length, name="time_steps")
    if resets:
        extra["resets"] = keras.Input(length, dtype="bool", name="resets")
    for index in range(depth):
        x = SSMBlock(
            make_layer(layer, state_size, **layer_options),
            dropout=dropout,
            use_mask=masked is True,
            name=f"block_{index}",
            **options,
        )(x, **extra)
    if final_norm:
        x = _norm(options, masked)(x)
    if pooling is not None:
        x = SequencePooling(pooling, name="pooling")(x)
    if num_classes is not None:
        x = keras.layers.Dense(num_classes, name="head")(x)
    return keras.Model({"inputs": inputs, **extra} if extra else inputs, x, name=name)


def _norm(options: Mapping[str, Any], masked: bool | str) -> keras.layers.Layer:
    """The norm of the blocks once more."""
    epsilon = options["norm_epsilon"]
    if options["norm"] == "layer":
        return keras.layers.LayerNormalization(epsilon=epsilon, name="norm")
    batch_norm = (
        UnmaskedBatchNormalization if masked == "pooling" else keras.layers.BatchNormalization
    )
    return batch_norm(epsilon=epsilon, momentum=options["norm_momentum"], name="norm")


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
