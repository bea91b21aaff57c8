"""How layers that keep a state take one step, or a chunk of them, and a registry for yours."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_ssm.backend import rnn_is_a_loop
from keras_ssm.layers import SequencePooling, SSMBlock, SSMCell
from keras_ssm.layers.base import SSM
from keras_ssm.models.positionwise import unchanged
from keras_ssm.ops.exporting import restricted
from keras_ssm.types import Tensor


class Stateful(abc.ABC):
    """A layer or operation at one place of a graph, where it has a state of its own.

    Attributes:
        options: arguments of the layer's call, besides its input, that are
            understood here.
        pools: whether the output has no time axis.
        returns_state: whether the layer gives its state after its output.
        given: names of the options that the model gives it.
    """

    options: ClassVar[frozenset[str]] = frozenset()
    pools = False
    returns_state = False
    given: frozenset[str] = frozenset()

    def __init__(self, layer: Any, node: Any) -> None:
        self.layer = layer

    def refusal(self) -> str | None:
        """Why it cannot run step by step, or None."""
        return None

    def prepare(self) -> Any:
        """What a step needs of the weights, computed for many steps."""
        return None

    @abc.abstractmethod
    def initial_state(self, batch_size: Any) -> Any:
        """The state before any step, a tensor or a structure of them."""

    def step(self, x: Tensor, state: Any, prepared: Any, **options: Any) -> tuple[Tensor, Any]:
        """Output and next state of one step (batch, ...)."""
        y, state = self.advance(x[:, None], state, **options)
        return (y if self.pools else y[:, 0]), state

    def advance(self, x: Tensor, state: Any, **options: Any) -> tuple[Tensor, Any]:
        """Output and next state of a chunk (batch, length, ...): by a loop of steps."""

        outputs = []
        for k in range(x.shape[1]):
            y, state = self.step(x[:, k], state, None, **options)
            outputs.append(y)
        return (outputs[-1] if self.pools else ops.stack(outputs, axis=1)), state


class StateSpace(Stateful):
    """State space layers and blocks: `step` with the system made once, and `advance`."""

    options = frozenset({"time_steps", "rate", "resets"})

    def __init__(self, layer: Any, node: Any, owner: Any = None) -> None:
        super().__init__(layer, node)
        self.owner = layer if owner is None else owner
        self.ssm = self.owner.ssm if isinstance(self.owner, SSMBlock) else self.owner
        self.pools = not getattr(layer, "return_sequences", True)
        self.returns_state = getattr(layer, "return_state", False)
        self.dtype = node.outputs[0].dtype
        self.rate = node.arguments.kwargs.get("rate")

    def refusal(self) -> str | None:
        if self.ssm.bidirectional or getattr(self.layer, "go_backwards", False):
            return "it reads the sequence backwards, and so needs its end first"
        if isinstance(self.rate, keras.KerasTensor):
            return "its `rate` is a tensor"
        try:
            self.prepare()
        except ValueError as error:
            return str(error)
        return None

    def prepare(self) -> Any:
        system = self.ssm.checked_system(self.rate)
        return system.stepper() if hasattr(system, "stepper") else system

    def initial_state(self, batch_size: Any) -> Tensor:
        return self.owner.get_initial_state(batch_size)

    def step(self, x: Tensor, state: Any, prepared: Any, **options: Any) -> tuple[Tensor, Any]:
        time_steps, rate = options.pop("time_steps", None), options.pop("rate", None)
        if time_steps is not None or rate is not self.rate or prepared is None:
            prepared = self._system(time_steps, rate)
        y, state = self.owner.step(x, state, system=prepared, **options)
        return ops.cast(y, self.dtype), state

    def _system(self, time_steps: Tensor | None, rate: Any) -> Any:
        dtype = self.ssm.parameter_dtype
        if time_steps is not None:
            time_steps = ops.cast(time_steps, dtype)
        if rate is not None and not isinstance(rate, (int, float)):
            rate = ops.cast(rate, dtype)
        return self.ssm.checked_system(rate, time_steps)

    def advance(self, x: Tensor, state: Any, **options: Any) -> tuple[Tensor, Any]:
        y, state = self.owner.advance(x, state, **options)
        return ops.cast(y[:, -1] if self.pools else y, self.dtype), state


class Recurrent(Stateful):
    """GRU, LSTM, SimpleRNN and RNN, through their cells."""

    def __init__(self, layer: Any, node: Any) -> None:
        super().__init__(layer, node)
        self.pools = not layer.return_sequences
        self.returns_state = layer.return_state
        self.chunks = keras.layers.RNN(
            layer.cell, return_sequences=True, return_state=True, dtype=layer.dtype_policy
        )
        self.chunks.build(node.input_tensors[0].shape)

    def refusal(self) -> str | None:
        if self.layer.go_backwards:
            return "it reads the sequence backwards, and so needs its end first"
        return None

    def initial_state(self, batch_size: Any) -> Any:
        return self.layer.get_initial_state(batch_size)

    def step(self, x: Tensor, state: Any, prepared: Any, **options: Any) -> tuple[Tensor, Any]:
        cell = self.layer.cell
        trains = getattr(cell, "_call_has_training_arg", False)
        y, state = cell(x, state, **({"training": False} if trains else {}))
        state = state if isinstance(state, (list, tuple)) else [state]
        return ops.cast(y, self.layer.compute_dtype), list(state)

    def advance(self, x: Tensor, state: Any, **options: Any) -> tuple[Tensor, Any]:
        if rnn_is_a_loop or restricted():
            return super().advance(x, state)
        y, *state = self.chunks(x, initial_state=state, training=False)
        return (y[:, -1] if self.pools else y), state


class CausalConv(Stateful):
    """Causal Conv1D, with the inputs that its kernel still reaches."""

    def __init__(self, layer: Any, node: Any) -> None:
        super().__init__(layer, node)
        self.reach = (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
        self.features = node.input_tensors[0].shape[-1]

    def refusal(self) -> str | None:
        layer = self.layer
        if layer.data_format != "channels_last":
            return "its last axis is time (data_format='channels_first')"
        if layer.strides[0] != 1:
            return f"it leaves out steps (strides={layer.strides[0]})"
        if layer.padding != "causal" and self.reach:
            return f"it reads later steps (padding={layer.padding!r}); padding='causal' does not"
        return None

    def initial_state(self, batch_size: Any) -> Any:
        if not self.reach:
            return []
        return ops.zeros((batch_size, self.reach, self.features), self.layer.compute_dtype)

    def advance(self, x: Tensor, state: Any, **options: Any) -> tuple[Tensor, Any]:
        if not self.reach:
            return self.layer(x), state
        length = x.shape[1]
        x = ops.concatenate([state, ops.cast(x, state.dtype)], axis=1)
        return self.layer(x)[:, self.reach :], x[:, length:]


class Running(Stateful):
    """Mean, sum, largest or smallest value over time, of the steps so far."""

    pools = True

    def __init__(self, layer: Any, node: Any, kind: str) -> None:
        super().__init__(layer, node)
        self.kind = kind
        self.keepdims = getattr(layer, "keepdims", False)
        self.shape = node.input_tensors[0].shape[2:]
        self.dtype = node.outputs[0].dtype

    @property
    def sum_dtype(self) -> str:
        """Precision of a sum, for which half precision holds too few steps."""
        return keras.backend.result_type(self.dtype, "float32" if "float" in self.dtype else "int")

    def refusal(self) -> str | None:
        if getattr(self.layer, "data_format", "channels_last") != "channels_last":
            return "its last axis is time (data_format='channels_first')"
        if None in self.shape:
            return f"a step of it has an unknown shape, {self.shape}"
        return None

    def initial_state(self, batch_size: Any) -> Any:
        shape = (batch_size, *self.shape)
        if self.kind == "mean":
            count = ops.zeros((batch_size, *(1 for _ in self.shape)), self.sum_dtype)
            return [ops.zeros(shape, self.sum_dtype), count]
        if self.kind == "sum":
            return ops.zeros(shape, self.sum_dtype)
        if "float" in self.dtype:
            lowest: Any = -np.inf if self.kind == "max" else np.inf
        else:
            limits = np.iinfo(self.dtype)
            lowest = limits.min if self.kind == "max" else limits.max
        return ops.zeros(shape, self.dtype) + lowest

    def advance(self, x: Tensor, state: Any, **options: Any) -> tuple[Tensor, Any]:
        if self.kind == "mean":
            total = state[0] + ops.sum(ops.cast(x, self.sum_dtype), axis=1)
            count = state[1] + x.shape[1]
            y, state = total / count, [total, count]
        elif self.kind == "sum":
            y = state = state + ops.sum(ops.cast(x, self.sum_dtype), axis=1)
        elif self.kind == "max":
            y = state = ops.maximum(state, ops.max(x, axis=1))
        else:
            y = state = ops.minimum(state, ops.min(x, axis=1))
        y = ops.cast(y, self.dtype)
        return (y[:, None] if self.keepdims else y), state


class Pooled(Stateful):
    """`SequencePooling`, the mean or the last step."""

    pools = True

    def initial_state(self, batch_size: Any) -> Any:
        return self.layer.get_initial_state(batch_size) if self.layer.state_width else []

    def step(self, x: Tensor, state: Any, prepared: Any, **options: Any) -> tuple[Tensor, Any]:
        return self.layer.step(x, state) if self.layer.state_width else (x, state)

    def advance(self, x: Tensor, state: Any, **options: Any) -> tuple[Tensor, Any]:
        if self.layer.state_width:
            # The last step takes the sum of all steps before it as its state.
            total = ops.sum(ops.cast(x[:, :-1], state.dtype), axis=1)
            width = self.layer.state_width - 1
            total, count = state[:, :width] + total, state[:, width : width + 1] + (x.shape[1] - 1)
            state = ops.concatenate([total, count], axis=-1)
        return self.step(x[:, -1], state, None)


class Registered(Stateful):
    """A layer of the user's, as `register_step` was told."""

    def __init__(self, layer: Any, node: Any, rule: "Rule") -> None:
        super().__init__(layer, node)
        self.rule = rule
        self.pools = rule.pools

    def initial_state(self, batch_size: Any) -> Any:
        return self.rule.initial_state(self.layer, batch_size)

    def step(self, x: Tensor, state: Any, prepared: Any, **options: Any) -> tuple[Tensor, Any]:
        return self.rule.step(self.layer, x, state)

    def advance(self, x: Tensor, state: Any, **options: Any) -> tuple[Tensor, Any]:
        if self.rule.advance is None:
            return super().advance(x, state)
        return self.rule.advance(self.layer, x, state)


class Rule(NamedTuple):
    """What `register_step` was told of a class of layers."""

    step: Any
    initial_state: Any
    advance: Any
    pools: bool


REGISTRY: dict[type, Rule] = {}

_Make = Callable[[Any, Any], Stateful]


def _rnn(layer: Any, node: Any) -> Stateful:
    if isinstance(layer.cell, SSMCell):
        return StateSpace(layer, node, layer.cell.ssm)
    return Recurrent(layer, node)


def _running(kind: str) -> _Make:
    return lambda layer, node: Running(layer, node, kind)


_LAYERS: dict[type, _Make] = {
    SSM: StateSpace,
    SSMBlock: StateSpace,
    SequencePooling: Pooled,
    keras.layers.Conv1D: CausalConv,
    keras.layers.GlobalAveragePooling1D: _running("mean"),
    keras.layers.GlobalMaxPooling1D: _running("max"),
    keras.layers.RNN: _rnn,
    keras.layers.GRU: Recurrent,
    keras.layers.LSTM: Recurrent,
    keras.layers.SimpleRNN: Recurrent,
}
_REDUCTIONS = {
    "Mean": "mean",
    "Sum": "sum",
    "Max": "max",
    "Amax": "max",
    "Min": "min",
    "Amin": "min",
}


def rule_of(operation: Any) -> Rule | None:
    """What was registered for an operation, or None."""
    return unchanged(REGISTRY, operation)


def stateful(operation: Any, node: Any) -> Stateful | None:
    """An operation on a sequence with the state it needs to run step by step, or None."""
    rule = rule_of(operation)
    if rule is not None:
        return None if rule.step is None else Registered(operation, node, rule)
    if isinstance(operation, keras.layers.Layer):
        make = unchanged(_LAYERS, operation)
        return None if make is None else make(operation, node)
    kind = _REDUCTIONS.get(type(operation).__name__)
    axis = getattr(operation, "axis", None)
    axis = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
    over_time = isinstance(axis, int) and axis % len(node.input_tensors[0].shape) == 1
    return Running(operation, node, kind) if kind and over_time else None


def register_step(
    layer_class: type,
    step: Callable[..., Any] | None = None,
    initial_state: Callable[..., Any] | None = None,
    advance: Callable[..., Any] | None = None,
    pools: bool = False,
) -> None:
    """Tell `streaming` how layers of a class of your own run one step at a time.

    This holds for subclasses too, unless they have a `call` of their own.

    Args:
        layer_class: a subclass of `keras.layers.Layer`.
        step: function `step(layer, inputs, state)` that gives the output
            (batch, ...) and the next state for inputs (batch, ...) of one step.
            None for a layer that treats every step by itself.
        initial_state: function `initial_state(layer, batch_size)` that gives the
            state before the first step, a tensor (batch, ...) or a list, tuple
            or dict of them.
        advance: function `advance(layer, inputs, state)` for a chunk of inputs
            (batch, length, ...), that gives what a loop of `step` would; None
            for such a loop.
        pools: whether the output of a sequence has no time axis, like that of a
            pooling. `step` then gives the output for the sequence so far.

    Raises:
        ValueError: for something that is not a layer class, or a `step` without
            an `initial_state`.

    Example:

    >>> class Difference(keras.layers.Layer):
    ...     def call(self, x):
    ...         return x - keras.ops.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    ...
    ...     def compute_output_shape(self, input_shape):
    ...         return input_shape
    >>> keras_ssm.models.register_step(
    ...     Difference,
    ...     step=lambda layer, x, before: (x - before, x),
    ...     initial_state=lambda layer, batch_size: keras.ops.zeros((batch_size, 3)),
    ... )
    >>> inputs = keras.Input((None, 3))
    >>> machine = keras_ssm.models.streaming(keras.Model(inputs, Difference()(inputs)))
    >>> machine.reset(batch_size=1)
    >>> for k in range(2):
    ...     y = machine.step(np.full((1, 3), k + 1.0, "float32"))
    >>> float(y[0, 0])
    1.0
    """
    if not (isinstance(layer_class, type) and issubclass(layer_class, keras.layers.Layer)):
        raise ValueError(
            f"`layer_class` must be a subclass of `keras.layers.Layer`. Received: {layer_class!r}"
        )
    for name, function in (("step", step), ("initial_state", initial_state), ("advance", advance)):
        if function is not None and not callable(function):
            raise ValueError(f"`{name}` must be a function or None. Received: {name}={function!r}")
    if (step is None) != (initial_state is None) or (advance is not None and step is None):
        raise ValueError(
            "A layer with a state needs `step` and `initial_state`, and one that treats every step "
            f"by itself has none of them, nor `advance`. Received: step={step!r}, "
            f"initial_state={initial_state!r}, advance={advance!r}"
        )
    REGISTRY[layer_class] = Rule(step, initial_state, advance, pools)
