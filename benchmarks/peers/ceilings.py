"""What a layer cannot do without, and nothing else: the bounds our layers are held against."""

from collections.abc import Callable
from typing import Any


def fft(convolution: Callable[..., Any]) -> Callable[..., Any]:
    """The bare convolution of u (B, H, L) with a given kernel (H, L)."""
    return lambda weights, u: convolution(u, weights[0])


def dense(weights: Any, u: Any) -> Any:
    """Two dense layers in a row, by the framework's own matrix product."""
    W1, b1, W2, b2 = weights
    return (u @ W1 + b1) @ W2 + b2
