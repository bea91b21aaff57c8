"""Seeded parts of a data set that comes without them."""

from collections.abc import Sequence

import numpy as np


def by_class(y: np.ndarray, fractions: Sequence[float], seed: int) -> tuple[np.ndarray, ...]:
    """Split at random, with the same share of every class in a part.

    Args:
        y: labels (count,).
        fractions: shares of a first and a last part, together less than 1.
        seed: the same seed gives the same split under every version of NumPy,
            and the last part does not depend on the share of the first.

    Returns:
        Sorted indices of the rest, of the first part and of the last part.

    Example:

    >>> [len(part) for part in keras_ssm.datasets.splits.by_class(np.zeros(10), (0.1, 0.2), 0)]
    [7, 1, 2]
    """
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
    return tuple(np.sort(np.concatenate(part)) for part in (rest, first, last))


def check_fractions(**fractions: float) -> None:
    """Refuse shares that are not in [0, 1), or leave nothing to train on.

    Args:
        **fractions: shares by the name of the argument.

    Raises:
        ValueError: names the argument.

    Example:

    >>> keras_ssm.datasets.splits.check_fractions(test_fraction=1.0)
    Traceback (most recent call last):
    ValueError: `test_fraction` must be in [0, 1). Received: test_fraction=1.0
    """
    for name, fraction in fractions.items():
        if not 0 <= fraction < 1:
            raise ValueError(f"`{name}` must be in [0, 1). Received: {name}={fraction!r}")
    if sum(fractions.values()) >= 1:
        received = ", ".join(f"{name}={fraction!r}" for name, fraction in fractions.items())
        raise ValueError(
            f"{' and '.join(f'`{name}`' for name in fractions)} must leave something to train on. "
            f"Received: {received}"
        )
