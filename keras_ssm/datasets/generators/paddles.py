"""Paddles, the dashes of Pathfinder: what they look like and where the next one may go.

Positions are integer pixels, and so are the steps from one paddle to the next:
everything that depends on directions only is computed once, in `geometry`.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

# Lines are drawn this much larger and then shrunk.
ANTIALIASING = 2
# Whole degrees, for the first paddle of a contour.
DEGREES = np.arange(-180, 180)


class Setting(NamedTuple):
    """Settings of the pictures of one size; lengths in pixels.

    Args:
        size: side of the square image.
        padding: border that stays empty.
        length: length of a paddle.
        thickness: thickness of a paddle.
        margins: kept free around a paddle; one of them is drawn for each image.
        marker_radius: radius of the two discs.
        seed_distance: between the first paddles of the two contours.
        continuity: how much less likely sharp turns are.
        distractors: number of paddles in the short contours.
        brightness: brightness of the two contours.
        distractor_brightness: brightness of the short ones; a marker has 1.
    """

    size: int
    padding: int
    length: int
    thickness: float
    margins: tuple[int, ...]
    marker_radius: float
    seed_distance: int
    continuity: float
    distractors: int
    brightness: float
    distractor_brightness: float


class Geometry(NamedTuple):
    """Tables for one setting and margin.

    Images lie in a frame of `frame` pixels on every side, so that nothing is
    cut off. A place is an index into the flattened framed image. A direction is
    an index into 360 whole degrees and then into the directions in which a
    paddle may follow another; it is also the index of the paddle that is drawn
    for it: from its first pixel forwards for the degrees, from its last
    backwards for the others.

    Args:
        setting: setting that the tables are for.
        margin: one of the margins of the setting.
        frame: pixels on every side.
        width: width of the framed image.
        places: places of all pixels of the image.
        border: flattened mask of the framed image, 1 where nothing may be drawn.
        area: (pixels,), from a paddle to the pixels of its picture, a square.
        images: (directions, pixels), brightness 0 to 1 of paddles.
        masks: (directions, pixels), the same with their margins.
        bodies: per degree, places of the solid part of a mask from its first pixel.
        pivots: per degree, from the first pixel to the pivot behind it.
        steps: per direction, from a pivot to the next one.
        ends: from a pivot to where the paddle may end.
        around: (pixels of a disc, ends), from a pivot to the margins of the ends.
        weights: (directions, ends), how likely an end is after a direction.
        seeds: per degree, where a first contour may start.
    """

    setting: Setting
    margin: int
    frame: int
    width: int
    places: np.ndarray
    border: np.ndarray
    area: np.ndarray
    images: np.ndarray
    masks: np.ndarray
    bodies: list[np.ndarray]
    pivots: np.ndarray
    steps: np.ndarray
    ends: np.ndarray
    around: np.ndarray
    weights: np.ndarray
    seeds: list[np.ndarray]


@functools.cache
def geometry(setting: Setting, margin: int) -> Geometry:
    """The tables of a setting.

    Args:
        setting: setting of the pictures.
        margin: one of its margins.

    Returns:
        A `Geometry`.

    Raises:
        ImportError: if Pillow is not installed.
    """
    size, length = setting.size, setting.length
    # From a last pixel within the image: to the next pivot, an end and its margin.
    frame = (margin + 2) + (length + margin + 1) + margin
    width = size + 2 * frame

    def place(offsets: np.ndarray) -> np.ndarray:
        return offsets[..., 0] * width + offsets[..., 1]

    degrees = np.deg2rad(DEGREES)
    # One candidate per pixel of the circle around the pivot, whole pixels, none twice.
    reach = length + margin
    samples = np.deg2rad(np.arange(0, 360, 360 / (2 * reach * np.pi)))
    ends = np.unique(np.floor(_ways(samples, reach)).astype(int), axis=0)
    onwards = np.arctan2(ends[:, 0], ends[:, 1])
    directions = np.concatenate([degrees, onwards])
    turn = np.abs(onwards - directions[:, None])
    turn = np.minimum(turn, 2 * np.pi - turn)
    images, masks = _paddles(setting, margin, np.concatenate([degrees, onwards + np.pi]))
    square = np.argwhere(np.ones(masks.shape[1:])) - masks.shape[1] // 2
    solid = [square[mask.reshape(-1) == 1] for mask in masks[: len(degrees)]]
    bodies = [offsets[np.abs(offsets).max(axis=1) <= reach] for offsets in solid]
    pivots = np.ceil(_ways(degrees, length)) + np.ceil(_ways(degrees, -reach))
    disc = np.argwhere(_disc(margin)) - margin

    border = np.ones((width, width), dtype=np.float32)
    inner = slice(frame + setting.padding, width - frame - setting.padding)
    border[inner, inner] = 0
    # The first contour starts well inside, with its whole first paddle.
    first, last = 2 * setting.seed_distance, size - 1 - 2 * setting.seed_distance
    seeds = []
    for body in bodies:
        (top, left), (bottom, right) = body.min(axis=0), body.max(axis=0)
        y, x = np.arange(first - top, last - bottom + 1), np.arange(first - left, last - right + 1)
        seeds.append(place(np.stack(np.meshgrid(y, x), axis=-1).reshape(-1, 2) + frame))
    return Geometry(
        setting=setting,
        margin=margin,
        frame=frame,
        width=width,
        places=place(np.argwhere(np.ones((size, size))) + frame),
        border=border.reshape(-1),
        area=place(square),
        images=images.reshape(len(directions), -1),
        masks=masks.reshape(len(directions), -1),
        bodies=[place(body) for body in bodies],
        pivots=place(pivots.astype(int)),
        steps=place(np.ceil(_ways(directions, length + 2 * margin)).astype(int)),
        ends=place(ends),
        around=place(disc[:, None] + ends),
        weights=np.cos(np.minimum(turn * setting.continuity, np.pi / 2)) ** 2,
        seeds=seeds,
    )


def marker(radius: float) -> np.ndarray:
    """A disc.

    Args:
        radius: radius in pixels.

    Returns:
        Brightness 0 to 1, float32 of shape (side, side) with an odd side, the
        center in the middle.

    Raises:
        ImportError: if Pillow is not installed.
    """
    # Shrinking spreads a pixel over three.
    reach = math.ceil(radius) + 3
    y, x = np.ogrid[: (2 * reach + 1) * ANTIALIASING, : (2 * reach + 1) * ANTIALIASING]
    centre = reach * ANTIALIASING
    disc = (y - centre) ** 2 + (x - centre) ** 2 <= (radius * ANTIALIASING) ** 2
    return _shrunk(255 * disc.astype(np.uint8), 2 * reach + 1)


def pillow() -> tuple[Any, Any]:
    """The modules of Pillow that draw.

    Returns:
        `(Image, ImageDraw)`.

    Raises:
        ImportError: if Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise ImportError(
            "Pathfinder is drawn by Pillow, which is not installed. "
            'Install it with `pip install "keras-ssm[data]"`.'
        ) from error
    return Image, ImageDraw


def _paddles(setting: Setting, margin: int, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and masks of paddles whose first pixel is in the middle."""
    Image, ImageDraw = pillow()
    radius = setting.length + math.ceil(setting.thickness) + margin
    middle = radius * ANTIALIASING
    side = 2 * middle + 1
    ends = np.ceil(middle + _ways(angles, setting.length * ANTIALIASING)).astype(int)
    lines = []
    for y, x in ends.tolist():
        line = Image.new("L", (side, side))
        width = round(setting.thickness * ANTIALIASING)
        ImageDraw.Draw(line).line([(middle, middle), (x, y)], fill=255, width=width)
        lines.append(np.asarray(line))
    pixels = np.stack(lines)
    reach = margin * ANTIALIASING
    framed = np.pad(pixels, ((0, 0), (reach, reach), (reach, reach)))
    masks = pixels
    for y, x in np.argwhere(_disc(reach)):
        masks = np.maximum(masks, framed[:, y : y + side, x : x + side])
    images, masks = (
        np.stack([_shrunk(one, 2 * radius + 1) for one in group]) for group in (pixels, masks)
    )
    return images, masks


def _ways(angles: np.ndarray, distance: float) -> np.ndarray:
    """(y, x) of a distance in every direction, zeros exact."""
    return np.round(distance * np.stack([np.sin(angles), np.cos(angles)], axis=-1), 9)


def _disc(radius: int) -> np.ndarray:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return y**2 + x**2 <= radius**2


def _shrunk(pixels: np.ndarray, side: int) -> np.ndarray:
    Image, _ = pillow()
    small = Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(small, dtype=np.float32) / 255
