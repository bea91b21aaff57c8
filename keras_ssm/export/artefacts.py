"""Write a model into a file, run the file in its own runtime, and keep it if it is right."""

import importlib
import os
import pathlib
import shutil
import uuid
from collections.abc import Mapping
from typing import Any

import keras

from keras_ssm.export import elsewhere, verification
from keras_ssm.export.formats import FORMATS, Artefact, chosen, writer
from keras_ssm.export.program import Program, stream, whole
from keras_ssm.layers.base import SSM
from keras_ssm.ops.exporting import restrict
from keras_ssm_runner import EXTRA

# Between float32 sums in another order, or in another runtime. The error of an int8 file is
# reported, not judged: only the accuracy on a task can say whether it is too large.
TOLERANCE = {False: 1e-4, True: 0.5}


def model(
    model: keras.Model,
    path: str | os.PathLike,
    format: str | None = None,
    length: int | None = None,
    int8: bool = False,
    sampling_rate: float | None = None,
) -> Artefact:
    """Export a model of whole sequences.

    Where the format has no FFT, layers that compute a convolution use
    `method="chunk"`, and softmax kernels sum the convolution directly.

    Args:
        model: a functional or Sequential model.
        path: of the file: `.onnx`, `.tflite`, `.xml` (with a `.bin` beside it) or
            `.pt2`; of a folder with `format="saved_model"`.
        format: `"onnx"`, `"litert"`, `"saved_model"`, `"openvino"` or `"torch"`;
            by default what the suffix says.
        length: of the sequences. None keeps what the model has, free lengths included.
        int8: quantize the weights of projections and dense layers to 8 bits, for
            ONNX and LiteRT. The recurrence and its state stay float.
        sampling_rate: of the sequences in Hz, for the metadata.

    Returns:
        An `Artefact`.

    Raises:
        ValueError: for a model that the format cannot hold; for a file whose
            numbers are not those of the model, which is removed.
        ImportError: if a package is missing, naming it.

    Example:

    >>> model = keras_ssm.models.classifier(10, (50, 1), layer="s5", depth=1, width=8)
    >>> artefact = keras_ssm.export.model(model, "model.onnx")  # doctest: +SKIP
    >>> whole = keras_ssm.export.load("model.onnx")  # doctest: +SKIP
    >>> whole(np.ones((2, 50, 1), "float32")).shape  # doctest: +SKIP
    (2, 10)
    """
    options = {"length": length, "int8": int8, "sampling_rate": sampling_rate}
    return _export(model, path, format, False, options)


def step(
    model: keras.Model,
    path: str | os.PathLike,
    format: str | None = None,
    chunk: int | None = None,
    int8: bool = False,
    sampling_rate: float | None = None,
) -> Artefact:
    """Export a causal model as one step, with its states as inputs and outputs.

    The discretized systems are constants in the file. Its inputs are `x` and the
    states by the names that `models.streaming` gives them, its outputs `y` and the
    states with `next_` before their names.

    Args:
        model: what `models.streaming` takes.
        path: see `model`.
        format: see `model`.
        chunk: steps per call; None for one step without a time axis.
        int8: see `model`.
        sampling_rate: of the steps in Hz, for the metadata.

    Returns:
        An `Artefact`.

    Raises:
        ValueError: as `model` does; for a model that cannot stream, naming the
            layer and why.
        ImportError: if a package is missing, naming it.

    Example:

    >>> inputs = keras.Input((None, 3))
    >>> model = keras.Model(inputs, keras_ssm.layers.S5(8)(inputs))
    >>> artefact = keras_ssm.export.step(model, "step.tflite")  # doctest: +SKIP
    >>> stream = keras_ssm.export.load("step.tflite")  # doctest: +SKIP
    >>> stream.reset(batch_size=1)  # doctest: +SKIP
    >>> stream.step(np.ones((1, 3), "float32")).shape  # doctest: +SKIP
    (1, 3)
    """
    options = {"chunk": chunk, "int8": int8, "sampling_rate": sampling_rate}
    return _export(model, path, format, True, options)


def _export(
    model: Any,
    path: str | os.PathLike,
    name: str | None,
    streams: bool,
    options: Mapping[str, Any],
) -> Artefact:
    path = pathlib.Path(path)
    name = chosen(path, name)
    form = FORMATS[name]
    if options["int8"] and not form.int8:
        able = ", ".join(n for n, f in FORMATS.items() if f.int8)
        raise ValueError(f"int8 is for the formats {able}. Received: format={name!r}")
    _check_rate(options["sampling_rate"])
    _check_replaceable(path, name)
    _check_packages(name)
    # Before anything is written: a model that cannot stream says so under every backend.
    program = stream(model, options["chunk"]) if streams else whole(model, options["length"])
    if keras.backend.backend() not in form.backends:
        return elsewhere.export(model, path, name, streams, options)
    return _written(program, path, name, options)


def _written(
    program: Program, path: pathlib.Path, name: str, options: Mapping[str, Any]
) -> Artefact:
    """Write into a folder beside the file, check, and move what is right."""
    form, int8 = FORMATS[name], bool(options["int8"])
    folder = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.partial"
    folder.mkdir(parents=True)
    try:
        metadata = program.metadata(options["sampling_rate"], form.packages)
        metadata |= {"format": name, "int8": int8}
        new = folder / path.name
        try:
            with restrict(not form.has_fft):
                writer(name, keras.backend.backend())(new, program, metadata, int8)
        except (ImportError, OSError, MemoryError):
            raise
        except Exception as error:  # every converter has its own
            raise ValueError(
                f"{form.title} cannot hold this model under {keras.backend.backend()}: "
                f"{_one_line(error)}"
            ) from error
        try:
            found = verification.error(program, new)
        except Exception as error:  # every runtime has its own
            raise ValueError(
                f"the {form.title} file does not run: {_one_line(error)}. It was not kept"
            ) from error
        if not found <= TOLERANCE[int8]:
            raise ValueError(
                f"the {form.title} file does not give the numbers of the model: expected a "
                f"difference of at most {TOLERANCE[int8]:.0e}, found {found:.1e}. It was not kept"
            )
        size = sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file())
        _move(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Artefact(path, name, size, found, _notes(program, name))


def _notes(program: Program, name: str) -> tuple[str, ...]:
    """What was done differently because the format has no FFT."""
    if FORMATS[name].has_fft or (program.streams and program.chunk is None):
        return ()
    layers = [layer for layer in program.source._flatten_layers() if isinstance(layer, SSM)]
    changed = [y.name for y in layers if y.get_config().get("method", "chunk") != "chunk"]
    if not changed:
        return ()
    return (
        f"{FORMATS[name].title} has no FFT: {', '.join(changed)} computed without one, "
        'as with method="chunk"',
    )


def _move(folder: pathlib.Path, path: pathlib.Path) -> None:
    """Put what a folder holds in the place of `path`; a graph after its weights."""
    if path.is_dir():
        shutil.rmtree(path)
    for entry in sorted(folder.iterdir()):
        os.replace(entry, path.parent / entry.name)


def _check_replaceable(path: pathlib.Path, name: str) -> None:
    """ValueError for what is there and is no earlier export."""
    if name == "saved_model" and path.exists() and not (path / EXTRA).is_file():
        if path.is_dir() and not any(path.iterdir()):
            return
        raise ValueError(
            f"expected a new folder, or one that `keras_ssm.export` wrote. Received: {path}"
        )
    if name != "saved_model" and path.is_dir():
        raise ValueError(f"expected the path of a file. Received: {path}, a folder")


def _check_packages(name: str) -> None:
    """ImportError for a missing converter or runtime, before any work is done."""
    modules = {
        "onnx": ("onnx", "onnxruntime"),
        "litert": ("ai_edge_litert",),
        "openvino": ("onnx", "openvino"),
    }
    for module in modules.get(name, ()):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ImportError(
                f"format={name!r} needs the package {module.replace('_', '-')}: "
                f'`pip install "keras-ssm[export]"` ({error})'
            ) from error


def _check_rate(rate: Any) -> None:
    number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
    if rate is not None and (not number or not 0 < rate < float("inf")):
        raise ValueError(
            f"`sampling_rate` must be a positive number of Hz or None. Received: {rate!r}"
        )


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
