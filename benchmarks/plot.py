"""The picture of `lengths.py`: time against length, one panel for each backend.

    python benchmarks/plot.py [docs/speed.md] [--plot docs/images/speed.png]

draws it anew from the table on the page, which `report.py` wrote.
"""

import argparse
import pathlib
import re
from typing import NamedTuple

import catalogue
import tables


class Style(NamedTuple):
    """How a case is drawn: ours as thick lines with markers, peers thin, ceilings grey."""

    label: str
    color: str
    line: str
    width: float
    marker: str


_OURS = {"line": "-", "width": 2.6, "marker": "o"}
_PEER = {"width": 1.3, "marker": ""}
NAMES = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}
STYLES = {
    "s5": Style("S5", "#0b62a4", **_OURS),
    "s4d": Style("S4D", "#d1590b", **_OURS),
    "dss": Style("DSS", "#1a8754", **_OURS),
    "s5-textbook": Style("S5, textbook", "#0b62a4", "--", **_PEER),
    "s4d-textbook": Style("S4D, textbook", "#d1590b", "--", **_PEER),
    "s5-pytorch": Style("S5, s5-pytorch", "#0b62a4", ":", **_PEER),
    "lstm": Style("LSTM", "#6f2dbd", "-", **_PEER),
    "gru": Style("GRU", "#8a4fbf", "-.", **_PEER),
    "attention": Style("attention", "#c9184a", "-", **_PEER),
    "conv": Style("dilated convolutions", "#8d6e3f", "-", **_PEER),
    "ceiling-fft": Style("bare FFT convolution", "#555555", "--", **_PEER),
    "ceiling-dense": Style("two dense layers", "#999999", "--", **_PEER),
}


def draw(results: tables.Results, path: pathlib.Path) -> None:
    """Write the picture of forward with backward."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = tables.backends(results)
    # No wider: on a page of 830 pixels the letters of a wider picture are too small.
    figure, axes = plt.subplots(
        1, len(panels), sharey=True, squeeze=False, figsize=(0.6 + 3 * len(panels), 4.8)
    )
    drawn = {}
    for axis, backend in zip(axes[0], panels, strict=True):
        for case, style in STYLES.items():
            points = _points(results, backend, case)
            if points:
                drawn[case] = axis.plot(
                    *zip(*points, strict=True),
                    color=style.color,
                    linestyle=style.line,
                    linewidth=style.width,
                    marker=style.marker,
                    markersize=4.5,
                    label=style.label,
                    zorder=3 if style.marker else 2,
                )[0]
        _decorate(axis, backend, sorted({shape.L for shape in tables.shapes(results)}))
    axes[0][0].set_ylabel("forward and backward (ms)")
    shape = tables.shapes(results)[0]
    figure.suptitle(
        f"Time of one layer against the length of its input: batch {shape.B}, {shape.H} features"
    )
    lines = [drawn[case] for case in STYLES if case in drawn]
    figure.legend(handles=lines, loc="outside lower center", ncols=4, frameon=False)
    figure.set_layout_engine("constrained")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _points(results: tables.Results, backend: str, case: str) -> list[tuple[int, float]]:
    times = [(s.L, tables.value(results, backend, case, s)) for s in tables.shapes(results)]
    return [(L, t) for L, t in times if t is not None]


def _decorate(axis: object, backend: str, lengths: list[int]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(lengths, [f"{L:,}" for L in lengths], fontsize=8.5)
    axis.set_xlabel("length (steps)")
    axis.set_title(NAMES[backend])
    axis.grid(True, which="major", color="#e4e4e4", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)


def from_page(text: str) -> tables.Results:
    """The results of the table of lengths on a page, times of forward with backward alone."""
    _, heading, rest = text.partition("## Lengths: ")
    lines = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    if not heading or not cells:
        raise SystemExit("expected a page with a table under `## Lengths: batch B, H features`")
    B, H, N = (int(digits) for digits in re.findall(r"\d+", rest.partition("\n")[0]))
    shapes = [catalogue.Shape(B, H, N, int(cell.removeprefix("L = "))) for cell in cells[0][2:]]
    results: tables.Results = {}
    for case, backend, *times in cells[2:]:
        for shape, time in zip(shapes, times, strict=True):
            ms = float(time) if time else None
            results[backend, case, shape] = (
                "not measured" if ms is None else {"both": tables.Result(ms, ms, 0.0, 0.0, 0)}
            )
    return results


def main() -> None:
    """Draw the picture from the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", nargs="?", type=pathlib.Path, default=pathlib.Path("docs/speed.md"))
    parser.add_argument("--plot", type=pathlib.Path, default=pathlib.Path("docs/images/speed.png"))
    options = parser.parse_args()
    draw(from_page(options.page.read_text(encoding="utf-8")), options.plot)


if __name__ == "__main__":
    main()
