"""The commands that look at a trained run: `keras-ssm plot` and `keras-ssm summary`."""

import argparse
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_ssm import analysis, recipes, runs, visualization
from keras_ssm.callbacks import replacing
from keras_ssm.layers.ssm import SSM

# Steps drawn for a model that takes any length.
_DEFAULT_LENGTH = 1024
HEADER = (
    "layer",
    "type",
    "modes",
    "time scales in steps (min / median / max)",
    "memory in steps",
    "parameters",
    "state",
)


def plot(folder: str | os.PathLike, sampling_rate: float | None = None) -> list[pathlib.Path]:
    """Write all pictures of a trained run into its folder, a set for every layer.

    Where the run's settings tell how the model was made, each picture has the
    layer before training beside it, drawn anew from the run's seed.

    Args:
        folder: of the run.
        sampling_rate: of the data, in Hz; None for pictures in steps.

    Returns:
        The PNG files, `plots/<layer>-<picture>.png`.

    Raises:
        ValueError: for a folder that is no run, or a model without state space
            layers.
        ImportError: if matplotlib is not installed.

    Example:

    >>> from keras_ssm import report
    >>> report.plot("runs/demo")[0].name  # doctest: +SKIP
    'block_0-s5-eigenvalues.png'
    """
    config, model = runs.read_config(folder), runs.load_model(folder)
    trained, length = _layers(model), _length(model)
    before = _before(config, model)
    (target := pathlib.Path(folder) / "plots").mkdir(exist_ok=True)
    written = []
    for path, layer in trained.items():
        layers = {"trained": layer}
        if path in before:
            layers = {"before training": before[path], **layers}
        for name, figure in _pictures(layers, length, sampling_rate):
            written.append(target / f"{path.replace('/', '-')}-{name}.png")
            with replacing(written[-1]) as temporary:
                figure.savefig(temporary, dpi=100)
    return written


def _pictures(
    layers: dict[str, SSM], length: int, sampling_rate: float | None
) -> Iterator[tuple[str, Any]]:
    # The sum over the whole kernel exists for layers that are stable and no softmax.
    ends = any(map(_uses_softmax, layers.values()))
    grows = any(np.any(np.abs(analysis.modes(layer).lam) >= 1) for layer in layers.values())
    # One wave that starts, and one step beside it, as everyone knows what they are.
    k, width = np.arange(length), next(iter(layers.values())).width
    wave = np.where(k < length // 2, np.sin(2 * np.pi * k / max(length // 8, 2)), 0.0)
    inputs = np.repeat((wave + (k == 3 * length // 4))[:, None], width, axis=1)
    taps = length if ends or grows else None
    rate = sampling_rate
    yield "eigenvalues", visualization.plot_eigenvalues(layers)
    yield "unit-disc", visualization.plot_unit_disc(layers, rate)
    yield "time-scales", visualization.plot_time_scales(layers, rate)
    yield "kernels", visualization.plot_kernels(layers, length, sampling_rate=rate)
    yield "kernel-map", visualization.plot_kernel_map(layers, length, rate)
    yield (
        "frequency-response",
        visualization.plot_frequency_response(layers, sampling_rate=rate, length=taps),
    )
    yield "memory", visualization.plot_memory(layers, rate, length)
    yield "states", visualization.plot_states(layers, inputs, sampling_rate=rate)


def summary(path: str | os.PathLike) -> str:
    """What the state space layers of a trained model are, one line for each.

    Args:
        path: a run folder, or a `.keras` file.

    Returns:
        A table. Modes are those stored; time scales and memory (99 % of the
        kernel's energy) are the smallest, median and largest; the state is the
        numbers that one streamed sequence keeps, `-` where the layer cannot
        stream.

    Raises:
        ValueError: for something that is neither, or a model without state space
            layers.

    Example:

    >>> from keras_ssm import report
    >>> layer = keras_ssm.layers.S5(4, name="s5")
    >>> model = keras.Sequential([keras.Input((None, 2)), layer])
    >>> model.save("mine.keras")
    >>> print(report.summary("mine.keras"))
    layer  type  modes  time scales in steps (min / median / max)  memory in steps ...
    s5     S5    2      ...
    """
    path = pathlib.Path(path)
    model = runs.read_model(path) if path.is_file() else runs.load_model(path)
    rows, length = [HEADER], _length(model)
    for name, layer in _layers(model).items():
        modes = analysis.modes(layer)
        unstable = f" ({np.sum(modes.unstable)} unstable)" if np.any(modes.unstable) else ""
        own_length = getattr(layer, "length", None)
        streams = not layer.bidirectional and (own_length or not _uses_softmax(layer))
        rows.append(
            (
                name,
                type(layer).__name__,
                f"{modes.lam.size}{unstable}",
                _range(np.where(modes.time_scale > 0, modes.time_scale, np.inf)),
                _range(analysis.memory_length(layer, length=own_length or length)),
                f"{layer.count_params()}",
                f"{layer.state_width}" if streams else "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def run(arguments: argparse.Namespace) -> None:
    """Run `keras-ssm plot` or `keras-ssm summary`.

    Args:
        arguments: of `keras_ssm_cli.parser`.

    Raises:
        ValueError: for something that cannot be read.
        ImportError: if matplotlib is not installed.
    """
    if arguments.command == "summary":
        print(summary(arguments.model))
        return
    written = plot(arguments.run, arguments.sampling_rate)
    print(f"Wrote {len(written)} pictures to {written[0].parent}")


def _layers(model: keras.Model) -> dict[str, SSM]:
    layers = analysis.ssm_layers(model)
    if not layers:
        raise ValueError(
            f"expected a model with DSS, S4D or S5 layers. Received: {model.name!r}, which has none"
        )
    return layers


def _length(model: keras.Model) -> int:
    """The length the model takes, or, where it takes any, one to draw."""
    fixed = [layer.length for layer in _layers(model).values() if getattr(layer, "length", None)]
    length = model.input_shape[1] or _DEFAULT_LENGTH
    return int(min([length, *fixed]))


def _uses_softmax(layer: SSM) -> bool:
    return getattr(layer, "uses_softmax", False)


def _before(config: dict[str, Any], model: keras.Model) -> dict[str, SSM]:
    """The layers as the seed of the run made them."""
    keras.utils.set_random_seed(config["seed"])
    return analysis.ssm_layers(recipes.build_model(config["recipe"], model.input_shape[1:]))


def _range(values: np.ndarray) -> str:
    return " / ".join(
        f"{value:.0f}" if value >= 100 else f"{value:.3g}"
        for value in (np.min(values), np.median(values), np.max(values))
    )
