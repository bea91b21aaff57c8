"""The models of `series_table.py`: one frame, and what mixes the steps inside it.

    encoder -> blocks of x + mixer(norm(x)) -> mean over the steps -> head

Everything but the mixer is the same. All of them read forward, so that each could run on
a stream.
"""

import math
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_ssm.datasets import SequenceBatches
from keras_ssm.layers import Gating, SequencePooling, SSMBlock, make_layer
from keras_ssm.layers.scales import length_scales
from keras_ssm.optimizers import adamw

SSMS = ("dss", "s4d", "s5", "s4", "lru")
NETWORKS = (*SSMS, "gru", "conv")
WIDTH, DEPTH, KERNEL = 32, 2, 3
# Complex modes that are stored.
MODES = 16
BATCH, DROPOUT = 16, 0.1


class Split(NamedTuple):
    """Series (count, steps, features), their classes and lengths."""

    x: np.ndarray
    y: np.ndarray
    lengths: np.ndarray


def build(name: str, data: Split, classes: int) -> keras.Model:
    """A new network for series like these."""
    length, features = data.x.shape[1:]
    inputs = keras.Input((length, features + 1))
    # The last feature is 1 at every step that is there.
    mask = inputs[..., -1] > 0
    x = keras.layers.Dense(WIDTH)(inputs)
    if name in SSMS:
        for _ in range(DEPTH):
            x = SSMBlock(_ssm(name, length), gating="glu", dropout=DROPOUT)(x, mask=mask)
    elif name == "gru":
        for _ in range(DEPTH):
            y = keras.layers.LayerNormalization()(x)
            y = keras.layers.GRU(WIDTH, return_sequences=True)(y, mask=mask)
            x = x + Gating("glu", dropout=DROPOUT)(y)
    else:
        # As many as it takes for the last output to see the first step.
        for level in range(math.ceil(math.log(1 + (length - 1) / (KERNEL - 1), 2))):
            y = keras.layers.LayerNormalization()(x)
            y = keras.layers.Conv1D(WIDTH, KERNEL, padding="causal", dilation_rate=2**level)(y)
            x = x + keras.layers.SpatialDropout1D(DROPOUT)(keras.layers.Activation("gelu")(y))
    x = SequencePooling("mean")(keras.layers.LayerNormalization()(x), mask=mask)
    return keras.Model(inputs, keras.layers.Dense(classes)(x))


class Network:
    """A network that is compiled once, and trained anew for every seed and setting."""

    def __init__(self, name: str, data: Split, classes: int) -> None:
        self._make = lambda: build(name, data, classes)
        self.model = self._make()
        rates = {"ssm_learning_rate": 0.25} if name in SSMS else {}
        # Rates of 1 and a fourth: what they are multiplied by is set before every epoch.
        self.model.compile(
            adamw(1.0, **rates), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )

    def fit(self, train: Split, learning_rate: float, updates: int, seed: int) -> None:
        """So many updates and the rest of an epoch; the rate falls to 0 meanwhile."""
        keras.utils.set_random_seed(seed)
        for old, new in zip(self.model.variables, self._make().variables, strict=True):
            old.assign(new.value)
        for moment in self.model.optimizer.variables:
            moment.assign(keras.ops.zeros_like(moment.value))
        batches = SequenceBatches(
            with_presence(train), train.y, BATCH, shuffle=True, seed=seed, drop_last=True
        )
        epochs = -(-updates // len(batches))
        cosine = keras.optimizers.schedules.CosineDecay(learning_rate, epochs)
        rates = keras.callbacks.LearningRateScheduler(lambda epoch, _: float(cosine(epoch)))
        self.model.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=[rates])

    def logits(self, data: Split) -> np.ndarray:
        """Of every series, in batches of one size: a smaller last one is compiled again."""
        count = -(-len(data.y) // BATCH) * BATCH
        x = np.resize(with_presence(data), (count, *self.model.input_shape[1:]))
        return self.model.predict(x, batch_size=BATCH, verbose=0)[: len(data.y)]


def with_presence(data: Split) -> np.ndarray:
    """One more feature, 1 at every step that is there."""
    there = np.arange(data.x.shape[1]) < data.lengths[:, None]
    return np.concatenate([data.x, there[..., None]], axis=-1).astype("float32")


def _ssm(name: str, length: int) -> Any:
    probe = make_layer(name, 2)
    return make_layer(name, MODES * 2 // probe.modes, **length_scales(name, length))
