"""Runs a file that `keras_ssm.export` wrote, with NumPy and the file's own runtime alone.

Neither Keras nor the framework that trained the model is imported. This file
needs nothing else of the package: on a small device, copy it.

| suffix | runtime |
|---|---|
| `.onnx` | onnxruntime |
| `.tflite` | ai-edge-litert |
| `.xml` (and `.bin`) | openvino |
| `.pt2` | torch |
| a folder, SavedModel | tensorflow |
"""

import hashlib
import importlib
import io
import json
import os
import pathlib
import warnings
import xml.etree.ElementTree
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

# Name of the metadata in the file.
METADATA = "keras_ssm"
# Where a SavedModel keeps them.
EXTRA = pathlib.Path("assets.extra") / f"{METADATA}.json"
PACKAGES = {
    "onnx": "onnxruntime",
    "litert": "ai-edge-litert",
    "openvino": "openvino",
    "torch": "torch",
    "saved_model": "tensorflow",
}
SUFFIXES = {".onnx": "onnx", ".tflite": "litert", ".xml": "openvino", ".pt2": "torch"}

__all__ = ["Sequence", "Stream", "load"]


def load(path: str | os.PathLike) -> Any:
    """Open a file that `keras_ssm.export` wrote.

    Args:
        path: path of the `.onnx`, `.tflite`, `.xml` or `.pt2` file, or of the folder
            of a SavedModel.

    Returns:
        A `Stream` for a file that `export.step` wrote, a `Sequence` for one that
        `export.model` wrote.

    Raises:
        ValueError: for a file that is not whole, or that `keras_ssm.export` did
            not write.
        ImportError: if its runtime is not installed.

    Example:

    >>> inputs = keras.Input((None, 3))
    >>> model = keras.Model(inputs, keras_ssm.layers.S5(8)(inputs))
    >>> keras_ssm.export.step(model, "step.onnx")  # doctest: +SKIP
    >>> stream = keras_ssm.export.load("step.onnx")  # doctest: +SKIP
    >>> stream.reset(batch_size=2)  # doctest: +SKIP
    >>> stream.step(np.ones((2, 3), "float32")).shape  # doctest: +SKIP
    (2, 3)
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise ValueError(f"expected a file that `keras_ssm.export` wrote. Received: {path}: absent")
    name = "saved_model" if path.is_dir() else SUFFIXES.get(path.suffix)
    if name is None:
        raise ValueError(
            f"expected a folder or a file with a suffix of {', '.join(SUFFIXES)}. Received: {path}"
        )
    try:
        runtime = _RUNTIMES[name](path)
        metadata = json.loads(runtime.metadata)
        kind = metadata["kind"]
    except ImportError as error:
        raise ImportError(
            f"{path} runs in {PACKAGES[name]}, which is not installed: "
            f"`pip install {PACKAGES[name]}` ({error})"
        ) from error
    except Exception as error:  # every runtime has its own
        raise ValueError(
            f"{path} is cut short, or not a file that `keras_ssm.export` wrote: export the model "
            f"again ({_one_line(error)})"
        ) from error
    return {"step": Stream, "sequence": Sequence}[kind](runtime, metadata)


class Sequence:
    """An exported model for whole sequences, in its runtime.

    Attributes:
        metadata: what the file says about itself, a dict: inputs, outputs, versions.

    Example:

    >>> model = keras_ssm.models.classifier(10, (50, 1), layer="s5", depth=1, width=8)
    >>> keras_ssm.export.model(model, "whole.onnx")  # doctest: +SKIP
    >>> whole = keras_ssm.export.load("whole.onnx")  # doctest: +SKIP
    >>> whole(np.ones((2, 50, 1), "float32")).shape  # doctest: +SKIP
    (2, 10)
    """

    def __init__(self, runtime: Any, metadata: dict[str, Any]) -> None:
        self._runtime = runtime
        self.metadata = metadata

    def __call__(self, x: Any) -> Any:
        """Compute the model's outputs for a batch of sequences.

        Args:
            x: array (batch, length, features), or (batch, length) of tokens; for
                a model with several inputs, a list or a dict by name.

        Returns:
            An array, or a list of them for a model with several outputs.

        Raises:
            ValueError: for a wrong shape.
        """
        tensors = _inputs(x, self.metadata["inputs"], None)
        return _outputs(self._runtime.run(tensors), self.metadata["outputs"])


class Stream:
    """An exported model that takes one step, or one chunk of steps, at a time.

    Attributes:
        metadata: what the file says about itself, a dict: inputs, outputs, states,
            `chunk` (steps in a call, None for one step without a time axis),
            `sampling_rate`, versions.

    Example:

    >>> inputs = keras.Input((None, 3))
    >>> model = keras.Model(inputs, keras_ssm.layers.S5(8)(inputs))
    >>> keras_ssm.export.step(model, "step.onnx")  # doctest: +SKIP
    >>> stream = keras_ssm.export.load("step.onnx")  # doctest: +SKIP
    >>> stream.reset(batch_size=2)  # doctest: +SKIP
    >>> {name: state.shape for name, state in stream.states.items()}  # doctest: +SKIP
    {'s5_state': (2, 8)}
    """

    def __init__(self, runtime: Any, metadata: dict[str, Any]) -> None:
        self._runtime = runtime
        self.metadata = metadata
        self._states: dict[str, np.ndarray] | None = None
        self._batch: int | None = None

    def reset(self, batch_size: int = 1) -> None:
        """Start `batch_size` new sequences."""
        whole = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
        if not whole or batch_size <= 0:
            raise ValueError(
                f"`batch_size` must be a positive integer. Received: batch_size={batch_size!r}"
            )
        self._batch = int(batch_size)
        self._states = {
            state["name"]: np.broadcast_to(
                np.asarray(state["initial"], "float64"), (self._batch, *state["shape"])
            ).astype(state["dtype"])
            for state in self.metadata["states"]
        }

    @property
    def states(self) -> dict[str, np.ndarray]:
        """The states by name, arrays (batch, ...) to read, to save and to set."""
        return {name: state.copy() for name, state in self._started().items()}

    @states.setter
    def states(self, states: Mapping[str, Any]) -> None:
        expected = {state["name"]: state for state in self.metadata["states"]}
        if not isinstance(states, Mapping) or set(states) != set(expected):
            received = sorted(states) if isinstance(states, Mapping) else type(states).__name__
            raise ValueError(
                f"`states` must be a dict with the keys {sorted(expected)}. Received: {received}"
            )
        checked = {}
        for name, state in expected.items():
            value, shape = np.asarray(states[name]), tuple(state["shape"])
            same_kind = ("float" in str(value.dtype)) == ("float" in state["dtype"])
            if value.ndim != 1 + len(shape) or value.shape[1:] != shape or not same_kind:
                raise ValueError(
                    f"State {name!r} must have shape (batch, {', '.join(map(str, shape))}) and "
                    f"dtype {state['dtype']}. Received: shape {value.shape}, dtype {value.dtype}"
                )
            checked[name] = value.astype(state["dtype"])
        sizes = {len(value) for value in checked.values()}
        if len(sizes) > 1:
            raise ValueError(
                f"All states must be of one number of sequences. Received: {sorted(sizes)}"
            )
        self._states, self._batch = checked, sizes.pop() if sizes else self._batch

    def step(self, x: Any) -> Any:
        """Take one step, or one chunk of steps, and return the model's outputs.

        Args:
            x: array (batch, features), or (batch,) of tokens; with a time axis
                of `metadata["chunk"]` steps after the batch axis where that is
                a number. For a model with several inputs, a list or a dict by name.

        Returns:
            An array, or a list of them: the outputs at these steps or, for a
            model that pools over time, those of the pooled sequence so far.

        Raises:
            ValueError: before the first `reset`, or for a wrong shape.
        """
        states = self._started()
        tensors = _inputs(x, self.metadata["inputs"], self._batch)
        for state in self.metadata["states"]:
            tensors[state["input"]] = states[state["name"]]
        results = self._runtime.run(tensors)
        for state in self.metadata["states"]:
            value = np.array(results[state["output"]])
            states[state["name"]] = value.reshape(self._batch, *state["shape"])
        return _outputs(results, self.metadata["outputs"])

    def _started(self) -> dict[str, np.ndarray]:
        if self._states is None:
            raise ValueError(
                "`reset(batch_size)` must be called before the first step, or `states` be set"
            )
        return self._states


def _inputs(x: Any, expected: list[dict[str, Any]], batch: int | None) -> dict[str, np.ndarray]:
    """Inputs by the names of their tensors, in the right dtypes."""
    names = [entry["name"] for entry in expected]
    if isinstance(x, Mapping):
        if set(x) != set(names):
            raise ValueError(f"expected a dict with the keys {names}. Received: {sorted(x)}")
        x = [x[name] for name in names]
    elif len(expected) == 1:
        x = x if isinstance(x, (list, tuple)) and len(x) == 1 and np.ndim(x[0]) > 1 else [x]
    if not isinstance(x, (list, tuple)) or len(x) != len(expected):
        raise ValueError(f"the model has {len(expected)} inputs, {names}. Received: x={x!r:.80}")
    tensors = {}
    for value, entry in zip(x, expected, strict=True):
        try:
            value = np.asarray(value, entry["dtype"])
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"expected numbers of dtype {entry['dtype']}. Received: {value!r:.80}"
            ) from error
        wanted = [batch, *entry["shape"]]
        fits = value.ndim == len(wanted) and all(
            b is None or a == b for a, b in zip(value.shape, wanted, strict=True)
        )
        if not fits or 0 in value.shape:
            sizes = ", ".join("any" if size is None else str(size) for size in wanted)
            raise ValueError(
                f"Input {entry['name']!r} must have shape ({sizes}). Received: {value.shape}"
            )
        tensors[entry["tensor"]] = np.ascontiguousarray(value)
    return tensors


def _outputs(results: Mapping[str, Any], expected: list[dict[str, Any]]) -> Any:
    found = [np.array(results[entry["tensor"]]) for entry in expected]
    return found[0] if len(found) == 1 else found


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


class _Onnx:
    def __init__(self, path: pathlib.Path) -> None:
        runtime = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        # A step is too small to be split: threads that wait for each other take longer.
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        # Matrices of 8 bits become floats once, when the file is read, not in every call.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = runtime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.metadata = self._session.get_modelmeta().custom_metadata_map[METADATA]
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self._names, self._session.run(None, tensors), strict=True))


class _Litert:
    def __init__(self, path: pathlib.Path) -> None:
        interpreter = importlib.import_module("ai_edge_litert.interpreter")
        content = path.read_bytes()
        # The metadata are a zip archive after the model, like associated files of TensorFlow Lite.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            self.metadata = archive.read(f"{METADATA}.json").decode()
        self._interpreter = interpreter.Interpreter(model_content=content, num_threads=1)
        (name,) = self._interpreter.get_signature_list()
        signature = self._interpreter.get_signature_runner(name)
        self._inputs = _indices(signature.get_input_details())
        self._outputs = _indices(signature.get_output_details())
        self._shapes: dict[str, tuple[int, ...]] = {}

    def run(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        shapes = {name: value.shape for name, value in tensors.items()}
        if shapes != self._shapes:
            for name, shape in shapes.items():
                self._interpreter.resize_tensor_input(self._inputs[name], shape)
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for name, value in tensors.items():
            self._interpreter.set_tensor(self._inputs[name], value)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(k) for name, k in self._outputs.items()}


def _indices(details: dict[str, Any]) -> dict[str, int]:
    return {name: entry["index"] for name, entry in details.items()}


class _OpenVINO:
    def __init__(self, path: pathlib.Path) -> None:
        openvino = importlib.import_module("openvino")
        info = xml.etree.ElementTree.parse(path).getroot().find(f"rt_info/{METADATA}")
        if info is None:
            raise ValueError("it has no metadata")
        self.metadata = info.attrib["value"]
        weights = path.with_suffix(".bin").read_bytes()
        if hashlib.sha256(weights).hexdigest() != json.loads(self.metadata)["weights"]:
            raise ValueError(f"{path.with_suffix('.bin').name} is of another model")
        # Processors with units for bfloat16 would round to it.
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        core = openvino.Core()
        self._model = core.compile_model(core.read_model(path), "CPU", options)
        self._request = self._model.create_infer_request()
        self._names = [sorted(output.get_names()) for output in self._model.outputs]

    def run(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._request.infer(tensors)
        outputs = (self._request.get_output_tensor(k).data for k in range(len(self._names)))
        return {
            name: value for names, value in zip(self._names, outputs, strict=True) for name in names
        }


class _Torch:
    def __init__(self, path: pathlib.Path) -> None:
        self._torch = importlib.import_module("torch")
        extra = {f"{METADATA}.json": ""}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = self._torch.export.load(path, extra_files=extra)
        self.metadata = extra[f"{METADATA}.json"]
        self._module = program.module()
        content = json.loads(self.metadata)
        entries = [*content["inputs"], *content.get("states", ())]
        self._inputs = [entry.get("tensor", entry.get("input")) for entry in entries]
        entries = [*content["outputs"], *content.get("states", ())]
        self._outputs = [entry.get("tensor", entry.get("output")) for entry in entries]

    def run(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        inputs = (self._torch.from_numpy(tensors[name]) for name in self._inputs)
        with self._torch.no_grad():
            results = self._module(*inputs)
        return {k: v.numpy() for k, v in zip(self._outputs, results, strict=True)}


class _SavedModel:
    def __init__(self, path: pathlib.Path) -> None:
        self.metadata = (path / EXTRA).read_text("utf-8")
        self._tensorflow = importlib.import_module("tensorflow")
        self._model = self._tensorflow.saved_model.load(str(path))
        self._serve = self._model.signatures["serving_default"]

    def run(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        constants = {k: self._tensorflow.constant(v) for k, v in tensors.items()}
        return {k: v.numpy() for k, v in self._serve(**constants).items()}


_RUNTIMES: dict[str, Any] = {
    "onnx": _Onnx,
    "litert": _Litert,
    "openvino": _OpenVINO,
    "torch": _Torch,
    "saved_model": _SavedModel,
}
