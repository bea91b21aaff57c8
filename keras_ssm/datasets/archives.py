"""Archives: fetched with a checksum, unpacked whole or not at all, found at any depth."""

import fnmatch
import gzip
import hashlib
import lzma
import os
import pathlib
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import keras

from keras_ssm.datasets.cache import data_folder

_DAMAGED = (
    tarfile.ReadError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
)
_BLOCK = 1 << 20


def fetch(
    url: str, checksum: str | None, name: str, data_dir: str | os.PathLike | None = None
) -> pathlib.Path:
    """A file of the data folder, downloaded if it is not there.

    Args:
        url: address.
        checksum: sha256 or md5 of the file, in hexadecimal digits; None if none
            is published: the download cannot be verified then, and a line says so.
        name: of the file in the folder.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        The path of the file.

    Raises:
        ValueError: for a wrong checksum. A wrong download is not kept; a file
            that was there before is left as it is.
        OSError: if the address cannot be reached.

    Example:

    >>> import pathlib
    >>> pathlib.Path("notes.txt").touch()  # it is there already
    >>> keras_ssm.datasets.archives.fetch("https://a.b/notes.txt", None, "notes.txt", ".")
    PosixPath('notes.txt')
    """
    path = data_folder(data_dir) / name
    if path.exists():
        _check_sum(path, checksum, f"Remove it to have it fetched from {url}")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own: Keras takes what an interrupted download left for the file.
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=path.parent) as folder:
        try:
            keras.utils.get_file(name, url, cache_dir=folder, cache_subdir="")
        except Exception as error:  # Keras raises bare exceptions here
            raise OSError(
                f"{url} could not be fetched ({error}). Without a network, put the file into "
                f"{path.parent} as {name}"
            ) from error
        _check_sum(
            pathlib.Path(folder) / name, checksum, f"Nothing of it was kept. It is from {url}"
        )
        os.replace(pathlib.Path(folder) / name, path)
    if checksum is None:
        print(f"{path}: no checksum is published for this file, so it is unverified")
    return path


def unpack(archive: str | os.PathLike, folder: str | os.PathLike, only: str = "*") -> pathlib.Path:
    """Unpack a tar, compressed tar or zip archive, whole or not at all.

    Files are unpacked to a temporary folder beside `folder`, which is renamed
    when all are there. A `folder` that exists was unpacked before.

    Args:
        archive: the file; its content counts, not its name.
        folder: where to.
        only: members to unpack, such as `"*/listops-1000/*"`.

    Returns:
        `folder`.

    Raises:
        ValueError: for an archive that is cut short, damaged or of another kind,
            with a member that would leave the folder or is a link or device, or
            without any member of `only`.
        OSError: if the files cannot be written; nothing of them is left.

    Example:

    >>> import zipfile
    >>> with zipfile.ZipFile("notes.zip", "w") as archive:
    ...     archive.writestr("notes/first.txt", "whole")
    >>> keras_ssm.datasets.archives.unpack("notes.zip", "unpacked")
    PosixPath('unpacked')
    """
    archive, folder = pathlib.Path(archive), pathlib.Path(folder)
    if folder.is_dir():
        return folder
    if not archive.is_file():
        raise ValueError(f"expected an archive. Received: {archive}, which is not a file")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(
            ".partial", f".{folder.name}.", folder.parent, ignore_cleanup_errors=True
        ) as temporary:
            # Inside, since a temporary folder can be read by its owner alone.
            new = pathlib.Path(temporary) / folder.name
            new.mkdir()
            take = _unpack_zip if zipfile.is_zipfile(archive) else _unpack_tar
            if take(archive, new, only) == 0:
                raise ValueError(f"expected files named {only} in {archive}, found none")
            try:
                os.rename(new, folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise
    except _DAMAGED as error:
        raise ValueError(
            f"expected a whole tar, compressed tar or zip archive, found {archive} of "
            f"{archive.stat().st_size} bytes, which is cut short, damaged or something else "
            f"({type(error).__name__}: {error}). Nothing of it was kept"
        ) from error
    return folder


def search(
    folder: str | os.PathLike, name: str, under: Sequence[str] = ("",)
) -> pathlib.Path | None:
    """The first place where a file or folder lies, or None.

    Args:
        folder: to look in.
        name: relative path of what is looked for.
        under: relative folders it may lie in, the preferred ones first.

    Returns:
        Its path.

    Example:

    >>> import pathlib
    >>> pathlib.Path("release").mkdir()
    >>> pathlib.Path("release/train.tsv").touch()
    >>> keras_ssm.datasets.archives.search(".", "train.tsv", ("release/release", "release"))
    PosixPath('release/train.tsv')
    """
    places = (pathlib.Path(folder) / place / name for place in under)
    return next((place for place in places if place.exists()), None)


def missing(folder: str | os.PathLike, name: str, under: Sequence[str], hint: str) -> ValueError:
    """The error for what `search` did not find.

    Args:
        folder: that was looked in.
        name: that was looked for.
        under: relative folders that it may lie in.
        hint: where it comes from.

    Returns:
        A `ValueError` that says what was expected, and what `folder` holds.

    Example:

    >>> raise keras_ssm.datasets.archives.missing(".", "train.tsv", ("",), "It is made by hand")
    Traceback (most recent call last):
    ValueError: expected train.tsv in ..., found an empty folder. It is made by hand
    """
    folder = pathlib.Path(folder)
    places = " or ".join(str(folder / place) for place in under)
    return ValueError(f"expected {name} in {places}, found {_listing(folder)}. {hint}")


def _listing(folder: pathlib.Path) -> str:
    if not folder.is_dir():
        return "no such folder" if not folder.exists() else "a file"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    rest = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + rest or "an empty folder"


def _check_sum(path: pathlib.Path, checksum: str | None, hint: str) -> None:
    if checksum is None:
        return
    kind = {32: "md5", 64: "sha256"}[len(checksum)]
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != checksum:
        raise ValueError(
            f"expected the {kind} {checksum}, found {found} in {path.name} of "
            f"{path.stat().st_size} bytes: cut short or changed. {hint}"
        )


def _unpack_tar(archive: pathlib.Path, folder: pathlib.Path, only: str) -> int:
    count = 0
    with tarfile.open(archive, "r:*") as content:
        while (member := content.next()) is not None:
            if fnmatch.fnmatchcase(member.name, only):
                if not (member.isreg() or member.isdir()):
                    raise ValueError(
                        f"expected files and folders in {archive}, found {member.name}, a link or "
                        "device. Nothing of it was kept"
                    )
                try:
                    content.extract(member, folder, filter="data")
                except tarfile.FilterError as error:
                    raise _leaving(archive, member.name) from error
                count += member.isreg()
            content.members.clear()  # type: ignore[attr-defined]  # a million would stay in memory
        _check_end(content)
    return count


def _check_end(archive: tarfile.TarFile) -> None:
    """After the last member: `tarfile` takes a cut between members, or rubbish, for the end."""
    stream: Any = archive.fileobj
    whole = stream.tell() == archive.offset + tarfile.BLOCKSIZE
    # Reading on also compares the checksum at the end of the compression. Forwards
    # only: a step back in a compressed stream starts it again.
    while block := stream.read(_BLOCK):
        whole = whole and block.count(0) == len(block)
    if not whole:
        raise tarfile.ReadError("the end mark is missing")


def _unpack_zip(archive: pathlib.Path, folder: pathlib.Path, only: str) -> int:
    count = 0
    with zipfile.ZipFile(archive) as content:
        for name in content.namelist():
            if pathlib.PurePosixPath(name).is_absolute() or ".." in name.split("/"):
                raise _leaving(archive, name)
            if fnmatch.fnmatchcase(name, only):
                content.extract(name, folder)
                count += not name.endswith("/")
    return count


def _leaving(archive: pathlib.Path, name: str) -> ValueError:
    return ValueError(
        f"expected members that stay in their folder in {archive}, found {name}. "
        "Nothing of it was kept"
    )
