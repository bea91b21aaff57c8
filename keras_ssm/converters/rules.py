"""How official arrays and our weights convert to each other, and which layer has which rules."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_ssm.layers.base import SSM

Arrays = dict[str, np.ndarray]

# Flax keeps the averages of batch norm in a collection of their own, not with the parameters.
STATISTICS = "batch_stats."


class Rule(NamedTuple):
    """How one official array and our weights convert to each other."""

    name: str
    weights: Sequence[Any]
    to_official: Callable[..., np.ndarray] = lambda x: x
    to_ours: Callable[[np.ndarray], Any] = lambda x: (x,)


class Conversion(NamedTuple):
    """The rules of a whole layer, block or model: every weight of it is under one of these.

    Attributes:
        official: name of the official module.
        rules: for its arrays.
        fixed: (weight, value) where the official module has a constant.
        kept: weights that belong to no part of the official module and stay as
            they are.
        unused: official names that are accepted and do not affect the function.
    """

    official: str
    rules: Sequence[Rule]
    fixed: Sequence[tuple[Any, np.ndarray]] = ()
    kept: Sequence[Any] = ()
    unused: Sequence[str] = ()

    def under(self, prefix: str) -> "Conversion":
        """With `prefix` before all names, or after the name of their collection."""
        return self._replace(
            rules=[rule._replace(name=_under(prefix, rule.name)) for rule in self.rules],
            unused=[_under(prefix, name) for name in self.unused],
        )


class Family(NamedTuple):
    """The official code of one layer: what converts it alone and in its block.

    Attributes:
        layer: conversion of a layer.
        block: conversion of a `SSMBlock`, without its norm where the official
            module has none.
        container: what official models are made of these blocks, `"torch"` or
            `"flax"`, see `keras_ssm.converters.models`.
        minimal: the shortened form of the same code, where there is one.
    """

    layer: Callable[[Any], Conversion]
    block: Callable[[Any], Conversion]
    container: str
    minimal: "Family | None" = None


# Layer classes, and those that inherit from them.
FAMILIES: dict[type[SSM], Family] = {}


def family_of(layer: Any, minimal: bool = False) -> Family:
    """The family that a layer belongs to, or its minimal form."""
    found = next((FAMILIES[cls] for cls in type(layer).__mro__ if cls in FAMILIES), None)
    if found is None:
        names = sorted(cls.__name__ for cls in FAMILIES)
        raise ValueError(
            f"`target` must be a layer {', '.join(names)}, an SSMBlock of one, or a model of "
            "`models.classifier` or `models.retrieval` with such blocks. "
            f"Received: target={layer!r}"
        )
    if not minimal:
        return found
    if found.minimal is None:
        raise ValueError(
            f"`minimal` is a form of S4D. Received: minimal=True for {type(layer).__name__}"
        )
    return found.minimal


def joined(official: str, parts: Iterable[Conversion]) -> Conversion:
    """One conversion of several."""
    parts = list(parts)
    return Conversion(
        official,
        [rule for part in parts for rule in part.rules],
        [pair for part in parts for pair in part.fixed],
        [weight for part in parts for weight in part.kept],
        [name for part in parts for name in part.unused],
    )


def require(owner: Any, official: str, **choices: Sequence[Any]) -> None:
    """Raise ValueError unless each attribute of `owner` is one that the official module has."""
    for name, known in choices.items():
        value = getattr(owner, name)
        if value not in known:
            raise ValueError(
                f"The official {official} has {name}={' or '.join(map(repr, known))}. "
                f"Received: {name}={value!r} in {owner.name!r}"
            )


def torch_linear(name: str, dense: Any) -> list[Rule]:
    """`torch.nn.Linear`, which keeps its matrix transposed."""
    weight = Rule(f"{name}.weight", [dense.kernel], np.transpose, lambda w: (w.T,))
    return [weight, Rule(f"{name}.bias", [dense.bias])]


def flax_dense(name: str, dense: Any) -> list[Rule]:
    """`flax.linen.Dense`."""
    return [Rule(f"{name}.{part}", [getattr(dense, part)]) for part in ("kernel", "bias")]


def torch_norm(name: str, norm: Any) -> Conversion:
    """`torch.nn.LayerNorm` or `torch.nn.BatchNorm1d`."""
    rules = [Rule(f"{name}.weight", [norm.gamma]), Rule(f"{name}.bias", [norm.beta])]
    if not isinstance(norm, keras.layers.BatchNormalization):
        return Conversion("LayerNorm", rules)
    rules.append(Rule(f"{name}.running_mean", [norm.moving_mean]))
    rules.append(Rule(f"{name}.running_var", [norm.moving_variance]))
    # Counted for averages without momentum, which these models do not have.
    return Conversion("BatchNorm1d", rules, unused=[f"{name}.num_batches_tracked"])


def flax_norm(name: str, norm: Any) -> list[Rule]:
    """`flax.linen.LayerNorm` or `flax.linen.BatchNorm`."""
    rules = [Rule(f"{name}.scale", [norm.gamma]), Rule(f"{name}.bias", [norm.beta])]
    if isinstance(norm, keras.layers.BatchNormalization):
        rules.append(Rule(f"{STATISTICS}{name}.mean", [norm.moving_mean]))
        rules.append(Rule(f"{STATISTICS}{name}.var", [norm.moving_variance]))
    return rules


def norm_weights(block: Any) -> list[Any]:
    """The weights of a block's norm, where it has one."""
    return [] if block.norm_layer is None else list(block.norm_layer.weights)


def _under(prefix: str, name: str) -> str:
    if name.startswith(STATISTICS):
        return STATISTICS + prefix + name.removeprefix(STATISTICS)
    return prefix + name
