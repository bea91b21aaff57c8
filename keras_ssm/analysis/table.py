"""The layers of a model as a table."""

from typing import Any

import numpy as np

from keras_ssm.analysis.memory import memory_length
from keras_ssm.analysis.named import LONGEST, is_bounded, known_length, named
from keras_ssm.analysis.spectrum import modes
from keras_ssm.layers.base import SSM

HEADER = (
    "layer",
    "type",
    "modes",
    "time scales in steps (min / median / max)",
    "memory in steps",
    "parameters",
    "state",
)


def summary(model: Any) -> str:
    """Print modes, time scales, memory and sizes of all state space layers of a model.

    `keras-ssm summary` prints the same table of a saved model.

    Args:
        model: a built model, or a layer, block or cell.

    Returns:
        The table. Modes are those stored; time scales and memory (99 % of the
        kernel's energy) are the smallest, median and largest; the state is the
        numbers that one streamed sequence keeps, `-` where the layer cannot
        stream.

    Raises:
        ValueError: for something without state space layers, or one that is not
            built.

    Example:

    >>> model = keras_ssm.models.classifier(2, (None, 1), layer="s5", depth=1, width=8)
    >>> table = keras_ssm.summary(model)
    layer       type  modes  time scales in steps (min / median / max)  memory in steps ...
    block_0/s5  S5    ...
    """
    rows = [HEADER, *(_row(name, layer) for name, layer in named(model).items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    table = "\n".join(line.rstrip() for line in lines)
    print(table)
    return table


def _row(name: str, layer: SSM) -> tuple[str, ...]:
    found = modes(layer)
    unstable = f" ({np.sum(found.unstable)} unstable)" if np.any(found.unstable) else ""
    # A softmax kernel is normalized over a length, and has a state only where it is its own.
    length, ends = known_length(layer), is_bounded(layer)
    streams = not layer.bidirectional and (getattr(layer, "length", None) or not ends)
    return (
        name,
        type(layer).__name__,
        f"{found.lam.size}{unstable}",
        _range(np.where(found.time_scale > 0, found.time_scale, np.inf)),
        _range(memory_length(layer, length=(length or LONGEST) if ends else None)),
        f"{layer.count_params()}",
        f"{layer.state_width}" if streams else "-",
    )


def _range(values: np.ndarray) -> str:
    return " / ".join(
        f"{value:.0f}" if value >= 100 else f"{value:.3g}"
        for value in (np.min(values), np.median(values), np.max(values))
    )
