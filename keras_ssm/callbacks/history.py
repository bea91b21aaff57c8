"""The numbers of every epoch as a file."""

import csv
import os
import pathlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras

from keras_ssm.files import replacing

# Metrics of one epoch by name, and the number of the epoch, from 1.
Row: TypeAlias = dict[str, float]


class CSVHistory(keras.callbacks.Callback):
    """Writes the metrics to a CSV file with one row per epoch, which is whole at any time.

    `keras.callbacks.CSVLogger` appends to its file, so a killed process can
    leave half a row, and an epoch that is trained again has two rows.

    Args:
        path: path of the file.
        rows: rows of the epochs before, when a training run is resumed.

    Attributes:
        rows: rows of all epochs so far.

    Example:

    >>> x, y = np.eye(4, dtype="float32"), np.arange(4)
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> rows = keras_ssm.callbacks.CSVHistory("history.csv")
    >>> history = model.fit(x, y, epochs=2, verbose=0, callbacks=[rows])
    >>> [row["epoch"] for row in rows.rows]
    [1, 2]
    """

    def __init__(self, path: str | os.PathLike, rows: Sequence[Row] = ()) -> None:
        super().__init__()
        self.path = pathlib.Path(path)
        self.rows = list(rows)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": epoch + 1, **values})
        with (
            replacing(self.path) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
