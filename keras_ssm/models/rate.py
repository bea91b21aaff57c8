"""A trained model at another sampling rate."""

from typing import Any

import keras

from keras_ssm.layers.base import SSM


def with_rate(model: keras.Model, rate: float) -> keras.Model:
    """Copy a model, with the same weights, so that its state space layers have another rate.

    A model trained at 16 kHz runs on the same sound at 8 kHz with a rate of 2.

    Args:
        model: a built Keras model: functional, Sequential, or a subclass whose
            constructor arguments `get_config` gives.
        rate: of all its state space layers; any rate that they had is replaced.

    Returns:
        A new model with weights of its own.

    Raises:
        ValueError: for a rate that is not positive, a model without state space
            layers or without weights, or one that Keras cannot copy.

    Example:

    >>> model = keras_ssm.models.classifier(10, (None, 1), layer="s5", depth=1, width=8)
    >>> half = keras_ssm.models.with_rate(model, 2)
    >>> half.get_layer("block_0").ssm.rate
    2
    """
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(f"`model` must be a Keras model that is built. Received: model={model!r}")
    if not _state_space_layers(model):
        raise ValueError(
            f"expected a model with state space layers. Received: {model.name!r}, which has none"
        )
    copy = _copied(model)
    for layer in _state_space_layers(copy):
        # Nothing has compiled the copy yet, so its layers may still be set.
        layer.built, built = False, layer.built
        try:
            layer.rate = rate
        finally:
            layer.built = built
    return copy


def _state_space_layers(model: Any) -> list[Any]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, SSM)]


def _copied(model: Any) -> Any:
    """A copy with the same weights, or ValueError if Keras makes another model of it."""
    shapes = [tuple(weight.shape) for weight in model.weights]
    try:
        if isinstance(model, (keras.Function, keras.Sequential)):
            copy = keras.models.clone_model(model, recursive=True)
        else:
            copy = keras.models.clone_model(model)
        same = [tuple(weight.shape) for weight in copy.weights] == shapes
    except Exception as error:
        raise ValueError(
            f"{type(model).__name__} {model.name!r} cannot be copied: its `get_config` must give "
            f"the arguments of its constructor. Keras says: {error}"
        ) from error
    if not same:
        raise ValueError(
            f"{type(model).__name__} {model.name!r} cannot be copied: made anew from its config it "
            f"has {len(copy.weights)} weights. Expected: {len(shapes)} of the same shapes"
        )
    copy.set_weights(model.get_weights())
    return copy
