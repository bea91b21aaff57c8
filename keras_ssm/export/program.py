"""What is exported: a function of flat, named tensors, and what a file says about itself."""

import platform
import re
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_ssm._version import __version__
from keras_ssm.arguments import check_size
from keras_ssm.layers.base import SSM
from keras_ssm.models.graph import Kind
from keras_ssm.models.machine import Machine, input_kinds
from keras_ssm.types import Tensor


class Port(NamedTuple):
    """An input or an output.

    Attributes:
        name: by which a caller knows it.
        tensor: its name in the file.
        shape: without the batch; None where the length is free.
        dtype: of its numbers.
    """

    name: str
    tensor: str
    shape: tuple[int | None, ...]
    dtype: str


class State(NamedTuple):
    """A state: the names of its tensors in the file, and its value before the first step."""

    name: str
    input: str
    output: str
    shape: tuple[int, ...]
    dtype: str
    initial: Any


class Program(NamedTuple):
    """A function of the input tensors and then the states that gives outputs and states.

    Attributes:
        source: the Keras model.
        streams: whether a call goes on where the previous one ended.
        chunk: steps per call; None for one step without a time axis.
        pooled: whether what comes out has no time axis, for every output.
    """

    source: Any
    call: Callable[[Sequence[Tensor]], list[Tensor]]
    inputs: list[Port]
    states: list[State]
    outputs: list[Port]
    streams: bool
    chunk: int | None = None
    pooled: tuple[bool, ...] = ()

    @property
    def input_specs(self) -> list[tuple[str, tuple[int | None, ...], str]]:
        """Name, shape behind the batch and dtype of every tensor that goes in."""
        ports = [(p.tensor, p.shape, p.dtype) for p in self.inputs]
        return [*ports, *((s.input, s.shape, s.dtype) for s in self.states)]

    @property
    def output_names(self) -> list[str]:
        """Of every tensor that comes out."""
        return [*(port.tensor for port in self.outputs), *(s.output for s in self.states)]

    def metadata(self, sampling_rate: float | None, packages: Iterable[str]) -> dict[str, Any]:
        """What the file says about itself, for JSON."""
        layers = [layer for layer in self.source._flatten_layers() if isinstance(layer, SSM)]
        return {
            "kind": "step" if self.streams else "sequence",
            "model": self.source.name,
            "chunk": self.chunk,
            "sampling_rate": sampling_rate,
            "rates": {layer.path: layer.rate for layer in layers},
            "inputs": [port._asdict() for port in self.inputs],
            "outputs": [port._asdict() for port in self.outputs],
            "pooled": list(self.pooled),
            "states": [state._asdict() for state in self.states],
            "versions": versions(packages),
        }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """What an artefact was made with."""
    found = {"keras_ssm": __version__, "python": platform.python_version()}
    for name in ("keras", "numpy", keras.backend.backend(), *packages):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def whole(model: Any, length: int | None = None) -> Program:
    """A model of whole sequences."""
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            "`model` must be a functional Keras model or a Sequential model that is built; "
            f"`model.export` of Keras takes the others. Received: model={model!r}"
        )
    kinds = input_kinds(model)
    inputs = []
    for x, kind in zip(model.inputs, kinds, strict=True):
        shape = tuple(x.shape[1:])
        if kind is Kind.SEQUENCE and length is not None:
            check_size("length", length)
            if shape[0] not in (None, length):
                raise ValueError(
                    f"the model takes sequences of {shape[0]} steps. Received: length={length}"
                )
            shape = (length, *shape[1:])
        name = "x" if len(kinds) == 1 else x.name
        inputs.append(Port(name, _tensor(name), shape, x.dtype))
    names = ["y"] if len(model.outputs) == 1 else list(model.output_names)
    taken = [port.tensor for port in inputs]
    tensors = _unique([*taken, *map(_tensor, names)])[len(taken) :]
    outputs = [
        Port(name, tensor, tuple(y.shape[1:]), y.dtype)
        for name, tensor, y in zip(names, tensors, model.outputs, strict=True)
    ]
    structure = model.input

    def call(tensors: Sequence[Tensor]) -> list[Tensor]:
        given = keras.tree.pack_sequence_as(structure, list(tensors))
        if isinstance(given, (list, tuple)) and len(given) == 1:
            (given,) = given
        return keras.tree.flatten(model(given, training=False))

    return Program(model, call, inputs, [], outputs, streams=False)


def stream(model: Any, chunk: int | None = None) -> Program:
    """One step of a causal model or, with `chunk`, that many steps."""
    if chunk is not None:
        check_size("chunk", chunk)
    machine = Machine(model)
    graph = machine.graph
    single = chunk is None
    # Discretized here once, and constants in the file: a tensor would be one more input of a graph.
    systems = keras.tree.map_structure(
        lambda x: ops.convert_to_numpy(x) if ops.is_tensor(x) else x,
        [place.part.prepare() for place in machine.places],
    )

    def shape(x: Any, kind: Kind) -> tuple[int | None, ...]:
        if kind is not Kind.SEQUENCE:
            return tuple(x.shape[1:])
        return tuple(x.shape[2:]) if single else (chunk, *x.shape[2:])

    inputs = []
    for x, kind in zip(graph.function.inputs, graph.input_kinds, strict=True):
        name = "x" if len(graph.input_kinds) == 1 else x.name
        inputs.append(Port(name, _tensor(name), shape(x, kind), x.dtype))
    count = len(graph.output_kinds)
    names = ["y"] if count == 1 else [f"y_{k}" for k in range(count)]
    outputs = [
        Port(name, name, shape(y, kind), y.dtype)
        for name, y, kind in zip(names, graph.function.outputs, graph.output_kinds, strict=True)
    ]
    states = []
    zero = machine.initial_states(1)
    tensors = _unique([_tensor(name) for name in machine.state_names])
    for name, tensor, spec, value in zip(
        machine.state_names, tensors, machine.state_specs, zero, strict=True
    ):
        states.append(State(name, tensor, f"next_{tensor}", *spec, _initial(value)))

    def call(tensors: Sequence[Tensor]) -> list[Tensor]:
        x, before = list(tensors[: len(inputs)]), list(tensors[len(inputs) :])
        prepared = keras.tree.map_structure(_constant, systems) if single else None
        y, after = machine.run(x, before, prepared, {}, single)
        return [*y, *after]

    pooled = tuple(kind is not Kind.SEQUENCE for kind in graph.output_kinds)
    return Program(model, call, inputs, states, outputs, True, chunk, pooled)


def _constant(x: Any) -> Any:
    return ops.convert_to_tensor(x) if isinstance(x, np.ndarray) else x


def _initial(value: Tensor) -> Any:
    """The value of a state before the first step, as one number where it is one, for JSON."""
    array = np.asarray(ops.convert_to_numpy(value), "float64")[0]
    if array.size and np.all(array == array.flat[0]):
        array = array.flat[0]
    # JSON knows no infinity; both Python and JavaScript read this.
    texts = {np.inf: "Infinity", -np.inf: "-Infinity"}
    return texts.get(float(array), float(array)) if np.ndim(array) == 0 else array.tolist()


def _tensor(name: str) -> str:
    """A name that every format takes."""
    return re.sub(r"\W", "_", name)


def _unique(names: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        count, unique = 1, name
        while unique in found:
            count, unique = count + 1, f"{name}_{count}"
        found.append(unique)
    return found
