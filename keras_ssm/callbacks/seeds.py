"""Random numbers that depend on the epoch alone."""

from typing import Any

import keras
import numpy as np


class SeededEpochs(keras.callbacks.Callback):
    """Seeds the random numbers of every epoch by its number.

    PyTorch draws dropout from a generator of its own, which Keras does not save
    with a model. With this callback a resumed run draws what an uninterrupted one draws.

    Args:
        seed: seed of the training run.
        stream: another number gives other random numbers for the same seed, for
            processes that train together and draw for different sequences.

    Example:

    >>> callback = keras_ssm.callbacks.SeededEpochs(0)
    >>> callback.on_epoch_begin(0)
    >>> first = np.random.rand()
    >>> callback.on_epoch_begin(0)
    >>> np.random.rand() == first
    True
    """

    def __init__(self, seed: int, stream: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.stream = stream

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Zeros at the end change nothing: stream 0 is what a seed by itself gives.
        mixed = np.random.SeedSequence([self.seed, epoch, self.stream]).generate_state(1)
        keras.utils.set_random_seed(int(mixed[0]))
