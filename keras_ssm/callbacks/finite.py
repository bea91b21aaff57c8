"""Which weights of a model went wrong."""

import keras
import numpy as np


def not_finite(model: keras.Model) -> list[str]:
    """List the weights of a model that hold NaN or infinity.

    Args:
        model: a built Keras model.

    Returns:
        Their paths, in the model's order.

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> keras_ssm.callbacks.not_finite(model)
    []
    """
    return [
        weight.path
        for weight in model.weights
        if not np.all(np.isfinite(keras.ops.convert_to_numpy(weight)))
    ]
