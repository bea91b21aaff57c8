"""Pathfinder of the Long Range Arena: are two discs the ends of one contour?"""

import functools
import io
import os
import pathlib
from contextlib import closing
from typing import NamedTuple

import numpy as np

from keras_ssm.datasets.generators import paddles, snakes
from keras_ssm.datasets.generators.folders import new_folder
from keras_ssm.datasets.generators.paddles import Setting
from keras_ssm.datasets.generators.workers import each
from keras_ssm.datasets.progress import Progress
from keras_ssm.datasets.splits import check_seed

__all__ = ["generate", "samples"]

# By image size. From the docstrings of `lra_benchmarks/data/pathfinder.py`; what they
# leave out are the defaults of `snakes2_wrapper.py`, which draws no single paddles.
SETTINGS = {
    32: Setting(32, 1, 2, 0.5, (1,), 1.5, 7, 1.0, 20, 1.5, 2.0),
    64: Setting(64, 1, 5, 1.0, (1,), 2.5, 12, 1.8, 22, 0.8, 0.8),
    128: Setting(128, 1, 5, 1.5, (2, 3), 3.0, 20, 1.8, 35, 0.9, 0.9),
    256: Setting(256, 22, 5, 2.0, (3,), 5.0, 27, 1.8, 30, 1.0, 1.0),
}
# By paddles of a contour: easy, intermediate and hard.
FOLDERS = {6: "curv_baseline", 9: "curv_contour_length_9", 14: "curv_contour_length_14"}
BATCH = 1000
DISTRACTOR_TRIALS = 5


class Scene(NamedTuple):
    """An image and what it shows.

    Args:
        image: uint8 of shape (size, size), from 0 to 255.
        label: 1 if both markers are on one contour.
        margin: margin drawn for this image.
        contours: (paddles, 2) of each of the two long contours: (y, x) of the
            first paddle's first pixel, then of the last pixel of every other.
        distractors: the same for the short contours.
        markers: ((y, x), (y, x)) of the discs.
    """

    image: np.ndarray
    label: int
    margin: int
    contours: tuple[np.ndarray, np.ndarray]
    distractors: list[np.ndarray]
    markers: np.ndarray


def generate(
    folder: str | os.PathLike,
    count: int = 200_000,
    size: int = 32,
    contour_length: int = 14,
    seed: int = 0,
    workers: int | None = None,
) -> pathlib.Path:
    """Write Pathfinder images in the layout of the Long Range Arena's own files.

    The files are `pathfinder32/curv_contour_length_14/imgs/0/sample_0.png`, a
    thousand images in each folder, and `metadata/0.npy`, plain text with a line per
    image. They are of the same kind as the arena's images, drawn by the same
    algorithm, but not the same images.

    Args:
        folder: where to put `pathfinder32` (64, 128, 256).
        count: number of images; the arena has 200,000.
        size: 32, 64, 128 or 256 pixels.
        contour_length: 6, 9 or 14 paddles in each of the two long contours.
        seed: decides every image, together with `size` and `contour_length`.
        workers: processes; by default one per core.

    Returns:
        Path of the folder with `imgs` and `metadata`.

    Raises:
        ValueError: for a size or contour length that the arena does not have,
            or if the folder exists already.
        ImportError: if Pillow is not installed.

    Example:

    >>> keras_ssm.datasets.generators.pathfinder.generate("data", count=4, size=64)
    PosixPath('data/pathfinder64/curv_contour_length_14')

    References:
        - D. Linsley et al., [Learning long-range spatial dependencies with
          horizontal gated recurrent units](https://arxiv.org/abs/1805.08315), 2018,
          and `snakes.py`, `snakes2.py` of github.com/drewlinsley/pathfinder.
        - Y. Tay et al., [Long Range Arena](https://arxiv.org/abs/2011.04006),
          2021, and `lra_benchmarks/data/pathfinder.py` of its repository.
    """
    setting = _setting(size, contour_length)
    _check_count(count)
    check_seed(seed)
    path = pathlib.Path(folder) / f"pathfinder{size}" / FOLDERS[contour_length]
    draw = functools.partial(_encoded, seed=seed, size=size, contour_length=contour_length)
    with (
        new_folder(path) as new,
        closing(each(draw, range(count), workers)) as images,
        Progress("drawing Pathfinder", count) as progress,
    ):
        (new / "metadata").mkdir()
        for start in range(0, count, BATCH):
            batch = f"imgs/{start // BATCH}"
            (new / batch).mkdir(parents=True)
            lines = []
            for number in range(min(BATCH, count - start)):
                content, label, margin = next(images)
                name = f"sample_{number}.png"
                (new / batch / name).write_bytes(content)
                fields = (
                    *(batch, name, number, label, setting.continuity, contour_length),
                    *(contour_length // 3, setting.length, setting.thickness, margin, 1),
                )
                lines.append(" ".join(map(str, fields)) + "\n")
                progress.add()
            (new / "metadata" / f"{start // BATCH}.npy").write_text("".join(lines))
    return path


def samples(
    count: int, size: int = 32, contour_length: int = 14, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the images that `generate` writes, in memory and in the same order.

    Args:
        count: number of images.
        size: 32, 64, 128 or 256 pixels.
        contour_length: 6, 9 or 14 paddles in each of the two long contours.
        seed: decides every image, together with `size` and `contour_length`.

    Returns:
        `(images, labels)`: uint8 of shape (count, size, size), and int32 of
        shape (count,), 1 where both discs are on one contour.

    Raises:
        ValueError: for a size or contour length that the arena does not have.
        ImportError: if Pillow is not installed.

    Example:

    >>> images, labels = keras_ssm.datasets.generators.pathfinder.samples(3)
    >>> images.shape
    (3, 32, 32)
    """
    _setting(size, contour_length)
    scenes = [scene(index, size, contour_length, seed) for index in range(count)]
    images = np.stack([scene.image for scene in scenes]) if scenes else np.zeros((0, size, size))
    return images.astype(np.uint8), np.array([scene.label for scene in scenes], dtype="int32")


def scene(index: int, size: int = 32, contour_length: int = 14, seed: int = 0) -> Scene:
    """Draw one image, and return it with the places of everything on it.

    Two contours of `contour_length` paddles start `seed_distance` apart near the
    middle and grow in turns; short contours of a third of the length fill some
    of the rest. A marker covers the start of one of the two contours, another
    the end of the same (label 1, half of the images) or of the other one.

    In two places the published code does something by accident that this does
    not repeat: where it looks for a free place it looks one pixel beside it, and
    short contours may run into the last paddle of one of the long ones.

    Args:
        index: number of the image.
        size: 32, 64, 128 or 256 pixels.
        contour_length: 6, 9 or 14 paddles in each of the two long contours.
        seed: decides the image, together with all other arguments.

    Returns:
        A `Scene`.

    Raises:
        ValueError: for a size or contour length that the arena does not have.
        ImportError: if Pillow is not installed.

    Example:

    >>> scene = keras_ssm.datasets.generators.pathfinder.scene(0, size=64)
    >>> scene.image.shape, [len(contour) for contour in scene.contours]
    ((64, 64), [14, 14])
    """
    setting = _setting(size, contour_length)
    # RandomState, not default_rng: NumPy promises its stream never changes.
    sequence = np.random.SeedSequence(seed, spawn_key=(index,))
    random = np.random.RandomState(np.random.PCG64(sequence))
    # Before the contours: hard ones are drawn again, and must not be more frequent for one label.
    label = int(random.randint(2))
    margin = setting.margins[random.randint(len(setting.margins))]
    geometry = paddles.geometry(setting, margin)
    contours, mask = snakes.pair(random, geometry, contour_length)
    distractors = []
    for _ in range(setting.distractors // (contour_length // 3)):
        for _ in range(DISTRACTOR_TRIALS):
            found = snakes.distractor(random, geometry, mask, contour_length // 3)
            if found is not None:
                snake, mask = found
                distractors.append(snake)
                break
    first = random.randint(2)
    markers = (contours[first].places[0], contours[first if label else 1 - first].places[-1])
    return Scene(
        image=_drawn(geometry, contours, distractors, markers),
        label=label,
        margin=margin,
        contours=(_pixels(geometry, contours[0].places), _pixels(geometry, contours[1].places)),
        distractors=[_pixels(geometry, snake.places) for snake in distractors],
        markers=_pixels(geometry, np.array(markers)),
    )


def _check_count(count: int) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"`count` must be a positive integer. Received: count={count!r}")


def _setting(size: int, contour_length: int) -> Setting:
    if size not in SETTINGS or contour_length not in FOLDERS:
        raise ValueError(
            f"expected a size of {list(SETTINGS)} and a contour length of {list(FOLDERS)}. "
            f"Received: size={size!r}, contour_length={contour_length!r}"
        )
    return SETTINGS[size]


def _pixels(geometry: paddles.Geometry, places: np.ndarray) -> np.ndarray:
    """(y, x) on the image, of places on the framed image."""
    return np.stack(np.divmod(places, geometry.width), axis=-1) - geometry.frame


def _drawn(
    geometry: paddles.Geometry,
    contours: tuple[snakes.Snake, snakes.Snake],
    distractors: list[snakes.Snake],
    markers: tuple[int, int],
) -> np.ndarray:
    image = np.zeros_like(geometry.border)
    setting = geometry.setting
    for group, brightness in (
        (contours, setting.brightness),
        (distractors, setting.distractor_brightness),
    ):
        for snake in group:
            for place, direction in zip(snake.places, snake.directions, strict=True):
                area = place + geometry.area
                image[area] = np.maximum(image[area], brightness * geometry.images[direction])
    image = image.reshape(geometry.width, geometry.width)
    disc = paddles.marker(setting.marker_radius)
    radius = len(disc) // 2
    for y, x in np.stack(np.divmod(markers, geometry.width), axis=-1):
        area = image[y - radius : y + radius + 1, x - radius : x + radius + 1]
        np.maximum(area, disc, out=area)
    inner = slice(geometry.frame, -geometry.frame)
    image = image[inner, inner]
    darkest, brightest = image.min(), image.max()
    return ((image - darkest) * (255 / (brightest - darkest)) + 0.5).astype(np.uint8)


def _encoded(index: int, seed: int, size: int, contour_length: int) -> tuple[bytes, int, int]:
    """A PNG file, its label and its margin."""
    Image, _ = paddles.pillow()
    one = scene(index, size, contour_length, seed)
    file = io.BytesIO()
    Image.fromarray(one.image).save(file, format="PNG")
    return file.getvalue(), one.label, one.margin
