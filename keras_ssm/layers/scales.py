"""Time scales that any layer starts from, by step sizes or by radii."""

import math

from keras_ssm.layers.base import SSM
from keras_ssm.layers.names import layer_class, takes


def time_scales(layer: str | type[SSM], step_min: float, step_max: float) -> dict[str, float]:
    """Arguments that start the modes of a layer with steps from `step_min` to `step_max`.

    A layer without step sizes, the LRU, gets the radii of modes that decay with half a
    step in every step: exp(-step_max / 2) to exp(-step_min / 2).

    Args:
        layer: name or class of the layer.
        step_min: smallest step.
        step_max: largest step.

    Returns:
        `step_min` and `step_max`, or `r_min` and `r_max`, or nothing for a layer
        that takes neither.

    Example:

    >>> keras_ssm.layers.time_scales("s5", 0.001, 0.1)
    {'step_min': 0.001, 'step_max': 0.1}
    """
    found = layer_class(layer)
    if takes(found, "step_min"):
        return {"step_min": step_min, "step_max": step_max}
    if takes(found, "r_min"):
        return {"r_min": math.exp(-step_max / 2), "r_max": math.exp(-step_min / 2)}
    return {}


def length_scales(layer: str | type[SSM], length: int) -> dict[str, float]:
    """Arguments that start the modes of a layer with memories of up to a sequence length.

    A mode with step 1 / L remembers about L samples, one with step 1 about one. The
    steps run from 1 / L, kept between 0.001 and 0.1, to a hundred times that, but at most 1.

    Args:
        layer: name or class of the layer.
        length: L, the length of the longest sequence.

    Returns:
        See `time_scales`.

    Example:

    >>> keras_ssm.layers.length_scales("s5", 200)
    {'step_min': 0.005, 'step_max': 0.5}
    """
    step_min = min(max(1 / length, 1e-3), 0.1)
    return time_scales(layer, step_min, min(100 * step_min, 1.0))
