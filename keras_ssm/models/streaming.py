"""Run a causal model one time step after the other."""

from typing import Any

import keras
from keras import ops

from keras_ssm.backend import compiled
from keras_ssm.layers import Gating, OneHotDense, SequencePooling, SSMBlock
from keras_ssm.layers.ssm import SSM
from keras_ssm.ops.complex import Tensor

# Layers of Keras that treat every step by itself.
_POSITIONWISE = (
    Gating,
    OneHotDense,
    keras.layers.Activation,
    keras.layers.Add,
    keras.layers.Average,
    keras.layers.BatchNormalization,
    keras.layers.Dense,
    keras.layers.Dropout,
    keras.layers.Embedding,
    keras.layers.LayerNormalization,
    keras.layers.Masking,
    keras.layers.Multiply,
    keras.layers.Normalization,
    keras.layers.RMSNormalization,
    keras.layers.ReLU,
    keras.layers.Rescaling,
    keras.layers.SpatialDropout1D,
    keras.layers.Subtract,
)


class Streaming:
    """A functional model as a machine that takes one time step after the other.

    Made by `streaming(model)`. It shares the model's weights and always runs in
    inference mode; every step counts as valid.

    Attributes:
        model: the step as a Keras model from `[x, *states]` to `[y, *states]`,
            which can be saved or exported by itself.

    Example:

    >>> inputs = keras.Input((None, 3))
    >>> model = keras.Model(inputs, keras_ssm.layers.S5(8)(inputs))
    >>> machine = keras_ssm.models.streaming(model)
    >>> machine.reset(batch_size=2)
    >>> x = np.ones((2, 5, 3), "float32")
    >>> outputs = [machine.step(x[:, k]) for k in range(5)]
    >>> np.allclose(outputs[-1], model.predict(x, verbose=0)[:, -1], atol=1e-5)
    True
    """

    def __init__(self, model: keras.Model) -> None:
        self.model, self._owners = _step_model(model)
        self._run = compiled(self.model)
        self._states: list[Tensor] | None = None

    def reset(self, batch_size: int) -> None:
        """Start `batch_size` new sequences."""
        self._states = [owner.get_initial_state(batch_size) for owner in self._owners]

    def step(self, x: Any) -> Tensor:
        """The model's output after one more step.

        Args:
            x: the step's input, (batch, features), or (batch,) for tokens.

        Returns:
            What the model would give for the sequence so far: the output at
            this step or, for a model that pools over time, of the pooled rest.

        Raises:
            ValueError: before the first `reset`, or for another batch size.
        """
        if self._states is None:
            raise ValueError("`reset(batch_size)` must be called before the first step")
        x = ops.convert_to_tensor(x)
        expected = self.model.inputs[0].shape[1:]
        if tuple(x.shape[1:]) != tuple(expected) or len(x.shape) != len(expected) + 1:
            raise ValueError(
                f"A step must have shape (batch, {', '.join(map(str, expected))}). "
                f"Received: x of shape {tuple(x.shape)}"
            )
        if self._states and x.shape[0] != self._states[0].shape[0]:
            raise ValueError(
                f"The machine was reset for {self._states[0].shape[0]} sequences. "
                f"Received: x of shape {tuple(x.shape)}"
            )
        y, *self._states = self._run([x, *self._states])
        return y


def streaming(model: keras.Model) -> Streaming:
    """Turn a causal functional model into one that runs step by step, with the same weights.

    Args:
        model: a functional `keras.Model` with one input (batch, length,
            features) or (batch, length), made of state space layers and blocks,
            `SequencePooling`, and layers that treat every step by itself. Mean
            pooling becomes a running mean.

    Returns:
        A `Streaming`, with `reset(batch_size)` and `step(x)`.

    Raises:
        ValueError: naming the layer that cannot stream and why, e.g. because it
            is bidirectional.

    Example:

    >>> model = keras_ssm.models.classifier(10, (None, 1), layer="s5", depth=1, width=8)
    >>> machine = keras_ssm.models.streaming(model)
    >>> machine.reset(batch_size=2)
    >>> tuple(machine.step(np.ones((2, 1), "float32")).shape)
    (2, 10)
    """
    if (
        not isinstance(model, keras.Model)
        or len(getattr(model, "inputs", None) or []) != 1
        or len(model.outputs) != 1
    ):
        raise ValueError(
            f"`model` must be a functional Keras model with one input and one output. "
            f"Received: model={model!r}"
        )
    return Streaming(model)


@keras.saving.register_keras_serializable(package="keras_ssm")
class Step(keras.layers.Layer):
    """One step of a layer that keeps a state, as a layer of `[x, state]`."""

    def __init__(self, owner: Any, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.owner = owner

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        x, state = inputs
        y, state = self.owner.step(x, state)
        return y, state

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, Any]:
        x, state = input_shape
        shape = self.owner.compute_output_shape((x[0], 1, x[-1]))
        return (x[0], shape[-1]), state

    def get_config(self) -> dict[str, Any]:
        owner = keras.saving.serialize_keras_object(self.owner)
        return {**super().get_config(), "owner": owner}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Step":
        owner = keras.saving.deserialize_keras_object(config["owner"])
        return cls(**{**config, "owner": owner})


def _step_model(model: keras.Model) -> tuple[keras.Model, list[Any]]:
    """The model of one step, and the layers whose states it takes and gives, in order."""
    sequence = model.inputs[0]
    x = keras.Input(sequence.shape[2:], dtype=sequence.dtype, name="step")
    # Every tensor of the model as a tensor of the step model; those with time have length 1.
    steps = {id(sequence): keras.layers.Reshape((1, *x.shape[1:]))(x)}
    timeless: set[int] = set()
    owners: list[Any] = []
    states: list[tuple[Any, Any]] = []
    for layer in _layers_in_order(model):
        old_inputs = keras.tree.flatten(layer.input)
        try:
            new_inputs = [steps[id(t)] for t in old_inputs]
        except KeyError:
            raise ValueError(
                f"Layer {layer.name!r} cannot stream: it was called outside this model first"
            ) from None
        merged: Any = new_inputs if len(new_inputs) > 1 else new_inputs[0]
        if all(id(t) in timeless for t in old_inputs):
            y = layer(merged)
            timeless.add(id(layer.output))
        elif isinstance(layer, (SSM, SSMBlock, SequencePooling)):
            _check_direction(layer)
            y = keras.layers.Reshape((merged.shape[-1],))(merged)
            if layer.state_width:
                state = keras.Input(
                    (layer.state_width,), dtype=layer.parameter_dtype, name=f"{layer.name}_state"
                )
                y, next_state = Step(layer, name=f"{layer.name}_step", dtype=layer.dtype_policy)(
                    [y, state]
                )
                owners.append(layer)
                states.append((state, next_state))
            if len(layer.output.shape) == 2:
                timeless.add(id(layer.output))
            else:
                y = keras.layers.Reshape((1, y.shape[-1]))(y)
        elif isinstance(layer, _POSITIONWISE):
            y = layer(merged)
        else:
            raise ValueError(
                f"Layer {layer.name!r} ({type(layer).__name__}) cannot stream: it is not known "
                "to treat every time step by itself"
            )
        steps[id(layer.output)] = y
    (output,) = model.outputs
    y = steps[id(output)]
    if id(output) not in timeless:
        y = keras.layers.Reshape(y.shape[2:])(y)
    return keras.Model([x, *(s for s, _ in states)], [y, *(n for _, n in states)]), owners


def _layers_in_order(model: keras.Model) -> list[Any]:
    """The layers of a functional model, inputs before outputs, each called once."""
    for layer in model.get_config()["layers"]:
        if len(layer["inbound_nodes"]) > 1:
            raise ValueError(
                f"Layer {layer['name']!r} cannot stream: it is called "
                f"{len(layer['inbound_nodes'])} times, and would need a state for each"
            )
    return [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]


def _check_direction(layer: Any) -> None:
    ssm = layer.ssm if isinstance(layer, SSMBlock) else layer
    if getattr(ssm, "bidirectional", False) or getattr(ssm, "go_backwards", False):
        raise ValueError(
            f"Layer {layer.name!r} ({type(ssm).__name__}) cannot stream: it reads the sequence "
            "backwards, and so needs its end first"
        )
