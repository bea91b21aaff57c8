"""Sequences of different lengths, kept without padding."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_ssm.datasets.mapped import described, mapped


class Ragged:
    """Arrays of different lengths, with the attributes of one array as long as the longest.

    Args:
        rows: arrays (steps,) or (steps, features), all with the same number of axes
            and features.

    Raises:
        ValueError: if the arrays do not belong together; names the first that does not.
    """

    def __init__(self, rows: Sequence[np.ndarray]) -> None:
        first = rows[0]
        for index, row in enumerate(rows):
            if row.ndim not in (1, 2) or row.dtype.kind not in "buif":
                raise ValueError(
                    "`x` must be a list of numbers of shape (steps,) or (steps, features). "
                    f"Received: {row.dtype} x[{index}] of shape {row.shape}"
                )
            if row.shape[1:] != first.shape[1:] or row.ndim != first.ndim:
                raise ValueError(
                    "the sequences of `x` may differ only in their number of steps. Received: "
                    f"x[0] of shape {first.shape}, x[{index}] of shape {row.shape}"
                )
        self.rows = list(rows)
        self.lengths = np.array([len(row) for row in rows], "int64")
        # A list without steps has no say: NumPy takes it for floats.
        self.dtype = np.result_type(*({row.dtype for row in rows if len(row)} or {first.dtype}))
        self.shape = (len(rows), int(self.lengths.max()), *first.shape[1:])
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def cropped(self, samples: np.ndarray, steps: int) -> np.ndarray:
        """The first steps of some sequences, with 0 after the end of shorter ones.

        Args:
            samples: indices of the sequences.
            steps: number of steps.

        Returns:
            Array (samples, steps, ...).
        """
        x = np.zeros((len(samples), steps, *self.shape[2:]), self.dtype)
        for place, sample in enumerate(samples):
            row = self.rows[sample][:steps]
            x[place, : len(row)] = row
        return x

    def __getstate__(self) -> dict[str, Any]:
        # Another process maps the files again instead of being sent their content.
        return {**self.__dict__, "rows": [described(row) for row in self.rows]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.rows = [mapped(row) for row in self.rows]


def gathered(x: Any) -> "np.ndarray | Ragged":
    """Make an array, or a `Ragged` where the sequences have different lengths.

    Args:
        x: an array; or a list, tuple or array of objects, each of them a sequence.

    Returns:
        An array or a `Ragged`.

    Raises:
        ValueError: for what is neither.
    """
    if isinstance(x, np.ndarray) and x.dtype != object:
        # `asarray`: indexing a memory map gives plain arrays then, and is faster.
        return np.asarray(x)
    if not isinstance(x, list | tuple | np.ndarray):
        return np.asarray(x)
    try:
        rows = [np.asarray(row) for row in x]
    except ValueError as error:
        raise ValueError(
            "`x` must be an array, or a list of one array for every sequence. Received: a list "
            f"with a sequence that is not an array ({error})"
        ) from error
    if len({row.shape for row in rows}) <= 1 and not any(row.dtype == object for row in rows):
        return np.asarray(rows)
    return Ragged(rows)


def bounds(x: np.ndarray | Ragged) -> tuple[Any, Any]:
    """The least and the greatest value, 0 included.

    Args:
        x: an array or a `Ragged`.

    Returns:
        `(least, greatest)`.
    """
    rows = x.rows if isinstance(x, Ragged) else [x]
    return min(row.min(initial=0) for row in rows), max(row.max(initial=0) for row in rows)
