"""ListOps of the Long Range Arena: nested operations on digits, as tokens."""

import os
import pathlib
from collections.abc import Iterator

import numpy as np

from keras_ssm.datasets.archives import missing
from keras_ssm.datasets.cache import Rows, sequences
from keras_ssm.datasets.lra import release
from keras_ssm.datasets.lra.tokens import blocks, check_length, count_lines, pad
from keras_ssm.datasets.sources import Build, prepare

Split = tuple[np.ndarray, np.ndarray, np.ndarray]
TOKENS = ("<pad>", "<unk>", "<eos>", *"0123456789", "[MIN", "[MAX", "[MED", "[SM", "X")
VOCABULARY_SIZE = len(TOKENS)
CLASSES = 10
LENGTH = 2048

_FILES = {"train": "basic_train.tsv", "validation": "basic_val.tsv", "test": "basic_test.tsv"}
_HEADER = b"Source\tTarget"
_NEWLINE, _RETURN, _TAB, _ZERO = b"\n\r\t0"
_EOS = TOKENS.index("<eos>")
# By byte: 0 for blanks and parentheses, a token's number, or one of these.
_OPENING, _LETTER, _UNKNOWN = 253, 254, 255
_KINDS = np.full(256, _UNKNOWN, "uint8")
_KINDS[list(b" ()\t\r\n")] = 0
_KINDS[list(b"0123456789")] = range(TOKENS.index("0"), TOKENS.index("9") + 1)
_KINDS[list(b"MINAXEDS")] = _LETTER
_KINDS[ord("[")] = _OPENING
_KINDS[ord("]")] = TOKENS.index("X")
_OPERATIONS = {b"MIN": "[MIN", b"MAX": "[MAX", b"MED": "[MED", b"SM ": "[SM"}


def load_data(
    max_length: int = LENGTH, data_dir: str | os.PathLike | None = None
) -> tuple[Split, Split, Split]:
    """Load ListOps: expressions such as `[MAX 2 9 [MIN 4 7 ] 0 ]`, to be evaluated to a digit.

    They are read from `listops-1000/basic_{train,val,test}.tsv`, of the release or of
    `keras_ssm.datasets.generators.listops`. As in the published models,
    parentheses are dropped, `]` is called `X`, and `<eos>` is appended. Token
    numbers are fixed here (`TOKENS`), while the official code counts
    frequencies: a permutation, which makes no difference to training from scratch.

    Args:
        max_length: length of the rows, `<eos>` included; longer expressions are cut.
            The release's have at most 2000 tokens with it.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        `(x, y, lengths)` for training, validation and test, 96,000, 2,000 and
        2,000 in the release: x uint8 tokens (count, max_length), 0 on the right;
        y int32 digits (count,); lengths int32 (count,).

    Raises:
        ValueError: if the files are missing, or a line is not an expression and
            a digit: names file and line.

    Example:

    >>> from keras_ssm.datasets import generators
    >>> folder = generators.listops.generate("data", (20, 5, 5), min_length=3, max_length=30)
    >>> train, validation, test = keras_ssm.datasets.listops.load_data(32, data_dir="data")
    >>> train[0].shape, train[0].dtype
    ((20, 32), dtype('uint8'))

    References:
        Nangia and Bowman: ListOps, NAACL 2018. Tay et al.: Long Range Arena, ICLR
        2021. Tokens as in state-spaces/s4 `src/dataloaders/lra.py` and
        lindermanlab/S5 `s5/dataloaders/lra.py`, `ListOps`.
    """
    check_length(max_length, 2)
    parts = prepare(
        SOURCE,
        data_dir,
        "listops",
        {"max_length": max_length},
        {split: _build(name, max_length) for split, name in _FILES.items()},
        _files,
    )
    train, validation, test = ((part["x"], part["y"], part["lengths"]) for part in parts.values())
    return train, validation, test


SOURCE = release.source("listops-1000")


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    for name in _FILES.values():
        if not (folder / name).is_file():
            raise missing(folder, name, ("",), f"It belongs to {SOURCE.archive}")
    return [folder / name for name in _FILES.values()]


def _build(name: str, max_length: int) -> Build:
    def build(folder: pathlib.Path, _: object) -> dict[str, Rows]:
        path = folder / name
        shape = (count_lines(path) - 1, max_length)
        if shape[0] == 0:
            raise ValueError(f"expected expressions in {path}, found only its header")
        return sequences(shape, "uint8", _parts(path, max_length))

    return build


def _parts(path: pathlib.Path, max_length: int) -> Iterator[Split]:
    line = 1
    for block in blocks(path):
        if line == 1:
            header, _, block = block.partition(b"\n")
            if header.strip() != _HEADER:
                raise ValueError(
                    f"expected the header {_HEADER!r} in {path}, found {header[:40]!r}"
                )
            line = 2
        lines = _Lines(path, line, np.frombuffer(block, "uint8"))
        yield lines.parse(max_length)
        line += len(lines.ends)


class _Lines:
    """Lines of a file, from line number `first` on, as one array of bytes."""

    def __init__(self, path: pathlib.Path, first: int, data: np.ndarray) -> None:
        self.path, self.first, self.data = path, first, data
        self.ends = np.flatnonzero(data == _NEWLINE)
        self.starts = np.concatenate([[0], self.ends[:-1] + 1]).astype(int)

    def parse(self, max_length: int) -> Split:
        y, tabs = self._targets()
        kinds = _KINDS[self.data]
        kinds[tabs + 1] = 0
        self._check_sources(kinds)
        kinds[kinds == _LETTER] = 0
        places = np.flatnonzero(kinds)
        tokens = kinds[places]
        openings = tokens == _OPENING
        tokens[openings] = self._operations(places[openings])
        self._check_balance(places, openings, tokens == TOKENS.index("X"))
        counts = np.diff(np.searchsorted(places, self.ends), prepend=0)
        x, lengths = pad(tokens, counts, max_length, _EOS)
        return x, y, lengths

    def _targets(self) -> tuple[np.ndarray, np.ndarray]:
        """Digits after the tabs, and the places of the tabs."""
        tabs = np.flatnonzero(self.data == _TAB)
        counts = np.diff(np.searchsorted(tabs, self.ends), prepend=0)
        self._refuse(counts != 1)
        stops = self.ends - (self.data[self.ends - 1] == _RETURN)
        self._refuse(stops - tabs != 2)
        y = self.data[tabs + 1].astype("int32") - _ZERO
        self._refuse((y < 0) | (y > 9))
        return y, tabs

    def _check_sources(self, kinds: np.ndarray) -> None:
        """Nothing but digits, brackets and operations. A release had lost its brackets."""
        self._refuse_at(np.flatnonzero(kinds == _UNKNOWN))
        digits = (kinds > _EOS) & (kinds < TOKENS.index("[MIN"))
        self._refuse_at(np.flatnonzero(digits[:-1] & digits[1:]))
        # Every letter is one of the three bytes after an opening bracket, so no
        # letter may be left when those are taken away.
        letters = kinds == _LETTER
        openings = np.flatnonzero(kinds == _OPENING)
        for step in (1, 2, 3):
            letters[openings + step] = False
        self._refuse_at(np.flatnonzero(letters))

    def _operations(self, places: np.ndarray) -> np.ndarray:
        names = np.stack([self.data[places + step] for step in (1, 2, 3)], axis=1)
        tokens = np.zeros(len(places), "uint8")
        for letters, token in _OPERATIONS.items():
            tokens[(names == list(letters)).all(axis=1)] = TOKENS.index(token)
        self._refuse_at(places[tokens == 0])
        return tokens

    def _check_balance(
        self, places: np.ndarray, openings: np.ndarray, closings: np.ndarray
    ) -> None:
        """One expression a line: every bracket closed, nothing before the first or after the last.

        What was cut off in the middle would be another expression with the same digit.
        """
        lines = np.searchsorted(self.ends, places)
        depth = np.cumsum(openings.astype("int32") - closings.astype("int32"))
        # Of every line by itself, even where lines before are wrong: the first is named.
        last = np.searchsorted(places, self.ends) - 1
        begin = np.concatenate([[0], last[:-1] + 1])
        self._refuse(last < begin)
        before = np.concatenate([[0], depth[last[:-1]]])
        self._refuse(depth[last] != before)
        # Outside all brackets only where a line begins or ends, and never below.
        inside = depth - before[lines]
        ending = np.zeros(len(places), bool)
        ending[last] = True
        self._refuse_at(places[(inside < 0) | ((inside == 0) & ~ending)])
        # An operation has arguments: no bracket is closed just after it is opened.
        self._refuse_at(places[1:][openings[:-1] & closings[1:]])

    def _refuse_at(self, places: np.ndarray) -> None:
        if len(places):
            lines = np.arange(len(self.ends))
            self._refuse(lines == np.searchsorted(self.ends, places[0]))

    def _refuse(self, wrong: np.ndarray) -> None:
        if wrong.any():
            index = int(np.argmax(wrong))
            line = self.data[self.starts[index] : self.ends[index]].tobytes()
            shown = line if len(line) <= 80 else line[:40] + b" ... " + line[-35:]
            raise ValueError(
                "expected a whole expression of [MIN [MAX [MED [SM ] ( ) and digits, a tab and a "
                f"digit in line {self.first + index} of {self.path}, found {shown!r}"
            )
