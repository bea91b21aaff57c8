"""The sequence classifier of the DSS, S4D and S5 papers."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_ssm.layers import DSS, S4D, S5, SequencePooling, SSMBlock
from keras_ssm.layers.arguments import check_choice

LAYERS: dict[str, type] = {"dss": DSS, "s4d": S4D, "s5": S5}
GATINGS = {"dss": "dense", "s4d": "glu", "s5": "half_glu1"}


def classifier(
    num_classes: int,
    input_shape: Sequence[int | None],
    layer: str = "s5",
    depth: int = 4,
    width: int = 128,
    state_size: int = 64,
    vocabulary_size: int | None = None,
    masked: bool = False,
    pooling: str | None = "mean",
    gating: str | None = None,
    norm: str | None = "layer",
    prenorm: bool = True,
    dropout: float = 0.0,
    norm_epsilon: float = 1e-5,
    norm_momentum: float = 0.9,
    name: str | None = None,
    **ssm_options: Any,
) -> keras.Model:
    """Encoder, a stack of `SSMBlock`, pooling and a linear head that gives logits.

    Args:
        num_classes: number of logits.
        input_shape: (length, features), or (length,) for integer tokens; the
            length may be None.
        layer: `"dss"`, `"s4d"` or `"s5"`.
        depth: number of blocks.
        width: features between the blocks.
        state_size: N (DSS, S4D) or P (S5) of the layer.
        vocabulary_size: for integer tokens: size of the embedding that takes
            the place of the dense encoder.
        masked: hide steps that are padding: token 0, or all features 0.
        pooling: `"mean"`, `"masked_mean"` or `"last"` (see `SequencePooling`),
            or None for logits at every step.
        gating: see `Gating`; None takes the paper's, `"dense"` for DSS, `"glu"`
            for S4D, `"half_glu1"` for S5.
        norm: `"layer"`, `"batch"` or None.
        prenorm: norm at the start of a block, or after its sum.
        dropout: rate, shared over time.
        norm_epsilon: see `SSMBlock`.
        norm_momentum: see `SSMBlock`.
        name: of the model.
        **ssm_options: further arguments of the layer.

    Returns:
        A functional `keras.Model` from (batch, *input_shape) to (batch,
        num_classes), or (batch, length, num_classes) without pooling.

    Raises:
        ValueError: for an unknown layer, a non-positive depth, or an input
            shape that does not fit `vocabulary_size`.

    Example:

    >>> model = keras_ssm.models.classifier(10, (None, 1), layer="s4d", depth=2, width=16)
    >>> model(np.ones((3, 64, 1), "float32")).shape
    (3, 10)
    """
    check_choice("layer", layer, LAYERS)
    if not isinstance(depth, int) or depth <= 0:
        raise ValueError(f"`depth` must be a positive integer. Received: depth={depth!r}")
    rank = 2 if vocabulary_size is None else 1
    if len(input_shape) != rank:
        raise ValueError(
            "`input_shape` must be (length, features), or (length,) with `vocabulary_size`. "
            f"Received: input_shape={tuple(input_shape)}, vocabulary_size={vocabulary_size}"
        )
    if vocabulary_size is None:
        inputs = keras.Input(tuple(input_shape), name="inputs")
        x = keras.layers.Masking(0.0, name="masking")(inputs) if masked else inputs
        x = keras.layers.Dense(width, name="encoder")(x)
    else:
        inputs = keras.Input(tuple(input_shape), dtype="int32", name="inputs")
        x = keras.layers.Embedding(vocabulary_size, width, mask_zero=masked, name="encoder")(inputs)
    for index in range(depth):
        x = SSMBlock(
            LAYERS[layer](state_size, name=layer, **ssm_options),
            gating=gating or GATINGS[layer],
            norm=norm,
            prenorm=prenorm,
            dropout=dropout,
            norm_epsilon=norm_epsilon,
            norm_momentum=norm_momentum,
            name=f"block_{index}",
        )(x)
    if pooling is not None:
        x = SequencePooling(pooling, name="pooling")(x)
    outputs = keras.layers.Dense(num_classes, name="head")(x)
    return keras.Model(inputs, outputs, name=name)
