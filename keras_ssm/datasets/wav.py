"""Sound files as integers."""

import os
import pathlib
import wave
from typing import NamedTuple

import numpy as np


class Format(NamedTuple):
    """What the header of a file says."""

    frames: int
    channels: int
    rate: int


def header(path: str | os.PathLike) -> Format:
    """Length, channels and rate, without the samples.

    Args:
        path: of a wav file with 16-bit samples.

    Returns:
        A `Format`; the rate in samples per second.

    Raises:
        ValueError: if it is no such file: names it.

    Example:

    >>> import wave
    >>> with wave.open("one.wav", "wb") as file:
    ...     file.setparams((1, 2, 16000, 0, "NONE", ""))
    ...     file.writeframes(np.zeros(8000, "int16"))
    >>> keras_ssm.datasets.wav.header("one.wav")
    Format(frames=8000, channels=1, rate=16000)
    """
    return _read(pathlib.Path(path), samples=False)[0]


def read(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """Samples and rate of a file.

    Args:
        path: of a wav file with 16-bit samples.

    Returns:
        `(x, rate)`: x int16 (frames,), or (frames, channels) for several; the rate
        in samples per second.

    Raises:
        ValueError: if it is no such file, or cut short: names it.

    Example:

    >>> import wave
    >>> with wave.open("one.wav", "wb") as file:
    ...     file.setparams((1, 2, 16000, 0, "NONE", ""))
    ...     file.writeframes(np.zeros(8000, "int16"))
    >>> x, rate = keras_ssm.datasets.wav.read("one.wav")
    >>> x.shape, rate
    ((8000,), 16000)
    """
    shape, data = _read(pathlib.Path(path), samples=True)
    x = np.frombuffer(data, "<i2").astype("int16", copy=False)
    return x.reshape(-1, shape.channels) if shape.channels > 1 else x, shape.rate


def _read(path: pathlib.Path, samples: bool) -> tuple[Format, bytes]:
    try:
        with wave.open(os.fspath(path), "rb") as file:
            width = file.getsampwidth()
            shape = Format(file.getnframes(), file.getnchannels(), file.getframerate())
            data = file.readframes(shape.frames) if samples else b""
    except (wave.Error, EOFError) as error:
        raise ValueError(
            f"expected a wav file with 16-bit samples in {path}, found {path.stat().st_size} bytes "
            f"that cannot be read as one ({error or 'cut short'})"
        ) from error
    if width != 2:
        raise ValueError(f"expected 16-bit samples in {path}, found {8 * width}-bit ones")
    if samples and len(data) != 2 * shape.channels * shape.frames:
        raise ValueError(
            f"expected {shape.frames} frames of {path}, found {len(data) // (2 * shape.channels)}: "
            "it is cut short"
        )
    return shape, data
