"""Positive reparametrisations of eigenvalue parts and steps, by name.

Each has a forward map (on tensors) and its inverse (NumPy, at build time).
Source: state-spaces/s4 `kernels/ssm.py`, `param_transform` and
`inv_transform`; the inverse first raises its argument to 1e-4, and `relu` adds
that amount on the way back, so that it is no exact inverse there.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from keras import ops

from keras_ssm.ops.complex import Tensor

FLOOR = 1e-4


class Transform(NamedTuple):
    """From a parameter to the positive number it stands for, and back.

    Example:

    >>> from keras_ssm.ops import transforms
    >>> softplus = transforms.TRANSFORMS["softplus"]
    >>> round(float(softplus.forward(ops.array(softplus.inverse(0.3)))), 3)
    0.3
    """

    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[np.ndarray], np.ndarray]


TRANSFORMS = {
    "none": Transform(lambda x: x, lambda p: p),
    "exp": Transform(ops.exp, np.log),
    "relu": Transform(lambda x: ops.relu(x) + FLOOR, lambda p: p),
    "sigmoid": Transform(ops.sigmoid, lambda p: np.log(p) - np.log1p(-p)),
    "softplus": Transform(ops.softplus, lambda p: np.log(np.expm1(p))),
}


def raw(value: np.ndarray, transform: str) -> np.ndarray:
    """The parameter that `transform` maps to `value` (raised to 1e-4).

    Example:

    >>> from keras_ssm.ops import transforms
    >>> float(transforms.raw(np.array(1.0), "exp"))
    0.0
    """
    return TRANSFORMS[transform].inverse(np.maximum(value, FLOOR))
