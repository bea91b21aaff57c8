"""Folders that appear whole or not at all."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Fill a folder under a temporary name beside it, and rename it at the end.

    Args:
        path: path of a folder that does not exist yet; the folders above it are made.

    Returns:
        A context manager. It gives the temporary folder, which becomes `path`
        when the block ends without an exception and is removed otherwise. What
        a killed process leaves has a name that begins with a dot.

    Raises:
        ValueError: if there is something at `path`, before or after the block.
    """
    path = pathlib.Path(path)
    _check_free(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name}.partial-", dir=path.parent, ignore_cleanup_errors=True
    ) as temporary:
        # Inside, since a temporary folder can be read by its owner alone.
        folder = pathlib.Path(temporary) / path.name
        folder.mkdir()
        yield folder
        _check_free(path)
        os.rename(folder, path)


def _check_free(path: pathlib.Path) -> None:
    if path.exists():
        raise ValueError(
            f"expected a folder that is not there yet, since nothing is overwritten. "
            f"Received: {path}"
        )
