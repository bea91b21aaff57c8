"""Type aliases for the annotations of the package."""

from typing import Any, TypeAlias

# A tensor of the running backend, or anything that Keras turns into one.
Tensor: TypeAlias = Any
# A complex tensor as its real and its imaginary part.
Pair: TypeAlias = tuple[Tensor, Tensor]
