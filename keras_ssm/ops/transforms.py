"""Positive reparametrizations of eigenvalue parts and steps, by name.

Each has a forward map and its inverse, both of tensors.
Source: state-spaces/s4 `kernels/ssm.py`, `param_transform` and
`inv_transform`; the inverse first raises its argument to 1e-4, and `relu` adds
that amount on the way back, so that it is not an exact inverse there.
"""

from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from keras_ssm.types import Tensor

FLOOR = 1e-4


class Transform(NamedTuple):
    """From a parameter to the positive number it stands for, and back.

    Example:

    >>> from keras_ssm.ops import transforms
    >>> softplus = transforms.TRANSFORMS["softplus"]
    >>> round(float(softplus.forward(softplus.inverse(ops.array(0.3)))), 3)
    0.3
    """

    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]


TRANSFORMS = {
    "none": Transform(lambda x: x, lambda p: p),
    "exp": Transform(ops.exp, ops.log),
    "relu": Transform(lambda x: ops.relu(x) + FLOOR, lambda p: p),
    "sigmoid": Transform(ops.sigmoid, lambda p: ops.log(p) - ops.log1p(-p)),
    "softplus": Transform(ops.softplus, lambda p: ops.log(ops.expm1(p))),
}


def raw(value: Tensor, transform: str) -> Tensor:
    """The parameter that `transform` maps to `value` (raised to 1e-4).

    Example:

    >>> from keras_ssm.ops import transforms
    >>> float(transforms.raw(ops.array(1.0), "exp"))
    0.0
    """
    return TRANSFORMS[transform].inverse(ops.maximum(value, FLOOR))
