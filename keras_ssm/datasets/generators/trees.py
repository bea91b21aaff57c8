"""Random trees of list operations, many at a time, level by level.

The algorithm of the Long Range Arena is a recursion: `grow(depth)` is, with
probability 3/4 and always at the last depth, a uniform digit; else a uniform
operator over a uniform number (2 to `max_args`) of results of `grow(depth + 1)`.
A tree is kept if its number of tokens lies strictly between two bounds.

Every draw is independent of the others, so the order in which nodes are
drawn does not change the distribution of the tree. Here all nodes of one depth
of all trees are drawn at once, which is what arrays are good at. A tree is
given up as soon as it must end up too long (its tokens so far, and one at
least for each node still to be drawn): the recursion would draw it to the end
and then reject it.
"""

from typing import NamedTuple

import numpy as np

OPERATORS = ("MIN", "MAX", "MED", "SM")
MIN, MAX, MED, SM = range(4)
OPERATOR_P = 0.25


class Bounds(NamedTuple):
    """Which trees are drawn and kept.

    Args:
        min_length: a tree has more tokens than this.
        max_length: a tree has fewer tokens than this.
        max_depth: levels of a tree; those of the last are digits.
        max_args: an operator has 2 to this many arguments.
    """

    min_length: int
    max_length: int
    max_depth: int
    max_args: int


class Level(NamedTuple):
    """All nodes of one depth; the children of a node are side by side on the next.

    Args:
        tree: number of the tree of every node, ascending.
        symbol: digit of a leaf, index into `OPERATORS` of an operator.
        arity: number of arguments, 0 for a leaf.
    """

    tree: np.ndarray
    symbol: np.ndarray
    arity: np.ndarray


def draw(random: np.random.RandomState, roots: int, bounds: Bounds) -> list[Level]:
    """Draw trees and keep those within the bounds.

    Args:
        random: source of all draws.
        roots: number of trees to draw.
        bounds: bounds of the trees to keep.

    Returns:
        The levels of the kept trees, which are numbered from 0.
    """
    levels = []
    tree = np.arange(roots)
    length = np.zeros(roots, dtype=np.int64)
    for depth in range(1, bounds.max_depth + 1):
        inner = np.zeros(0, dtype=np.int64)
        if depth < bounds.max_depth:
            inner = np.flatnonzero(random.random_sample(len(tree)) <= OPERATOR_P)
        symbol = random.randint(0, 10, len(tree), dtype=np.uint8)
        symbol[inner] = random.randint(0, len(OPERATORS), len(inner), dtype=np.uint8)
        arity = np.zeros(len(tree), dtype=np.int64)
        arity[inner] = random.randint(2, bounds.max_args + 1, len(inner))
        levels.append(Level(tree, symbol, arity))
        # One token a node, and the closing bracket of an operator.
        length += np.bincount(tree, minlength=roots) + np.bincount(tree[inner], minlength=roots)
        tree = np.repeat(tree, arity)
        too_long = length + np.bincount(tree, minlength=roots) >= bounds.max_length
        length[too_long] = bounds.max_length
        tree = tree[~too_long[tree]]
        if not len(tree):
            break
    kept = (length > bounds.min_length) & (length < bounds.max_length)
    number = np.cumsum(kept) - 1
    levels = [
        Level(number[level.tree[nodes]], level.symbol[nodes], level.arity[nodes])
        for level in levels
        if len(nodes := np.flatnonzero(kept[level.tree]))
    ]
    return levels


def values(levels: list[Level]) -> np.ndarray:
    """The value of every tree, from the leaves up.

    MED is the median, the mean of the middle two rounded down where there are
    two; SM is the sum modulo 10.

    Args:
        levels: what `draw` returned.

    Returns:
        Digits as uint8 of shape (trees,).
    """
    below = np.zeros(0, dtype=np.uint8)
    for level in reversed(levels):
        value = level.symbol.astype(np.uint8)
        inner = np.flatnonzero(level.arity)
        if len(inner):
            value[inner] = _applied(level.symbol[inner], level.arity[inner], below)
        below = value
    return below


def _applied(operator: np.ndarray, arity: np.ndarray, arguments: np.ndarray) -> np.ndarray:
    """Every operator on its share of the arguments, which follow one another."""
    start = np.cumsum(arity) - arity
    owner = np.repeat(np.arange(len(arity)), arity)
    ordered = np.sort(10 * owner + arguments) % 10  # among those of one operator
    # int(np.median(x)) of the algorithm: the middle two are one where the number is odd.
    middle = ordered[start + (arity - 1) // 2] + ordered[start + arity // 2]
    choices = [
        np.minimum.reduceat(arguments, start),
        np.maximum.reduceat(arguments, start),
        middle // 2,
        np.add.reduceat(arguments, start, dtype=np.int64) % 10,
    ]
    return np.choose(operator, choices)


def texts(levels: list[Level], ends: list[bytes]) -> bytes:
    """The expressions, one after the other, as the Long Range Arena writes them.

    An operator with arguments a, b is `( ( ( [OP a ) b ) ] )`: one pair of
    parentheses for each argument and one for the closing bracket.

    Args:
        levels: what `draw` returned.
        ends: what follows each tree, all of one length.

    Returns:
        All trees with their ends.
    """
    sizes = _sizes(levels)
    if not levels:
        return b""
    end = np.frombuffer(b"".join(ends), dtype=np.uint8).reshape(len(ends), -1)
    step = sizes[0] + end.shape[1]
    start = np.cumsum(step) - step
    text = np.full(step.sum(), ord(" "), dtype=np.uint8)
    text[(start + sizes[0])[:, None] + np.arange(end.shape[1])] = end
    for depth, (level, size) in enumerate(zip(levels, sizes, strict=True)):
        leaf = np.flatnonzero(level.arity == 0)
        text[start[leaf]] = ord("0") + level.symbol[leaf]
        inner = np.flatnonzero(level.arity)
        if not len(inner):
            break
        arity, symbol = level.arity[inner], level.symbol[inner]
        pairs = arity + 1
        opening = np.repeat(start[inner] - 2 * (np.cumsum(pairs) - pairs), pairs)
        text[opening + 2 * np.arange(len(opening))] = ord("(")
        name = start[inner] + 2 * pairs
        text[name[:, None] + np.arange(NAMES.shape[1])] = NAMES[symbol]
        last = start[inner] + size[inner] - 1
        text[last - 2] = ord("]")
        text[last] = ord(")")
        # Every argument stands between a blank and a closing parenthesis.
        step = sizes[depth + 1] + 3
        before = np.cumsum(step) - step
        first = name + WIDTHS[symbol] + 1 - before[np.cumsum(arity) - arity]
        start = np.repeat(first, arity) + before
        text[start + sizes[depth + 1] + 1] = ord(")")
    return text.tobytes()


# "[SM" is one shorter, and a blank follows it anyway.
NAMES = np.array([list(f"[{name}".ljust(4).encode()) for name in OPERATORS], dtype=np.uint8)
WIDTHS = np.array([1 + len(name) for name in OPERATORS])


def _sizes(levels: list[Level]) -> list[np.ndarray]:
    """Characters of the text of every node."""
    sizes: list[np.ndarray] = []
    for level in reversed(levels):
        size = np.ones(len(level.symbol), dtype=np.int64)
        inner = np.flatnonzero(level.arity)
        if len(inner):
            arity = level.arity[inner]
            arguments = np.add.reduceat(sizes[-1] + 3, np.cumsum(arity) - arity)
            size[inner] = 2 * (arity + 1) + WIDTHS[level.symbol[inner]] + arguments + 4
        sizes.append(size)
    return sizes[::-1]
