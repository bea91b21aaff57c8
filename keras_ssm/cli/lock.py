"""One training run at a time in a run folder."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import IO

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Keep other training runs out of a folder, and remove what a killed one left half-written.

    The system releases the lock when its process ends, however it ends.

    Args:
        folder: folder of the run; made if it is missing, and removed again if nothing
            is written to it.

    Returns:
        A context manager. It gives the folder.

    Raises:
        ValueError: if `folder` is a file, or another training run is in it.

    Example:

    >>> from keras_ssm.cli import lock
    >>> with lock.locked("runs/mine"):
    ...     with lock.locked("runs/mine"):
    ...         pass
    Traceback (most recent call last):
    ValueError: expected a run folder that nothing trains in. Received: ...
    """
    folder = pathlib.Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"expected a folder to write the run to. Received: {folder}, a file")
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _held(folder):
            for left in folder.glob(".*.partial.*"):
                left.unlink(missing_ok=True)
            yield folder
    finally:
        if made:
            with contextlib.suppress(OSError):  # there is a run in it
                folder.rmdir()


@contextlib.contextmanager
def _held(folder: pathlib.Path) -> Iterator[None]:
    path = folder / LOCK
    # Not followed, should it be a link that somebody put there.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o644), "r+") as file:
        if not _lock(file) or not _is(file, path):
            owner = file.read(20).strip()
            raise ValueError(
                f"expected a run folder that nothing trains in. Received: {folder}, where "
                f"{f'process {owner}' if owner else 'another process'} is training"
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            # While it is held, so that nobody can have taken it in between.
            with contextlib.suppress(OSError):
                path.unlink()


def _is(file: IO[str], path: pathlib.Path) -> bool:
    """Whether an open file is still the one of that path: its owner removes it when it ends."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: IO[str]) -> bool:
    """Lock a file against other processes; False if one has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        print(f"keras-ssm: {file.name} cannot be locked ({error})", file=sys.stderr)
    return True
