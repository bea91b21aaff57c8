"""Kernels and frequency responses."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_ssm import analysis
from keras_ssm.visualization.panels import (
    channel_label,
    count_on_y,
    panels,
    representative_channels,
    unit,
)

# Below this share of its largest value, a kernel is drawn as nothing.
_FAINTEST = 1e-3


def plot_kernels(
    layers: Any,
    length: int,
    channels: Sequence[Any] | None = None,
    sampling_rate: float | None = None,
    ax: Any = None,
) -> Any:
    """Convolution kernels (impulse responses without the skip D) as lines over the lag.

    A bidirectional layer also reads steps ahead, at negative lags.

    Args:
        layers: a layer, or a dictionary of layers by label.
        length: number of steps.
        channels: output features or pairs (output, input), as in
            `analysis.impulse_response`; None for four of the first layer, from
            its shortest to its longest memory.
        sampling_rate: steps per second, for seconds; None for steps.
        ax: axes to draw into, one for each layer; None for a new figure.

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
    figure, columns = panels("Kernels", layers, ax)
    if channels is None:
        channels = representative_channels(columns[0].layer, length)
    for panel in columns:
        (axes,) = panel.axes
        for channel in channels:
            lags, K = analysis.impulse_response(panel.layer, length, channel)
            axes.plot(_time(lags, sampling_rate), K, linewidth=1.2, label=channel_label(channel))
        axes.axhline(0, color="0.5", linewidth=0.8, zorder=0)
        axes.set_xlabel(f"lag ({unit(sampling_rate)})")
        axes.grid(alpha=0.3)
    columns[0].axes[0].set_ylabel("kernel K")
    _legend(columns[-1].axes[0], channels)
    return figure


def plot_kernel_map(
    layers: Any, length: int, sampling_rate: float | None = None, ax: Any = None
) -> Any:
    """|K| of all output features over the lag, each relative to its largest value.

    Features are sorted by memory, the shortest at the bottom. Of S5, |K| is
    taken over all inputs.

    Args:
        layers: a layer, or a dictionary of layers by label.
        length: number of steps.
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
    figure, columns = panels("|K| of every feature", layers, ax, share_y=False)
    from matplotlib.colors import LogNorm

    image = None
    for panel in columns:
        (axes,) = panel.axes
        lags, size = analysis.response_magnitude(panel.layer, length)
        order = np.argsort(analysis.memory_length(panel.layer, length=length), kind="stable")
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
        axes.set_xlabel(f"lag ({unit(sampling_rate)})")
        count_on_y(axes)
    columns[0].axes[0].set_ylabel("feature, sorted by memory")
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
    """Magnitude and phase of the frequency response, skip included, up to Nyquist.

    Args:
        layers: a layer, or a dictionary of layers by label.
        channels: output features or pairs (output, input), as in
            `analysis.frequency_response`; None for four of the first layer, from
            its shortest to its longest memory.
        sampling_rate: steps per second, for Hz; None for cycles per step.
        length: taps to sum, needed by softmax kernels and unstable modes.
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
    figure, columns = panels("Frequency response", layers, ax, height=5.5, heights=(3, 2))
    if channels is None:
        channels = representative_channels(columns[0].layer, length)
    nyquist = 0.5 if sampling_rate is None else sampling_rate / 2
    frequencies = nyquist * np.logspace(-3, 0, 601)
    for panel in columns:
        magnitude, phase = panel.axes
        for channel in channels:
            H = analysis.frequency_response(
                panel.layer, frequencies, channel, sampling_rate, length
            )
            size = 20 * np.log10(np.maximum(np.abs(H), 1e-12))
            magnitude.plot(frequencies, size, linewidth=1.2, label=channel_label(channel))
            phase.plot(frequencies, np.degrees(np.angle(H)), ".", markersize=1.5)
        for axes in panel.axes:
            axes.set_xscale("log")
            axes.grid(alpha=0.3)
        phase.set_ylim(-190, 190)
        phase.set_yticks([-180, -90, 0, 90, 180])
        per = "cycles per step" if sampling_rate is None else "Hz"
        phase.set_xlabel(f"frequency ({per})")
    columns[0].axes[0].set_ylabel("magnitude (dB)")
    columns[0].axes[1].set_ylabel("phase (degrees)")
    _legend(columns[-1].axes[0], channels, "lower left")
    return figure


def _time(lags: np.ndarray, sampling_rate: float | None) -> np.ndarray:
    return lags / (1.0 if sampling_rate is None else sampling_rate)


def _legend(axes: Any, channels: Sequence[Any], location: str = "best") -> None:
    pairs = any(isinstance(channel, (tuple, list)) for channel in channels)
    axes.legend(title="input → output" if pairs else "feature", fontsize="small", loc=location)
