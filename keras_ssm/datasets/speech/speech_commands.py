"""Speech Commands: one second of audio, one word."""

import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from keras_ssm.arguments import check_choice, check_size
from keras_ssm.datasets.cache import Rows, cached, prepared
from keras_ssm.datasets.sources import Build, prepare
from keras_ssm.datasets.speech import features
from keras_ssm.datasets.speech.clips import (
    CLASSES,
    LENGTH,
    PARTS,
    SOURCE,
    Clips,
    files,
    listed,
    read,
)
from keras_ssm.datasets.speech.scaling import mean_and_std

__all__ = ["CLASSES", "LENGTH", "SOURCE", "load_data", "mean_and_std"]

Split = tuple[np.ndarray, np.ndarray]
# Clips or sequences of features in memory at once.
_BLOCK = 256


def load_data(
    subset: str = "sc35",
    mfcc: bool = False,
    rate: int = 1,
    seed: int | None = 0,
    data_dir: str | os.PathLike | None = None,
) -> tuple[Split, Split, Split]:
    """Load Speech Commands v0.02: spoken words, one second each, at 16 kHz.

    The clips are read from the folder of words that the archive unpacks to, wherever the data
    folder has it: as it is, or in `speech_commands_v0.02`, `SpeechCommands` or both;
    or from `speech_commands_v0.02.tar.gz`. Folders that are not words are
    left out and named in the log; `_background_noise_` is not a class.

    - `"sc35"`: all 35 words, split by the lists of the archive: 84,843, 9,981
      and 11,005 clips. Clips of less than a second are padded with 0 at the end.
    - `"sc10"`: ten words and only their clips of exactly 16,000 samples, 34,975,
      split at random into 70, 15 and 15 % of every class, without regard to
      the lists: one speaker's clips are on several sides. The official code
      splits files in the order in which its file system lists them, so its parts
      cannot be reproduced; here the files are sorted first.

    Args:
        subset: `"sc35"` or `"sc10"`.
        mfcc: give mel-frequency cepstral coefficients instead of audio.
        rate: keep every `rate`-th sample, without a filter, as the papers do to test
            models at 8 kHz: `rate=2`. Then a step is `rate` times as long.
        seed: seed of the parts of `"sc10"`; None takes the archive's lists, which keep
            speakers apart.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        `(x_train, y_train), (x_validation, y_validation), (x_test, y_test)`: x
        int16 samples (count, 16000 / rate), or float32 coefficients (count, 161,
        20) of all samples; y int32 numbers of `CLASSES[subset]`. `mean_and_std` gives
        what to scale x by.

    Raises:
        ValueError: for unknown arguments; if words, lists or listed clips are missing; for
            a clip that is cut short, damaged, not mono at 16 kHz, or (`"sc35"`) too long.

    Example:

    >>> train, validation, test = keras_ssm.datasets.speech_commands.load_data()  # doctest: +SKIP
    >>> train[0].shape, train[0].dtype  # doctest: +SKIP
    ((84843, 16000), dtype('int16'))

    References:
        P. Warden, Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition,
        2018. Repository state-spaces/s4, src/dataloaders/datasets/sc.py.
    """
    check_choice("subset", subset, CLASSES)
    check_size("rate", rate)
    if mfcc and rate != 1:
        raise ValueError(f"`mfcc` is of all samples. Received: mfcc={mfcc!r}, rate={rate!r}")
    settings = {"subset": subset} if subset == "sc35" else {"subset": subset, "seed": seed}
    clips = functools.cache(functools.partial(listed, subset=subset, seed=seed))
    builds = {part: _build(part, clips) for part in PARTS}
    parts = prepare(SOURCE, data_dir, "speech-commands", settings, builds, files)
    if mfcc:
        parts = {
            part: cached(
                prepared(data_dir, "speech-commands-mfcc", settings, part),
                settings,
                functools.partial(_features, arrays["x"], arrays["y"]),
                [prepared(data_dir, "speech-commands", settings, part)],
            )
            for part, arrays in parts.items()
        }
    train, validation, test = ((part["x"][:, ::rate], part["y"]) for part in parts.values())
    return train, validation, test


def _build(part: str, clips: Callable[[pathlib.Path], dict[str, Clips]]) -> Build:
    def build(folder: pathlib.Path, _: object) -> Mapping[str, np.ndarray | Rows]:
        chosen = clips(folder)[part]
        y = np.array([label for _, label in chosen], "int32")
        return {"x": Rows((len(chosen), LENGTH), "int16", _audio(chosen)), "y": y}

    return build


def _audio(clips: Clips) -> Iterator[np.ndarray]:
    # Not in threads: files that the system has in memory are read more slowly by several.
    for start in range(0, len(clips), _BLOCK):
        yield np.stack([read(path) for path, _ in clips[start : start + _BLOCK]])


def _features(x: np.ndarray, y: np.ndarray) -> Mapping[str, np.ndarray | Rows]:
    shape = (len(x), *features.mfcc(np.zeros(LENGTH, "int16")).shape)
    blocks = (x[start : start + _BLOCK] for start in range(0, len(x), _BLOCK))
    return {"x": Rows(shape, "float32", map(features.mfcc, blocks)), "y": np.asarray(y)}
