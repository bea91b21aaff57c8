"""Aliases for what the annotations of the package name."""

from typing import Any, TypeAlias

# A tensor of the running backend, or what Keras makes one of.
Tensor: TypeAlias = Any
# A complex tensor as its real and its imaginary part.
Pair: TypeAlias = tuple[Tensor, Tensor]
