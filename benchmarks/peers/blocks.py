"""A classifier of plain Keras parts around some sequence layer, for peers of our classifier.

    x + gating(layer(norm(x))), four times, between a dense encoder and a mean with a dense head

The block is that of the papers, written as their authors wrote it.
"""

import importlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from peers import weights

HEADS = 8


@keras.saving.register_keras_serializable(package="benchmarks")
class Textbook(keras.layers.Layer):
    """A layer of `textbook_<backend>.py` with its weights.

    Args:
        function: its name there.
        arrays: initial weights, from the number of features.
    """

    def __init__(self, function: str, arrays: Callable[[int], list[np.ndarray]]) -> None:
        super().__init__()
        module = importlib.import_module(f"peers.textbook_{keras.backend.backend()}")
        self._function = getattr(module, function)
        self._arrays = arrays

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self._values = [
            self.add_weight(shape=array.shape, initializer=keras.initializers.Constant(array))
            for array in self._arrays(input_shape[-1])
        ]

    def call(self, inputs: Any) -> Any:
        """The whole sequence."""
        return self._function([keras.ops.convert_to_tensor(v) for v in self._values], inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the input."""
        return input_shape


def classifier(layer: str, L: int, depth: int, width: int, N: int) -> keras.Model:
    """Logits of 10 classes for (L, 1)."""
    inputs = keras.Input((L, 1))
    x = keras.layers.Dense(width)(inputs)
    gating, approximate = ("glu", False) if layer == "s4d-textbook" else ("half_glu1", True)
    for _ in range(depth):
        y = keras.layers.LayerNormalization(epsilon=1e-5)(x)
        y = _layer(layer, width, N)(y)
        g = keras.ops.gelu(y, approximate=approximate)
        if gating == "glu":
            value, gate = keras.ops.split(keras.layers.Dense(2 * width)(g), 2, axis=-1)
        else:
            value, gate = g, keras.layers.Dense(width)(g)
        x = x + value * keras.ops.sigmoid(gate)
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def _layer(name: str, H: int, N: int) -> Callable[[Any], Any]:
    if name == "s4d-textbook":
        return Textbook("s4d", lambda H: weights.s4d(H, N))
    if name == "s5-textbook":
        return Textbook("s5", lambda H: weights.s5(H, N, directions=2))
    if name == "attention":
        attention = keras.layers.MultiHeadAttention(HEADS, max(1, H // HEADS))
        return lambda x: attention(x, x, use_causal_mask=True)
    return {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[name](H, return_sequences=True)
