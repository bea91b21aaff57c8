"""Effective memory."""

from typing import Any

import numpy as np

from keras_ssm import analysis
from keras_ssm.analysis.named import known_length
from keras_ssm.visualization.panels import ink, label_y, panels, unit

_SHARE = 0.99


def plot_memory(
    layers: Any, sampling_rate: float | None = None, length: int | None = None, ax: Any = None
) -> Any:
    """Plot effective memory: the share of each feature's kernel energy in its first steps.

    Where a line meets the dashed one, the kernel holds 99 % of its energy: the
    feature's memory. A feature with an unstable mode stays at 0.

    Args:
        layers: a layer, block or model, or a dictionary of them by label.
        sampling_rate: steps per second, for seconds; None for steps.
        length: for a softmax kernel without a `length` of its own; None for the
            length of the sequences that a model is made for.
        ax: axes to draw into, one for each layer; None for a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: for a softmax kernel without a length, or another number of
            axes.
        ImportError: if matplotlib is not installed.

    Example:

    >>> layer = keras_ssm.layers.S4D(16)
    >>> layer.build((None, None, 3))
    >>> keras_ssm.visualization.plot_memory(layer).savefig("memory.png")
    """
    figure, columns = panels("Effective memory", layers, ax)
    rate = 1.0 if sampling_rate is None else sampling_rate
    lengths_read = [length or known_length(panel.layer) for panel in columns]
    memories = [
        analysis.memory_length(panel.layer, _SHARE, length=read)
        for panel, read in zip(columns, lengths_read, strict=True)
    ]
    finite = np.concatenate([memory[np.isfinite(memory)] for memory in memories] or [[1.0]])
    longest = 3 * max(finite.max() if len(finite) else 1.0, 10.0)
    lengths = np.unique(np.logspace(0, np.log10(longest), 200).astype(int))
    for panel, memory, read in zip(columns, memories, lengths_read, strict=True):
        (axes,) = panel.axes
        shares = 100 * analysis.energy_within(panel.layer, lengths, read)
        thin = {"color": "C0", "linewidth": 0.8, "alpha": 0.4}
        for index, share in enumerate(shares):
            axes.plot(lengths / rate, share, label=None if index else "each feature", **thin)
        axes.plot(
            lengths / rate,
            np.median(shares, axis=0),
            color=ink(),
            linewidth=2,
            label=f"median of {len(shares)} features",
        )
        reached = _readable(float(np.median(memory)) / rate, unit(sampling_rate))
        label = f"{100 * _SHARE:.0f} %: {reached}"
        axes.axhline(100 * _SHARE, color=ink(), alpha=0.8, linestyle="--", linewidth=1, label=label)
        axes.set_xscale("log")
        axes.set_xlabel(f"length ({unit(sampling_rate)})")
        axes.set_ylim(-2, 105)
        axes.grid(alpha=0.3)
        flat = np.isinf(np.median(memory))
        axes.legend(loc="center right" if flat else "lower right", fontsize="small")
    label_y(columns, "energy of the kernel within (%)")
    return figure


def _readable(median: float, unit: str) -> str:
    if np.isinf(median):
        return "never, as modes are unstable"
    return f"median {median:.0f} {unit}" if 100 <= median < 1e6 else f"median {median:.3g} {unit}"
