"""Powers of a real matrix A for every channel, applied to vectors, by doubling.

Everything starts from increments: `increments` makes A^(2^k) - I for k = 0, 1, ...,
each by one product of the one before. It is the increment that is rounded, not
A, so that modes near 1 keep their digits over long sequences:

    (I + E)^2 - I = 2 E + E E

A sequence is cut into halves again and again, so that the number of products
grows with the logarithm of the length, and their size adds up to the length. No
array has both the size of the matrix and the length.

Vectors are columns (H, N, ...) of H channels. The argument `levels` holds the
increments of A, A^2, A^4, ..., at least as many as it takes to reach the length.
"""

from keras import ops

from keras_ssm.backend import precise_matmul
from keras_ssm.types import Tensor

# For a length not known before the call: enough for 2^20 = 1,048,576 steps.
_UNKNOWN_LENGTH_LEVELS = 20


def levels_for(length: Tensor) -> int:
    """How often a length is halved until it is 1.

    Example:

    >>> from keras_ssm.ops import matrix_powers
    >>> matrix_powers.levels_for(1), matrix_powers.levels_for(4), matrix_powers.levels_for(5)
    (0, 2, 3)
    """
    if not isinstance(length, int):
        return _UNKNOWN_LENGTH_LEVELS
    return (max(length, 1) - 1).bit_length()


def increments(E: Tensor, count: int) -> list[Tensor]:
    """A^(2^k) - I for k = 0 .. count - 1, from E = A - I of (H, N, N).

    Example:

    >>> from keras_ssm.ops import matrix_powers
    >>> levels = matrix_powers.increments(ops.array([[[-0.5]]]), 3)
    >>> [float(E[0, 0, 0]) for E in levels]
    [-0.5, -0.75, -0.9375]
    """
    levels = [E]
    for _ in range(count - 1):
        levels.append(_of_the_square(levels[-1]))
    return levels[:count]


def _of_the_square(E: Tensor) -> Tensor:
    """A^2 - I = E (E + S) + E (2 I - S) for any diagonal S.

    S = 0 keeps the digits of modes near 1. For fast modes, which are near -1, the
    sum 2 E + E E would cancel; there S = 2, and E + 2 is exact.
    """
    eye = ops.eye(E.shape[1], dtype=E.dtype)
    S = 2 * ops.cast(ops.sum(E * eye, axis=2, keepdims=True) < -1, E.dtype)
    return precise_matmul(E, E + S * eye) + E * ops.transpose(2 - S, (0, 2, 1))


def apply(E: Tensor, x: Tensor) -> Tensor:
    """(I + E) x for columns x (H, N, ...).

    Example:

    >>> from keras_ssm.ops import matrix_powers
    >>> float(matrix_powers.apply(ops.array([[[-0.5]]]), ops.ones((1, 1, 1)))[0, 0, 0])
    0.5
    """
    flat = ops.reshape(x, (*x.shape[:2], -1))
    return x + ops.reshape(precise_matmul(E, flat), ops.shape(x))


def columns(x: Tensor, levels: list[Tensor], count: int) -> Tensor:
    """A^j x for j = 0 .. count - 1: (H, N, count S), power by power, of columns x (H, N, S).

    Example:

    >>> from keras_ssm.ops import matrix_powers
    >>> levels = matrix_powers.increments(ops.array([[[-0.5]]]), 2)
    >>> x = matrix_powers.columns(ops.ones((1, 1, 1)), levels, 3)
    >>> [float(value) for value in x[0, 0]]
    [1.0, 0.5, 0.25]
    """
    width = count * x.shape[2] if x.shape[2] is not None else count * ops.shape(x)[2]
    for E in levels[: levels_for(count)]:
        x = ops.concatenate([x, apply(E, x)], axis=2)
    return x if count & (count - 1) == 0 else x[:, :, :width]


def rows(x: Tensor, levels: list[Tensor], count: Tensor) -> Tensor:
    """x A^j for j = 0 .. count - 1: (H, S, count, N) of row vectors x (H, S, N).

    Example:

    >>> from keras_ssm.ops import matrix_powers
    >>> levels = matrix_powers.increments(ops.array([[[-0.5]]]), 2)
    >>> x = matrix_powers.rows(ops.ones((1, 1, 1)), levels, 3)
    >>> [float(value) for value in x[0, 0, :, 0]]
    [1.0, 0.5, 0.25]
    """
    if _is_one(count) or not levels:
        return x[:, :, None]
    H, S, N = x.shape
    # The even powers first, and the odd ones from them, so that their number need not be known.
    even = rows(x, levels[1:], (count + 1) // 2)
    odd = even + ops.reshape(
        precise_matmul(ops.reshape(even, (H, -1, N)), levels[0]), (H, S, -1, N)
    )
    both = ops.reshape(ops.stack([even, odd], axis=3), (H, S, -1, N))
    return both if isinstance(count, int) and count % 2 == 0 else both[:, :, :count]


def weighted_sum(b: Tensor, levels: list[Tensor]) -> Tensor:
    """sum_j A^(M - 1 - j) b_j: (H, N, S) of columns b (H, N, S, M).

    Example:

    >>> from keras_ssm.ops import matrix_powers
    >>> levels = matrix_powers.increments(ops.array([[[-0.5]]]), 2)
    >>> x = matrix_powers.weighted_sum(ops.ones((1, 1, 1, 3)), levels)
    >>> float(x[0, 0, 0])
    1.75
    """
    for E in levels:
        if _is_one(ops.shape(b)[3]):
            break
        first, second = _pairs(b, before=True)
        b = apply(E, first) + second
    return b[..., 0]


def before_each(b: Tensor, start: Tensor, levels: list[Tensor]) -> Tensor:
    """The states x_(j-1) of x_j = A x_(j-1) + b_j for every j, with x_(-1) = start.

    Args:
        b: tensor (H, N, S, M).
        start: tensor (H, N, S).
        levels: increments of A and its powers.

    Returns:
        Tensor (H, N, S, M).

    Example:

    >>> from keras_ssm.ops import matrix_powers
    >>> levels = matrix_powers.increments(ops.array([[[-0.5]]]), 2)
    >>> x = matrix_powers.before_each(ops.ones((1, 1, 1, 3)), ops.ones((1, 1, 1)), levels)
    >>> [float(value) for value in x[0, 0, 0]]
    [1.0, 1.5, 1.75]
    """
    count = ops.shape(b)[3]
    if _is_one(count) or not levels:
        return start[..., None]
    first, second = _pairs(b, before=False)
    pairs = before_each(apply(levels[0], first) + second, start, levels[1:])
    both = ops.stack([pairs, apply(levels[0], pairs) + first], axis=4)
    return ops.reshape(both, (*ops.shape(start), 2 * ops.shape(pairs)[3]))[..., :count]


def raised(x: Tensor, exponents: Tensor, levels: list[Tensor]) -> Tensor:
    """A^exponents x: (H, N, S) of columns x (H, N, S) and integers (S,), or one integer.

    Example:

    >>> from keras_ssm.ops import matrix_powers
    >>> levels = matrix_powers.increments(ops.array([[[-0.5]]]), 2)
    >>> x = matrix_powers.raised(ops.ones((1, 1, 2)), ops.array([3, 0]), levels)
    >>> [float(value) for value in x[0, 0]]
    [0.125, 1.0]
    """
    for bit, E in enumerate(levels):
        if isinstance(exponents, int):
            x = apply(E, x) if exponents >> bit & 1 else x
        else:
            x = ops.where(exponents // 2**bit % 2 == 1, apply(E, x), x)
    return x


def _pairs(b: Tensor, before: bool) -> tuple[Tensor, Tensor]:
    """Every first and every second of (..., M), with a zero before or after if M is odd."""
    padding = ops.shape(b)[-1] % 2
    if not isinstance(padding, int) or padding:
        ends = (padding, 0) if before else (0, padding)
        b = ops.pad(b, (*[(0, 0)] * (len(b.shape) - 1), ends))
    return b[..., 0::2], b[..., 1::2]


def _is_one(count: Tensor) -> bool:
    return isinstance(count, int) and count == 1
