"""From continuous to discrete time: x' = Lambda x + B u to x_k = lam x_(k-1) + gamma B u_k.

Each rule returns ``(log_lam, gamma)``. The logarithm is what powers of lam are
made from; gamma multiplies B. Source: state-spaces/s4 `kernels/ssm.py`
(`SSMKernelDiag._setup_step`), lindermanlab/S5 `s5/ssm.py`
(`discretize_zoh`, `discretize_bilinear`).
"""

import math

from keras import ops

from keras_ssm.backend import arctan2, jit
from keras_ssm.ops.complex import conj, expm1, expm1_ratio, multiply, scale, square_abs
from keras_ssm.types import Pair, Tensor

# Keeps denominators away from 0, where the official code of DSS does so.
EPSILON = 1e-7


@jit()
def zoh(Lambda: Pair, dt: Tensor) -> tuple[Pair, Pair]:
    """Zero-order hold: lam = exp(dt Lambda), gamma = (lam - 1) / Lambda.

    Example:

    >>> from keras_ssm.ops import discretization
    >>> Lambda, dt = (ops.array([-1.0]), ops.array([0.0])), ops.array([0.5])
    >>> log_lam, gamma = discretization.zoh(Lambda, dt)
    >>> round(float(log_lam[0][0]), 3), round(float(gamma[0][0]), 3)
    (-0.5, 0.393)
    """
    log_lam = scale(Lambda, dt)
    return log_lam, scale(expm1_ratio(log_lam), dt)


@jit()
def bilinear(Lambda: Pair, dt: Tensor) -> tuple[Pair, Pair]:
    """Tustin: lam = (1 + z/2) / (1 - z/2), gamma = dt / (1 - z/2), z = dt Lambda.

    Example:

    >>> from keras_ssm.ops import discretization
    >>> Lambda, dt = (ops.array([-1.0]), ops.array([0.0])), ops.array([0.5])
    >>> log_lam, gamma = discretization.bilinear(Lambda, dt)
    >>> round(float(log_lam[0][0]), 3), round(float(gamma[0][0]), 3)
    (-0.511, 0.4)
    """
    re, im = scale(Lambda, dt)
    quarter = square_abs((re, im)) / 4
    denominator = 1 - re + quarter  # |1 - z/2|^2
    # |lam|^2 - 1 = 2 re / |1 - z/2|^2; the bound is lam = 0, at z = -2 exactly.
    excess = ops.clip(2 * re / denominator, -1 + 1e-7, math.inf)
    log_lam = ops.log1p(excess) / 2, arctan2(im, 1 - quarter)
    inverse = scale(conj((1 - re / 2, -im / 2)), 1 / denominator)
    return log_lam, scale(inverse, dt)


@jit()
def exp_scale(Lambda: Pair, dt_Lambda: Pair) -> Pair:
    """DSS-EXP: the gain (exp(dt Lambda) - 1) / Lambda, with |Lambda|^2 kept above 1e-7.

    Source: ag1988/dss `dss.py`.

    Example:

    >>> from keras_ssm.ops import discretization
    >>> zero = ops.array([0.0])
    >>> re, im = discretization.exp_scale((ops.array([-1.0]), zero), (ops.array([-0.5]), zero))
    >>> round(float(re[0]), 3)
    0.393
    """
    norm = ops.clip(square_abs(Lambda), EPSILON, math.inf)
    return multiply(expm1(dt_Lambda), scale(conj(Lambda), 1 / norm))


DISCRETIZATIONS = {"zoh": zoh, "bilinear": bilinear}
