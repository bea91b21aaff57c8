"""Pages of the site that lie elsewhere in the repository, and links between them.

The Markdown files link to each other as files of the repository, so that they
can be read there; here these links become links between pages.
"""

import pathlib
import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = pathlib.Path(__file__).parents[2]
# By file of the repository, the page it is.
_PAGES = {"README.md": "index.md", "benchmarks/README.md": "benchmarks.md"}
# The README is the front page of the repository; the site has its own.
_ADDED = ("benchmarks/README.md",)
_LINK = re.compile(r"(?<=\]\()([^)#:\s]+\.(?:md|py))(?=[#)])")
# A script that is a page of its own: see `guides.py`.
_GUIDE = re.compile(r"(guides/\w+)\.py")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside of the folder of the documentation."""
    for source in _ADDED:
        files.append(File.generated(config, _PAGES[source], abs_src_path=str(_ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links to files of the repository into links to pages."""
    sources = {target: source for source, target in _PAGES.items() if source in _ADDED}
    here = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def link(match: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), match[0]))
        target = _GUIDE.sub(r"\1.md", _PAGES.get(target, target.removeprefix("docs/")))
        return posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")

    return _LINK.sub(link, markdown)
