"""Complex arithmetic on pairs ``(re, im)`` of real tensors."""

import math
from typing import Any

from keras import ops

from keras_ssm.backend import at_most, cos_sin, custom_gradient, jit, precise_matmul
from keras_ssm.ops.exporting import restricted
from keras_ssm.types import Pair, Tensor

# The fixed-point grid on which a phase is held while it is multiplied by an
# integer: k * (j / GRID) is exact in float32 for k up to 2**24 / (GRID / 2).
_GRID = 4096.0
# A turn in radians as a sum. The head has 8 bits, so that its products with
# points of the grid are exact in float32 up to 16 turns.
_TURN_HEAD = 6.28125
_TURN_TAIL = 0.0019353071795864769


def pair(z: Tensor) -> Pair:
    """The complex pair of a tensor whose last axis is (real part, imaginary part).

    Example:

    >>> from keras_ssm.ops import complex
    >>> re, im = complex.pair(ops.array([[1.0, 2.0], [3.0, 4.0]]))
    >>> [float(value) for value in re]
    [1.0, 3.0]
    """
    z = ops.convert_to_tensor(z)
    return z[..., 0], z[..., 1]


def directions(*weights: Tensor) -> Pair:
    """The pairs of one weight for each direction, as a pair with a leading axis of directions."""
    # Not `ops.stack`, which refuses variables on TensorFlow, even converted ones.
    return pair(ops.concatenate([weight[None] for weight in weights]))


def conj(z: Pair) -> Pair:
    """The conjugate of z.

    Example:

    >>> from keras_ssm.ops import complex
    >>> complex.conj((1.0, 2.0))
    (1.0, -2.0)
    """
    return z[0], -z[1]


def multiply(a: Pair, b: Pair) -> Pair:
    """The product a b.

    Example:

    >>> from keras_ssm.ops import complex
    >>> complex.multiply((1.0, 2.0), (3.0, 4.0))
    (-5.0, 10.0)
    """
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def scale(z: Pair, factor: Tensor) -> Pair:
    """The product with a real tensor.

    Example:

    >>> from keras_ssm.ops import complex
    >>> complex.scale((1.0, 2.0), 3.0)
    (3.0, 6.0)
    """
    return z[0] * factor, z[1] * factor


def square_abs(z: Pair) -> Tensor:
    """|z|^2.

    Example:

    >>> from keras_ssm.ops import complex
    >>> complex.square_abs((3.0, 4.0))
    25.0
    """
    return z[0] * z[0] + z[1] * z[1]


@jit()
def exp(z: Pair) -> Pair:
    """exp(z).

    Example:

    >>> from keras_ssm.ops import complex
    >>> re, im = complex.exp((ops.array([0.0]), ops.array([np.pi / 3])))
    >>> round(float(re[0]), 3), round(float(im[0]), 3)
    (0.5, 0.866)
    """
    radius = ops.exp(z[0])
    cos, sin = cos_sin(z[1])
    return radius * cos, radius * sin


@jit()
def expm1(z: Pair) -> Pair:
    """exp(z) - 1 without the cancellation of the plain form at small z.

    Example:

    >>> from keras_ssm.ops import complex
    >>> re, im = complex.expm1((ops.array([1e-9]), ops.array([0.0])))
    >>> f"{float(re[0]):.1e}"
    '1.0e-09'
    """
    # cos y - 1 = -2 sin(y / 2)^2, and both functions follow from those of the half angle.
    half_cos, half_sin = cos_sin(z[1] / 2)
    versine = 2 * half_sin * half_sin
    re = real_expm1(z[0]) * (1 - versine) - versine
    return re, ops.exp(z[0]) * 2 * half_sin * half_cos


def real_expm1(x: Tensor) -> Tensor:
    """exp(x) - 1 of a real tensor without cancellation.

    Example:

    >>> from keras_ssm.ops import complex
    >>> f"{float(complex.real_expm1(ops.array(1e-9))):.1e}"
    '1.0e-09'
    """
    # Not every format has the function; this keeps the digits as well.
    return ops.tanh(x / 2) * (ops.exp(x) + 1) if restricted() else ops.expm1(x)


def expm1_ratio(z: Pair) -> Pair:
    """(exp(z) - 1) / z, continued by 1 at z = 0.

    Example:

    >>> from keras_ssm.ops import complex
    >>> re, im = complex.expm1_ratio((ops.array([0.0, 1.0]), ops.array([0.0, 0.0])))
    >>> [round(float(value), 3) for value in re]
    [1.0, 1.718]
    """
    norm = square_abs(z)
    at_zero = norm == 0
    # The inner `where` keeps the unused branch, and so its gradient, finite.
    norm = ops.where(at_zero, ops.ones_like(norm), norm)
    re, im = multiply(expm1(z), scale(conj(z), 1 / norm))
    return ops.where(at_zero, ops.ones_like(re), re), im


@jit("count", "stride")
def powers(log_lam: Pair, count: Tensor, stride: int = 1) -> Pair:
    """The powers ``exp(k * stride * log_lam)`` for k = 0 .. count - 1, of shape S + (count,).

    The gradient is the power's own, k conj(z) g, and needs no further exponential.

    Args:
        log_lam: pair of tensors of any shape S.
        count: an integer, or a scalar tensor in a graph of unknown length.
        stride: integer factor of the exponents.

    Example:

    >>> from keras_ssm.ops import complex
    >>> log_lam = ops.array([np.log(0.5)], "float32"), ops.array([0.0])
    >>> re, im = complex.powers(log_lam, 4)
    >>> [round(float(value), 3) for value in re[0]]
    [1.0, 0.5, 0.25, 0.125]
    """

    def steps() -> Tensor:
        return ops.cast(ops.arange(0, count), log_lam[0].dtype)

    def plain(re: Tensor, im: Tensor) -> Tensor:
        return ops.stack(exp(multiples((re, im), steps(), stride)))

    def gradient(_: Any, z: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        products = multiply((g[0], g[1]), conj((z[0], z[1])))
        exponents = ops.reshape(steps() * stride, (-1, 1))
        return tuple(precise_matmul(x, exponents)[..., 0] for x in products)

    z = custom_gradient(plain, gradient)(*log_lam)
    return z[0], z[1]


@jit("stride")
def multiples(log_lam: Pair, k: Tensor, stride: int = 1) -> Pair:
    """Integer multiples ``k * stride * log_lam``, up to whole turns of the phase.

    The phase is split into a head, a point of a coarse grid of turns, whose
    integer multiples are exact and lose their whole turns without error, and a
    small tail, which carries the gradient. Nothing grows with k but the
    rounding of the tail.

    Args:
        log_lam: pair of tensors of any shape S.
        k: integers as floats, any shape K.
        stride: further integer factor of the exponent.

    Returns:
        Pair of tensors of shape S + K.

    Example:

    >>> from keras_ssm.ops import complex
    >>> log_lam = ops.array([-0.5]), ops.array([7.0])
    >>> re, im = complex.multiples(log_lam, ops.array([0.0, 1.0]))
    >>> [round(float(value), 3) for value in im[0]]  # 7 - 2 pi
    [0.0, 0.717]
    """
    rank = len(k.shape)
    re, im = (ops.reshape(z, (*ops.shape(z), *[1] * rank)) for z in log_lam)
    head = ops.stop_gradient(ops.round(im * (_GRID / (2 * math.pi))) / _GRID)  # in turns
    tail = (im - head * _TURN_HEAD) - head * _TURN_TAIL  # in radians
    head = _fraction(_fraction(head) * stride)
    phase = 2 * math.pi * _fraction(k * head) + k * (stride * tail)
    # A bound that no stable mode can reach: padding beyond the sequence must not
    # turn an unstable mode into 0 * inf.
    return at_most(k * (stride * re), 80.0), phase


def _fraction(turns: Tensor) -> Tensor:
    return turns - ops.round(turns)
