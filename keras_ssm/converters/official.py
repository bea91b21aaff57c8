"""Official checkpoints to our weights and back, exactly.

Every conversion is linear (a transpose, a conjugation, a split), so gradients
convert by the same rules.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ssm.converters.checkpoint import flat_arrays
from keras_ssm.converters.models import check_layout, model_conversion, residual_block
from keras_ssm.converters.rules import STATISTICS, Arrays, Conversion, Family, Rule, family_of
from keras_ssm.converters.s4 import with_output_matrices
from keras_ssm.layers import SSM, SSMBlock

# Names of the minimal S4D, and of the SequenceModel.
_MINIMAL = re.compile(r"(^|\.)kernel\.log_A_real$")
_SEQUENCE = re.compile(r"(^|\.)(layers|encoder)\.\d+\.")

# How many of the names that do not fit are written out.
_SHOWN = 4


def load_official(target: Any, checkpoint: Mapping[str, Any], minimal: bool | None = None) -> None:
    """Set the weights of a layer, block or whole model from an official checkpoint.

    Args:
        target: a built layer `DSS`, `S4`, `S4D` or `S5`, an `SSMBlock` of one, or a
            model of `models.classifier` or `models.retrieval` with such blocks.
            The norm of a block is loaded where the official module has it, and
            stays as it is otherwise.
        checkpoint: arrays or tensors by official name: a `state_dict`, a nested
            or dotted dict of flax variables, or what `read_checkpoint` gives.
            A prefix that all names share (`"model."`, `"module."`) is
            dropped. Tensors may be of any framework, in bfloat16 too.
        minimal: for S4D: whether the names are those of the minimal `s4d.py`, where
            B is 1. None infers it from the names.

    Raises:
        ValueError: for missing, unknown or wrongly shaped arrays, all of them named
            at once, or a target that the official module cannot express.
            Nothing is set then.

    Example:

    >>> layer = keras_ssm.layers.S5(4)
    >>> layer.build((None, None, 3))
    >>> keras_ssm.converters.load_official(layer, keras_ssm.converters.export_official(layer))
    """
    arrays = flat_arrays(checkpoint)
    family = _family(target)
    if minimal is None:
        minimal = family.minimal is not None and any(_MINIMAL.search(name) for name in arrays)
    layout = None if family.container == "flax" else _layout_of(target, minimal, arrays)
    conversion = _conversion(target, minimal, layout)
    _check_covered(target, conversion)
    arrays = _without_shared_prefix(arrays, conversion)
    maps = getattr(_first_layer(target), "parametrization", None)
    values = _checked_values(target, conversion, with_output_matrices(arrays, maps or {}))
    for weight, value in [*values, *conversion.fixed]:
        weight.assign(value)


def export_official(target: Any, minimal: bool = False, layout: str | None = None) -> Arrays:
    """Export a layer, block or whole model as official arrays; the inverse of `load_official`.

    Args:
        target: as in `load_official`.
        minimal: for S4D: export as the minimal `s4d.py`, which needs B = 1.
        layout: for a model of DSS, S4 or S4D blocks: `"example"` (None), the
            `S4Model` of `example.py`, or `"sequence"`, the `SequenceModel` with
            encoder and decoder as `train.py` saves it. For such a block: None, the
            module alone, or `"sequence"`, the residual block with its norm.

    Returns:
        NumPy arrays under the official names, in the official shapes (those of
        the transposed layout where a module has two). Flax names are joined by
        dots, see `flax_variables`.

    Raises:
        ValueError: for a target that the official module cannot express.

    Example:

    >>> layer = keras_ssm.layers.S5(4)
    >>> layer.build((None, None, 3))
    >>> sorted(keras_ssm.converters.export_official(layer))
    ['B', 'C', 'D', 'Lambda_im', 'Lambda_re', 'log_step']
    """
    conversion = _conversion(target, minimal, layout)
    _check_covered(target, conversion)
    for weight, value in conversion.fixed:
        if not np.array_equal(ops.convert_to_numpy(weight), value):
            raise ValueError(
                f"The official {conversion.official} has {weight.name} = 1. "
                f"Received: another {weight.name} in {weight.path!r}"
            )
    return {
        rule.name: np.ascontiguousarray(
            rule.to_official(*(ops.convert_to_numpy(w) for w in rule.weights))
        )
        for rule in conversion.rules
    }


def official_rules(target: Any, minimal: bool = False, layout: str | None = None) -> list[Rule]:
    """The conversion rules of a layer, block or model, see `export_official`.

    Example:

    >>> layer = keras_ssm.layers.S5(4)
    >>> layer.build((None, None, 3))
    >>> [rule.name for rule in keras_ssm.converters.official_rules(layer)]
    ['Lambda_re', 'Lambda_im', 'log_step', 'B', 'D', 'C']
    """
    return list(_conversion(target, minimal, layout).rules)


def flax_variables(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Nest exported S5 arrays as flax variables, `"params"` and `"batch_stats"`.

    Args:
        arrays: what `export_official` gives for an S5 layer, block or model.

    Returns:
        What `apply` of the official module takes.

    Example:

    >>> keras_ssm.converters.flax_variables({"decoder.bias": 0, "batch_stats.norm.mean": 1})
    {'params': {'decoder': {'bias': 0}}, 'batch_stats': {'norm': {'mean': 1}}}
    """
    variables: dict[str, Any] = {"params": {}}
    for name, value in arrays.items():
        *path, last = (name if name.startswith(STATISTICS) else f"params.{name}").split(".")
        node = variables
        for key in path:
            node = node.setdefault(key, {})
        node[last] = value
    return variables


def _conversion(target: Any, minimal: bool, layout: str | None) -> Conversion:
    if isinstance(target, keras.Model):
        return model_conversion(target, minimal, layout)
    family = family_of(target.ssm if isinstance(target, SSMBlock) else target, minimal)
    if not target.built:
        raise ValueError(f"`target` must be built. Received: {target.name!r}, which is not")
    if not isinstance(target, SSMBlock):
        check_layout(layout, "A layer has one layout, None.", ())
        return family.layer(target)
    if layout is None:
        return family.block(target)
    known = ("sequence",) if family.container == "torch" else ()
    check_layout(layout, f"`layout` of this block must be None or in {list(known)}.", known)
    return residual_block(target, family)


def _family(target: Any) -> Family:
    """The family of a layer, or of the first block of a block or model."""
    return family_of(_first_layer(target))


def _first_layer(target: Any) -> Any:
    if isinstance(target, keras.Model):
        layers = [layer for layer in target._flatten_layers() if isinstance(layer, SSM)]
        target = layers[0] if layers else target
    return target.ssm if isinstance(target, SSMBlock) else target


def _layout_of(target: Any, minimal: bool, arrays: Arrays) -> str | None:
    """The layout of torch modules that names belong to."""
    if isinstance(target, keras.Model):
        return "sequence" if any(_SEQUENCE.search(name) for name in arrays) else "example"
    if not isinstance(target, SSMBlock):
        return None

    def known(layout: str | None) -> int:
        conversion = _conversion(target, minimal, layout)
        names = _without_shared_prefix(arrays, conversion)
        return sum(rule.name in names for rule in conversion.rules)

    return "sequence" if known("sequence") > known(None) else None


def _check_covered(target: Any, conversion: Conversion) -> None:
    """Raise ValueError where a weight is quantized, merged with LoRA, or under no rule."""
    weights = [weight for rule in conversion.rules for weight in rule.weights]
    for rule in conversion.rules:
        for weight in rule.weights:
            floating = isinstance(weight, keras.Variable) and "float" in weight.dtype
            if not floating:
                raise ValueError(
                    "An official checkpoint has plain weights: quantized layers and layers with "
                    f"LoRA cannot be converted. Received: {rule.name!r} of such a layer in "
                    f"{target.name!r}"
                )
    known = {id(w) for w in [*weights, *conversion.kept, *(w for w, _ in conversion.fixed)]}
    states = {id(layer._state) for layer in target._flatten_layers() if isinstance(layer, SSM)}
    others = [w.path for w in target.weights if id(w) not in known | states]
    if others:
        raise ValueError(
            f"The official {conversion.official} has no counterpart of {_first(others)}. "
            f"Received: {target.name!r} with these weights"
        )


def _without_shared_prefix(arrays: Arrays, conversion: Conversion) -> Arrays:
    """Without the prefix that all names share and no official name has."""

    def head(name: str) -> str:
        return name.removeprefix(STATISTICS).split(".")[0]

    def rest(name: str) -> str:
        in_statistics = STATISTICS if name.startswith(STATISTICS) else ""
        return in_statistics + name.removeprefix(STATISTICS).split(".", 1)[1]

    heads = {head(rule.name) for rule in conversion.rules}
    while arrays:
        shared = {head(name) for name in arrays}
        longer = all("." in name.removeprefix(STATISTICS) for name in arrays)
        if len(shared) > 1 or shared & heads or not longer:
            break
        arrays = {rest(name): value for name, value in arrays.items()}
    return arrays


def _checked_values(target: Any, conversion: Conversion, arrays: Arrays) -> list[tuple[Any, Any]]:
    """(weight, value) for all weights; ValueError with all that does not fit."""
    values: list[tuple[Any, Any]] = []
    missing, shapes = [], []
    for rule in conversion.rules:
        ours = rule.weights[0].path
        if rule.name not in arrays:
            missing.append(f"{rule.name!r} (for {ours})")
            continue
        expected = rule.to_official(*(np.zeros(w.shape) for w in rule.weights)).shape
        value = arrays[rule.name]
        # Axes of length 1 differ between transposed and plain forms of one module.
        if [n for n in value.shape if n != 1] != [n for n in expected if n != 1]:
            shapes.append(f"{rule.name!r} (for {ours}) expected {expected}, received {value.shape}")
            continue
        values += zip(rule.weights, rule.to_ours(value.reshape(expected)), strict=True)
    known = {rule.name for rule in conversion.rules} | set(conversion.unused)
    unknown = [repr(name) for name in arrays if name not in known]
    problems = {"missing": missing, "of another shape": shapes, "unknown": unknown}
    if missing or shapes or unknown:
        found = "; ".join(f"{len(p)} {what}: {_first(p)}" for what, p in problems.items() if p)
        raise ValueError(
            f"{target.name!r} takes the {len(conversion.rules)} arrays of the official "
            f"{conversion.official}. Received: {len(arrays)} arrays; {found}. Nothing was loaded."
        )
    return values


def _first(items: Sequence[str] | Iterable[str]) -> str:
    items = list(items)
    rest = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
