"""The clips of Speech Commands: where they are, which part they belong to, what they hold."""

import dataclasses
import logging
import os
import pathlib

import numpy as np

from keras_ssm.datasets import archives, splits
from keras_ssm.datasets.cache import data_folder
from keras_ssm.datasets.sources import Source
from keras_ssm.datasets.speech import wav
from keras_ssm.datasets.speech.features import SAMPLE_RATE

# A clip and its label.
Clips = list[tuple[pathlib.Path, int]]
# In the order of the official code of S4 and S5, which decides the labels.
CLASSES = {
    "sc35": (
        *("bed", "cat", "down", "five", "forward", "go", "house", "left", "marvin", "no", "on"),
        *("right", "sheila", "tree", "up", "visual", "yes", "backward", "bird", "dog", "eight"),
        *("follow", "four", "happy", "learn", "nine", "off", "one", "seven", "six", "stop"),
        *("three", "two", "wow", "zero"),
    ),
    "sc10": ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"),
}
LENGTH = SAMPLE_RATE
PARTS = ("train", "validation", "test")

_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Words(Source):
    """An archive of folders of words, with no folder around them."""

    def find(self, data_dir: str | os.PathLike | None) -> pathlib.Path | None:
        places = (data_folder(data_dir) / place for place in self.under)
        return next((place for place in places if _words(place)), None)

    def get(self, data_dir: str | os.PathLike | None) -> pathlib.Path:
        top = data_folder(data_dir)
        found = self.find(top)
        if found is None and (top / self.archive).is_file():
            archives.unpack(top / self.archive, top / self.folder)
            found = self.find(top)
        if found is None:
            hint = f"{self.archive} comes from {self.url} ({self.note})"
            raise archives.missing(top, f"yes/, no/, ... or {self.archive}", self.under, hint)
        return found


SOURCE = _Words(
    "speech_commands_v0.02",
    "speech_commands_v0.02.tar.gz",
    "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
    "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
    "2.3 GB",
    (
        "SpeechCommands/speech_commands_v0.02",
        "speech_commands_v0.02",
        "SpeechCommands",
        "speech_commands",
        "",
    ),
)


def files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files and folders that show whether the clips have changed.

    Args:
        folder: folder with the words.

    Returns:
        The lists, and the folders of the words: their times change with the files in them.
    """
    lists = [folder / name for name in _LISTS.values() if (folder / name).is_file()]
    return [*lists, *(folder / word for word in _words(folder))]


def listed(folder: pathlib.Path, subset: str, seed: int | None) -> dict[str, Clips]:
    """The clips of every part, sorted within every word.

    Args:
        folder: folder with the words.
        subset: `"sc35"` or `"sc10"`.
        seed: seed of the parts of `"sc10"`; None for those of the lists.

    Returns:
        For `"train"`, `"validation"` and `"test"`: paths and labels.

    Raises:
        ValueError: if words, lists or listed clips are missing, or a clip is damaged.
    """
    # The second is where prepared data goes if the words are in the data folder itself.
    known = {"_background_noise_", "keras_ssm", *CLASSES["sc35"]}
    folders = {entry.name for entry in folder.iterdir() if entry.is_dir()}
    if folders - known:
        names = ", ".join(sorted(folders - known))
        _log.warning("%s: left out, since they are not words of Speech Commands: %s", folder, names)
    words = CLASSES[subset]
    paths = [sorted((folder / word).glob("*.wav")) for word in words]
    empty = [word for word, found in zip(words, paths, strict=True) if not found]
    if empty:
        raise ValueError(
            f"expected clips of {len(words)} words in {folder}, found none of {', '.join(empty)}"
        )
    clips = [(path, label) for label, found in enumerate(paths) for path in found]
    if subset == "sc10":
        clips = [(path, label) for path, label in clips if wav.header(path).frames == LENGTH]
        if seed is not None:
            return _at_random(clips, seed)
    return _by_lists(folder, clips)


def read(path: pathlib.Path) -> np.ndarray:
    """A clip, padded with 0 at the end.

    Args:
        path: path of the file.

    Returns:
        int16 of shape (16000,).

    Raises:
        ValueError: for a clip that is damaged, not mono at 16 kHz, or too long.
    """
    samples, rate = wav.read(path)
    if rate != SAMPLE_RATE or samples.ndim != 1 or len(samples) > LENGTH:
        raise ValueError(
            f"expected up to {LENGTH} samples of one channel at {SAMPLE_RATE} Hz in {path}, found "
            f"samples of shape {samples.shape} at {rate} Hz"
        )
    return np.pad(samples, (0, LENGTH - len(samples)))


def _words(folder: pathlib.Path) -> list[str]:
    return [word for word in CLASSES["sc35"] if (folder / word).is_dir()]


def _by_lists(folder: pathlib.Path, clips: Clips) -> dict[str, Clips]:
    part_of: dict[str, str] = {}
    for part, file in _LISTS.items():
        for line in _listed_clips(folder, file):
            if line in part_of:
                raise ValueError(
                    f"expected every clip once in {' and '.join(_LISTS.values())}, found {line} "
                    f"again in {folder / file}"
                )
            part_of[line] = part
    parts: dict[str, Clips] = {part: [] for part in PARTS}
    for path, label in clips:
        part = part_of.get(f"{path.parent.name}/{path.name}", "train")
        parts[part].append((path, label))
    empty = [part for part, members in parts.items() if not members]
    if empty:
        raise ValueError(
            f"expected clips for every part in {folder}, found {len(clips)} and none of them for "
            f"{' or '.join(empty)} by {' and '.join(_LISTS.values())}"
        )
    return parts


def _listed_clips(folder: pathlib.Path, file: str) -> list[str]:
    path = folder / file
    if not path.is_file():
        raise archives.missing(folder, file, ("",), "It comes with the clips")
    try:
        lines = path.read_text(encoding="utf-8").split()
    except UnicodeDecodeError as error:
        raise ValueError(f"expected UTF-8 in {path}: {error}") from error
    wrong = [line for line in lines if not archives.stays_inside(line) or "\0" in line]
    if wrong:
        raise ValueError(f"expected clips inside {folder} in {path}, found {wrong[0]!r}")
    absent = sorted(line for line in lines if not os.path.isfile(folder / line))
    if absent:
        raise ValueError(
            f"expected the {len(lines)} clips of {path}, found all but {len(absent)}, "
            f"such as {absent[0]}: the copy is not whole"
        )
    return lines


def _at_random(clips: Clips, seed: int) -> dict[str, Clips]:
    labels = np.array([label for _, label in clips])
    parts = splits.by_class(labels, (0.15, 0.15), seed)
    return {name: [clips[index] for index in part] for name, part in zip(PARTS, parts, strict=True)}
