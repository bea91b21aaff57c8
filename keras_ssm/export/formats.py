"""The formats: their files, what they hold, and which Keras backend writes them."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from keras_ssm.arguments import check_choice
from keras_ssm.export.program import Program


class Artefact(NamedTuple):
    """A file that was written, and what running it in its own runtime gave.

    Attributes:
        path: of the file or folder.
        format: one of `"onnx"`, `"litert"`, `"saved_model"`, `"openvino"`, `"torch"`.
        size: in bytes, with the metadata and a second file where there is one.
        error: largest difference from the Keras model, over the largest magnitude
            of its output.
        notes: what was done differently for the format, in sentences.

    Example:

    >>> model = keras_ssm.models.classifier(10, (50, 1), layer="s5", depth=1, width=8)
    >>> artefact = keras_ssm.export.model(model, "model.onnx")  # doctest: +SKIP
    >>> artefact.error < 1e-5  # doctest: +SKIP
    True
    """

    path: pathlib.Path
    format: str
    size: int
    error: float
    notes: tuple[str, ...] = ()


class Format(NamedTuple):
    """A file format.

    Attributes:
        title: its name for people.
        suffix: of its file; empty for a folder.
        backends: Keras backends that write it, the best first.
        has_fft: whether it holds an FFT of any length.
        int8: whether weights can be quantized on the way.
        packages: whose versions are noted, and which the extra `export` installs.
    """

    title: str
    suffix: str
    backends: tuple[str, ...]
    has_fft: bool
    int8: bool
    packages: tuple[str, ...]


FORMATS: Mapping[str, Format] = {
    "onnx": Format("ONNX", ".onnx", ("tensorflow", "torch"), False, True, ("onnx", "onnxruntime")),
    "litert": Format("LiteRT", ".tflite", ("tensorflow",), False, True, ("ai-edge-litert",)),
    "saved_model": Format("SavedModel", "", ("tensorflow",), True, False, ()),
    "openvino": Format(
        "OpenVINO", ".xml", ("tensorflow", "torch"), False, False, ("onnx", "openvino")
    ),
    "torch": Format("ExportedProgram", ".pt2", ("torch",), True, False, ()),
}


def chosen(path: pathlib.Path, name: str | None) -> str:
    """The format by name or, without one, by the suffix of the file; ValueError for neither."""
    if name is not None:
        check_choice("format", name, FORMATS)
        suffix = FORMATS[name].suffix
        if path.suffix != suffix and (suffix or path.suffix in _SUFFIXES):
            wanted = f"a file with the suffix {suffix}" if suffix else "a folder"
            raise ValueError(f"format={name!r} is {wanted}. Received: {path}")
        return name
    if path.suffix not in _SUFFIXES:
        raise ValueError(
            f"expected a file with a suffix of {', '.join(_SUFFIXES)}, or a `format`, one of "
            f"{', '.join(FORMATS)}. Received: {path}"
        )
    return _SUFFIXES[path.suffix]


_SUFFIXES = {form.suffix: name for name, form in FORMATS.items() if form.suffix}

# Writes a program into a folder: the path of the file in it, the program, its metadata, int8.
Writer = Callable[[pathlib.Path, Program, dict[str, Any], bool], None]


def writer(name: str, backend: str) -> Writer:
    """What writes a format under a backend."""
    if name == "openvino":
        from keras_ssm.export import openvino

        return openvino.writer(writer("onnx", backend))
    if backend == "torch":
        from keras_ssm.export import torch

        return {"onnx": torch.write_onnx, "torch": torch.write}[name]
    from keras_ssm.export import tensorflow

    return {
        "onnx": tensorflow.write_onnx,
        "litert": tensorflow.write_litert,
        "saved_model": tensorflow.write_saved_model,
    }[name]
