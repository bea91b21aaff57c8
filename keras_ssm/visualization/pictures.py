"""All pictures of a model, as files."""

import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_ssm import analysis
from keras_ssm.analysis.named import drawn_length, is_bounded, named
from keras_ssm.files import replacing
from keras_ssm.layers.base import SSM
from keras_ssm.visualization.memory import plot_memory
from keras_ssm.visualization.modes import plot_eigenvalues, plot_time_scales, plot_unit_disc
from keras_ssm.visualization.responses import plot_frequency_response, plot_kernel_map, plot_kernels
from keras_ssm.visualization.states import plot_states

_DOTS_PER_INCH = 150


def plot(
    model: Any,
    folder: str | os.PathLike = "plots",
    sampling_rate: float | None = None,
    before: Any = None,
) -> list[pathlib.Path]:
    """Draw all pictures of a model into a folder, a set for every state space layer.

    `keras-ssm plot` draws the same pictures of a training run or a saved model.
    The state is drawn for a wave that starts, stops, and a single step after it.

    Args:
        model: a built model, or a layer, block or cell.
        folder: for the PNG files; made if it is missing.
        sampling_rate: steps per second, for seconds and Hz; None for steps.
        before: the same model before training, to draw beside it, or None.

    Returns:
        The PNG files, `<layer>-<picture>.png`.

    Raises:
        ValueError: for something without state space layers, or one that is not
            built.
        ImportError: if matplotlib is not installed.

    Example:

    >>> layer = keras_ssm.layers.S5(4, name="s5")
    >>> layer.build((None, 50, 3))
    >>> [path.name for path in keras_ssm.plot(layer)]  # doctest: +SKIP
    ['s5-eigenvalues.png', 's5-unit-disc.png', 's5-time-scales.png', 's5-kernels.png', ...]
    """
    layers = named(model)
    old = {} if before is None else named(before)
    folder = pathlib.Path(folder)
    written = []
    for path, layer in layers.items():
        shown = {path: layer}
        if path in old:
            shown = {"before training": old[path], "trained": layer}
        for name, figure in _pictures(shown, sampling_rate):
            folder.mkdir(parents=True, exist_ok=True)
            written.append(folder / f"{path.replace('/', '-')}-{name}.png")
            with replacing(written[-1]) as temporary:
                figure.savefig(temporary, dpi=_DOTS_PER_INCH)
    return written


def _pictures(layers: dict[str, SSM], rate: float | None) -> Iterator[tuple[str, Any]]:
    length = max(map(drawn_length, layers.values()))
    # The sum over the whole kernel exists for layers that are stable and not a softmax.
    ends = any(map(is_bounded, layers.values()))
    grows = any(np.any(np.abs(analysis.modes(layer).lam) >= 1) for layer in layers.values())
    # A wave and a single step, as everyone knows what they are.
    k, width = np.arange(length), next(iter(layers.values())).width
    wave = np.where(k < length // 2, np.sin(2 * np.pi * k / max(length // 8, 2)), 0.0)
    inputs = np.repeat((wave + (k == 3 * length // 4))[:, None], width, axis=1)
    yield "eigenvalues", plot_eigenvalues(layers)
    yield "unit-disc", plot_unit_disc(layers, rate)
    yield "time-scales", plot_time_scales(layers, rate)
    yield "kernels", plot_kernels(layers, length, sampling_rate=rate)
    yield "kernel-map", plot_kernel_map(layers, length, rate)
    taps = length if ends or grows else None
    yield "frequency-response", plot_frequency_response(layers, sampling_rate=rate, length=taps)
    yield "memory", plot_memory(layers, rate, length)
    yield "states", plot_states(layers, inputs, sampling_rate=rate)
