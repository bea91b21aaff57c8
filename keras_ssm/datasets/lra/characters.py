"""Texts as characters or as bytes."""

from collections.abc import Sequence

import numpy as np

from keras_ssm.datasets.lra.tokens import pad

SPECIALS = ("<pad>", "<unk>", "<eos>")
LEVELS = ("characters", "bytes")
_UNKNOWN, _END = 1, 2
_CODE_POINTS = 0x110000


def vocabulary(counts: np.ndarray, size: int, min_frequency: int = 1) -> np.ndarray:
    """The most frequent characters, in the order of torchtext's vocabularies.

    Args:
        counts: how often every code point occurs.
        size: largest number of entries, `SPECIALS` included.
        min_frequency: least number of occurrences.

    Returns:
        Code points, uint32; the first is token 3.
    """
    frequent = np.flatnonzero(counts >= max(min_frequency, 1))
    order = np.argsort(-counts[frequent], kind="stable")  # ties by code point
    return frequent[order][: size - len(SPECIALS)].astype("uint32")


def count(texts: Sequence[str]) -> np.ndarray:
    """How often every code point occurs.

    Args:
        texts: strings.

    Returns:
        Numbers int64, (0x110000,).
    """
    return np.bincount(_code_points(texts), minlength=_CODE_POINTS)


def encode(
    texts: Sequence[str], known: np.ndarray, max_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Characters as tokens, with `<eos>` after the last.

    Args:
        texts: strings; longer ones are cut.
        known: what `vocabulary` returned.
        max_length: length of the rows, `<eos>` included.

    Returns:
        `(x, lengths)` as from `keras_ssm.datasets.lra.tokens.pad`, x uint8.
    """
    texts = [text[: max_length - 1] for text in texts]
    table = np.full(_CODE_POINTS, _UNKNOWN, "uint8")
    table[known] = np.arange(len(SPECIALS), len(SPECIALS) + len(known))
    lengths = np.array([len(text) for text in texts], int)
    return pad(table[_code_points(texts)], lengths, max_length, _END)


def encode_bytes(texts: Sequence[bytes], max_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of UTF-8 as tokens, a byte's value plus 1, without an end.

    Args:
        texts: bytes; longer ones are cut.
        max_length: length of the rows.

    Returns:
        `(x, lengths)` as from `keras_ssm.datasets.lra.tokens.pad`, x uint8: 255, which
        would become 256, does not occur in UTF-8.
    """
    texts = [text[:max_length] for text in texts]
    lengths = np.array([len(text) for text in texts], int)
    return pad(np.frombuffer(b"".join(texts), "uint8") + np.uint8(1), lengths, max_length)


def check_level(level: str) -> None:
    """Refuse anything but the two levels.

    Args:
        level: `"characters"` or `"bytes"`.

    Raises:
        ValueError: for anything else.
    """
    if level not in LEVELS:
        raise ValueError(f"`level` must be one of {', '.join(LEVELS)}. Received: level={level!r}")


def _code_points(texts: Sequence[str]) -> np.ndarray:
    return np.frombuffer("".join(texts).encode("utf-32-le"), "<u4")
