"""A training run in one file: model, optimizer, random numbers and a state of your own.

It is an ordinary `.keras` file with one more member: Keras loads the model from
it, and model and state are always of the same epoch.
"""

import json
import os
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_ssm.callbacks.checkpoint import Checkpoint

_MEMBER = "training.json"


class TrainingCheckpoint(Checkpoint):
    """Saves model, optimizer and random state, to resume training as if it had never stopped.

    A `.keras` file holds the weights and the state of the optimizer; this one
    also holds the state of the random numbers, of dropout for instance, and a
    state of your own. `load_training` reads it.

    Args:
        path: path of the checkpoint; ends in `.keras`.
        state: called at the end of every epoch; gives what JSON can hold.

    Example:

    >>> x, y = np.eye(4, dtype="float32"), np.arange(4)
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> checkpoint = keras_ssm.callbacks.TrainingCheckpoint("last.keras", lambda: {"seed": 7})
    >>> history = model.fit(x, y, verbose=0, callbacks=[checkpoint])
    >>> model, state = keras_ssm.callbacks.load_training("last.keras")
    >>> int(model.optimizer.iterations), state
    (1, {'seed': 7})
    """

    def __init__(self, path: str | os.PathLike, state: Callable[[], dict[str, Any]]) -> None:
        super().__init__(path)
        self.state = state

    def write(self, path: pathlib.Path) -> None:
        super().write(path)
        content = {
            "random": [ops.convert_to_numpy(v).tolist() for v in _random_states(self.model)],
            "state": self.state(),
        }
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(_MEMBER, json.dumps(content))


def load_training(path: str | os.PathLike) -> tuple[keras.Model, dict[str, Any]]:
    """Load the compiled model and the state that a `TrainingCheckpoint` saved.

    Args:
        path: path of the checkpoint.

    Returns:
        The model with its optimizer, ready for `fit`, and what `state` gave.

    Raises:
        ValueError: if the file cannot be read whole, or holds only a model.

    Example:

    >>> checkpoint = keras_ssm.callbacks.TrainingCheckpoint("last.keras", lambda: {"seed": 7})
    >>> checkpoint.set_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)]))
    >>> checkpoint.on_epoch_end(0)
    >>> model, state = keras_ssm.callbacks.load_training("last.keras")
    >>> state
    {'seed': 7}
    """
    path = pathlib.Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read(_MEMBER))
        model = keras.models.load_model(path)
    except Exception as error:  # zip, HDF5 and JSON readers each raise their own
        raise ValueError(
            f"expected a file of a `TrainingCheckpoint` in {path}, found {path.stat().st_size} "
            f"bytes that cannot be read as one ({type(error).__name__}: {error})"
        ) from error
    for variable, value in zip(_random_states(model), content["random"], strict=True):
        variable.assign(value)
    return model, content["state"]


def _random_states(model: keras.Model) -> list[Any]:
    return [v for v in model.variables if v.name == "seed_generator_state"]
