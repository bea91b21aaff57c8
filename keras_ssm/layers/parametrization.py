"""How the weights of S4D and S4 stand for eigenvalues and steps."""

from collections.abc import Mapping
from typing import Any

from keras import ops

from keras_ssm.arguments import check_choice
from keras_ssm.ops.transforms import TRANSFORMS
from keras_ssm.types import Tensor

# As in the papers: -Re Lambda = exp(weight), -Im Lambda = weight, dt = exp(weight).
MAPS: dict[str, Any] = {"real": "exp", "imag": "none", "step": "exp"}


def checked(given: Mapping[str, Any] | None, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """All entries of a `parametrization` argument, the paper's where they are not given.

    Raises:
        ValueError: for an unknown entry or map.
    """
    given = {} if given is None else dict(given)
    if not set(given) <= set(defaults):
        raise ValueError(
            f"`parametrization` may have {', '.join(map(repr, defaults))}. "
            f"Received: parametrization={given!r}"
        )
    maps = {**defaults, **given}
    for name in MAPS:
        check_choice(f"parametrization[{name!r}]", maps[name], TRANSFORMS)
    return maps


def positive(maps: Mapping[str, Any], name: str, weight: Any) -> Tensor:
    """-Re Lambda (`"real"`), -Im Lambda (`"imag"`) or dt (`"step"`) of a weight."""
    return TRANSFORMS[maps[name]].forward(ops.convert_to_tensor(weight))
