"""Guides are scripts: each becomes a page and a notebook to download beside the script.

A line `# %% [markdown]` begins text, in comments, and `# %%` begins code, the
cells that editors know.
"""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

_MARK = re.compile(r"^# %%(.*)\n", re.M)


def cells(script: str) -> Iterator[tuple[str, str]]:
    """The kind, "markdown" or "code", and the source of every cell."""
    before, *parts = _MARK.split(script)
    if before.strip():
        raise ValueError(f"expected a guide to begin with a cell. Received: {before[:60]!r}")
    for mark, source in zip(parts[::2], parts[1::2], strict=True):
        source = source.strip("\n")
        if mark.strip() == "[markdown]":
            yield "markdown", re.sub(r"^# ?", "", source, flags=re.M)
        else:
            yield "code", source


def page(script: str, name: str) -> str:
    """The guide as Markdown, with links to what can be downloaded under its name."""
    texts = [s if kind == "markdown" else f"```python\n{s}\n```" for kind, s in cells(script)]
    heading, _, rest = texts[0].partition("\n")
    # With a title, a link is to the file and not to the page that is made of it.
    links = f'[Script]({name}.py "download") · [notebook]({name}.ipynb "download")'
    return "\n\n".join([heading, links, rest.strip(), *texts[1:]]) + "\n"


def notebook(script: str) -> dict[str, Any]:
    """The guide in the notebook format of Jupyter, version 4."""
    made: list[dict[str, Any]] = []
    for number, (kind, source) in enumerate(cells(script)):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        made.append({**cell, "source": source.splitlines(keepends=True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def on_files(files: Any, config: Any) -> Any:
    """Add the page and the notebook of every guide."""
    from mkdocs.structure.files import File  # the rest is used without

    for path in sorted((pathlib.Path(config["docs_dir"]) / "guides").glob("*.py")):
        script, target = path.read_text(encoding="utf-8"), f"guides/{path.stem}"
        made = {".md": page(script, path.stem), ".ipynb": json.dumps(notebook(script), indent=1)}
        for ending, content in made.items():
            files.append(File.generated(config, target + ending, content=content))
    return files
