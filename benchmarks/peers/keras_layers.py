"""The sequence layers that come with Keras, H features in and out."""

import keras

HEADS = 8
KERNEL_SIZE = 3


def gru(H: int, L: int) -> keras.Model:
    """A GRU that returns its whole sequence."""
    return _model(keras.layers.GRU(H, return_sequences=True), H, L)


def lstm(H: int, L: int) -> keras.Model:
    """An LSTM that returns its whole sequence."""
    return _model(keras.layers.LSTM(H, return_sequences=True), H, L)


def convolutions(H: int, L: int) -> keras.Model:
    """Causal convolutions with dilations 1, 2, 4, ... until an output sees L steps."""
    stack, dilation, seen = keras.Sequential(), 1, 1
    while seen < L:
        stack.add(
            keras.layers.Conv1D(
                H, KERNEL_SIZE, padding="causal", dilation_rate=dilation, activation="relu"
            )
        )
        seen += (KERNEL_SIZE - 1) * dilation
        dilation *= 2
    return _model(stack, H, L)


def attention(H: int, L: int) -> keras.Model:
    """Causal self-attention with 8 heads, as Keras computes it when not told how."""
    layer = keras.layers.MultiHeadAttention(HEADS, H // HEADS)
    return _model(lambda x: layer(x, x, use_causal_mask=True), H, L)


def _model(layer: object, H: int, L: int) -> keras.Model:
    x = keras.Input((L, H))
    return keras.Model(x, layer(x))
