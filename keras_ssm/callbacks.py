"""Callbacks for `model.fit`."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np


class Checkpoint(keras.callbacks.Callback):
    """Saves the whole model at the end of every epoch, and only whole and finite ones.

    The file is written under a temporary name and renamed, so that a process
    killed at any time leaves the last complete checkpoint. Weights that are
    not finite stop the training and leave it as well.

    Args:
        path: of the checkpoint; ends in `.keras`.

    Raises:
        ValueError: if `path` does not end in `.keras`.
        FloatingPointError: from `fit`, at the end of an epoch, if a weight holds
            NaN or infinity; names the first such weight.

    Example:

    >>> model.fit(x, y, epochs=10, callbacks=[keras_ssm.callbacks.Checkpoint("model.keras")])
    """

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__()
        self.path = pathlib.Path(path)
        if self.path.suffix != ".keras":
            raise ValueError(f"`path` must end in '.keras'. Received: path={str(path)!r}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for weight in self.model.weights:
            if not np.all(np.isfinite(keras.ops.convert_to_numpy(weight))):
                raise FloatingPointError(
                    f"expected finite weights, found NaN or infinity in {weight.path} at the end "
                    f"of epoch {epoch + 1}; training stops, and {self.path} is left as it was."
                )
        with replacing(self.path) as temporary:
            self.model.save(temporary)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Write a file so that it is either the old one or the whole new one.

    Args:
        path: of the file to write or replace.

    Returns:
        A context manager. It gives the path of a temporary file in the same
        folder, with the same suffix, which takes the place of `path` when the
        block ends without an exception.

    Example:

    >>> with keras_ssm.callbacks.replacing("notes.txt") as temporary:
    ...     temporary.write_text("whole")
    """
    path = pathlib.Path(path)
    # One fixed name: what a killed process leaves is overwritten, not piled up.
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
