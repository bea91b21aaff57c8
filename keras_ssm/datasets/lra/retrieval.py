"""Retrieval of the Long Range Arena: do two papers cite each other or the same paper?"""

import os
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from keras_ssm.datasets.archives import missing
from keras_ssm.datasets.cache import Rows, sequences
from keras_ssm.datasets.lra import characters, release
from keras_ssm.datasets.lra.tokens import blocks, check_length, count_lines
from keras_ssm.datasets.sources import Arrays, Build, prepare

Split = tuple[np.ndarray, np.ndarray, np.ndarray]
CLASSES = 2
LENGTH = 4000
VOCABULARY_SIZE = {"characters": 98, "bytes": 257}

SOURCE = release.source("tsv_data")
_FILES = {
    "train": "new_aan_pairs.train.tsv",
    "validation": "new_aan_pairs.eval.tsv",
    "test": "new_aan_pairs.test.tsv",
}
_COLUMNS = 5
_LABELS = {b"0.0": 0, b"1.0": 1, b"0": 0, b"1": 1}


def load_data(
    level: str = "characters",
    max_length: int = LENGTH,
    data_dir: str | os.PathLike | None = None,
) -> tuple[Split, Split, Split]:
    """Load pairs of papers of the ACL Anthology Network, related by citation or not.

    They are read from `tsv_data/new_aan_pairs.{train,eval,test}.tsv` of the release:
    a label, two names and two texts, separated by tabs. Quotes are characters like
    any other; a csv reader with its default quoting, as in the code of S4 and S5,
    may misread some rows.

    By `"characters"`, as in S4 and S5: tokens are the characters of the training
    texts, cut to `max_length` - 1, and `<eos>` follows. By `"bytes"`, as in the Long
    Range Arena: a token is a byte of UTF-8 plus 1, and nothing follows.

    Args:
        level: `"characters"` or `"bytes"`.
        max_length: length of the rows; longer texts are cut.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        `(x, y, lengths)` for training, validation and test, 147,086, 18,090 and
        17,437 in the release: x uint8 tokens (count, 2, max_length), 0 on the right;
        y int32 (count,), 1 for related; lengths int32 (count, 2).

    Raises:
        ValueError: if the files are missing, or a line is not five columns with
            a label of 0.0 or 1.0 and UTF-8: names file and line.

    Example:

    >>> train, validation, test = keras_ssm.datasets.retrieval.load_data()  # doctest: +SKIP
    >>> train[0].shape, train[2].shape  # doctest: +SKIP
    ((147086, 2, 4000), (147086, 2))

    References:
        Radev et al.: The ACL Anthology Network corpus, 2013. Tay et al.: Long Range
        Arena, ICLR 2021. Tokens as in lindermanlab/S5 `s5/dataloaders/lra.py`, `AAN`,
        and google-research/long-range-arena `lra_benchmarks/matching/input_pipeline.py`.
    """
    characters.check_level(level)
    check_length(max_length, 2)
    parts = prepare(
        SOURCE,
        data_dir,
        "retrieval",
        {"level": level, "max_length": max_length},
        {split: _build(name, level, max_length) for split, name in _FILES.items()},
        _files,
    )
    train, validation, test = ((part["x"], part["y"], part["lengths"]) for part in parts.values())
    return train, validation, test


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    for name in _FILES.values():
        if not (folder / name).is_file():
            raise missing(folder, name, ("",), f"It belongs to {SOURCE.archive}")
    return [folder / name for name in _FILES.values()]


def _build(name: str, level: str, max_length: int) -> Build:
    def build(folder: pathlib.Path, done: Mapping[str, Arrays]) -> Mapping[str, np.ndarray | Rows]:
        path = folder / name
        shape = (count_lines(path), 2, max_length)
        if level == "bytes":
            return sequences(shape, "uint8", _parts(path, None, max_length), shape[:2])
        known = done["train"]["vocabulary"] if done else _vocabulary(path, max_length)
        arrays = sequences(shape, "uint8", _parts(path, known, max_length), shape[:2])
        return {**arrays, "vocabulary": known}

    return build


def _vocabulary(path: pathlib.Path, max_length: int) -> np.ndarray:
    counts = sum(
        characters.count([text.decode()[: max_length - 1] for text in texts])
        for texts, _ in _pairs(path)
    )
    return characters.vocabulary(np.asarray(counts), VOCABULARY_SIZE["characters"])


def _parts(path: pathlib.Path, known: np.ndarray | None, max_length: int) -> Iterator[Split]:
    for texts, y in _pairs(path):
        if known is None:
            x, lengths = characters.encode_bytes(texts, max_length)
        else:
            decoded = [text.decode() for text in texts]
            x, lengths = characters.encode(decoded, known, max_length)
        yield x.reshape(-1, 2, max_length), y, lengths.reshape(-1, 2)


def _pairs(path: pathlib.Path) -> Iterator[tuple[list[bytes], np.ndarray]]:
    """Texts, first and second of every pair in turn, and labels."""
    number = 0
    for block in blocks(path):
        texts: list[bytes] = []
        y: list[int] = []
        # At newlines alone: splitlines would also break at other separators in a text.
        for line in block[:-1].split(b"\n"):
            number += 1
            columns = line.rstrip(b"\r").split(b"\t")
            if len(columns) != _COLUMNS or columns[0] not in _LABELS:
                raise ValueError(
                    f"expected a label of 0.0 or 1.0, two names and two texts in line {number} of "
                    f"{path}, found {len(columns)} columns: {line[:80]!r}"
                )
            y.append(_LABELS[columns[0]])
            texts += columns[3:]
        _check_utf8(path, number, len(y), block)
        yield texts, np.array(y, "int32")


def _check_utf8(path: pathlib.Path, last: int, count: int, block: bytes) -> None:
    try:
        block.decode()
    except UnicodeDecodeError as error:
        line = last - count + 1 + block[: error.start].count(b"\n")
        raise ValueError(f"expected UTF-8 in line {line} of {path}: {error}") from error
