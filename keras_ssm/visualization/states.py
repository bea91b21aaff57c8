"""The state while a layer reads a sequence."""

from typing import Any

import keras
import numpy as np

from keras_ssm import analysis
from keras_ssm.analysis.trajectory import layer_inputs
from keras_ssm.visualization.panels import count_on_y, label_y, panels, resolve, unit


def plot_states(
    layers: Any,
    inputs: Any,
    feature: int = 0,
    sampling_rate: float | None = None,
    ax: Any = None,
) -> Any:
    """Plot the state over time for one input: |x| of every mode, relative to its largest value.

    Above it is the input that drives it. Modes are sorted by time scale, the fastest
    at the bottom.

    Args:
        layers: a layer, block or model, or a dictionary of layers by label.
        inputs: (length, features), the input of the layer itself, which in a
            block comes after the norm; or a dictionary of them by the same
            labels. For a model, one input of the model without the batch axis:
            every layer reads what it is given while the model reads that.
        feature: the one whose modes (DSS, S4D) and whose input (all layers) are
            drawn.
        sampling_rate: steps per second, for seconds; None for steps.
        ax: axes to draw into, two for each layer, all inputs first; None for a
            new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: for inputs of another shape, a feature that is not there, or
            another number of axes.
        ImportError: if matplotlib is not installed.

    Example:

    >>> layer = keras_ssm.layers.S5(16)
    >>> layer.build((None, None, 3))
    >>> u = np.random.default_rng(0).standard_normal((200, 3))
    >>> keras_ssm.visualization.plot_states(layer, u).savefig("states.png")
    """
    labelled = resolve(layers)
    if isinstance(layers, keras.Model):
        inputs = layer_inputs(layers, inputs)
    figure, columns = panels("State |x|", labelled, ax, height=5.0, heights=(1, 3), share_y=False)
    image = None
    for label, panel in zip(labelled, columns, strict=True):
        u = np.asarray(inputs[label] if isinstance(inputs, dict) else inputs)
        ssm = panel.layer
        x = np.abs(analysis.states(ssm, u))
        if not 0 <= feature < ssm.width:
            raise ValueError(f"`feature` must be below {ssm.width}. Received: feature={feature!r}")
        scale = analysis.modes(ssm).time_scale
        if x.ndim == 3:  # a state for each feature
            x, scale = x[:, feature], scale[feature]
        # A growing mode has no time scale to fall in, and comes last.
        order = np.argsort(np.where(scale > 0, scale, np.inf), kind="stable")
        largest = x.max(axis=0, keepdims=True)
        relative = (x / np.where(largest > 0, largest, 1.0))[:, order]
        step = 1.0 if sampling_rate is None else 1 / sampling_rate
        top, below = panel.axes
        top.plot(np.arange(len(u)) * step, u[:, feature], linewidth=1)
        top.grid(alpha=0.3)
        image = below.imshow(
            relative.T,
            vmin=0,
            vmax=1,
            extent=(-step / 2, (len(u) - 0.5) * step, -0.5, len(order) - 0.5),
            origin="lower",
            aspect="auto",
            interpolation="nearest",
        )
        count_on_y(below)
        below.set_xlabel(f"time ({unit(sampling_rate)})")
    label_y(columns, f"input {feature}", "mode, sorted by time scale")
    figure.colorbar(
        image, ax=[panel.axes[1] for panel in columns], label="|x| / largest |x| of the mode"
    )
    return figure
