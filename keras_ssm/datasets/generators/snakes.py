"""Contours of Pathfinder: paddles one after the other, which turn a little and do not cross.

Growing is mostly failing: at 64 pixels a thousand attempts make one pair of
contours of 14 paddles. Attempts are therefore made side by side, each in a mask
of its own, and the first that succeeds is taken: as they are independent, it is
what attempts one after the other would give.
"""

from typing import NamedTuple

import numpy as np

from keras_ssm.datasets.generators.paddles import DEGREES, Geometry

# Attempts side by side, twice as many after every failure; part of what a seed means.
FEWEST, MOST = 4, 256
# Ends that are tried for one paddle, first paddles for one short contour.
TRIALS = 3
# A mask above this is in the way of a first paddle; two that add up to this much overlap.
OCCUPIED, OVERLAP = 0.3, 1.8
# Less than this is no way out.
STUCK = 1e-4


class Snake(NamedTuple):
    """A contour.

    Args:
        places: places of its paddles: of the first pixel of the first one, and of the
            last pixel of all others.
        directions: directions of its paddles.
    """

    places: np.ndarray
    directions: np.ndarray


def pair(
    random: np.random.RandomState, geometry: Geometry, length: int
) -> tuple[tuple[Snake, Snake], np.ndarray]:
    """Two contours that start a fixed distance apart and grow in turns.

    Where one is stuck, both are started again.

    Args:
        random: source of all draws.
        geometry: geometry of the image.
        length: paddles of each contour.

    Returns:
        Both contours, and the flattened mask of the space that they take.
    """
    distance = geometry.setting.seed_distance
    attempts = FEWEST
    while True:
        directions = random.randint(0, len(DEGREES), (attempts, 2))
        angles = np.deg2rad(random.randint(0, len(DEGREES), attempts))
        y, x = np.round(distance * np.sin(angles)), np.round(distance * np.cos(angles))
        seeds = [geometry.seeds[direction] for direction in directions[:, 0]]
        starts = np.array([places[random.randint(len(places))] for places in seeds])
        starts = np.stack([starts, starts + (y * geometry.width + x).astype(int)], axis=1)
        masks = np.tile(geometry.border, (attempts, 1))
        snakes, whole = _grown(random, geometry, masks, starts, directions, length)
        if len(whole):
            first, second = (Snake(*(part[whole[0], i] for part in snakes)) for i in range(2))
            return (first, second), masks[whole[0]]
        attempts = min(2 * attempts, MOST)


def distractor(
    random: np.random.RandomState, geometry: Geometry, mask: np.ndarray, length: int
) -> tuple[Snake, np.ndarray] | None:
    """A contour in the space that is left.

    Args:
        random: source of all draws.
        geometry: geometry of the image.
        mask: flattened, of the space that is taken.
        length: paddles of the contour.

    Returns:
        The contour and the new mask, or None where it did not fit.
    """
    for _ in range(TRIALS):
        direction = random.randint(0, len(DEGREES))
        start = _free_place(random, geometry, mask, geometry.bodies[direction])
        if start is None:
            return None
        if _inside(geometry, start + geometry.pivots[direction]):
            break
    else:
        return None
    masks = mask[None].copy()
    snakes, whole = _grown(
        random, geometry, masks, np.array([[start]]), np.array([[direction]]), length
    )
    return (Snake(*(part[0, 0] for part in snakes)), masks[0]) if len(whole) else None


def _grown(
    random: np.random.RandomState,
    geometry: Geometry,
    masks: np.ndarray,
    starts: np.ndarray,
    directions: np.ndarray,
    length: int,
) -> tuple[Snake, np.ndarray]:
    """Groups of contours, (groups, contours) of first paddles, each group in its mask.

    A group grows in turns and ends where one of its contours is stuck. Returns
    arrays (groups, contours, paddles), and the groups that are whole. A paddle
    comes into the mask when the next one is there: a contour does not
    avoid what it continues.
    """
    places = np.repeat(starts[:, :, None], length, axis=2)
    ways = np.repeat(directions[:, :, None], length, axis=2)
    pivots = starts + geometry.pivots[directions]
    whole = np.arange(len(starts))
    for paddle in range(1, length):
        for contour in range(starts.shape[1]):
            before = ways[whole, contour, paddle - 1]
            pivot = pivots[whole, contour] + geometry.steps[before]
            end = _next_end(random, geometry, masks, whole, pivot, before)
            found = end >= 0
            whole, end, pivot = whole[found], end[found], pivot[found]
            if not len(whole):
                return Snake(places, ways), whole
            last = places[whole, contour, paddle - 1], ways[whole, contour, paddle - 1]
            _settle(geometry, masks, whole, *last)
            pivots[whole, contour] = pivot
            places[whole, contour, paddle] = pivot + geometry.ends[end]
            ways[whole, contour, paddle] = len(DEGREES) + end
    for contour in range(starts.shape[1]):
        _settle(geometry, masks, whole, places[whole, contour, -1], ways[whole, contour, -1])
    return Snake(places, ways), whole


def _next_end(
    random: np.random.RandomState,
    geometry: Geometry,
    masks: np.ndarray,
    rows: np.ndarray,
    pivots: np.ndarray,
    directions: np.ndarray,
) -> np.ndarray:
    """Where the next paddle of a contour in each of these masks ends, -1 where it is stuck."""
    around = pivots[:, None, None] + geometry.around
    occupied = masks[rows[:, None, None], around].max(axis=1)
    chances = np.cumsum((1 - occupied) * geometry.weights[directions], axis=1)
    ends = np.full(len(rows), -1)
    left = np.flatnonzero(chances[:, -1] >= STUCK)
    for _ in range(TRIALS):
        draws = random.random_sample(len(left)) * chances[left, -1]
        drawn = (chances[left, :-1] <= draws[:, None]).sum(axis=1)
        area = (pivots[left] + geometry.ends[drawn])[:, None] + geometry.area
        both = masks[rows[left, None], area] + geometry.masks[len(DEGREES) + drawn]
        free = both.max(axis=1) < OVERLAP
        ends[left[free]] = drawn[free]
        left = left[~free]
        if not len(left):
            break
    return ends


def _settle(
    geometry: Geometry,
    masks: np.ndarray,
    rows: np.ndarray,
    places: np.ndarray,
    directions: np.ndarray,
) -> None:
    """Put one paddle into each of these masks."""
    where = rows[:, None], places[:, None] + geometry.area
    masks[where] = np.maximum(masks[where], geometry.masks[directions])


def _free_place(
    random: np.random.RandomState, geometry: Geometry, mask: np.ndarray, body: np.ndarray
) -> int | None:
    """One of the places where a body meets nothing, drawn uniformly, or None."""
    places = geometry.places
    # Any will do that is drawn from all places and happens to be free; most often one is.
    for _ in range(4):
        drawn = places[random.randint(0, len(places), 32)]
        free = drawn[(mask[drawn[:, None] + body] <= OCCUPIED).all(axis=1)]
        if len(free):
            return int(free[0])
    free = places[(mask[places[:, None] + body] <= OCCUPIED).all(axis=1)]
    return int(free[random.randint(len(free))]) if len(free) else None


def _inside(geometry: Geometry, place: int) -> bool:
    y, x = np.array(divmod(place, geometry.width)) - geometry.frame
    return min(y, x) >= 0 and max(y, x) < geometry.setting.size
