"""The state space layers of whatever a caller gives, by name, and the lengths they read."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_ssm.analysis.layers import unwrap
from keras_ssm.analysis.memory import memory_length
from keras_ssm.analysis.spectrum import ssm_layers
from keras_ssm.layers.base import SSM

# Steps to look at where neither a layer nor its memory sets a limit.
LONGEST = 1024
_SHORTEST = 16


def named(value: Any) -> dict[str, SSM]:
    """The layer itself, that of a block or cell, or all layers of a model, by path.

    Raises:
        ValueError: if there is none, or one is not built.
    """
    inner = getattr(value, "ssm", value)
    if isinstance(inner, SSM) and not isinstance(value, keras.Model):
        return {inner.path or inner.name: unwrap(inner)}
    if not isinstance(value, keras.layers.Layer):
        raise ValueError(
            "expected a state space layer, a block or cell around one, or a model with such "
            f"layers. Received: {value!r}"
        )
    inside = [layer for layer in value._flatten_layers() if isinstance(layer, SSM)]
    if not inside:
        raise ValueError(
            f"expected a model with state space layers. Received: {value.name!r}, which has none"
        )
    for layer in inside:
        unwrap(layer)
    return ssm_layers(value)


def known_length(layer: SSM) -> int | None:
    """The sequence length that a layer is made for, None where it takes any."""
    config = layer.get_build_config() or {}
    shape: Sequence[int | None] = config.get("input_shape") or []
    lengths = [getattr(layer, "length", None), shape[1] if len(shape) == 3 else None]
    return min((int(length) for length in lengths if length), default=None)


def drawn_length(layer: SSM) -> int:
    """`known_length`, or as many steps as the longest kernel needs, within reason."""
    length = known_length(layer)
    if length is None and not is_bounded(layer):
        memory = memory_length(layer)
        reach = np.max(memory, where=np.isfinite(memory), initial=0)
        length = int(np.clip(reach or LONGEST, _SHORTEST, LONGEST))
    return length or LONGEST


def is_bounded(layer: SSM) -> bool:
    """Whether the kernel ends at a length, as a softmax kernel does."""
    return bool(hasattr(layer, "length") and layer.checked_system().bounded)
