"""Docstrings in the layout of Keras, as the site's parser of Google's layout reads them."""

import re
from typing import Any

import griffe

# With the text between its blocks, until the heading of what follows.
_EXAMPLE = re.compile(r"^Example:\n\n(?P<code>>>> .*?)(?=\n\n[A-Z][\w ]*:\n    |\Z)", re.M | re.S)
# Of Keras, and known to the parser under another name.
_CALL = re.compile(r"^Call arguments:$", re.M)
# A colon in the first line would end a type, which is in the annotation; a first one says so.
_RETURNS = re.compile(r"^Returns:\n    (?=\S)", re.M)
# Headings of plain text.
_PLAIN = re.compile(
    r"^(?P<title>Input shape|Output shape|References):\n(?P<text>(?:    .*\n?|\n(?=    ))+)", re.M
)


class KerasLayout(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for everything that may have a docstring."""
        if obj.docstring:
            obj.docstring.value = google_layout(obj.docstring.value)


def google_layout(text: str) -> str:
    """The same docstring in Google's layout."""
    text = _EXAMPLE.sub(lambda match: "Examples:\n" + _indented(match["code"]), text)
    text = _CALL.sub("Other Args: Call arguments", text)
    text = _RETURNS.sub("Returns:\n    : ", text)
    return _PLAIN.sub(lambda match: f"**{match['title']}**\n\n{_unindented(match['text'])}\n", text)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.split("\n"))


def _unindented(text: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in text.split("\n"))
