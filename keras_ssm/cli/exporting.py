"""A run's model as a file for another runtime."""

import os
import pathlib

from keras_ssm import export as exports
from keras_ssm.cli import run_folder
from keras_ssm.export.formats import FORMATS


def export(
    source: str | os.PathLike,
    format: str,
    out: str | os.PathLike | None = None,
    step: bool = False,
    chunk: int | None = None,
    length: int | None = None,
    int8: bool = False,
    sampling_rate: float | None = None,
) -> exports.Artefact:
    """Export the best model of a run.

    Args:
        source: run folder, or a `.keras` file.
        format: see `keras_ssm.export.model`.
        out: path; by default `model` or `step`, with the suffix of the format, beside the model.
        step: see `keras_ssm.export.step`.
        chunk: see `keras_ssm.export.step`.
        length: see `keras_ssm.export.model`.
        int8: see `keras_ssm.export.model`.
        sampling_rate: see `keras_ssm.export.model`.

    Returns:
        A `keras_ssm.export.Artefact`.

    Raises:
        ValueError: if the run cannot be read, or for options that do not go together.

    Example:

    >>> from keras_ssm.cli import exporting
    >>> artefact = exporting.export("runs/demo", "onnx", step=True)  # doctest: +SKIP
    >>> artefact.path.name  # doctest: +SKIP
    'step.onnx'
    """
    if chunk is not None and not step:
        raise ValueError(f"--chunk is for --step. Received: --chunk {chunk} alone")
    if length is not None and step:
        raise ValueError(f"--length is for whole sequences. Received: --length {length} --step")
    path = pathlib.Path(source)
    folder = path.parent if path.suffix == ".keras" else path
    model = run_folder.read_model(path) if path.suffix == ".keras" else run_folder.load_model(path)
    name = ("step" if step else "model") + (FORMATS[format].suffix or "_saved_model")
    target = folder / name if out is None else out
    if step:
        return exports.step(model, target, format, chunk, int8, sampling_rate)
    return exports.model(model, target, format, length, int8, sampling_rate)
