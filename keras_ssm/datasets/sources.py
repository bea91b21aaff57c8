"""Where a data set comes from, and its splits prepared from there."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_ssm.datasets import archives, downloads, splits
from keras_ssm.datasets.cache import Rows, cached, data_folder, prepared

Arrays = Mapping[str, np.ndarray]
Build = Callable[[pathlib.Path, Mapping[str, Arrays]], Mapping[str, np.ndarray | Rows]]
_UNPACKED = "{}-unpacked"


@dataclasses.dataclass(frozen=True)
class Source:
    """A folder of a public archive.

    Args:
        folder: name of the folder with the data.
        archive: name of the archive that holds it.
        url: address of the archive.
        checksum: checksum of the archive; see `keras_ssm.datasets.downloads.fetch`.
        note: how large the archive is, or what else makes the data.
        under: folders inside the archive that it may lie in, the preferred ones first.
    """

    folder: str
    archive: str
    url: str
    checksum: str | None = None
    note: str = ""
    under: tuple[str, ...] = ("",)

    def find(self, data_dir: str | os.PathLike | None) -> pathlib.Path | None:
        """The unpacked folder, if it is there.

        Args:
            data_dir: the folder itself, or one it lies in at any depth of `under`.

        Returns:
            Its path, or None.
        """
        top = data_folder(data_dir)
        if top.name == self.folder and top.is_dir() and not (top / self.folder).exists():
            return top
        unpacked = _UNPACKED.format(self.folder)
        places = (*self.under, *(f"{unpacked}/{place}" for place in self.under))
        return archives.search(top, self.folder, places)

    def get(self, data_dir: str | os.PathLike | None) -> pathlib.Path:
        """The unpacked folder; it is unpacked if only the archive is there.

        Args:
            data_dir: see `find`; or the folder with the archive.

        Returns:
            Its path.

        Raises:
            ValueError: if neither is there; says what is.
        """
        top = data_folder(data_dir)
        if (top / self.archive).is_file() and self.find(top) is None:
            archives.unpack(
                top / self.archive,
                top / _UNPACKED.format(self.folder),
                f"*{self.folder}/*",
            )
        found = self.find(top)
        if found is None:
            note = self.note and f" ({self.note})"
            hint = f"{self.archive} is at {self.url}{note}; put it there, unpacked or not"
            raise archives.missing(top, f"{self.folder}/ or {self.archive}", self.under, hint)
        return found

    def download(self, data_dir: str | os.PathLike | None = None) -> pathlib.Path:
        """Fetch the archive, if need be, and unpack the folder.

        Args:
            data_dir: where to put them.

        Returns:
            The path of the folder.
        """
        found = self.find(data_dir)
        if found is None:
            downloads.fetch(self.url, self.checksum, self.archive, data_dir)
            found = self.get(data_dir)
        return found


def prepare(
    source: Source,
    data_dir: str | os.PathLike | None,
    name: str,
    settings: Mapping[str, Any],
    builds: Mapping[str, Build],
    files: Callable[[pathlib.Path], Sequence[pathlib.Path]],
) -> dict[str, dict[str, np.ndarray]]:
    """The splits of a data set, from their caches or from the source.

    The source is not needed once all splits are prepared.

    Args:
        source: source of the data.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.
        name: name of the data set.
        settings: everything that decides the arrays.
        builds: by split, a function of the source's folder and of the splits
            before it, which gives the arrays for `keras_ssm.datasets.cache.cached`.
        files: gives the files in the source's folder that make the caches stale
            when they change.

    Returns:
        By split, arrays by name.

    Raises:
        ValueError: if the source is missing or two of its files have the same
            content, and for what `builds` refuse.
    """
    paths = {split: prepared(data_dir, name, settings, split) for split in builds}
    folder = source.find(data_dir)
    if folder is None and not all(path.exists() for path in paths.values()):
        folder = source.get(data_dir)
    stamped = files(folder) if folder else ()
    done: dict[str, dict[str, np.ndarray]] = {}

    def made(build: Build) -> Mapping[str, np.ndarray | Rows]:
        splits.check_distinct(stamped)
        return build(folder or source.get(data_dir), done)

    for split, build in builds.items():
        done[split] = cached(paths[split], settings, functools.partial(made, build), stamped)
    return done
