"""Pathfinder and Path-X of the Long Range Arena: are two dots on one path?"""

import concurrent.futures
import io
import logging
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from keras_ssm.datasets import archives
from keras_ssm.datasets.cache import Rows
from keras_ssm.datasets.lra import release
from keras_ssm.datasets.sources import Arrays, Build, Source, prepare

Split = tuple[np.ndarray, np.ndarray]
CLASSES = 2
RESOLUTIONS = (32, 64, 128, 256)
# Raw grey values to [-1, 1], as in S5 and DSS.
MEAN, STD = 127.5, 127.5

_LEVELS = {6: "curv_baseline", 9: "curv_contour_length_9", 14: "curv_contour_length_14"}
_EMPTY = "pathfinder32/curv_baseline/imgs/0/sample_172.png"
_NUMPY = b"\x93NUMPY"
_PARTS = ("train", "validation", "test")
_CHUNK = 1024
# The smallest number with a tenth.
_LEAST = 10
_log = logging.getLogger(__name__)


def load_data(
    resolution: int = 32,
    contour_length: int = 14,
    seed: int | None = 0,
    data_dir: str | os.PathLike | None = None,
) -> tuple[Split, Split, Split]:
    """Load Pathfinder: images with two dots, at the ends of one dashed path or of two.

    Pixels are read row by row: 1024 steps at resolution 32 (Pathfinder), 16,384 at
    128 (Path-X). They are read from `pathfinder<resolution>/`, of the release or of
    `keras_ssm.datasets.generators.pathfinder`.

    A tenth of the images is for validation and another for test. The published S4, S5
    and DSS draw them by PyTorch's `random_split` with seed 42, which only PyTorch
    can repeat; here another permutation decides. `seed=None` takes the slices of
    the Long Range Arena: the last tenths, in the order of the metadata.

    Args:
        resolution: 32, 64, 128 or 256.
        contour_length: number of dashes in a path, 14 for the published task; 9 and 6 are
            easier.
        seed: seed of the split; None for slices.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        `(x, y)` for training, validation and test, 160,000, 20,000 and 20,000 in
        the release: x uint8 gray values (count, resolution ** 2), scaled to [-1, 1]
        by `MEAN` and `STD`; y int32 (count,), 1 for one path.

    Raises:
        ValueError: if files are missing, or an image or a line of the metadata
            cannot be read: names it. One image of the release is known to be
            empty and left out.
        ImportError: if Pillow is not installed.

    Example:

    >>> train, validation, test = keras_ssm.datasets.pathfinder.load_data(128)  # doctest: +SKIP
    >>> train[0].shape  # doctest: +SKIP
    (160000, 16384)

    References:
        Linsley et al.: Learning long-range spatial dependencies with horizontal
        gated recurrent units, NeurIPS 2018. Tay et al.: Long Range Arena, ICLR 2021.
        Layout and split as in lindermanlab/S5 `s5/dataloaders/lra.py`, `PathFinder`,
        and google-research/long-range-arena `lra_benchmarks/image`.
    """
    if resolution not in RESOLUTIONS:
        raise ValueError(
            f"`resolution` must be one of {RESOLUTIONS}. Received: resolution={resolution!r}"
        )
    if contour_length not in _LEVELS:
        raise ValueError(
            f"`contour_length` must be one of {tuple(_LEVELS)}. "
            f"Received: contour_length={contour_length!r}"
        )
    level = _LEVELS[contour_length]
    parts = prepare(
        source(resolution),
        data_dir,
        f"pathfinder{resolution}",
        {"contour_length": contour_length, "seed": seed},
        {part: _build(part, resolution, level, seed) for part in _PARTS},
        lambda folder: _metadata(folder / level),
    )
    train, validation, test = ((part["x"], part["y"]) for part in parts.values())
    return train, validation, test


def source(resolution: int) -> Source:
    """Return the source of the images of one resolution.

    Args:
        resolution: 32, 64, 128 or 256.

    Returns:
        A `keras_ssm.datasets.sources.Source`.

    Example:

    >>> keras_ssm.datasets.pathfinder.source(32).folder
    'pathfinder32'
    """
    return release.source(f"pathfinder{resolution}")


class _Sample(NamedTuple):
    path: pathlib.Path
    label: int
    metadata: pathlib.Path
    line: int


def _build(part: str, resolution: int, level: str, seed: int | None) -> Build:
    def build(folder: pathlib.Path, _: Mapping[str, Arrays]) -> Mapping[str, np.ndarray | Rows]:
        if part == "train":
            _warn_of_duplicate(folder)
        samples = _samples(folder / level)
        chosen = _split(len(samples), seed)[_PARTS.index(part)]
        mine = [samples[index] for index in chosen]
        shape = (len(mine), resolution**2)
        return {
            "x": Rows(shape, "uint8", _pixels(mine, resolution)),
            "y": np.array([sample.label for sample in mine], "int32"),
        }

    return build


def _warn_of_duplicate(folder: pathlib.Path) -> None:
    """The outer of the release's two folders lra_release has labels that do not fit."""
    outer = folder.parent.name == "lra_release" != folder.parent.parent.name
    if folder.name == "pathfinder128" and outer:
        _log.warning(
            "%s may be the old pathfinder128, which nothing can learn: the release has another "
            "one in lra_release/lra_release",
            folder,
        )


def _split(count: int, seed: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorted indices for training, validation and test."""
    # RandomState, not default_rng: NumPy promises its stream never changes.
    order = np.arange(count) if seed is None else np.random.RandomState(seed).permutation(count)
    tenth = count // 10
    parts = np.split(order, [count - 2 * tenth, count - tenth])
    train, validation, test = (np.sort(part) for part in parts)
    return train, validation, test


def _metadata(folder: pathlib.Path) -> list[pathlib.Path]:
    """Files of metadata in the order of their numbers, on which the split rests."""
    paths = list((folder / "metadata").glob("*.npy"))
    wrong = [path for path in paths if not path.stem.isdecimal()]
    if wrong or not paths:
        found = wrong or "none"
        raise ValueError(
            f"expected metadata 0.npy, 1.npy, ... in {folder / 'metadata'}, found {found}"
        )
    return sorted(paths, key=lambda path: int(path.stem))


def _samples(folder: pathlib.Path) -> list[_Sample]:
    samples: list[_Sample] = []
    seen: set[pathlib.Path] = set()
    for path in _metadata(folder):
        text = path.read_bytes()
        if text.startswith(_NUMPY):
            raise ValueError(
                f"expected lines of text in {path}, as in the release, found an array of NumPy"
            )
        # Not NumPy's format despite the name, but the fields
        # imgs/<batch> sample_<i>.png <i> <label> ... of an image in every line.
        for number, line in enumerate(text.splitlines(), 1):
            fields = line.decode(errors="replace").split()
            if len(fields) < 4 or fields[3] not in ("0", "1"):
                raise ValueError(
                    "expected a folder, an image, a number and a label of 0 or 1 in line "
                    f"{number} of {path}, found {line[:80]!r}"
                )
            if not archives.stays_inside(f"{fields[0]}/{fields[1]}"):
                raise ValueError(
                    f"expected an image inside {folder} in line {number} of {path}, found "
                    f"{fields[0]}/{fields[1]}"
                )
            image = folder / fields[0] / fields[1]
            if image in seen:
                raise ValueError(
                    f"expected every image once, found {fields[0]}/{fields[1]} again in line "
                    f"{number} of {path}"
                )
            seen.add(image)
            if not _known_empty(image):
                samples.append(_Sample(image, int(fields[3]), path, number))
    if len(samples) < _LEAST:
        raise ValueError(
            f"expected at least {_LEAST} images, a tenth each to validate and to test, in "
            f"{folder / 'metadata'}, found {len(samples)}"
        )
    return samples


def _known_empty(image: pathlib.Path) -> bool:
    return image.as_posix().endswith(_EMPTY) and image.exists() and image.stat().st_size == 0


def _pixels(samples: Sequence[_Sample], resolution: int) -> Iterator[np.ndarray]:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "the images of Pathfinder are read by Pillow, which is not installed. "
            'Install it with `pip install "keras-ssm[data]"`.'
        ) from error

    def read(sample: _Sample) -> np.ndarray:
        path = sample.path
        if not os.path.isfile(path):  # unlike that of a path, never an error
            hint = f"Line {sample.line} of {sample.metadata} names this image"
            raise archives.missing(path.parent, path.name, ("",), hint)
        content = path.read_bytes()
        try:
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                size, mode = image.size, image.mode
                # Before room is made for as many as the header says.
                right = size == (resolution, resolution) and mode == "L"
                pixels = np.asarray(image) if right else None
        except Exception as error:  # decoders of PNG raise their own
            raise ValueError(
                f"expected a PNG image in {path}, found {len(content)} bytes that cannot be "
                f"read as one ({error})"
            ) from error
        if pixels is None:
            raise ValueError(
                f"expected {resolution} x {resolution} grey pixels of 8 bits in {path}, found "
                f"{size[0]} x {size[1]} of mode {mode}"
            )
        return pixels.reshape(-1)

    # Opening a file and decoding it both leave other threads running.
    with concurrent.futures.ThreadPoolExecutor() as threads:
        for start in range(0, len(samples), _CHUNK):
            yield np.stack(list(threads.map(read, samples[start : start + _CHUNK])))
