"""Projections between features (B, M, Q, H) and states in chunks (F, Q, B, M).

For frameworks that have no product which reads and writes other layouts: the
change of layout is an operation of its own. `project` is the framework's.
"""

from collections.abc import Callable
from typing import Any

from keras import ops


def project_in(project: Callable[..., Any], u: Any, matrix: Any) -> Any:
    """sum_h matrix[f, h] u[b, m, q, h] as (F, Q, B, M)."""
    B, M, Q, H = ops.shape(u)
    u = ops.reshape(ops.transpose(u, (2, 0, 1, 3)), (-1, H))
    return ops.reshape(project(matrix, u, transpose_b=True), (matrix.shape[0], Q, B, M))


def project_out(project: Callable[..., Any], x: Any, matrix: Any) -> Any:
    """sum_f matrix[f, h] x[f, q, b, m] as (B, M, Q, H)."""
    F, Q, B, M = ops.shape(x)
    y = project(ops.reshape(x, (F, -1)), matrix, transpose_a=True)
    return ops.transpose(ops.reshape(y, (Q, B, M, matrix.shape[1])), (1, 2, 0, 3))


def project_onto(project: Callable[..., Any], start: Any, x: Any, matrix: Any) -> Any:
    """`start` (B, M, Q, H) plus what `project_out` gives, in place where a framework can."""
    return start + project_out(project, x, matrix)


def project_outer(project: Callable[..., Any], x: Any, u: Any) -> Any:
    """sum over b, m, q of x[f, q, b, m] u[b, m, q, h]: (F, H)."""
    F, H = x.shape[0], u.shape[-1]
    u = ops.reshape(ops.transpose(u, (2, 0, 1, 3)), (-1, H))
    return project(ops.reshape(x, (F, -1)), u)
