"""What a machine runs: the graph, its states by name, checks of input, systems made once."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ssm.models.graph import Graph, Kind, Run, is_functional
from keras_ssm.models.stepping import StateSpace
from keras_ssm.types import Tensor


class Machine:
    """The graph of a model, the names of its states, and checks of what comes in."""

    def __init__(self, model: Any) -> None:
        if not is_functional(model):
            raise ValueError(
                "`model` must be a functional Keras model or a Sequential model that is built (an "
                f"`Input`, `build` or a first call does so). Received: model={model!r}"
            )
        self.source = model
        self.graph = Graph(getattr(model, "_functional", model), input_kinds(model))
        # The structure of the model's output.
        self.outputs = getattr(model, "_functional", model).output
        if isinstance(self.outputs, (list, tuple)) and len(self.outputs) == 1:
            (self.outputs,) = self.outputs
        self.places = self.graph.places
        self._structures = [place.part.initial_state(1) for place in self.places]
        self.state_names: list[str] = []
        # (shape without the batch, dtype) of every state.
        self.state_specs: list[tuple[tuple[int, ...], str]] = []
        for place, structure in zip(self.places, self._structures, strict=True):
            self._add_states(place.name, keras.tree.flatten(structure))

    def _add_states(self, name: str, states: list[Tensor]) -> None:
        for index, state in enumerate(states):
            full = f"{name}_state" if len(states) == 1 else f"{name}_state_{index}"
            unique, count = full, 1
            while unique in self.state_names:
                unique, count = f"{full}_call_{count + 1}", count + 1
            self.state_names.append(unique)
            dtype = keras.backend.standardize_dtype(state.dtype)
            self.state_specs.append((tuple(state.shape[1:]), dtype))

    def initial_states(self, batch_size: Any) -> list[Tensor]:
        """The flat states before any step."""
        return keras.tree.flatten([p.part.initial_state(batch_size) for p in self.places])

    def run(
        self,
        inputs: Sequence[Tensor],
        states: Sequence[Tensor],
        prepared: Any,
        options: dict[str, Any],
        single: bool,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Outputs and next states of a chunk, or of a single step without a time axis."""
        packed = keras.tree.pack_sequence_as(self._structures, list(states))
        if single:
            inputs = [
                x[:, None] if kind is Kind.SEQUENCE else x
                for x, kind in zip(inputs, self.graph.input_kinds, strict=True)
            ]
        run = Run(packed, prepared, single, options)
        outputs = self.graph(run, inputs)
        if single:
            outputs = [
                y[:, 0] if kind is Kind.SEQUENCE else y
                for y, kind in zip(outputs, self.graph.output_kinds, strict=True)
            ]
        return outputs, keras.tree.flatten(run.next_states)

    def checked_inputs(self, x: Any, single: bool, batch: int | None) -> list[Tensor]:
        """The inputs of a run as tensors of the model's dtypes."""
        expected = self.graph.function.inputs
        given = self._by_structure(x) if len(expected) > 1 else [x]
        tensors = []
        for value, like, kind in zip(given, expected, self.graph.input_kinds, strict=True):
            tensor = _as_tensor(value, like.dtype)
            self._check_shape(tuple(tensor.shape), like, kind, single, batch)
            tensors.append(tensor)
        lengths = {
            t.shape[1]
            for t, kind in zip(tensors, self.graph.input_kinds, strict=True)
            if kind is Kind.SEQUENCE and not single
        }
        if len(lengths) > 1:
            raise ValueError(
                f"All sequences of a chunk must have one length. Received: {sorted(lengths)}"
            )
        return tensors

    def _by_structure(self, x: Any) -> list[Any]:
        structure = self.graph.function.input
        if isinstance(x, Mapping) and not isinstance(structure, Mapping):
            names = [t.name for t in self.graph.function.inputs]
            if set(x) == set(names):
                return [x[name] for name in names]
        flat = list(x) if isinstance(x, (list, tuple)) else None
        if isinstance(structure, Mapping) and isinstance(x, Mapping) and set(x) == set(structure):
            flat = [x[name] for name in sorted(structure)]
        if flat is None or len(flat) != len(self.graph.function.inputs):
            raise ValueError(
                f"The model has {len(self.graph.function.inputs)} inputs, "
                f"{[t.name for t in self.graph.function.inputs]}. Received: {type(x).__name__} "
                f"of {len(x) if hasattr(x, '__len__') else 1}"
            )
        return flat

    def _check_shape(
        self, shape: tuple[Any, ...], like: Any, kind: Kind, single: bool, batch: int | None
    ) -> None:
        if kind is not Kind.SEQUENCE:
            rest, words = tuple(like.shape[1:]), "batch"
        elif single:
            rest, words = tuple(like.shape[2:]), "batch"
        else:
            rest, words = tuple(like.shape[2:]), "batch, length"
        axes = 1 + words.count(",")
        fits = len(shape) == len(rest) + axes and all(
            b is None or a == b for a, b in zip(shape[axes:], rest, strict=True)
        )
        if not fits or (axes == 2 and shape[1] == 0):
            what = "A step" if single else "A chunk of at least one step"
            sizes = ", ".join((words, *map(str, rest)))
            sizes = f"({sizes},)" if sizes == "batch" else f"({sizes})"
            raise ValueError(f"{what} must have shape {sizes}. Received: x of shape {shape}")
        if batch is not None and shape[0] != batch:
            raise ValueError(
                f"The machine was reset for {batch} sequences. Received: x of shape {shape}"
            )

    def checked_options(
        self, time_steps: Any, rate: Any, resets: Any, inputs: list[Tensor], single: bool
    ) -> dict[str, Tensor]:
        """`time_steps`, `rate` and `resets` as a run takes them."""
        options: dict[str, Any] = {}
        index = self.graph.input_kinds.index(Kind.SEQUENCE)
        expected = tuple(inputs[index].shape[: 1 if single else 2])
        if time_steps is not None:
            values = ops.convert_to_numpy(time_steps)
            if values.shape != expected or not np.all(np.asarray(values, "float64") > 0):
                raise ValueError(
                    f"`time_steps` must be positive, of shape {expected}. Received: time_steps "
                    f"of shape {values.shape} with minimum {values.min() if values.size else None}"
                )
            values = values[:, None] if single else values
            options["time_steps"] = ops.convert_to_tensor(values)
        if rate is not None:
            if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not rate > 0:
                raise ValueError(f"`rate` must be a positive number. Received: rate={rate!r}")
            options["rate"] = ops.convert_to_tensor(float(rate))
        if resets is not None:
            options["resets"] = ops.convert_to_tensor(self._checked_resets(resets, expected))
        for place in self.places if options else []:
            twice = sorted(place.part.given & set(options))
            if twice:
                raise ValueError(
                    f"The model itself gives {place.name!r} its `{twice[0]}`. "
                    f"Received: {twice[0]}={options[twice[0]]!r}"
                )
        if options and not any(place.part.options for place in self.places):
            raise ValueError(
                "`time_steps`, `rate` and `resets` are for state space layers, and the model has "
                f"none. Received: {', '.join(options)}"
            )
        return options

    def _checked_resets(self, resets: Any, expected: tuple[int, ...]) -> np.ndarray:
        values = ops.convert_to_numpy(resets)
        if values.shape != expected or values.dtype != bool:
            raise ValueError(
                f"`resets` must be booleans of shape {expected}. Received: resets of shape "
                f"{values.shape} and dtype {values.dtype}"
            )
        others = [place.name for place in self.places if "resets" not in place.part.options]
        if others:
            raise ValueError(
                "`resets` reach the states of state space layers alone, and the model keeps others "
                f"too: start sequences anew between two calls, by `reset(rows=...)`. "
                f"Received: resets for a model with {others}"
            )
        return values

    def checked_states(
        self, states: Mapping[str, Any], batch: int | None
    ) -> tuple[list[Tensor], int | None]:
        """States by name as a flat list of tensors, and the number of sequences."""
        if not isinstance(states, Mapping) or set(states) != set(self.state_names):
            received = sorted(states) if isinstance(states, Mapping) else type(states).__name__
            raise ValueError(
                f"`states` must be a dict with the keys {self.state_names}. Received: {received}"
            )
        checked = []
        sizes = set()
        for name, (shape, dtype) in zip(self.state_names, self.state_specs, strict=True):
            value = ops.convert_to_numpy(states[name])
            same_kind = ("float" in str(value.dtype)) == ("float" in dtype)
            if value.shape[1:] != shape or not value.ndim or not same_kind:
                raise ValueError(
                    f"State {name!r} must have shape (batch, {', '.join(map(str, shape))}) and "
                    f"dtype {dtype}. Received: shape {value.shape}, dtype {value.dtype}"
                )
            sizes.add(value.shape[0])
            checked.append(ops.convert_to_tensor(value, dtype=dtype))
        if len(sizes) > 1:
            raise ValueError(
                f"All states must be of one number of sequences. Received: {sorted(sizes)}"
            )
        return checked, sizes.pop() if sizes else batch


def _as_tensor(value: Any, dtype: str) -> Tensor:
    """An input as a tensor, or ValueError."""
    try:
        known = isinstance(value, np.ndarray)  # TensorFlow is slow to say what is not a tensor.
        if (known or not ops.is_tensor(value)) and dtype != "bfloat16":
            # JAX takes twice as long where it is told a dtype.
            return ops.convert_to_tensor(np.asarray(value, dtype))
        return ops.convert_to_tensor(value, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected numbers of dtype {dtype}. Received: x={value!r}") from error


def input_kinds(model: Any) -> list[Kind]:
    """Which inputs of a functional model are sequences.

    Those of unknown length; if there are none, those as long as the first of
    them that can be one.
    """
    inputs = getattr(model, "_functional", model).inputs
    lengths = [x.shape[1] for x in inputs if len(x.shape) > 1]
    if not lengths:
        raise ValueError(
            "`model` must take sequences (batch, length, ...). "
            f"Received: inputs of shapes {[tuple(x.shape) for x in inputs]}"
        )
    longer = [x.shape[1] for x in inputs if len(x.shape) > 2 and x.shape[1] != 1]
    length = None if None in lengths else (longer or lengths)[0]
    return [
        Kind.SEQUENCE if len(x.shape) > 1 and x.shape[1] == length else Kind.CONSTANT
        for x in inputs
    ]


class Runner:
    """A machine as `backend.compiled` takes a model.

    It takes inputs and states as one flat list, which TensorFlow hands over
    fastest, and after them, where there are any, prepared systems and options.
    """

    @staticmethod
    def arguments(
        inputs: list[Tensor], states: list[Tensor], prepared: Any, options: dict[str, Any]
    ) -> list[Any]:
        """The argument of a call."""
        extra = [(prepared, options)] if prepared is not None or options else []
        return [*inputs, *states, *extra]

    def __init__(self, machine: Machine, single: bool) -> None:
        self.machine = machine
        self.single = single
        self.trainable_variables = list(machine.source.trainable_variables)
        self.non_trainable_variables = list(machine.source.non_trainable_variables)

    def __call__(self, inputs: Any, training: bool = False) -> Any:
        count = len(self.machine.graph.input_kinds)
        end = count + len(self.machine.state_names)
        prepared, options = inputs[end] if len(inputs) > end else (None, {})
        return self.machine.run(inputs[:count], inputs[count:end], prepared, options, self.single)

    def stateless_call(
        self, trainable: list[Any], fixed: list[Any], inputs: Any, training: bool = False
    ) -> tuple[Any, None]:
        """The run with the values of the variables given."""
        variables = [*self.trainable_variables, *self.non_trainable_variables]
        values = zip(variables, [*trainable, *fixed], strict=True)
        with keras.StatelessScope(state_mapping=list(values)):
            return self(inputs), None


class Prepared:
    """The discretized systems of a machine's state space layers, made anew when weights change."""

    def __init__(self, machine: Machine) -> None:
        self.parts = [place.part for place in machine.places]
        self.variables = [
            v for p in self.parts if isinstance(p, StateSpace) for v in p.ssm.variables
        ]
        self._seen: list[Any] = []
        self._systems: list[Any] | None = None

    def __call__(self) -> list[Any] | None:
        """What `Stateful.prepare` gives for every place; None where changes cannot be seen."""
        if any(hasattr(v._value, "assign") for v in self.variables):
            return None
        seen = self._versions()
        if self._systems is None or not self._same(seen):
            self._systems = [part.prepare() for part in self.parts]
            self._seen = seen
        return self._systems

    def _versions(self) -> list[Any]:
        """The arrays of the weights; and, where an array changes in place, how often it did."""
        return [(v._value, getattr(v._value, "_version", 0)) for v in self.variables]

    def _same(self, seen: list[Any]) -> bool:
        pairs = zip(seen, self._seen, strict=True)
        return all(a is b and n == m for (a, n), (b, m) in pairs)
