"""Tokens of many texts at once: cut, ended, padded; and files of lines in blocks."""

import os
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np

from keras_ssm.datasets.cache import Rows

_BLOCK = 1 << 24


def pad(
    tokens: np.ndarray, counts: np.ndarray, length: int, end: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences as rows of one length.

    Args:
        tokens: those of all sequences, one after the other.
        counts: numbers of tokens (sequences,).
        length: of the rows. Longer sequences lose their last tokens.
        end: token put after every sequence, inside `length`; None for none.

    Returns:
        `(x, lengths)`: x (sequences, length), 0 on the right; lengths int32
        (sequences,), the end included.

    Example:

    >>> x, lengths = keras_ssm.datasets.tokens.pad(np.array([5, 6, 7]), np.array([1, 2]), 3)
    >>> x.tolist(), lengths.tolist()
    ([[5, 0, 0], [6, 7, 0]], [1, 2])
    """
    room = length - (end is not None)
    kept = np.minimum(counts, room)
    if (counts > room).any():
        starts = np.cumsum(counts) - counts
        tokens = tokens[np.arange(len(tokens)) - np.repeat(starts, counts) < room]
    x = np.zeros((len(counts), length), tokens.dtype)
    x[np.arange(length) < kept[:, None]] = tokens
    if end is not None:
        x[np.arange(len(counts)), kept] = end
        kept = kept + 1
    return x, kept.astype("int32")


def check_length(max_length: int, least: int) -> None:
    """Refuse a length that leaves no room.

    Args:
        max_length: of the rows.
        least: that a row must have.

    Raises:
        ValueError: for anything but a whole number of at least `least`.

    Example:

    >>> keras_ssm.datasets.tokens.check_length(1, 2)
    Traceback (most recent call last):
    ValueError: ... Received: max_length=1
    """
    if not isinstance(max_length, int) or max_length < least:
        raise ValueError(
            f"`max_length` must be an integer >= {least}. Received: max_length={max_length!r}"
        )


def sequences(
    shape: tuple[int, ...],
    dtype: str,
    parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    lengths_shape: tuple[int, ...] | None = None,
) -> dict[str, Rows]:
    """Sequences, labels and lengths that come together, for a cache.

    Args:
        shape: of x.
        dtype: of x.
        parts: `(x, y, lengths)`, each a part along the first axis.
        lengths_shape: of lengths, if not (count,).

    Returns:
        `x`, `y` and `lengths` as `keras_ssm.datasets.cache.Rows`.

    Example:

    >>> part = np.ones((2, 3), "uint8"), np.zeros(2, "int32"), np.array([3, 3], "int32")
    >>> list(keras_ssm.datasets.tokens.sequences((2, 3), "uint8", [part]))
    ['x', 'y', 'lengths']
    """
    y: list[np.ndarray] = []
    lengths: list[np.ndarray] = []

    def rows() -> Iterator[np.ndarray]:
        for x, labels, counts in parts:
            y.append(labels)
            lengths.append(counts)
            yield x

    # The lists are full when they are read: a cache writes x first.
    return {
        "x": Rows(shape, dtype, rows()),
        "y": Rows(shape[:1], "int32", y),
        "lengths": Rows(lengths_shape or shape[:1], "int32", lengths),
    }


def blocks(path: str | os.PathLike) -> Iterator[bytes]:
    """A file of lines in blocks of whole lines, the last one ended if it is not.

    Args:
        path: of the file.

    Returns:
        Some 16 MB at a time.

    Example:

    >>> import pathlib
    >>> characters = pathlib.Path("two.tsv").write_text("a\\n" "b\\n")
    >>> list(keras_ssm.datasets.tokens.blocks("two.tsv"))
    [b'a\\nb\\n']
    """
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            block += file.readline()
            yield block if block.endswith(b"\n") else block + b"\n"


def count_lines(path: str | os.PathLike) -> int:
    """Number of lines, with the last one whether it is ended or not.

    Args:
        path: of the file.

    Returns:
        The number.

    Raises:
        ValueError: for an empty file.

    Example:

    >>> import pathlib
    >>> characters = pathlib.Path("two.tsv").write_text("a\\n" "b\\n")
    >>> keras_ssm.datasets.tokens.count_lines("two.tsv")
    2
    """
    count = sum(block.count(b"\n") for block in blocks(path))
    if count == 0:
        raise ValueError(f"expected lines in {pathlib.Path(path)}, found an empty file")
    return count
