"""One step of a model as a Keras model of its own, which can be saved and exported."""

from typing import Any

import keras

from keras_ssm.models.graph import Kind
from keras_ssm.models.machine import Machine
from keras_ssm.types import Tensor


@keras.saving.register_keras_serializable(package="keras_ssm")
class Step(keras.layers.Layer):
    """One step of a model that keeps states, as a layer of `[x, *states]`."""

    def __init__(self, model: Any, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.model = model
        self._machine = Machine(model)

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, inputs: list[Tensor]) -> list[Tensor]:
        count = len(self._machine.graph.input_kinds)
        x, states = inputs[:count], inputs[count:]
        outputs, states = self._machine.run(x, states, None, {}, single=True)
        return [*outputs, *states]

    def compute_output_spec(self, inputs: list[Any]) -> list[Any]:
        graph = self._machine.graph
        outputs = [
            keras.KerasTensor(_step_shape(y, kind), dtype=y.dtype)
            for y, kind in zip(graph.function.outputs, graph.output_kinds, strict=True)
        ]
        states = [
            keras.KerasTensor((None, *shape), dtype=dtype)
            for shape, dtype in self._machine.state_specs
        ]
        return outputs + states

    def get_config(self) -> dict[str, Any]:
        model = keras.saving.serialize_keras_object(self.model)
        return {**super().get_config(), "model": model}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Step":
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls(**{**config, "model": model})


def _step_shape(x: Any, kind: Kind) -> tuple[Any, ...]:
    """The shape of a tensor of the model in a step."""
    return (None, *x.shape[2 if kind is Kind.SEQUENCE else 1 :])


def step_model(model: Any) -> keras.Model:
    """The step of a model as a Keras model from `[x, *states]` to `[y, *states]`."""
    layer = Step(model, name="machine")
    machine = layer._machine
    graph = machine.graph
    single = len(graph.input_kinds) == 1
    inputs = [
        keras.Input(_step_shape(x, kind)[1:], dtype=x.dtype, name="step" if single else x.name)
        for x, kind in zip(graph.function.inputs, graph.input_kinds, strict=True)
    ]
    states = [
        keras.Input(shape, dtype=dtype, name=name)
        for name, (shape, dtype) in zip(machine.state_names, machine.state_specs, strict=True)
    ]
    outputs = layer([*inputs, *states])
    count = len(graph.output_kinds)
    names = ["output"] if count == 1 else [f"output_{k}" for k in range(count)]
    names += [f"next_{name}" for name in machine.state_names]
    named = [
        keras.layers.Identity(name=name, dtype=y.dtype)(y)
        for name, y in zip(names, outputs, strict=True)
    ]
    return keras.Model([*inputs, *states], named, name=f"{model.name}_step")
