"""Batch norm whose statistics are those of the whole batch, where copies see parts of it."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_ssm.layers import UnmaskedBatchNormalization
from keras_ssm.types import Tensor


@contextlib.contextmanager
def synchronized(model: keras.Model, total: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let the batch norms of a model take their statistics over all copies.

    Keras has an argument for it on TensorFlow alone, which is saved with the
    model and which the other backends refuse.

    Args:
        model: built.
        total: the sum of a tensor over all copies, with its gradient.

    Raises:
        ValueError: for batch renormalization.
    """
    layers = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in layers:
        if layer.renorm:
            raise ValueError(
                "batch renormalization keeps averages that several devices cannot share. "
                f"Received: renorm=True in {layer.name!r}"
            )
        layer.call = functools.partial(_call, layer, total)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call


def _call(
    layer: Any,
    total: Callable[[Tensor], Tensor],
    inputs: Tensor,
    training: bool | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """`keras.layers.BatchNormalization.call`, but for the sums."""
    if not (training and layer.trainable):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
    mean, variance = _moments(layer, total, x, mask)
    for average, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        before = ops.cast(average, x.dtype)
        average.assign(before * layer.momentum + now * (1.0 - layer.momentum))
    gamma, beta = (
        None if weight is None else ops.cast(weight, x.dtype)
        for weight in (layer.gamma, layer.beta)
    )
    y = ops.batch_normalization(
        x, mean, variance, layer.axis, offset=beta, scale=gamma, epsilon=layer.epsilon
    )
    return ops.cast(y, layer.compute_dtype)


def _moments(
    layer: Any, total: Callable[[Tensor], Tensor], x: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Mean and variance of each feature over the copies, without masked steps."""
    features = layer.axis % len(x.shape)
    axes = [axis for axis in range(len(x.shape)) if axis != features]
    kept = ops.ones_like(x[..., :1])
    if mask is not None and not isinstance(layer, UnmaskedBatchNormalization):
        kept = ops.cast(mask, x.dtype)[..., None]
    kept = ops.broadcast_to(kept, ops.shape(x))
    shape = [-1 if axis == features else 1 for axis in range(len(x.shape))]
    count = total(ops.sum(kept, axis=axes)) + keras.config.epsilon() * (mask is not None)
    # `where` and not a product alone: a masked step may hold NaN.
    x = ops.where(kept > 0, x, ops.zeros_like(x))
    mean = total(ops.sum(x, axis=axes)) / count
    change = kept * (x - ops.reshape(mean, shape))
    return mean, total(ops.sum(change * change, axis=axes)) / count
