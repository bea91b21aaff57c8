"""Wav files, part by part."""

import struct

import numpy as np
import pytest

pytestmark = pytest.mark.backend_free


def chunk(name, content, size=None):
    size = len(content) if size is None else size
    return name + struct.pack("<I", size) + content + b"\0" * (len(content) % 2)


def riff(*chunks):
    content = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def layout(channels=1, rate=8000, bits=16, kind=1, more=b""):
    frame = channels * bits // 8
    numbers = (kind, channels, rate, rate * frame, frame, bits)
    return chunk(b"fmt ", struct.pack("<HHIIHH", *numbers) + more)


SAMPLES = np.arange(-50, 50, dtype="<i2")
DATA = chunk(b"data", SAMPLES.tobytes())
EXTENSIBLE = struct.pack("<HHI", 22, 16, 4) + bytes.fromhex("0100000000001000800000aa00389b71")


@pytest.mark.parametrize(
    "content",
    [
        riff(layout(), DATA),
        riff(chunk(b"LIST", b"odd"), layout(), chunk(b"fact", bytes(4)), DATA, chunk(b"id3 ", b"")),
        riff(layout(kind=0xFFFE, more=EXTENSIBLE), DATA),
        riff(layout(more=b"\0\0"), DATA) + b"rubbish behind the end",
    ],
)
def test_the_parts_of_a_wav_file(tmp_path, content):
    from keras_ssm.datasets.speech import wav

    (tmp_path / "a.wav").write_bytes(content)
    assert wav.header(tmp_path / "a.wav") == (100, 1, 8000)
    samples, rate = wav.read(tmp_path / "a.wav")
    np.testing.assert_array_equal(samples, SAMPLES)
    assert (samples.dtype, rate) == ("int16", 8000)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "does not begin like one"),
        (riff(layout()), "no samples"),
        (riff(DATA, layout()), "come before their format"),
        (riff(layout(kind=3), DATA), "of kind 3"),
        (riff(layout(kind=0xFFFE, more=EXTENSIBLE[:-1] + b"x"), DATA), "of kind 65534"),
        (riff(layout(bits=8), DATA), "8-bit"),
        (riff(layout(channels=0), DATA), "0 channels"),
        (riff(layout(rate=0), DATA), "at 0 Hz"),
        (riff(layout(channels=3), DATA), "not a whole number of frames"),
        (riff(chunk(b"fmt ", b"short"), DATA), "its format has 5 bytes"),
        (riff(chunk(b"LIST", b"", 2**31), layout(), DATA), "a part of 2147483648 bytes"),
        (riff(layout(), chunk(b"data", SAMPLES.tobytes(), 2**31)), "expected 1073741824 frames"),
        (riff(layout(), chunk(b"data", SAMPLES.tobytes(), 0xFFFFFFFF)), "written as a stream"),
        (riff(layout(), chunk(b"data", SAMPLES.tobytes(), 0)), "written as a stream"),
        (riff(layout(), DATA).replace(struct.pack("<I", 16000), bytes(4)), "do not make"),
    ],
)
def test_a_wav_file_that_contradicts_itself_is_named(tmp_path, content, found):
    from keras_ssm.datasets.speech import wav

    (tmp_path / "a.wav").write_bytes(content)
    for take in (wav.header, wav.read):
        with pytest.raises(ValueError, match=rf"{tmp_path}/a.wav.*{found}|{found}.*/a.wav"):
            take(tmp_path / "a.wav")
