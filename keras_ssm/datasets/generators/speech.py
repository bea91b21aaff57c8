"""Synthesized spoken words in the layout of Speech Commands, for tests and demonstrations."""

import functools
import hashlib
import os
import pathlib
import wave
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np

from keras_ssm.datasets.generators import espeak
from keras_ssm.datasets.generators.folders import new_folder
from keras_ssm.datasets.generators.workers import each
from keras_ssm.datasets.progress import Progress
from keras_ssm.datasets.splits import check_seed

__all__ = ["generate", "samples"]

# The words of Speech Commands v0.02.
WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward"),
    *("four", "go", "happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on"),
    *("one", "right", "seven", "sheila", "six", "stop", "three", "tree", "two", "up", "visual"),
    *("wow", "yes", "zero"),
)
SAMPLE_RATE = 16_000
# One second: loaders of ten words drop clips of any other length.
LENGTH = 16_000
# Words per minute, and the scale of eSpeak NG.
SPEEDS, PITCHES = (140, 230), (30, 71)
# Of the largest sample, as a share of full scale.
LOUDNESS = (0.05, 0.95)
# Of the voices; the rest is for training.
HELD_OUT = 0.1
# A sample below this share of the largest is silence.
SILENCE = 0.02
README = """Synthesized speech, not the Speech Commands data set: every word is spoken by
eSpeak NG. Made by keras_ssm.datasets.generators.speech with {settings}.
"""


class Clip(NamedTuple):
    """How a word is spoken.

    Args:
        accent: one of `espeak.ACCENTS`.
        variant: one of `espeak.variants()`.
        name: name of the file.
        speed: words per minute.
        pitch: on the scale of eSpeak NG.
        position: place of the word in the free time of the second, 0 to 1.
        loudness: the largest sample, as a share of full scale.
    """

    accent: str
    variant: str
    name: str
    speed: int
    pitch: int
    position: float
    loudness: float


def generate(
    folder: str | os.PathLike,
    clips: int = 200,
    words: Sequence[str] = WORDS,
    seed: int = 0,
    workers: int | None = None,
) -> pathlib.Path:
    """Write synthesized words in the layout of Speech Commands v0.02.

    The files are `SpeechCommands/<word>/<speaker>_nohash_<take>.wav`, 16-bit, 16 kHz,
    one second each, with `validation_list.txt` and `testing_list.txt`. A speaker is
    an accent in a voice variant; no variant is in two of the three parts.
    Speed, pitch, loudness and the place in the second differ from clip to clip.
    Words spoken by real people are harder: what is learned here says little about them.

    Args:
        folder: where to put `SpeechCommands`.
        clips: number of clips of each word; with more than about 800, speakers speak again.
        words: words to speak.
        seed: decides every clip, together with `clips`, `words` and the version
            of eSpeak NG.
        workers: processes; by default one per core.

    Returns:
        Path of the folder `SpeechCommands`.

    Raises:
        ImportError: if eSpeak NG, a program of your system and not a Python
            package, is not installed.
        ValueError: for no clips or words, or if the folder exists already.

    Example:

    >>> keras_ssm.datasets.generators.speech.generate("data", clips=20, words=["yes", "no"])
    PosixPath('data/SpeechCommands')

    References:
        - P. Warden, [Speech Commands](https://arxiv.org/abs/1804.03209), 2018.
        - [eSpeak NG](https://github.com/espeak-ng/espeak-ng).
    """
    if not isinstance(clips, int) or clips < 1 or not words or len(set(words)) < len(words):
        raise ValueError(
            "expected at least one clip and one word, and every word once. "
            f"Received: clips={clips!r}, words={words!r}"
        )
    # Their names are those of folders.
    wrong = [word for word in words if not isinstance(word, str) or not word.isalpha()]
    if isinstance(words, str) or wrong:
        raise ValueError(f"`words` must be words of letters alone. Received: words={words!r}")
    check_seed(seed)
    variants = espeak.variants()
    path = pathlib.Path(folder) / "SpeechCommands"
    speak = functools.partial(_spoken, variants=variants, count=clips, seed=seed)
    # What a voice sounds like depends on what the process said before: one process a word.
    with (
        new_folder(path) as new,
        closing(each(speak, words, workers, lasting=False)) as spoken,
        Progress("speaking words", len(words)) as progress,
    ):
        lists: dict[str, list[str]] = {"train": [], "validation": [], "testing": []}
        parts = parts_of_variants(variants, seed)
        for word, sounds in zip(words, spoken, strict=True):
            (new / word).mkdir()
            for clip, samples in zip(plan(word, variants, clips, seed), sounds, strict=True):
                _write(new / word / clip.name, samples)
                lists[parts[clip.variant]].append(f"{word}/{clip.name}\n")
            progress.add()
        for part in ("validation", "testing"):
            (new / f"{part}_list.txt").write_text("".join(lists[part]))
        settings = f"clips={clips}, seed={seed}"
        (new / "README.md").write_text(README.format(settings=settings))
    return path


def samples(
    word: str, count: int, seed: int = 0, variants: Sequence[str] | None = None
) -> np.ndarray:
    """Speak clips of one word, in memory.

    They are those that `generate` writes if this process has not spoken before.

    Args:
        word: word to speak.
        count: number of clips.
        seed: decides every clip.
        variants: voices to choose from; by default all of eSpeak NG.

    Returns:
        int16 of shape (count, 16000).

    Raises:
        ImportError: if eSpeak NG is not installed.

    Example:

    >>> keras_ssm.datasets.generators.speech.samples("yes", 3).shape
    (3, 16000)
    """
    variants = espeak.variants() if variants is None else variants
    clips = plan(word, variants, count, seed)
    return np.array([_sound(word, clip) for clip in clips], dtype=np.int16).reshape(-1, LENGTH)


def plan(word: str, variants: Sequence[str], count: int, seed: int) -> list[Clip]:
    """Choose who speaks a word, and how.

    Args:
        word: word to speak.
        variants: voices to choose from.
        count: number of clips.
        seed: decides every clip.

    Returns:
        `count` clips. All speakers have spoken before one speaks again.

    Example:

    >>> from keras_ssm.datasets.generators import speech
    >>> [clip.variant for clip in speech.plan("yes", ["f1", "m1"], 3, seed=0)]
    ['f1', 'f1', 'f1']
    """
    # RandomState, not default_rng: NumPy promises its stream never changes.
    key = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
    sequence = np.random.SeedSequence(seed, spawn_key=(key,))
    random = np.random.RandomState(np.random.PCG64(sequence))
    speakers = [(accent, variant) for variant in variants for accent in espeak.ACCENTS]
    clips: list[Clip] = []
    while len(clips) < count:
        take = len(clips) // len(speakers)
        for index in random.permutation(len(speakers))[: count - len(clips)]:
            accent, variant = speakers[index]
            speaker = hashlib.sha256(f"{accent}+{variant}".encode()).hexdigest()[:8]
            low, high = np.log(LOUDNESS)
            clips.append(
                Clip(
                    accent=accent,
                    variant=variant,
                    name=f"{speaker}_nohash_{take}.wav",
                    speed=int(random.randint(*SPEEDS)),
                    pitch=int(random.randint(*PITCHES)),
                    position=float(random.random_sample()),
                    loudness=float(np.exp(random.uniform(low, high))),
                )
            )
    return clips


def parts_of_variants(variants: Sequence[str], seed: int) -> dict[str, str]:
    """Assign each voice variant to a part of the data.

    Args:
        variants: voices.
        seed: seed of the split.

    Returns:
        `"train"`, `"validation"` or `"testing"` for every variant, a tenth each
        for the latter two.

    Example:

    >>> from keras_ssm.datasets.generators import speech
    >>> list(speech.parts_of_variants(["f1", "f2", "m1"], seed=0).values())
    ['train', 'testing', 'validation']
    """
    order = np.random.RandomState(seed).permutation(len(variants))
    held_out = max(1, round(HELD_OUT * len(variants)))
    parts = ["train"] * len(variants)
    for index in order[:held_out]:
        parts[index] = "validation"
    for index in order[held_out : 2 * held_out]:
        parts[index] = "testing"
    return dict(zip(variants, parts, strict=True))


def _spoken(word: str, variants: Sequence[str], count: int, seed: int) -> np.ndarray:
    return samples(word, count, seed, variants)


def _sound(word: str, clip: Clip) -> np.ndarray:
    """One second of int16."""
    speed = clip.speed
    while True:
        raw, rate = espeak.say(word, clip.accent, clip.variant, speed, clip.pitch)
        sound = _trimmed(resampled(raw.astype(np.float64), rate))
        if 0 < len(sound) <= LENGTH:
            break
        if not len(sound) or speed >= 400:
            raise ValueError(
                f"expected a word that can be said in a second. Received: word={word!r}, which "
                f"{clip.accent}+{clip.variant} says in {len(sound) / SAMPLE_RATE:.2f} s"
            )
        # A few voices speak slowly whatever they are told.
        speed = int(1.2 * speed)
    second = np.zeros(LENGTH)
    start = round(clip.position * (LENGTH - len(sound)))
    second[start : start + len(sound)] = sound * (clip.loudness * 32767 / np.abs(sound).max())
    return np.round(second).astype(np.int16)


def resampled(sound: np.ndarray, rate: int) -> np.ndarray:
    """Resample sound to 16 kHz, without what that rate cannot hold.

    This takes the discrete Fourier transform of the whole sound, which is silent at
    both ends.

    Args:
        sound: float of shape (samples,).
        rate: samples per second.

    Returns:
        float64 of shape (about samples * 16000 / rate,).

    Example:

    >>> keras_ssm.datasets.generators.speech.resampled(np.zeros(22050), 22050).shape
    (16000,)
    """
    divisor = np.gcd(rate, SAMPLE_RATE)
    blocks = -(-len(sound) // (rate // divisor))
    length, new_length = blocks * (rate // divisor), blocks * (SAMPLE_RATE // divisor)
    spectrum = np.fft.rfft(sound, length)[: new_length // 2 + 1]
    return np.fft.irfft(spectrum, new_length) * (new_length / length)


def _trimmed(sound: np.ndarray) -> np.ndarray:
    loud = np.flatnonzero(np.abs(sound) > SILENCE * np.abs(sound).max(initial=0))
    return sound[loud[0] : loud[-1] + 1] if len(loud) else sound[:0]


def _write(path: pathlib.Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.astype("<i2").tobytes())
