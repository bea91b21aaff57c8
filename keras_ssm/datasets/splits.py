"""Seeded splits of a data set that comes without any."""

import collections
import hashlib
import numbers
import pathlib
from collections.abc import Sequence

import numpy as np


def by_class(y: np.ndarray, fractions: Sequence[float], seed: int) -> tuple[np.ndarray, ...]:
    """Split at random, with the same share of every class in each part.

    Args:
        y: labels (count,).
        fractions: shares of a first and a last part, together less than 1.
        seed: the same seed gives the same split under every version of NumPy,
            and the last part does not depend on the share of the first.

    Returns:
        Sorted indices of the rest, of the first part and of the last part.

    Raises:
        ValueError: if a part that is asked for would be empty, or for a seed that is
            not a whole number from 0 to 2^32 - 1.
    """
    check_seed(seed)
    # RandomState, not default_rng: NumPy promises its stream never changes.
    random = np.random.RandomState(seed)
    rest, first, last = [], [], []
    for label in np.unique(y):
        members = random.permutation(np.flatnonzero(y == label))
        # One part from each end, so that the size of one does not move the other.
        start, stop = (round(fraction * len(members)) for fraction in fractions)
        stop = len(members) - stop
        first.append(members[:start])
        rest.append(members[start:stop])
        last.append(members[stop:])
    parts = [np.sort(np.concatenate(part)) for part in (rest, first, last)]
    for part, fraction in zip(parts, (1 - sum(fractions), *fractions), strict=True):
        if fraction > 0 and not len(part):
            raise ValueError(
                f"expected enough data for a part of every {fraction:g}, found {len(y)} samples "
                f"of {len(rest)} classes, which leave it empty. A share of 0 asks for no such part"
            )
    return tuple(parts)


def check_seed(seed: int) -> None:
    """Refuse what NumPy's generators do not take for a seed.

    Args:
        seed: seed of a split.

    Raises:
        ValueError: for anything but a whole number from 0 to 2^32 - 1.
    """
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**32:
        raise ValueError(
            f"`seed` must be a whole number from 0 to 2**32 - 1. Received: seed={seed!r}"
        )


def check_distinct(paths: Sequence[pathlib.Path]) -> None:
    """Refuse the same content under two names: what is trained on must not be tested on.

    Args:
        paths: paths of files; folders are skipped.

    Raises:
        ValueError: names two files with the same content.
    """
    sizes = collections.defaultdict(list)
    for path in paths:
        if path.is_file():
            sizes[path.stat().st_size].append(path)
    seen: dict[bytes, pathlib.Path] = {}
    again: list[tuple[pathlib.Path, pathlib.Path]] = []
    for alike in sizes.values():
        for path in alike if len(alike) > 1 else ():
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
            first = seen.setdefault(digest, path)
            if first is not path:
                again.append((first, path))
    if again:
        more = f", and {len(again) - 1} more repetitions" if len(again) > 1 else ""
        raise ValueError(
            "expected every file to have a content of its own, found that of "
            f"{again[0][0]} in {again[0][1]} too{more}"
        )


def check_fractions(**fractions: float) -> None:
    """Refuse shares that are not in [0, 1), or leave nothing to train on.

    Args:
        **fractions: shares by the name of the argument.

    Raises:
        ValueError: names the argument.
    """
    for name, fraction in fractions.items():
        if not isinstance(fraction, numbers.Real) or not 0 <= fraction < 1:
            raise ValueError(f"`{name}` must be in [0, 1). Received: {name}={fraction!r}")
    if sum(fractions.values()) >= 1:
        received = ", ".join(f"{name}={fraction!r}" for name, fraction in fractions.items())
        raise ValueError(
            f"{' and '.join(f'`{name}`' for name in fractions)} must leave something to train on. "
            f"Received: {received}"
        )
