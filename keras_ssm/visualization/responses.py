"""Kernels and frequency responses."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_ssm import analysis
from keras_ssm.analysis.named import drawn_length, is_bounded, known_length
from keras_ssm.layers.base import SSM
from keras_ssm.visualization.panels import (
    alike,
    channel_label,
    channels_by_layer,
    compared,
    count_on_y,
    ink,
    label_y,
    panels,
    resolve,
    unit,
)

# Below this share of its largest value, a kernel is drawn as nothing.
_FAINTEST = 1e-3


def plot_kernels(
    layers: Any,
    length: int | None = None,
    channels: Sequence[Any] | None = None,
    sampling_rate: float | None = None,
    ax: Any = None,
) -> Any:
    """Plot convolution kernels (impulse responses without the skip D) over the lag.

    One is drawn below another. A bidirectional layer also reads steps ahead, at
    negative lags.

    Args:
        layers: a layer, block or model, or a dictionary of them by label.
        length: number of steps; None for the length of the sequences that a
            layer or its model is made for, or, where it takes any, as many as
            hold 99 % of the energy of its longest kernel, at most 1024.
        channels: output features or pairs (output, input), as in
            `analysis.impulse_response`; None for four, from the shortest to the
            longest memory: those of the first layer where layers by label are
            alike, otherwise of every layer itself.
        sampling_rate: steps per second, for seconds; None for steps.
        ax: axes to draw into, one for each layer and channel, the first channel
            of all layers first; or one for each layer, for all its channels;
            None for a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: for a channel or length that a layer does not have, or
            another number of axes.
        ImportError: if matplotlib is not installed.

    Example:

    >>> layer = keras_ssm.layers.S4D(16)
    >>> layer.build((None, None, 3))
    >>> keras_ssm.visualization.plot_kernels(layer, 500).savefig("kernels.png")
    """
    labelled = resolve(layers)
    taps = _steps(labelled, length)
    chosen = channels_by_layer(labelled, channels, length)
    most = max(map(len, chosen))
    # One line in every row; or all lines of a layer in the one axes that it is given.
    rows = 1 if ax is not None and np.size(ax) == len(labelled) else most
    figure, columns = panels(
        "Kernels",
        labelled,
        ax,
        0.9 + 1.25 * rows,
        (1.0,) * rows,
        share_x=compared(labelled),
        share_y=alike(labelled),
    )
    for panel, own, steps in zip(columns, chosen, taps, strict=True):
        for index, channel in enumerate(own):
            axes = panel.axes[index % rows]
            lags, K = analysis.impulse_response(panel.layer, steps, channel)
            label = channel_label(channel)
            axes.plot(_time(lags, sampling_rate), K, linewidth=1.3, label=label)
            if rows > 1 or most == 1:
                axes.annotate(
                    label,
                    (1, 1),
                    xytext=(-5, -4),
                    xycoords="axes fraction",
                    textcoords="offset points",
                    ha="right",
                    va="top",
                    fontsize="small",
                )
        for axes in panel.axes:
            axes.axhline(0, color=ink(), alpha=0.4, linewidth=0.8, zorder=0)
            axes.grid(alpha=0.3)
            axes.margins(x=0.01, y=0.18)
        panel.axes[-1].set_xlabel(_lag(panel.layer, sampling_rate))
    if rows < most:
        columns[-1].axes[0].legend(fontsize="small")
    label_y(columns, *["kernel K"] * rows)
    return figure


def plot_kernel_map(
    layers: Any, length: int | None = None, sampling_rate: float | None = None, ax: Any = None
) -> Any:
    """Plot a map of |K| over the lag, each output feature relative to its largest value.

    Features are sorted by memory, the shortest at the bottom. For S5, |K| is
    taken over all inputs.

    Args:
        layers: a layer, block or model, or a dictionary of them by label.
        length: number of steps; None for the length of the sequences that a
            layer or its model is made for, or, where it takes any, as many as
            hold 99 % of the energy of its longest kernel, at most 1024.
        sampling_rate: steps per second, for seconds; None for steps.
        ax: axes to draw into, one for each layer; None for a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: for a length that a layer does not have, or another number of
            axes.
        ImportError: if matplotlib is not installed.

    Example:

    >>> layer = keras_ssm.layers.S4D(16)
    >>> layer.build((None, None, 3))
    >>> keras_ssm.visualization.plot_kernel_map(layer, 500).savefig("kernel-map.png")
    """
    labelled = resolve(layers)
    taps = _steps(labelled, length)
    share_x = compared(labelled)
    figure, columns = panels("Kernel map |K|", labelled, ax, share_x=share_x, share_y=False)
    from matplotlib.colors import LogNorm

    image = None
    for panel, steps in zip(columns, taps, strict=True):
        (axes,) = panel.axes
        lags, size = analysis.response_magnitude(panel.layer, steps)
        order = np.argsort(analysis.memory_length(panel.layer, length=steps), kind="stable")
        largest = size.max(axis=1, keepdims=True)
        relative = size / np.where(largest > 0, largest, 1.0)
        time = _time(lags, sampling_rate)
        half = (time[1] - time[0]) / 2 if len(time) > 1 else 0.5
        image = axes.imshow(
            np.maximum(relative[order], _FAINTEST),
            norm=LogNorm(_FAINTEST, 1),
            extent=(time[0] - half, time[-1] + half, -0.5, len(order) - 0.5),
            origin="lower",
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_xlabel(_lag(panel.layer, sampling_rate))
        count_on_y(axes)
    label_y(columns, "feature, sorted by memory")
    figure.colorbar(
        image,
        ax=[panel.axes[0] for panel in columns],
        extend="min",
        label="|K| / largest |K| of the feature",
    )
    return figure


def plot_frequency_response(
    layers: Any,
    channels: Sequence[Any] | None = None,
    sampling_rate: float | None = None,
    length: int | None = None,
    ax: Any = None,
) -> Any:
    """Plot magnitude and phase of the frequency response, skip included, up to Nyquist.

    Args:
        layers: a layer, block or model, or a dictionary of them by label.
        channels: output features or pairs (output, input), as in
            `analysis.frequency_response`; None for two, with the shortest and
            the longest memory, of the layers that `plot_kernels` takes them from.
        sampling_rate: steps per second, for Hz; None for cycles per step.
        length: taps to sum, needed by softmax kernels and unstable modes; None
            for the length of the sequences that a layer or its model is made
            for, where it is needed.
        ax: axes to draw into, two for each layer, all magnitudes first; None for
            a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: for a response that does not exist (see
            `analysis.frequency_response`), or another number of axes.
        ImportError: if matplotlib is not installed.

    Example:

    >>> layer = keras_ssm.layers.S4D(16)
    >>> layer.build((None, None, 3))
    >>> figure = keras_ssm.visualization.plot_frequency_response(layer, sampling_rate=16000.0)
    """
    labelled = resolve(layers)
    figure, columns = panels("Frequency response", labelled, ax, height=5.5, heights=(3, 2))
    # Four lines of many peaks would be a tangle.
    chosen = channels_by_layer(labelled, channels, length, count=2)
    nyquist = 0.5 if sampling_rate is None else sampling_rate / 2
    frequencies = nyquist * np.logspace(-3, 0, 601)
    for panel, own in zip(columns, chosen, strict=True):
        magnitude, phase = panel.axes
        taps = length or _needed(panel.layer)
        for channel in own:
            H = analysis.frequency_response(panel.layer, frequencies, channel, sampling_rate, taps)
            size = 20 * np.log10(np.maximum(np.abs(H), 1e-12))
            magnitude.plot(frequencies, size, linewidth=1.3, label=channel_label(channel))
            phase.plot(frequencies, np.degrees(np.angle(H)), ".", markersize=2)
        for axes in panel.axes:
            axes.set_xscale("log")
            axes.grid(alpha=0.3)
        phase.set_ylim(-190, 190)
        phase.set_yticks([-180, -90, 0, 90, 180])
        per = "cycles per step" if sampling_rate is None else "Hz"
        phase.set_xlabel(f"frequency ({per})")
        if panel is columns[-1] or own != chosen[-1]:
            magnitude.legend(fontsize="small", loc="lower left")
    label_y(columns, "magnitude (dB)", "phase (degrees)")
    return figure


def _steps(layers: dict[str, SSM], length: int | None) -> list[int]:
    """The steps to draw of every layer: those asked for, or enough; one number of compared ones."""
    if length is not None:
        return [length] * len(layers)
    enough = list(map(drawn_length, layers.values()))
    return [max(enough)] * len(enough) if compared(layers) else enough


def _needed(layer: SSM) -> int | None:
    """The known length of a layer whose response to an endless wave does not exist."""
    endless = not is_bounded(layer) and np.all(np.abs(analysis.modes(layer).lam) < 1)
    return None if endless else known_length(layer)


def _lag(layer: SSM, sampling_rate: float | None) -> str:
    ahead = ", below 0: ahead" if layer.bidirectional else ""
    return f"lag ({unit(sampling_rate)}{ahead})"


def _time(lags: np.ndarray, sampling_rate: float | None) -> np.ndarray:
    return lags / (1.0 if sampling_rate is None else sampling_rate)
