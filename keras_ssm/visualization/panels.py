"""Figures of one column for every layer, and what their axes have in common."""

from typing import Any, NamedTuple

import numpy as np

from keras_ssm import analysis
from keras_ssm.analysis.diagonal import as_layer, diagonal, unwrap
from keras_ssm.layers.s5 import S5

# Readable in grey and to the colour-blind: a mode that grows is told by its marker as well.
UNSTABLE = {"color": "tab:red", "marker": "x", "label": "unstable"}
STABLE = {"color": "tab:blue", "marker": "o", "alpha": 0.5, "linewidths": 0}


class Panel(NamedTuple):
    """A layer and the axes of its column, from the top."""

    layer: Any
    axes: list[Any]


def panels(
    title: str,
    layers: Any,
    ax: Any,
    height: float = 4.0,
    heights: tuple[float, ...] = (1.0,),
    share_y: bool = True,
) -> tuple[Any, list[Panel]]:
    """The figure, and a `Panel` for every layer.

    Args:
        title: what the picture shows.
        layers: a layer, or a dictionary of layers by label.
        ax: None for a new figure; or axes, as many as the picture has, in rows
            of one for every layer.
        height: of the new figure in inches.
        heights: of the rows, relative to each other.
        share_y: whether the layers have one scale of values.

    Raises:
        ValueError: for no layers, or another number of axes.
        ImportError: if matplotlib is not installed.
    """
    several = isinstance(layers, dict)
    labelled = layers if several else {title: layers}
    for layer in labelled.values():
        unwrap(layer)
    if not labelled:
        raise ValueError("expected at least one layer. Received: layers={}")
    shape = len(heights), len(labelled)
    if ax is None:
        figure = new_figure((0.8 + 4.4 * shape[1], height))
        grid = figure.subplots(
            *shape,
            squeeze=False,
            sharex="all",
            sharey="row" if share_y else False,
            height_ratios=heights,
        )
        if several:
            figure.suptitle(title)
    else:
        grid = np.asarray(ax, dtype=object).ravel()
        if len(grid) != shape[0] * shape[1]:
            raise ValueError(
                f"`ax` must be {shape[0] * shape[1]} axes, {shape[0]} for each of {shape[1]} "
                f"layers. Received: {len(grid)} axes"
            )
        grid = grid.reshape(shape)
        figure = grid[0, 0].figure
    found = [
        Panel(layer, list(column)) for layer, column in zip(labelled.values(), grid.T, strict=True)
    ]
    for label, panel in zip(labelled, found, strict=True):
        panel.axes[0].set_title(label)
    return figure, found


def new_figure(size: tuple[float, float]) -> Any:
    """A matplotlib Figure of its own, which pyplot does not know."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "pictures are drawn by matplotlib, which is not installed. "
            'Install it with `pip install "keras-ssm[plot]"`.'
        ) from error
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def count_on_y(axes: Any) -> None:
    """Whole numbers on the axis of features or modes."""
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def unit(sampling_rate: float | None) -> str:
    """The unit of time."""
    return "steps" if sampling_rate is None else "s"


def representative_channels(layer: Any, length: int | None, count: int = 4) -> list[Any]:
    """Channels from the one with the shortest memory to the one with the longest.

    Pairs (output, input) of S5, the input being the one that the output reads
    most of; output features of DSS and S4D.
    """
    ssm = unwrap(layer)
    order = np.argsort(analysis.memory_length(layer, length=length), kind="stable")
    ranks = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    outputs = [int(output) for output in order[ranks]]
    if not isinstance(ssm, S5):
        return outputs
    system = diagonal(layer)
    decay = np.exp(np.minimum(system.log_lam.real, -1e-6))
    # The energy of every mode by itself: enough to tell strong inputs from weak ones.
    size = np.abs(system.B) ** 2 / (1 - decay**2)[..., None]
    reads = as_layer(layer, np.einsum("gon,gni->goi", np.abs(system.C[0]) ** 2, size))
    return [(output, int(np.argmax(reads[output]))) for output in outputs]


def channel_label(channel: Any) -> str:
    """How a legend names a channel."""
    if isinstance(channel, (tuple, list)):
        return f"{channel[1]} → {channel[0]}"
    return str(channel)
