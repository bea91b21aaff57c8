"""Archives: unpacked whole or not at all, found at any depth."""

import bz2
import contextlib
import errno
import fnmatch
import gzip
import lzma
import os
import pathlib
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Generator, Sequence
from typing import Any, BinaryIO, TypeAlias

from keras_ssm.datasets.progress import Progress

# Names of files, each first with None and then with its content in blocks.
Content: TypeAlias = Generator[tuple[str, bytes | None], None, None]

_BLOCK = 1 << 20
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
# What an archive may unpack to: this many bytes and this many times its own size. The
# archives of the tasks grow by factors of 2 to 10.
_LEAST_LIMIT, _LARGEST_RATIO = 1 << 26, 100
# More than any header of a tar archive; contents are read in blocks.
_AT_ONCE = 1 << 24
# What the name of a member, and not the disk, is to blame for.
_OF_THE_NAME = (
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    *(errno.EINVAL, errno.EILSEQ, errno.ELOOP),
)


def unpack(archive: str | os.PathLike, folder: str | os.PathLike, only: str = "*") -> pathlib.Path:
    """Unpack a tar, compressed tar or zip archive, whole or not at all.

    Files are unpacked to a temporary folder beside `folder`, which is renamed
    when all are there. A `folder` that exists was unpacked before.

    Args:
        archive: the file; its content counts, not its name.
        folder: where to unpack to.
        only: members to unpack, such as `"*/listops-1000/*"`.

    Returns:
        `folder`.

    Raises:
        ValueError: for an archive that is cut short, damaged or of another kind,
            with a member that would leave the folder or is a link or device, or
            without any member that `only` matches.
        OSError: if the files cannot be written; nothing of them is left.
    """
    archive, folder = pathlib.Path(archive), pathlib.Path(folder)
    if folder.is_dir():
        return folder
    if not archive.is_file():
        raise ValueError(f"expected an archive. Received: {archive}, which is not a file")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        ".partial", f".{folder.name}.", folder.parent, ignore_cleanup_errors=True
    ) as temporary:
        # Inside, since a temporary folder can be read by its owner alone.
        new = pathlib.Path(temporary) / folder.name
        new.mkdir()
        with contextlib.closing(_content(archive, only)) as content:
            count = _write(archive, content, new)
        if count == 0:
            raise ValueError(f"expected files named {only} in {archive}, found none")
        try:
            os.rename(new, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder


def search(
    folder: str | os.PathLike, name: str, under: Sequence[str] = ("",)
) -> pathlib.Path | None:
    """The first place where a file or folder lies, or None.

    Args:
        folder: folder to look in.
        name: relative path of what is looked for.
        under: relative folders it may lie in, the preferred ones first.

    Returns:
        Its path.
    """
    places = (pathlib.Path(folder) / place / name for place in under)
    return next((place for place in places if place.exists()), None)


def missing(folder: str | os.PathLike, name: str, under: Sequence[str], hint: str) -> ValueError:
    """The error for what `search` did not find.

    Args:
        folder: folder that was searched.
        name: what was looked for.
        under: relative folders that it may lie in.
        hint: where it comes from.

    Returns:
        A `ValueError` that says what was expected, and what `folder` holds.
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


def stays_inside(name: str) -> bool:
    """Whether a relative path names something inside the folder it is relative to.

    Args:
        name: path with `/` between its parts, as archives and lists have them.

    Returns:
        False for absolute paths, for those with `..`, and for what Windows would
        take for either.
    """
    parts = name.replace("\\", "/").split("/")
    return bool(parts[0]) and ".." not in parts and parts[0][1:2] != ":"


def _write(archive: pathlib.Path, content: Content, folder: pathlib.Path) -> int:
    """Write files, and return their number."""
    count = 0
    with Progress(f"unpacking {archive.name}") as progress, contextlib.ExitStack() as opened:
        for name, block in content:
            if block is None:
                opened.close()
                file = opened.enter_context(_created(archive, folder, name))
                count += 1
                progress.add()
            else:
                file.write(block)
    return count


def _created(archive: pathlib.Path, folder: pathlib.Path, name: str) -> BinaryIO:
    if not stays_inside(name):
        raise ValueError(
            f"expected members that stay in their folder in {archive}, found {name}. "
            "Nothing of it was kept"
        )
    path = folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "xb")
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in _OF_THE_NAME:
            raise
        raise ValueError(
            f"expected names of files, each once, in {archive}, found {name[:80]!r} ({error}). "
            "Nothing of it was kept"
        ) from error


def _content(archive: pathlib.Path, only: str) -> Content:
    """Names of files, each with None and then with its content in blocks."""
    try:
        with open(archive, "rb") as file:
            start = file.read(8)
        # By its start: anything may end like a zip archive.
        yield from (_zip if start.startswith(_ZIP) else _tar)(archive, start, only)
    except _RefusedError as error:
        raise ValueError(f"{error}. Nothing of it was kept") from error
    except Exception as error:  # damaged archives fail in many ways
        raise ValueError(
            f"expected a whole tar, compressed tar or zip archive, found {archive} of "
            f"{archive.stat().st_size} bytes, which is cut short, damaged or something else "
            f"({type(error).__name__}: {error}). Nothing of it was kept"
        ) from error


class _RefusedError(Exception):
    """For what a whole archive should not hold."""


def _link(archive: pathlib.Path, name: str) -> _RefusedError:
    return _RefusedError(f"expected files and folders in {archive}, found {name}, a link or device")


def _limit(archive: pathlib.Path) -> int:
    return _LEAST_LIMIT + _LARGEST_RATIO * archive.stat().st_size


def _too_much(archive: pathlib.Path) -> _RefusedError:
    return _RefusedError(
        f"expected an archive that unpacks to at most {_limit(archive)} bytes, found more in "
        f"{archive} of {archive.stat().st_size} bytes"
    )


def _zip(archive: pathlib.Path, _: bytes, only: str) -> Content:
    with zipfile.ZipFile(archive) as content:
        members = content.infolist()
        # A member cannot give more than its header says: it would be damaged.
        if sum(info.file_size for info in members) > _limit(archive):
            raise _too_much(archive)
        for info in members:
            if info.is_dir() or not fnmatch.fnmatchcase(info.filename, only):
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                raise _link(archive, info.filename)
            yield info.filename, None
            with content.open(info) as stream:
                while block := stream.read(_BLOCK):
                    yield info.filename, block


def _tar(archive: pathlib.Path, start: bytes, only: str) -> Content:
    kinds = (opener for magic, opener in _COMPRESSIONS.items() if start.startswith(magic))
    opener: Any = next(kinds, open)
    with opener(archive, "rb") as stream:
        limited: Any = _Limited(stream, archive)
        with tarfile.open(fileobj=limited, mode="r:") as content:
            while (member := content.next()) is not None:
                # A negative size would lead back, and so on forever.
                if member.size < 0:
                    raise tarfile.ReadError(f"{member.name} has {member.size} bytes")
                if not member.isdir() and fnmatch.fnmatchcase(member.name, only):
                    if not member.isreg() or member.issparse():
                        raise _link(archive, member.name)
                    yield member.name, None
                    yield from _blocks(content, member)
                content.members.clear()  # type: ignore[attr-defined]  # millions would stay
            _check_end(content)


def _blocks(content: tarfile.TarFile, member: tarfile.TarInfo) -> Content:
    stream: Any = content.extractfile(member)
    left = member.size
    while left:
        block = stream.read(min(left, _BLOCK))
        if not block:
            raise tarfile.ReadError(f"{left} bytes of {member.name} are missing")
        left -= len(block)
        yield member.name, block


class _Limited:
    """A stream that fails rather than give more than an archive may unpack to.

    `tarfile` believes what headers say: how much to read at once, and where the
    next member is.
    """

    def __init__(self, stream: BinaryIO, archive: pathlib.Path) -> None:
        self._stream, self._archive, self._limit = stream, archive, _limit(archive)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _AT_ONCE:
            raise tarfile.ReadError(f"a header of {size} bytes")
        if self._stream.tell() > self._limit:
            raise _too_much(self._archive)
        return self._stream.read(size)

    def seek(self, offset: int) -> int:
        if offset > self._limit:
            raise _too_much(self._archive)
        return self._stream.seek(offset)

    def tell(self) -> int:
        return self._stream.tell()


def _check_end(content: tarfile.TarFile) -> None:
    """After the last member: `tarfile` takes a cut between members, or rubbish, for the end."""
    stream: Any = content.fileobj
    whole = stream.tell() == content.offset + tarfile.BLOCKSIZE
    # Reading on also compares the checksum at the end of the compression. Forwards
    # only: a step back in a compressed stream starts it again.
    while block := stream.read(_BLOCK):
        whole = whole and block.count(0) == len(block)
    if not whole:
        raise tarfile.ReadError("the end mark is missing")
