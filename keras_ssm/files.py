"""Writing files so that a reader never finds half of one."""

import contextlib
import os
import pathlib
import time
import uuid
from collections.abc import Iterator

_DAY = 86_400


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Write a file so that it is either the old one or the whole new one.

    The temporary file has a random name, which nobody can plant a link at, and
    two processes that write the same file do not meet. What a killed process
    left is removed by the first writer that comes a day later.

    Args:
        path: the file to write or replace.

    Returns:
        A context manager. It gives the path of a temporary file in the same
        folder, with the same suffix, which takes the place of `path` when the
        block ends without an exception.

    Example:

    >>> with keras_ssm.files.replacing("notes.txt") as temporary:
    ...     characters = temporary.write_text("whole")
    """
    path = pathlib.Path(path)
    _remove_stale(path)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.partial{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_stale(path: pathlib.Path) -> None:
    """Remove what killed processes left. A day without a write: nobody is writing it."""
    for old in path.parent.glob(f".{path.stem}.*.partial{path.suffix}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > _DAY:
                old.unlink()
