"""The kernels of DSS and how they scale their modes.

Source: DSS (Gupta et al., 2022), Proposition 1 and equations 5 to 9, as
ag1988/dss `dss.py` computes them.
"""

import math

from keras import ops

from keras_ssm.ops.complex import Pair, Tensor, conj, expm1, multiply, scale, square_abs
from keras_ssm.ops.vandermonde import vandermonde

EPSILON = 1e-7


def exp_scale(Lambda: Pair, dt_Lambda: Pair) -> Pair:
    """(exp(dt Lambda) - 1) / Lambda with |Lambda|^2 kept above 1e-7: DSS-EXP."""
    norm = ops.clip(square_abs(Lambda), EPSILON, math.inf)
    return multiply(expm1(dt_Lambda), scale(conj(Lambda), 1 / norm))


def softmax_scale(Lambda: Pair, dt_Lambda: Pair, length: Tensor) -> tuple[Pair, Pair, Tensor]:
    """The row softmax of DSS-SOFTMAX as a scaled geometric series.

    A mode with Re Lambda > 0 would overflow; its row is read from the other
    end, as the powers of exp(-dt Lambda). The small constant stands where the
    official code has it, in the reciprocal of `den Lambda`, which is not where
    the paper has it and matters for short sequences.

    Args:
        Lambda: pair of (N,) or (H, N).
        dt_Lambda: pair of (H, N).
        length: the length L that the rows are normalised over.

    Returns:
        log_lam: pair of (H, N) with Re <= 0, the logarithm to take powers of.
        factor: pair of (H, N), what a row is multiplied by.
        reversed_rows: tensor (H, N) of 0 and 1, where a row runs backwards.
    """
    backwards = ops.cast(Lambda[0] > 0, dt_Lambda[0].dtype) + ops.zeros_like(dt_Lambda[0])
    log_lam = scale(dt_Lambda, 1 - 2 * backwards)
    denominator = multiply(expm1(scale(log_lam, ops.cast(length, log_lam[0].dtype))), Lambda)
    reciprocal = scale(conj(denominator), 1 / (square_abs(denominator) + EPSILON))
    return log_lam, multiply(expm1(log_lam), reciprocal), backwards


def softmax_kernel(w: Pair, Lambda: Pair, dt_Lambda: Pair, length: Tensor) -> Tensor:
    """K[c, h, l] = Re sum_n w[c, h, n] / Lambda[n] softmax_l(l dt Lambda[n])."""
    log_lam, factor, backwards = softmax_scale(Lambda, dt_Lambda, length)
    w = multiply(w, factor)
    ahead, behind = scale(w, 1 - backwards), scale(w, backwards)
    both = tuple(ops.concatenate(pair, axis=0) for pair in zip(ahead, behind, strict=True))
    ahead, behind = ops.split(vandermonde(both, log_lam, length), 2, axis=0)
    return ahead + ops.flip(behind, axis=-1)
