"""Downloads with a checksum, which go on where they were interrupted."""

import contextlib
import glob
import hashlib
import http.client
import os
import pathlib
import secrets
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, BinaryIO

from keras_ssm.datasets.cache import data_folder
from keras_ssm.datasets.progress import Progress

try:
    import fcntl
except ImportError:  # without locks, an interrupted fetch is not resumed
    fcntl = None  # type: ignore[assignment]

# Seconds without a byte before a fetch is given up.
_PATIENCE = 60
_BLOCK = 1 << 20
_PARTIAL, _RANGE_NOT_SATISFIABLE = 206, 416
# In place of the state of a file about which the server says nothing.
_UNKNOWN = "unknown"
# Without it, Windows would change line ends.
_BINARY = getattr(os, "O_BINARY", 0)


def fetch(
    url: str, checksum: str | None, name: str, data_dir: str | os.PathLike | None = None
) -> pathlib.Path:
    """A file of the data folder, downloaded if it is not there.

    What was downloaded before an interruption is kept under a name that begins
    with a dot, and the next call goes on from there if the server still has the
    same file. A download is given up after a minute without a byte.

    Args:
        url: address.
        checksum: sha256 or md5 of the file, in hexadecimal digits; None if none
            is published: the download cannot be verified then, and a line says so.
        name: name of the file in the folder.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        The path of the file.

    Raises:
        ValueError: for a wrong checksum. A wrong download is not kept; a file
            that was there before is left as it is.
        OSError: if the address cannot be reached, or the connection breaks.
    """
    path = data_folder(data_dir) / name
    if path.exists():
        _check_sum(path, checksum, f"Remove it to have it fetched from {url}")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _part(path) as part:
        try:
            _fetch(url, checksum, path, part)
        except (OSError, http.client.HTTPException) as error:
            kept = f"{part.size()} bytes are kept, and another call goes on from there. "
            raise OSError(
                f"{url} could not be fetched ({error or type(error).__name__}). "
                f"{kept if part.can_go_on() else ''}"
                f"Without a network, put the file into {path.parent} as {name}"
            ) from error
        os.replace(part.path, path)
    if checksum is None:
        print(f"{path}: no checksum is published for this file, so it is unverified")
    return path


class _Part:
    """A file that is being fetched. Its name says which state of the server's file it is of."""

    def __init__(self, target: pathlib.Path, path: pathlib.Path, file: BinaryIO) -> None:
        self.target, self.path, self.file = target, path, file

    def size(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    def can_go_on(self) -> bool:
        return bool(self.size() and fcntl) and not self.is_of(_UNKNOWN)

    def is_of(self, tag: str) -> bool:
        return f".{tag}." in self.path.name

    def restart(self, tag: str) -> None:
        self.file.truncate(0)
        path = _part_path(self.target, tag)
        os.replace(self.path, path)
        self.path = path


def _fetch(url: str, checksum: str | None, path: pathlib.Path, part: _Part) -> None:
    """Fetch, once more from the start if what was put together from two fetches is wrong."""
    continued = _receive(url, path.name, part)
    try:
        _check_sum(part.path, checksum, f"Nothing of it was kept. It is from {url}")
    except ValueError:
        part.restart(_UNKNOWN)
        if not continued:
            raise
        _fetch(url, checksum, path, part)


def _receive(url: str, name: str, part: _Part) -> bool:
    """Append what the server sends, or begin again; returns whether it was appended."""
    held = part.size()
    with _answered(url, held) as response:
        tag = _tag(url, response)
        sent = response.headers.get("Content-Range", "")
        partial = response.status == _PARTIAL and held > 0 and sent.startswith(f"bytes {held}-")
        if not partial or (tag != _UNKNOWN and part.is_of(tag)):
            if not partial:
                part.restart(tag)
            _append(name, part, response)
            return partial
    # The rest of a file other than the one whose start is held.
    part.restart(_UNKNOWN)
    return _receive(url, name, part)


def _append(name: str, part: _Part, response: Any) -> None:
    start = part.size()
    announced = response.headers.get("Content-Length")
    total = start + int(announced) if (announced or "").isdecimal() else None
    part.file.seek(start)
    try:
        with Progress(f"fetching {name}", total, "B") as progress:
            progress.add(start)
            while block := response.read1(_BLOCK):
                part.file.write(block)
                progress.add(len(block))
    finally:
        part.file.flush()
    if total is not None and part.size() != total:
        raise OSError(f"the connection ended after {part.size()} of {total} bytes")
    os.fsync(part.file.fileno())


def _answered(url: str, start: int) -> Any:
    """The server's answer, from byte `start` on if it can."""
    headers = {"User-Agent": "keras_ssm", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        return urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_PATIENCE
        )
    except urllib.error.HTTPError as error:
        if error.code != _RANGE_NOT_SATISFIABLE or not start:
            raise
        error.close()
        return _answered(url, 0)


def _tag(url: str, response: Any) -> str:
    """Stands for the state of the server's file."""
    state = [response.headers.get(name) for name in ("ETag", "Last-Modified")]
    if not any(state):
        return _UNKNOWN
    return hashlib.sha256(repr((url, *state)).encode()).hexdigest()[:16]


def _part_path(target: pathlib.Path, tag: str) -> pathlib.Path:
    # Random, so that nobody can plant a link at a name that is known before.
    return target.with_name(f".{target.name}.{tag}.{secrets.token_hex(6)}.download")


@contextlib.contextmanager
def _part(target: pathlib.Path) -> Iterator[_Part]:
    """What an earlier fetch left, if nobody else is using it, or a new file."""
    left = target.parent.glob(f".{glob.escape(target.name)}.*.download") if fcntl else ()
    part = next(filter(None, (_taken(target, path) for path in sorted(left))), None)
    if part is None:
        path = _part_path(target, _UNKNOWN)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
        part = _Part(target, path, os.fdopen(descriptor, "r+b"))
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield part
    finally:
        if not part.can_go_on():
            part.path.unlink(missing_ok=True)
        part.file.close()


def _taken(target: pathlib.Path, path: pathlib.Path) -> _Part | None:
    """The file, locked; None for a link, or for a file of another user or process."""
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW), "r+b")
    except OSError:
        return None
    state = os.fstat(file.fileno())
    with contextlib.suppress(BlockingIOError):
        if stat.S_ISREG(state.st_mode) and state.st_nlink == 1 and state.st_uid == os.getuid():
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():  # else another process has finished it
                return _Part(target, path, file)
    file.close()
    return None


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
