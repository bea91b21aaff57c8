"""NumPy: inference only."""

from typing import Any

import numpy as np


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Product in the precision of the inputs."""
    return np.matmul(a, b)


def arctan2(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Angle of (x, y), in the precision of the inputs (`keras.ops` drops float64 in torch)."""
    return np.arctan2(y, x)


def compiled(model: Any) -> Any:
    """A Keras model in inference mode as a function of its inputs."""
    return lambda inputs: model(inputs, training=False)
