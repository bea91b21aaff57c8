"""Figures with a panel for every layer, and what their axes have in common."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_ssm import analysis
from keras_ssm.analysis.layers import in_layers_order, modal_system
from keras_ssm.analysis.named import drawn_length, named
from keras_ssm.layers.base import SSM

# Readable in gray and by the color-blind: a mode that grows is told apart by its marker as well.
UNSTABLE = {"color": "tab:red", "marker": "x", "s": 40, "linewidths": 1.5}
STABLE = {"color": "C0", "marker": "o", "s": 36, "alpha": 0.6, "linewidths": 0}
# More, and the letters are too small on a page.
_MOST_COLUMNS = 2
_WIDTH = 4.4
# Of values further apart than this factor, the usual ones would be drawn as one point.
_OUTLIER = 10


class Panel(NamedTuple):
    """A layer, its axes from the top, and whether they are at the left of the picture."""

    layer: SSM
    axes: list[Any]
    leftmost: bool


def resolve(layers: Any) -> dict[str, SSM]:
    """Every layer to draw by its label.

    Args:
        layers: a layer, block, cell or model, whose layers are labeled by their
            path; or a dictionary of them by label. Of several models, the first
            layers come first, then the second ones.

    Raises:
        ValueError: for something that is none of them or is not built.
    """
    if not isinstance(layers, dict):
        return named(layers)
    if not layers:
        raise ValueError("expected at least one layer. Received: layers={}")
    found = {label: named(value) for label, value in layers.items()}
    labelled = {}
    for index in range(max(map(len, found.values()))):
        for label, inside in found.items():
            path, layer = (*inside.items(), (None, None))[min(index, len(inside))]
            if layer is not None:
                labelled[label if len(inside) == 1 else f"{label}: {path}"] = layer
    return labelled


def compared(layers: dict[str, SSM]) -> bool:
    """Whether the caller has put these layers side by side: they have labels of their own."""
    return any(label != path_of(layer) for label, layer in layers.items())


def alike(layers: dict[str, SSM]) -> bool:
    """Whether these are compared layers with values of one scale, such as two states of one."""
    return compared(layers) and len(set(map(_kind, layers.values()))) == 1


def path_of(layer: SSM) -> str:
    """The name of a layer with those of the layers around it."""
    return layer.path or layer.name


def panels(
    title: str,
    layers: Any,
    ax: Any,
    height: float = 4.0,
    heights: Sequence[float] = (1.0,),
    share_x: bool = True,
    share_y: bool = True,
) -> tuple[Any, list[Panel]]:
    """The figure, and a `Panel` for every layer.

    Args:
        title: what the picture shows.
        layers: see `resolve`.
        ax: None for a new figure; or axes, as many as the picture has, in rows
            of one for every layer.
        height: of the panel of a layer in inches, in a new figure.
        heights: of the rows of a panel, relative to each other.
        share_x: whether the layers have one scale of time or lags.
        share_y: whether they have one scale of values.

    Raises:
        ValueError: for no layers, or another number of axes.
        ImportError: if matplotlib is not installed.
    """
    labelled = resolve(layers)
    paths = {path_of(layer) for layer in labelled.values()}
    whole = f"{title} of {paths.pop()}" if len(paths) == 1 else title
    alone = len(labelled) == 1 and not compared(labelled)
    if ax is None:
        count = min(len(labelled), _MOST_COLUMNS)
        blocks = math.ceil(len(labelled) / count)
        figure = new_figure((0.8 + _WIDTH * count, height * blocks))
        grid = figure.subplots(
            len(heights) * blocks, count, squeeze=False, height_ratios=list(heights) * blocks
        )
        # By layer, its axes from the top.
        columns = grid.reshape(blocks, len(heights), count).swapaxes(1, 2)
        columns = columns.reshape(-1, len(heights))
        for unused in columns[len(labelled) :].ravel():
            unused.remove()
        columns = columns[: len(labelled)]
        _share(columns, count, share_x, share_y)
        if not alone:
            figure.suptitle(whole)
    else:
        axes = np.asarray(ax, dtype=object).ravel()
        count = len(labelled)
        if len(axes) != len(heights) * count:
            raise ValueError(
                f"`ax` must be {len(heights) * count} axes, {len(heights)} for each of {count} "
                f"layers. Received: {len(axes)} axes"
            )
        columns = axes.reshape(len(heights), count).T
        figure = axes[0].figure
    for label, column in zip(labelled, columns, strict=True):
        column[0].set_title(whole if alone else label)
    return figure, [
        Panel(layer, list(column), index % count == 0)
        for index, (layer, column) in enumerate(zip(labelled.values(), columns, strict=True))
    ]


def _share(columns: np.ndarray, count: int, share_x: bool, share_y: bool) -> None:
    """One horizontal scale within a panel, and one of all panels in either direction if asked."""
    for index, column in enumerate(columns):
        for row, axes in enumerate(column):
            first = columns[0, 0] if share_x else column[0]
            if axes is not first:
                axes.sharex(first)
            if row < len(column) - 1:
                axes.tick_params(labelbottom=False)
            if share_y and index:
                axes.sharey(columns[0, row])
                axes.tick_params(labelleft=index % count == 0)


def label_y(panels: Sequence[Panel], *labels: str) -> None:
    """Label the values of every row, at the left of the picture."""
    for panel in panels:
        if panel.leftmost:
            for axes, label in zip(panel.axes, labels, strict=True):
                axes.set_ylabel(label)


def ink() -> str:
    """The color of text, which a dark style makes light."""
    import matplotlib

    return str(matplotlib.rcParams["text.color"])


def spread(values: np.ndarray) -> float | None:
    """Where an axis of these values should become logarithmic, None where it need not.

    A few values far from zero flatten all others on a linear axis.
    """
    size = np.abs(values[values != 0])
    size = size[np.isfinite(size)]
    if not len(size) or size.max() <= _OUTLIER * np.median(size):
        return None
    return float(10 ** np.floor(np.log10(np.median(size))))


def new_figure(size: tuple[float, float]) -> Any:
    """A matplotlib Figure of its own, which pyplot does not know."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "pictures are drawn with matplotlib, which is not installed. "
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


def representative_channels(layer: Any, length: int | None, count: int) -> list[Any]:
    """Channels from the one with the shortest memory to the one with the longest.

    Where all features share a state, pairs (output, input), the input being the
    one that the output depends on most; elsewhere output features.
    """
    system = modal_system(layer, length)
    order = np.argsort(analysis.memory_length(layer, length=length), kind="stable")
    ranks = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    outputs = [int(output) for output in order[ranks]]
    if not system.shared:
        return outputs
    reads = in_layers_order(system, system.strength())
    return [(output, int(np.argmax(reads[output]))) for output in outputs]


def channels_by_layer(
    layers: dict[str, SSM], channels: Sequence[Any] | None, length: int | None, count: int = 4
) -> list[list[Any]]:
    """The channels to draw of every layer.

    None asks for representative ones: of the first layer also for those that
    are compared with it and have them too, otherwise of every layer itself.
    """
    if channels is not None:
        return [list(channels)] * len(layers)
    first = next(iter(layers.values()))
    chosen = representative_channels(first, length or drawn_length(first), count)
    together = compared(layers)
    return [
        chosen
        if layer is first or (together and _kind(layer) == _kind(first))
        else representative_channels(layer, length or drawn_length(layer), count)
        for layer in layers.values()
    ]


def _kind(layer: SSM) -> tuple[Any, ...]:
    return type(layer), layer.width, layer.channels


def channel_label(channel: Any) -> str:
    """How a channel is named."""
    if isinstance(channel, (tuple, list)):
        return f"input {channel[1]} → output {channel[0]}"
    return f"feature {channel}"
