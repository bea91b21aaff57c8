"""What the Markdown files point to is there, and the commands they give are accepted."""

import pathlib
import re
import shlex

import pytest

import keras_ssm_cli

pytestmark = pytest.mark.backend_free

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "benchmarks/**/*.md",
        "examples/**/*.md",
        "docs/guides/*.py",
    )
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)
_FENCE = re.compile(r"^ *```[^\n]*\n(.*?)^ *```", re.M | re.S)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_IMAGE = re.compile(r"<img[^>]*\bsrc=\"([^\"]+)\"")
_SCRIPT = re.compile(r"^python ((?:benchmarks|examples|tests)/\S+\.py)\b")
_SETTING = re.compile(r"^\w+=\S+ ")


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def prose(text):
    """Without blocks of code and code in a line."""
    return _CODE.sub("", _FENCE.sub("", text))


def anchors(text):
    """Of all headings, as GitHub makes them."""
    found = []
    for line in _FENCE.sub("", text).splitlines():
        if heading := re.match(r"#+ +(.*)", line):
            title = re.sub(r"[^\w\- ]", "", heading[1].strip().lower()).replace(" ", "-")
            found.append(f"{title}-{found.count(title)}" if title in found else title)
    return found


def commands(text, inline):
    """Lines of blocks of code and, with `inline`, code in a line, without a setting before them."""
    lines = [line for block in _FENCE.findall(text) for line in block.splitlines()]
    if inline:
        lines += _CODE.findall(_FENCE.sub("", text))
    for line in lines:
        line = line.strip().removeprefix("$ ")
        while _SETTING.match(line):
            line = _SETTING.sub("", line)
        yield line


@pytest.mark.parametrize("name", FILES)
def test_links_lead_to_files_and_headings(name):
    text, broken = prose(text_of(name)), []
    for link in _LINK.findall(text) + _IMAGE.findall(text):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = ROOT / pathlib.PurePosixPath(name).parent / path if path else ROOT / name
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("name", FILES)
def test_commands_are_accepted(name, capsys):
    text, wrong = text_of(name), []
    for line in commands(text, inline=False):
        if line.startswith("keras-ssm "):
            try:
                keras_ssm_cli.parser().parse_args(shlex.split(line, comments=True)[1:])
            except SystemExit as stop:
                if stop.code:
                    wrong.append(f"{line}: {capsys.readouterr().err}")
    for line in commands(text, inline=True):
        script = _SCRIPT.match(line)
        if script and not (ROOT / script[1]).is_file():
            wrong.append(line)
        target = re.match(r"make (\w+)", line)
        if target and f"\n{target[1]}:" not in text_of("Makefile"):
            wrong.append(line)
    assert not wrong


def test_there_is_something_to_check():
    text = text_of("README.md")
    assert {"README.md", "docs/index.md", "benchmarks/README.md"} <= set(FILES)
    assert _LINK.findall(prose(text))
    found = list(commands(text, inline=True))
    assert any(line.startswith("keras-ssm train ") for line in found)
    assert any(_SCRIPT.match(line) for line in commands(text_of("docs/speed.md"), inline=True))


def test_anchors_as_github_makes_them():
    text = "# One `two`: three\n```\n# no heading\n```\n## Twice\n## Twice\n"
    assert anchors(text) == ["one-two-three", "twice", "twice-1"]
