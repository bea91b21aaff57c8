"""ListOps of the Long Range Arena: nested operations on lists of digits, as text."""

import functools
import hashlib
import itertools
import os
import pathlib
from collections.abc import Generator
from contextlib import closing

import numpy as np

from keras_ssm.datasets.generators import trees
from keras_ssm.datasets.generators.folders import new_folder
from keras_ssm.datasets.generators.workers import each
from keras_ssm.datasets.progress import Progress
from keras_ssm.datasets.splits import check_seed

__all__ = ["generate", "samples"]

# Trees drawn at a time; part of what a seed means.
ROOTS = 4096
# This many times without a new sample mean that there are no more.
PATIENCE = 100


def generate(
    folder: str | os.PathLike,
    counts: tuple[int, int, int] = (96_000, 2_000, 2_000),
    min_length: int = 500,
    max_length: int = 2000,
    max_depth: int = 10,
    max_args: int = 10,
    seed: int = 0,
    workers: int | None = None,
) -> pathlib.Path:
    """Write ListOps in the layout of the Long Range Arena's own files.

    These are `listops-1000/basic_train.tsv`, `basic_val.tsv` and
    `basic_test.tsv`, with the columns `Source` and `Target`; the defaults are
    those of the arena. No sample occurs twice, neither in one file nor in two.

    Args:
        folder: where to put `listops-1000`.
        counts: samples for training, validation and test.
        min_length: a sample has more tokens than this; parentheses are not counted.
        max_length: a sample has fewer tokens than this.
        max_depth: levels of a tree; those of the last are digits.
        max_args: an operator has 2 to this many arguments.
        seed: decides every sample, together with the other settings except `workers`.
        workers: processes; by default one per core.

    Returns:
        Path of the folder `listops-1000`.

    Raises:
        ValueError: for settings that no tree, or too few, can meet, or if the
            folder exists already.

    Example:

    >>> from keras_ssm.datasets.generators import listops
    >>> listops.generate("data", (20, 5, 5), min_length=3, max_length=30)
    PosixPath('data/listops-1000')

    References:
        - Y. Tay et al., [Long Range Arena](https://arxiv.org/abs/2011.04006),
          2021, and `lra_benchmarks/data/listops.py` of its repository.
        - N. Nangia and S. Bowman, [ListOps](https://arxiv.org/abs/1804.06028), 2018.
    """
    bounds = _bounds(min_length, max_length, max_depth, max_args)
    whole = all(isinstance(count, int) and not isinstance(count, bool) for count in counts)
    if len(counts) != 3 or not whole or min(counts) < 1:
        raise ValueError(
            "`counts` must be three positive counts of samples, one for each part. "
            f"Received: counts={counts!r}"
        )
    check_seed(seed)
    path = pathlib.Path(folder) / "listops-1000"
    with (
        new_folder(path) as new,
        closing(_distinct_rows(bounds, seed, workers)) as rows,
        Progress("making ListOps", sum(counts)) as progress,
    ):
        # The samples are independent, so that cutting them up is a random split.
        for part, count in zip(("train", "val", "test"), counts, strict=True):
            with open(new / f"basic_{part}.tsv", "wb") as file:
                file.write(b"Source\tTarget\r\n")
                for row in itertools.islice(rows, count):
                    file.write(row)
                    progress.add()
    return path


def samples(
    count: int,
    min_length: int = 500,
    max_length: int = 2000,
    max_depth: int = 10,
    max_args: int = 10,
    seed: int = 0,
) -> tuple[list[str], np.ndarray]:
    """Make the samples that `generate` writes, in memory and in the same order.

    Args:
        count: number of samples.
        min_length: a sample has more tokens than this; parentheses are not counted.
        max_length: a sample has fewer tokens than this.
        max_depth: levels of a tree; those of the last are digits.
        max_args: an operator has 2 to this many arguments.
        seed: decides every sample, together with the other settings.

    Returns:
        `(sources, targets)`: expressions as text, and their values 0 to 9 as
        int32 of shape (count,).

    Raises:
        ValueError: for settings that no tree, or too few, can meet.

    Example:

    >>> from keras_ssm.datasets.generators import listops
    >>> listops.samples(2, min_length=3, max_length=6)
    (['( ( ( [MAX 8 ) 5 ) ] )', '( ( ( ( [SM 2 ) 1 ) 0 ) ] )'], array([8, 3], dtype=int32))
    """
    bounds = _bounds(min_length, max_length, max_depth, max_args)
    with closing(_distinct_rows(bounds, seed, workers=1)) as rows:
        table = [row.decode().rstrip().split("\t") for row in itertools.islice(rows, count)]
    return [source for source, _ in table], np.array([target for _, target in table], dtype="int32")


def _bounds(min_length: int, max_length: int, max_depth: int, max_args: int) -> trees.Bounds:
    settings = (min_length, max_length, max_depth, max_args)
    if not all(isinstance(value, int) for value in settings):
        raise ValueError(
            "expected whole numbers for lengths, depth and arguments. Received: "
            f"min_length={min_length!r}, max_length={max_length!r}, max_depth={max_depth!r}, "
            f"max_args={max_args!r}"
        )
    if max_depth < 1 or max_args < 2:
        raise ValueError(
            "expected at least one level and two arguments. Received: "
            f"max_depth={max_depth!r}, max_args={max_args!r}"
        )
    longest = 1
    for _ in range(max_depth - 1):
        longest = 2 + max_args * longest
    if not 0 <= min_length < min(max_length - 1, longest):
        raise ValueError(
            f"expected lengths between `min_length` and `max_length` and of at most {longest} "
            "tokens, the longest tree of that depth and that many arguments. Received: "
            f"min_length={min_length!r}, max_length={max_length!r}, max_depth={max_depth!r}, "
            f"max_args={max_args!r}"
        )
    return trees.Bounds(min_length, max_length, max_depth, max_args)


def _distinct_rows(
    bounds: trees.Bounds, seed: int, workers: int | None
) -> Generator[bytes, None, None]:
    """Rows of the files, without end; ValueError where there are no more distinct ones."""
    seen: set[bytes] = set()
    fruitless = 0
    draws = functools.partial(_rows, bounds=bounds, seed=seed)
    with closing(each(draws, itertools.count(), workers)) as batches:
        for batch in batches:
            fruitless += 1
            for row in batch:
                # The texts of the real size are 600 MB.
                digest = hashlib.blake2b(row, digest_size=16).digest()
                if digest not in seen:
                    seen.add(digest)
                    fruitless = 0
                    yield row
            if fruitless == PATIENCE:
                raise ValueError(
                    f"expected more samples than these settings have: {len(seen)} distinct ones "
                    f"were found, and none in {PATIENCE * ROOTS} trees after the last one. "
                    f"Received: {', '.join(f'{k}={v}' for k, v in bounds._asdict().items())}"
                )


def _rows(index: int, bounds: trees.Bounds, seed: int) -> list[bytes]:
    """The rows of one batch of trees, each with a seed of its own."""
    # RandomState, not default_rng: NumPy promises its stream never changes.
    sequence = np.random.SeedSequence(seed, spawn_key=(index,))
    random = np.random.RandomState(np.random.PCG64(sequence))
    levels = trees.draw(random, ROOTS, bounds)
    ends = [b"\t%d\r\n" % value for value in trees.values(levels)]
    return trees.texts(levels, ends).splitlines(keepends=True)
