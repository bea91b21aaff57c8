"""The two-tower model of the papers for pairs of documents."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssm.layers import SSMBlock
from keras_ssm.layers.gating import EXACT
from keras_ssm.layers.names import LayerLike
from keras_ssm.models.classification import classifier
from keras_ssm.types import Tensor


def retrieval(
    num_classes: int,
    input_shape: Sequence[int | None],
    layer: LayerLike = "s5",
    width: int = 128,
    name: str | None = None,
    **options: Any,
) -> keras.Model:
    """Build the papers' two-tower model for pairs of documents: one encoder, a two-layer head.

        logits = W2 gelu(W1 [a, b, a - b, a * b] + b1) + b2

    with a and b the pooled features of the two documents, which go through the
    encoder as one batch of twice the size. W1 keeps the width of the encoder.
    gelu is exact where that of the blocks is (DSS, S4D), and the approximation
    by tanh elsewhere (S5), as in the sources.

    Args:
        num_classes: number of logits.
        input_shape: (2, length): both documents as integer tokens, padded with
            0 to the same length, which may be None.
        layer: see `classifier`.
        width: features between the blocks, and of the head.
        name: of the model.
        **options: of `classifier`, for the encoder; `vocabulary_size` among them.
            `time_steps` and `resets` are inputs (batch, 2, length) then.

    Returns:
        A functional `keras.Model` from (batch, 2, length) to (batch,
        num_classes).

    Raises:
        ValueError: for an input shape that is not a pair, `pooling=None`, or
            what `classifier` refuses.

    Example:

    >>> model = keras_ssm.models.retrieval(
    ...     2, (2, None), depth=2, width=16, vocabulary_size=98, masked=True, pooling="mean"
    ... )
    >>> model.input_shape, model.output_shape
    ((None, 2, None), (None, 2))

    References:
        lindermanlab/S5 `s5/seq_model.py`, `RetrievalModel`; state-spaces/s4
        `src/tasks/decoders.py`, `RetrievalHead`.
    """
    input_shape = tuple(input_shape)
    if len(input_shape) != 2 or input_shape[0] != 2:
        raise ValueError(
            "`input_shape` must be (2, length): a pair of documents of integer tokens. "
            f"Received: input_shape={input_shape}"
        )
    if options.get("pooling", "mean") is None:
        raise ValueError("A pair is compared by pooled features. Received: pooling=None")
    encoder = classifier(None, input_shape[1:], layer, width=width, name="encoder", **options)
    inputs: Any = keras.Input(input_shape, dtype="int32", name="inputs")
    documents: Any = FoldPairs(name="documents")(inputs)
    if isinstance(encoder.input, dict):
        inputs, documents = {"inputs": inputs}, {"inputs": documents}
        for extra, symbolic in encoder.input.items():
            if extra != "inputs":
                inputs[extra] = keras.Input(input_shape, dtype=symbolic.dtype, name=extra)
                documents[extra] = FoldPairs(name=f"{extra}_of_documents")(inputs[extra])
    x = PairComparison(name="pair")(encoder(documents))
    x = keras.layers.Dense(width, name="hidden")(x)
    block = next(part for part in encoder.layers if isinstance(part, SSMBlock))
    x = ops.gelu(x, approximate=block.gating not in EXACT)
    return keras.Model(inputs, keras.layers.Dense(num_classes, name="head")(x), name=name)


@keras.saving.register_keras_serializable(package="keras_ssm")
class FoldPairs(keras.layers.Layer):
    """Pairs (batch, 2, length) as one batch (2 batch, length): a and b of every pair in turn."""

    def call(self, inputs: Tensor) -> Tensor:
        return ops.reshape(inputs, (-1, ops.shape(inputs)[-1]))

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        batch, pair, length = inputs.shape
        rows = None if batch is None else batch * pair
        return keras.KerasTensor((rows, length), dtype=inputs.dtype)


@keras.saving.register_keras_serializable(package="keras_ssm")
class PairComparison(keras.layers.Layer):
    """[a, b, a - b, a * b], (batch, 4 features), of the rows a, b, a, b, ... of (2 batch, ...)."""

    def call(self, inputs: Tensor) -> Tensor:
        pairs = ops.reshape(inputs, (-1, 2, inputs.shape[-1]))
        a, b = pairs[:, 0], pairs[:, 1]
        return ops.concatenate([a, b, a - b, a * b], axis=-1)

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[Any, ...]:
        rows, features = input_shape
        return None if rows is None else rows // 2, 4 * features
