"""Tokens of many texts at once: cut, ended, padded; and files of lines in blocks."""

import os
import pathlib
from collections.abc import Iterator

import numpy as np

_BLOCK = 1 << 24


def pad(
    tokens: np.ndarray, counts: np.ndarray, length: int, end: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences as rows of one length.

    Args:
        tokens: tokens of all sequences, one after the other.
        counts: numbers of tokens (sequences,).
        length: length of the rows. Longer sequences lose their last tokens.
        end: token put after every sequence, inside `length`; None for none.

    Returns:
        `(x, lengths)`: x (sequences, length), 0 on the right; lengths int32
        (sequences,), the end included.
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
        max_length: length of the rows.
        least: smallest length allowed.

    Raises:
        ValueError: for anything but a whole number of at least `least`.
    """
    if not isinstance(max_length, int) or max_length < least:
        raise ValueError(
            f"`max_length` must be an integer >= {least}. Received: max_length={max_length!r}"
        )


def blocks(path: str | os.PathLike) -> Iterator[bytes]:
    """A text file in blocks of whole lines, with a newline added at its end if none is there.

    Args:
        path: path of the file.

    Returns:
        Some 16 MB at a time.
    """
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            block += file.readline()
            yield block if block.endswith(b"\n") else block + b"\n"


def count_lines(path: str | os.PathLike) -> int:
    """Number of lines, with the last one whether it ends in a newline or not.

    Args:
        path: path of the file.

    Returns:
        The number.

    Raises:
        ValueError: for an empty file.
    """
    count = sum(block.count(b"\n") for block in blocks(path))
    if count == 0:
        raise ValueError(f"expected lines in {pathlib.Path(path)}, found an empty file")
    return count
