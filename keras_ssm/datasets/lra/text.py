"""Text of the Long Range Arena: film reviews of IMDB, by characters or bytes."""

import os
import pathlib
from collections.abc import Mapping

import numpy as np

from keras_ssm.datasets.archives import missing
from keras_ssm.datasets.cache import Rows
from keras_ssm.datasets.lra import characters
from keras_ssm.datasets.lra.tokens import check_length
from keras_ssm.datasets.sources import Arrays, Build, Source, prepare

Split = tuple[np.ndarray, np.ndarray, np.ndarray]
CLASSES = ("negative", "positive")
LENGTH = 4096
VOCABULARY_SIZE = {"characters": 135, "bytes": 257}
MIN_FREQUENCY = 15

SOURCE = Source(
    "aclImdb",
    "aclImdb_v1.tar.gz",
    "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    checksum="7c2ac02c03563afcf9b574c7e56c153a",  # as in torchtext
    note="84 MB",
)
_LABELS = ("neg", "pos")


def load_data(
    level: str = "characters",
    max_length: int = LENGTH,
    data_dir: str | os.PathLike | None = None,
) -> tuple[Split, Split, Split]:
    """Load film reviews of the Internet Movie Database (IMDB), negative or positive.

    They are read from the folder `aclImdb`, or unpacked from `aclImdb_v1.tar.gz`.

    By `"characters"`, as in S4 and S5: tokens are the characters that occur at least
    15 times in the training texts, cut to `max_length` - 1, and `<eos>` follows. By
    `"bytes"`, as in the Long Range Arena: a token is a byte of UTF-8 plus 1, and
    nothing follows; the arena's models take 1000 or 4000 of them.

    There is no validation part of its own: as in all published results, the test part
    takes its place, so what is chosen by it is chosen on test data.

    Args:
        level: `"characters"` or `"bytes"`.
        max_length: length of the rows; longer texts are cut.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        `(x, y, lengths)` for training, validation and test, 25,000 each in the
        release: x uint8 tokens (count, max_length), 0 on the right; y int32
        (count,), 1 for positive; lengths int32 (count,).

    Raises:
        ValueError: if reviews are missing or not UTF-8: names the file.

    Example:

    >>> train, validation, test = keras_ssm.datasets.text.load_data()  # doctest: +SKIP
    >>> train[0].shape, train[0].max()  # doctest: +SKIP
    ((25000, 4096), 134)

    References:
        Maas et al.: Learning Word Vectors for Sentiment Analysis, ACL 2011. Tay et
        al.: Long Range Arena, ICLR 2021. Tokens as in lindermanlab/S5
        `s5/dataloaders/lra.py`, `IMDB`, and google-research/long-range-arena
        `lra_benchmarks/text_classification/input_pipeline.py`.
    """
    characters.check_level(level)
    check_length(max_length, 2)
    parts = prepare(
        SOURCE,
        data_dir,
        "text",
        {"level": level, "max_length": max_length},
        {split: _build(split, level, max_length) for split in ("train", "test")},
        _folders,
    )
    train, test = ((part["x"], part["y"], part["lengths"]) for part in parts.values())
    return train, test, test


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folders of reviews. Adding or removing a file changes their times."""
    return [folder / split / name for split in ("train", "test") for name in _LABELS]


def _build(split: str, level: str, max_length: int) -> Build:
    def build(folder: pathlib.Path, done: Mapping[str, Arrays]) -> Mapping[str, np.ndarray | Rows]:
        paths, y = _reviews(folder, split)
        if level == "bytes":
            x, lengths = characters.encode_bytes([_read(path) for path in paths], max_length)
            return {"x": x, "y": y, "lengths": lengths}
        texts = [_read(path).decode()[: max_length - 1] for path in paths]
        if done:
            known = done["train"]["vocabulary"]
        else:
            size = VOCABULARY_SIZE[level]
            known = characters.vocabulary(characters.count(texts), size, MIN_FREQUENCY)
        x, lengths = characters.encode(texts, known, max_length)
        return {"x": x, "y": y, "lengths": lengths, "vocabulary": known}

    return build


def _reviews(folder: pathlib.Path, split: str) -> tuple[list[pathlib.Path], np.ndarray]:
    found = [sorted((folder / split / name).glob("*.txt")) for name in _LABELS]
    for name, paths in zip(_LABELS, found, strict=True):
        if not paths:
            hint = f"It belongs to {SOURCE.archive} from {SOURCE.url}"
            raise missing(folder / split / name, "reviews (*.txt)", ("",), hint)
    y = np.repeat(np.arange(len(found), dtype="int32"), [len(paths) for paths in found])
    return [path for paths in found for path in paths], y


def _read(path: pathlib.Path) -> bytes:
    text = path.read_bytes()
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"expected UTF-8 in {path}, found {len(text)} bytes: {error}") from error
    return text
