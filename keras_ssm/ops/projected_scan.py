"""A shared state with its projections: from the inputs of a whole sequence to its outputs.

It is one function with one gradient, so that, of the arrays of the size of the
sequence, only the states are kept, both directions go through the lower levels
of the scan together, and outputs and gradients are summed in place.
"""

from typing import Any

from keras import ops

from keras_ssm.backend import (
    custom_gradient,
    project_in,
    project_onto,
    project_outer,
)
from keras_ssm.ops.scan import (
    adjoint_scans,
    chunk_sizes,
    may_be_shared,
    powers_in_chunks,
    scan_gradients,
    scans,
)
from keras_ssm.types import Pair, Tensor


def run_projected_scan(
    log_lam: Pair, B: Tensor, C: Tensor, D: Tensor, u: Tensor, x0: Tensor
) -> Tensor:
    """y_k = sum over directions of C x_k, plus D u_k, with x_k = lam x_(k-1) + B u_k.

    Args:
        log_lam: pair of (P,).
        B: tensor (2 P, H), real and imaginary part of each mode one after the other.
        C: tensor (K, 2 P, H) for K directions, the forward one first.
        D: tensor (H,).
        u: tensor (B, M, Q, H) in chunks.
        x0: tensor (P, 2, B), the state before the forward scan.

    Returns:
        Tensor (B, M, Q, H).

    Example:

    >>> from keras_ssm.ops import projected_scan
    >>> log_lam = ops.array([np.log(0.5)], "float32"), ops.array([0.0])
    >>> B, C = ops.array([[1.0], [0.0]]), ops.array([[[1.0], [0.0]]])
    >>> u, D, x0 = ops.ones((1, 1, 3, 1)), ops.zeros((1,)), ops.zeros((1, 2, 1))
    >>> y = projected_scan.run_projected_scan(log_lam, B, C, D, u, x0)
    >>> [round(float(value), 2) for value in y[0, 0, :, 0]]
    [1.0, 1.5, 1.75]
    """
    return _differentiable(*log_lam, B, C, D, u, x0)


def _forward(
    log_re: Tensor, log_im: Tensor, B: Tensor, C: Tensor, D: Tensor, u: Tensor, x0: Tensor
) -> tuple[Tensor, Any]:
    driven = _into_states(u, B)
    values = powers_in_chunks((log_re, log_im), *chunk_sizes(driven))
    directions = [False, True][: C.shape[0]]
    starts = [x0, ops.zeros_like(x0)][: C.shape[0]]
    states = scans(values, [driven] * len(directions), starts, directions)
    y = u * D
    for index, x in enumerate(states):
        y = project_onto(y, _flat(x, u), C[index])
    return y, (values, *states)


def _plain(*inputs: Tensor) -> Tensor:
    return _forward(*inputs)[0]


def _gradient(
    inputs: Any, _: Any, dy: Tensor, values: Tensor, *states: Tensor
) -> tuple[Tensor, ...]:
    log_re, log_im, B, C, D, u, x0 = inputs
    directions = [False, True][: len(states)]
    dx = [_into_states(dy, C[index]) for index in range(len(states))]
    dC = ops.stack([project_outer(_flat(x, u), dy) for x in states])
    adjoint = adjoint_scans(values, dx, directions)
    starts = [x0, ops.zeros_like(x0)]
    found = [
        scan_gradients((log_re, log_im), g, x, start, reverse)
        for g, x, start, reverse in zip(adjoint, states, starts, directions, strict=False)
    ]
    (d_re, d_im), dx0 = found[0]
    driven = adjoint[0]
    if len(states) == 2:
        d_re, d_im = d_re + found[1][0][0], d_im + found[1][0][1]
        driven = driven + adjoint[1]
    driven = _flat(driven, u)
    du = project_onto(dy * D, driven, B)
    return d_re, d_im, project_outer(driven, u), dC, ops.sum(dy * u, axis=(0, 1, 2)), du, dx0


_differentiable = custom_gradient(
    _plain, _gradient, _forward, shared=may_be_shared, keeps_output=False
)


def _into_states(u: Tensor, matrix: Tensor) -> Tensor:
    """(B, M, Q, H) by (2 P, H): (P, 2, Q, B, M)."""
    x = project_in(u, matrix)
    return ops.reshape(x, (x.shape[0] // 2, 2, *ops.shape(x)[1:]))


def _flat(x: Tensor, u: Tensor) -> Tensor:
    """(P, 2, Q, B, M) as (2 P, Q, B, M), for u (B, M, Q, H).

    Sizes come from u: where a reshape takes the sizes of an earlier one, converters
    merge the two and then take the sizes from another tensor.
    """
    B, M = ops.shape(u)[:2]
    return ops.reshape(x, (2 * x.shape[0], x.shape[2], B, M))
