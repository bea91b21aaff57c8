"""What the systems share: flat states, the skip, reversed time, and checks of shapes."""

import math
from typing import Any

from keras import ops

from keras_ssm.types import Pair, Tensor


def split_state(state: Tensor, shape: tuple[int, ...]) -> Pair:
    """A flat state (..., 2 modes) as a complex pair of (..., *shape)."""
    leading = _leading(state, 1)
    re, im = ops.split(state, 2, axis=-1)
    return ops.reshape(re, (*leading, *shape)), ops.reshape(im, (*leading, *shape))


def join_state(state: Pair, rank: int) -> Tensor:
    """The inverse of `split_state` for modes of `rank` axes."""
    leading = _leading(state[0], rank)
    size = math.prod(state[0].shape[-rank:])
    return ops.concatenate([ops.reshape(z, (*leading, size)) for z in state], axis=-1)


def _leading(z: Tensor, rank: int) -> tuple[Any, ...]:
    """The axes before the last `rank`, as a shape for `reshape`."""
    return (-1,) if len(z.shape) == rank + 1 else tuple(ops.shape(z)[:-rank])


def skip(D: Tensor | None, u: Tensor) -> Tensor | float:
    """D u for D (H,) or (C, H) and u (..., H): (..., H) or (..., C H); 0 without D."""
    if D is None:
        return 0.0
    if len(D.shape) == 1 or D.shape[0] == 1:
        return u * ops.reshape(D, (-1,))
    product = u[..., None, :] * D
    return ops.reshape(product, (*ops.shape(u)[:-1], D.shape[0] * D.shape[1]))


def with_skip(kernels: list[Tensor], D: Tensor | None) -> list[Tensor]:
    """The kernels (C, H, L) of each direction; the skip is a weight at lag 0 of the first."""
    if D is None:
        return kernels
    forward, *backward = kernels
    first = forward[..., :1] + D[..., None]
    return [ops.concatenate([first, forward[..., 1:]], axis=-1), *backward]


def check_outputs(name: str, C: Pair, D: Tensor | None, features: int, modes: int) -> None:
    """Check what reads a state of each channel: C (K, C, H, N), and D (C, H) or None."""
    check_shape(name, C, *((K, None, features, modes) for K in (1, 2)))
    if D is not None:
        check_shape("D", D, (C[0].shape[1], features))


def reverse(z: Pair) -> Pair:
    """Reverse time, the second axis."""
    return ops.flip(z[0], axis=1), ops.flip(z[1], axis=1)


def from_the_next(y: Tensor, resets: Tensor | None = None) -> Tensor:
    """Outputs of a backward pass, in reversed order, as seen one step earlier in time.

    Nothing is seen across a step of `resets` (B, L), in the order of time.
    """
    y = ops.flip(y, axis=1)
    if resets is not None:
        y = ops.where(resets[..., None], ops.zeros_like(y), y)
    return ops.concatenate([y[:, 1:], ops.zeros_like(y[:, :1])], axis=1)


def direction(z: Pair, index: int) -> Pair:
    """One direction of a pair of (directions, ...)."""
    return z[0][index], z[1][index]


def check_shape(name: str, tensor: Any, *expected: Any) -> None:
    """Raise ValueError unless a tensor or pair has one of the shapes; None and "..." fit all."""
    for part in tensor if isinstance(tensor, tuple) else (tensor,):
        shape = tuple(part.shape)
        if not any(_fits(shape, pattern) for pattern in expected):
            wanted = " or ".join(_text(pattern) for pattern in expected)
            raise ValueError(
                f"`{name}` of a system must have shape {wanted}. Received: {name} of shape {shape}"
            )


def _fits(shape: tuple[Any, ...], pattern: tuple[Any, ...]) -> bool:
    if pattern and pattern[0] is ...:
        pattern = pattern[1:]
        if len(shape) < len(pattern):
            return False
        shape = shape[len(shape) - len(pattern) :]
    return len(shape) == len(pattern) and all(
        a == b for a, b in zip(shape, pattern, strict=True) if a is not None and b is not None
    )


def _text(pattern: tuple[Any, ...]) -> str:
    names = ("..." if n is ... else "any" if n is None else str(n) for n in pattern)
    return f"({', '.join(names)})"
