"""Sound files as integers."""

import os
import pathlib
import struct
from typing import BinaryIO, NamedTuple

import numpy as np

_PCM, _EXTENSIBLE = 1, 0xFFFE
# The rest of the identifier of PCM in an extensible header.
_PCM_FORMAT = bytes.fromhex("0100000000001000800000aa00389b71")
# What writers that cannot go back, such as those into a pipe, give as a size.
_STREAMED = (0, 0xFFFFFFFF, 0x7FFFFFFF)


class Format(NamedTuple):
    """What the header of a file says.

    Args:
        frames: number of samples of every channel.
        channels: number of channels.
        rate: samples per second.
    """

    frames: int
    channels: int
    rate: int


def header(path: str | os.PathLike) -> Format:
    """Length, channels and rate, without the samples.

    Args:
        path: path of a wav file with 16-bit samples.

    Returns:
        A `Format`.

    Raises:
        ValueError: if it is not such a file, or is cut short: names it.
    """
    with open(path, "rb") as file:
        return _header(pathlib.Path(path), file)


def read(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """Samples and rate of a file.

    Args:
        path: path of a wav file with 16-bit samples.

    Returns:
        `(x, rate)`: x int16 (frames,), or (frames, channels) for several; the rate
        in samples per second.

    Raises:
        ValueError: if it is not such a file, or is cut short: names it.
    """
    with open(path, "rb") as file:
        found = _header(pathlib.Path(path), file)
        data = file.read(2 * found.channels * found.frames)
    x = np.frombuffer(data, "<i2").astype("int16", copy=False)
    return x.reshape(-1, found.channels) if found.channels > 1 else x, found.rate


def _header(path: pathlib.Path, file: BinaryIO) -> Format:
    """Read up to the first sample. Not by `wave`, which believes every size."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(12)
    if start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise _unreadable(path, size, "it does not begin like one")
    found: Format | None = None
    while len(head := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        left = size - file.tell()
        if name == b"data":
            if found is None:
                raise _unreadable(path, size, "samples come before their format")
            return _sized(path, size, found, length, left)
        if length > left:
            raise _unreadable(path, size, f"a part of {length} bytes has {left}: it is cut short")
        if name == b"fmt ":
            found = _format(path, size, file.read(min(length, 40)))
            length -= min(length, 40)
        file.seek(length + length % 2, os.SEEK_CUR)
    raise _unreadable(path, size, "it has no samples")


def _format(path: pathlib.Path, size: int, content: bytes) -> Format:
    if len(content) < 16:
        raise _unreadable(path, size, f"its format has {len(content)} bytes")
    kind, channels, rate, per_second, per_frame, bits = struct.unpack("<HHIIHH", content[:16])
    if kind == _EXTENSIBLE and content[24:40] == _PCM_FORMAT:
        kind = _PCM
    if kind != _PCM:
        raise _unreadable(path, size, f"its samples are of kind {kind}, not of whole numbers")
    if bits != 16:
        raise ValueError(f"expected 16-bit samples in {path}, found {bits}-bit ones")
    if channels == 0 or rate == 0 or per_frame != 2 * channels or per_second != rate * per_frame:
        raise _unreadable(
            path,
            size,
            f"{channels} channels of 16 bits at {rate} Hz do not make {per_frame} bytes a frame "
            f"and {per_second} bytes a second",
        )
    return Format(0, channels, rate)


def _sized(path: pathlib.Path, size: int, found: Format, length: int, left: int) -> Format:
    per_frame = 2 * found.channels
    if length in _STREAMED and left > per_frame * (length == 0):
        raise _unreadable(
            path,
            size,
            "it was written as a stream, whose length nobody knew; any program that copies "
            "sounds, such as sox, writes it with its length",
        )
    if length > left:
        raise ValueError(
            f"expected {length // per_frame} frames of {path}, found {left // per_frame}: "
            "it is cut short"
        )
    if length % per_frame:
        raise _unreadable(path, size, f"{length} bytes are not a whole number of frames")
    return found._replace(frames=length // per_frame)


def _unreadable(path: pathlib.Path, size: int, reason: str) -> ValueError:
    return ValueError(
        f"expected a wav file with 16-bit samples in {path}, found {size} bytes that cannot be "
        f"read as one ({reason})"
    )
