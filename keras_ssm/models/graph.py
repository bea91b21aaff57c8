"""The graph of a functional model, which runs it in chunks of time, down to single steps."""

import enum
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_ssm.models import positionwise
from keras_ssm.models.positionwise import along
from keras_ssm.models.stepping import Stateful, rule_of, stateful
from keras_ssm.types import Tensor


class Kind(enum.Enum):
    """What a tensor of the graph is in time."""

    SEQUENCE = "has time as its axis 1"
    SUMMARY = "was made of the sequence so far, as by a pooling"
    CONSTANT = "does not depend on the sequence"


class Place(NamedTuple):
    """A part of the graph with a state: its name, and how it runs."""

    name: str
    part: Stateful


class Run:
    """One run of a graph: the states that go in and come out, in the graph's order.

    Args:
        states: of every place.
        prepared: what `Stateful.prepare` gave for every place, or None.
        single: whether the chunk is one step.
        options: `time_steps` (batch, length) and `rate` for state space layers.
    """

    def __init__(
        self,
        states: Sequence[Any],
        prepared: Sequence[Any] | None,
        single: bool,
        options: dict[str, Any],
    ) -> None:
        self.states = states
        self.prepared = [None] * len(states) if prepared is None else prepared
        self.single = single
        self.options = options
        self.next_states: list[Any] = []


Apply = Callable[[Run, dict[int, Any]], Any]


class Graph:
    """The nodes of a functional model, each with how it runs.

    Args:
        function: a functional model, or a `keras.Function`.
        kinds: of its inputs.
        path: what comes before the names of its layers.

    Raises:
        ValueError: naming the layer or operation that cannot stream, and why.
    """

    def __init__(self, function: Any, kinds: Sequence[Kind], path: str = "") -> None:
        self.function = function
        self.input_kinds = list(kinds)
        self.places: list[Place] = []
        self._kinds = dict(zip(map(id, function.inputs), kinds, strict=True))
        self._applied: list[tuple[Any, Apply]] = []
        for depth in sorted(function._nodes_by_depth, reverse=True):
            for node in function._nodes_by_depth[depth]:
                if node.operation is not None and not node.is_input:
                    self._add(node, path)
        self.output_kinds = [self._kinds[id(x)] for x in function.outputs]

    def __call__(self, run: Run, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Outputs for inputs that have, where they are sequences, a time axis."""
        values = {id(x): value for x, value in zip(self.function.inputs, inputs, strict=True)}
        for node, apply in self._applied:
            outputs = keras.tree.flatten(apply(run, values))
            values.update(zip(map(id, node.outputs), outputs, strict=True))
        return [values[id(x)] for x in self.function.outputs]

    def _add(self, node: Any, path: str) -> None:
        """Find out how a node runs, and of what kind its outputs are."""
        operation = node.operation
        kinds = [self._kinds[id(x)] for x in node.input_tensors]
        sequences = {
            id(x) for x in node.input_tensors if self._kinds[id(x)] is Kind.SEQUENCE
        }  # fmt: skip
        outputs = Kind.SUMMARY if Kind.SUMMARY in kinds else Kind.CONSTANT
        if not sequences:
            apply, output_kinds = _as_it_is(node), [outputs] * len(node.outputs)
        elif Kind.SUMMARY in kinds:
            raise refusal(
                operation,
                "it joins single steps with what is known only at the end of the sequence",
            )
        else:
            apply, output_kinds = self._over_time(node, sequences, path)
        self._applied.append((node, apply))
        self._kinds.update(zip(map(id, node.outputs), output_kinds, strict=True))

    def _over_time(self, node: Any, sequences: set[int], path: str) -> tuple[Apply, list[Kind]]:
        operation, count = node.operation, len(node.outputs)
        if is_functional(operation) or _is_lambda(operation):
            return self._nested(node, path)
        part = stateful(operation, node)
        if part is not None:
            self.places.append(Place(path + operation.name, part))
            kinds = [Kind.SUMMARY if part.pools else Kind.SEQUENCE]
            return _stateful(node, part, sequences), kinds + [Kind.SUMMARY] * (count - 1)
        if positionwise.takes_last_step(operation, node):
            return _as_it_is(node), [Kind.SUMMARY]
        reason = self._reason(node, sequences)
        if reason is not None:
            raise refusal(operation, reason)
        keeps_shape = type(operation).__name__ == "Reshape"
        return (_reshaped if keeps_shape else _as_it_is)(node), [Kind.SEQUENCE] * count

    def _reason(self, node: Any, sequences: set[int]) -> str | None:
        """Why an operation without a state does not treat every step by itself, or None."""
        operation = node.operation
        if rule_of(operation) is not None:
            return None
        if not isinstance(operation, keras.layers.Layer):
            return positionwise.operation_reason(operation, node, sequences)
        if isinstance(operation, keras.Model):
            return "it is a subclass of Model, whose `call` is code and not a graph"
        reason = positionwise.layer_reason(operation, node, sequences)
        return reason or _activation_reason(operation, node.outputs[0])

    def _nested(self, node: Any, path: str) -> tuple[Apply, list[Kind]]:
        """A model within the model, or the function of a Lambda layer."""
        operation = node.operation
        tensors = keras.tree.flatten(node.arguments.args)
        kinds = [self._kinds.get(id(x), Kind.CONSTANT) for x in tensors]
        function = getattr(operation, "_functional", operation)
        if _is_lambda(operation):
            try:
                function = traced(operation.call, tensors)
            except Exception as error:
                raise refusal(operation, f"its function cannot be traced: {error}") from error
        inner = Graph(function, kinds, f"{path}{operation.name}_")
        start = len(self.places)
        self.places += inner.places
        end = len(self.places)

        def apply(run: Run, values: dict[int, Any]) -> Any:
            inputs = [values[id(x)] for x in tensors]
            states, prepared = run.states[start:end], run.prepared[start:end]
            part = Run(states, prepared, run.single, run.options)
            outputs = inner(part, inputs)
            run.next_states += part.next_states
            return outputs

        return apply, inner.output_kinds


def refusal(operation: Any, reason: str) -> ValueError:
    """The error for what cannot stream."""
    what = "Layer" if isinstance(operation, keras.layers.Layer) else "Operation"
    return ValueError(
        f"{what} {operation.name!r} ({type(operation).__name__}) cannot stream: {reason}"
    )


def is_functional(model: Any) -> bool:
    """Whether a model is a graph of layers, and called as one."""
    if not isinstance(model, (keras.Sequential, keras.Function)):
        return False
    # A subclass with a `call` of its own is code.
    classes = {c.__name__: c for c in type(model).__mro__ if c.__module__.startswith("keras.src.")}
    own: Any = classes.get("Sequential", classes.get("Functional", keras.Function))
    if getattr(type(model), "call", None) is not own.call:
        return False
    return getattr(model, "_functional", model) is not None


def traced(call: Callable[..., Any], inputs: Sequence[Any]) -> Any:
    """A function of tensors as a graph."""
    new = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in inputs]
    return keras.Function(new, call(new[0] if len(new) == 1 else new))


def _is_lambda(operation: Any) -> bool:
    return type(operation) is keras.layers.Lambda


def _activation_reason(layer: Any, output: Any) -> str | None:
    """The reason why the activation of a layer looks at other steps, or None."""
    function = getattr(layer, "activation", None)
    if function is None or not callable(function):
        return None
    if getattr(function, "__module__", "").startswith("keras.src.activations"):
        over_features = function.__name__ in positionwise.OVER_FEATURES
        return along(-1, len(output.shape)) if over_features else None
    try:
        graph = Graph(traced(function, [output]), [Kind.SEQUENCE])
    except Exception as error:
        return f"of its activation {function!r}: {error}"
    if graph.places or graph.output_kinds != [Kind.SEQUENCE]:
        return f"its activation {function!r} acts along time"
    return None


# How the nodes run.


def _as_it_is(node: Any) -> Apply:
    """In inference mode, as in the model."""
    operation, arguments = node.operation, node.arguments
    trains = getattr(operation, "_call_has_training_arg", False)
    options = {"training": False} if trains else {}

    def apply(run: Run, values: dict[int, Any]) -> Any:
        args, kwargs = arguments.fill_in(values)
        return operation(*args, **{**kwargs, **options})

    return apply


def _reshaped(node: Any) -> Apply:
    """A reshape of what lies behind time, whatever the length."""
    source, shape = id(node.input_tensors[0]), node.outputs[0].shape[2:]

    def apply(run: Run, values: dict[int, Any]) -> Any:
        x = values[source]
        return ops.reshape(x, (-1, x.shape[1], *shape))

    return apply


def _stateful(node: Any, part: Stateful, sequences: set[int]) -> Apply:
    reason = part.refusal()
    if reason is not None:
        raise refusal(node.operation, reason)
    source, *others = keras.tree.flatten(node.arguments.args) or list(node.input_tensors[:1])
    given = {k: x for k, x in node.arguments.kwargs.items() if x is not None and k != "training"}
    given = {k: x for k, x in given.items() if x is not source}
    unknown = [k for k in given if k not in part.options]
    if unknown or any(x is not None for x in others) or id(source) not in sequences:
        names = ", ".join(f"`{name}`" for name in unknown) or "more than one input"
        raise refusal(node.operation, f"it is called with {names}, which a machine cannot give it")
    tensors = {k: id(x) for k, x in given.items() if isinstance(x, keras.KerasTensor)}
    if not sequences.issuperset(tensors.values()):
        raise refusal(node.operation, f"not all of {sorted(tensors)} have a time axis")
    numbers = {k: x for k, x in given.items() if k not in tensors}
    part.given = frozenset(given)

    def apply(run: Run, values: dict[int, Any]) -> Any:
        x = values[id(source)]
        options = {**(run.options if part.options else {}), **numbers}
        options.update((k, values[i]) for k, i in tensors.items())
        index = len(run.next_states)
        state, prepared = run.states[index], run.prepared[index]
        if run.single:
            rows = {
                k: v[:, 0] if len(getattr(v, "shape", ())) == 2 else v for k, v in options.items()
            }
            y, state = part.step(x[:, 0], state, prepared, **rows)
            y = y if part.pools else y[:, None]
        else:
            # A copy has no mask: every step counts.
            y, state = part.advance(ops.copy(x), state, **options)
        run.next_states.append(state)
        return [y, *keras.tree.flatten(state)] if part.returns_state else [y]

    return apply
