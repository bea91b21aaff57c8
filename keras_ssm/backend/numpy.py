"""NumPy: inference only."""

import numpy as np


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Product in the precision of the inputs."""
    return np.matmul(a, b)
