"""Eigenvalues, time scales and frequencies."""

from typing import Any

import numpy as np

from keras_ssm import analysis
from keras_ssm.visualization.panels import (
    STABLE,
    UNSTABLE,
    Panel,
    ink,
    label_y,
    panels,
    spread,
    unit,
)


def plot_eigenvalues(layers: Any, ax: Any = None) -> Any:
    """Plot the continuous eigenvalues Lambda of all stored modes in the complex plane.

    Distance from the imaginary axis is decay, height is frequency, both in the
    layer's own unit of time, of which a step is dt. Right of the axis, modes
    grow.

    Args:
        layers: a layer, block or model, or a dictionary of them by label.
        ax: axes to draw into, one for each layer; None for a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: for something that is not a layer, or another number of axes.
        ImportError: if matplotlib is not installed.

    Example:

    >>> layer = keras_ssm.layers.S5(16)
    >>> layer.build((None, None, 3))
    >>> keras_ssm.visualization.plot_eigenvalues(layer).savefig("eigenvalues.png")
    """
    figure, columns = panels("Continuous eigenvalues Λ", layers, ax)
    Lambda = [np.ravel(analysis.modes(panel.layer).Lambda) for panel in columns]
    together = np.concatenate(Lambda)
    beyond = {"x": spread(together.real), "y": spread(together.imag)}
    low, high = _limits(together.real, beyond["x"])
    for panel, values in zip(columns, Lambda, strict=True):
        (axes,) = panel.axes
        for name, threshold in beyond.items():
            if threshold is not None:
                getattr(axes, f"set_{name}scale")("symlog", linthresh=threshold)
        axes.axvspan(0, high, color="tab:red", alpha=0.12, linewidth=0)
        axes.annotate(
            "grows",
            (1, 0.5),
            xytext=(-4, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="center",
            color="tab:red",
        )
        axes.axvline(0, color=ink(), alpha=0.5, linewidth=1)
        axes.axhline(0, color=ink(), alpha=0.5, linewidth=1)
        grows = values.real > 0
        for style, shown in ((STABLE, values[~grows]), (UNSTABLE, values[grows])):
            axes.scatter(shown.real, shown.imag, **style)
        axes.set_xlim(low, high)
        axes.set_xlabel("Re Λ (1 / layer's unit of time)" + _logarithmic(beyond["x"]))
        axes.grid(alpha=0.3)
    label_y(columns, "Im Λ (rad / layer's unit of time)" + _logarithmic(beyond["y"]))
    return figure


def plot_unit_disc(layers: Any, sampling_rate: float | None = None, ax: Any = None) -> Any:
    """Plot the discrete eigenvalues lam of all stored modes in the unit disc.

    The angle is the phase of one step; the closer to the circle, the longer a
    mode remembers, and its color says how long.

    Args:
        layers: a layer, block or model, or a dictionary of them by label.
        sampling_rate: steps per second, for seconds; None for steps.
        ax: axes to draw into, one for each layer; None for a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: for something that is not a layer, or another number of axes.
        ImportError: if matplotlib is not installed.

    Example:

    >>> layer = keras_ssm.layers.S5(16)
    >>> layer.build((None, None, 3))
    >>> keras_ssm.visualization.plot_unit_disc(layer).savefig("unit-disc.png")
    """
    figure, columns = panels("Discrete eigenvalues λ", layers, ax)
    from matplotlib.colors import LogNorm

    scales = [_decaying(panel, sampling_rate)[1] for panel in columns]
    together = np.concatenate(scales)
    norm = LogNorm(together.min(), together.max()) if len(together) else None
    angle = np.linspace(0, 2 * np.pi, 361)
    points = None
    for panel, scale in zip(columns, scales, strict=True):
        (axes,) = panel.axes
        axes.plot(np.cos(angle), np.sin(angle), color=ink(), alpha=0.6, linewidth=1)
        axes.axhline(0, color=ink(), alpha=0.2, linewidth=0.8, zorder=0)
        axes.axvline(0, color=ink(), alpha=0.2, linewidth=0.8, zorder=0)
        lam, _ = _decaying(panel, sampling_rate)
        if len(lam):
            points = axes.scatter(
                lam.real, lam.imag, s=36, c=scale, norm=norm, alpha=0.8, linewidths=0
            )
        every = analysis.modes(panel.layer).lam
        outside = every[np.abs(every) > 1]
        if len(outside):
            axes.scatter(outside.real, outside.imag, label="grows, |λ| > 1", **UNSTABLE)
            axes.legend(loc="upper left", fontsize="small")
        axes.set_aspect("equal")
        axes.set_xlabel("Re λ")
    label_y(columns, "Im λ")
    if points is not None:
        figure.colorbar(
            points,
            ax=[panel.axes[0] for panel in columns],
            label=f"time scale ({unit(sampling_rate)})",
        )
    return figure


def plot_time_scales(layers: Any, sampling_rate: float | None = None, ax: Any = None) -> Any:
    """Plot time scale and frequency of every mode, the step sizes included.

    A mode falls to 1/e in its time scale, -1 / (dt Re Lambda), and turns with
    the frequency dt Im Lambda / 2 pi. Above Nyquist, samples see a lower one.

    Args:
        layers: a layer, block or model, or a dictionary of them by label.
        sampling_rate: steps per second, for seconds and Hz; None for steps.
        ax: axes to draw into, one for each layer; None for a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: for something that is not a layer, or another number of axes.
        ImportError: if matplotlib is not installed.

    Example:

    >>> layer = keras_ssm.layers.S5(16)
    >>> layer.build((None, None, 3))
    >>> figure = keras_ssm.visualization.plot_time_scales(layer, sampling_rate=16000.0)
    """
    figure, columns = panels("Time scales and frequencies", layers, ax)
    nyquist = 0.5 if sampling_rate is None else sampling_rate / 2
    # Logarithmic but for the last decade, so that frequency 0 is there too.
    lowest = 10.0 ** np.floor(np.log10(nyquist / 1000))
    highest, slowest = nyquist, nyquist
    for panel in columns:
        (axes,), modes = panel.axes, analysis.modes(panel.layer, sampling_rate)
        scale, frequency = np.abs(modes.time_scale).ravel(), np.abs(modes.frequency).ravel()
        grows = (modes.time_scale < 0).ravel()
        axes.scatter(scale[~grows], frequency[~grows], label="decays", **STABLE)
        if np.any(grows):
            axes.scatter(scale[grows], frequency[grows], label="grows in that time", **UNSTABLE)
        axes.axhline(nyquist, color=ink(), alpha=0.8, linestyle="--", linewidth=1, label="Nyquist")
        axes.set_xscale("log")
        axes.set_yscale("symlog", linthresh=lowest)
        highest, slowest = max(highest, frequency.max()), min(slowest, frequency.min())
        axes.set_xlabel(f"time scale ({unit(sampling_rate)})")
        axes.grid(alpha=0.3)
        axes.legend(loc="best", fontsize="small")
    for panel in columns:
        bottom = -lowest / 2 if slowest < lowest else slowest / 3
        panel.axes[0].set_ylim(bottom, 3 * highest)
    per = "cycles per step" if sampling_rate is None else "Hz"
    label_y(columns, f"frequency ({per})")
    return figure


def _decaying(panel: Panel, sampling_rate: float | None) -> tuple[np.ndarray, np.ndarray]:
    """lam and time scale of the modes inside the unit circle."""
    modes = analysis.modes(panel.layer, sampling_rate)
    inside = (modes.time_scale > 0) & np.isfinite(modes.time_scale)
    return modes.lam[inside], modes.time_scale[inside]


def _limits(values: np.ndarray, beyond: float | None) -> tuple[float, float]:
    """The range of Re Lambda, with a little of the half where modes grow."""
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    margin = 0.15 * (high - low or 1.0)
    # On a logarithmic axis, a margin is a factor.
    if beyond is None:
        return low - margin, high + margin
    return min(1.5 * low, -beyond), max(1.5 * high, beyond)


def _logarithmic(beyond: float | None) -> str:
    return "" if beyond is None else f"\nlogarithmic beyond ±{beyond:g}"
