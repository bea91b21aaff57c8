"""The picture of `lengths.py`: time against length, one panel for each backend."""

import pathlib
from typing import NamedTuple

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
STYLES = {
    "s5": Style("S5", "#0b62a4", **_OURS),
    "s5-textbook": Style("S5, textbook", "#0b62a4", "--", **_PEER),
    "s5-pytorch": Style("S5, s5-pytorch", "#0b62a4", ":", **_PEER),
    "s4d": Style("S4D", "#d1590b", **_OURS),
    "s4d-textbook": Style("S4D, textbook", "#d1590b", "--", **_PEER),
    "dss": Style("DSS", "#1a8754", **_OURS),
    "lstm": Style("LSTM", "#8a4fbf", "-", **_PEER),
    "gru": Style("GRU", "#c28be0", "-", **_PEER),
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
    figure, axes = plt.subplots(
        1, len(panels), sharey=True, squeeze=False, figsize=(1.6 + 3.6 * len(panels), 4.4)
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
        f"Time of one layer against the length of its input: batch {shape.B}, {shape.H} features",
        fontsize=11,
    )
    lines = [drawn[case] for case in STYLES if case in drawn]
    figure.legend(handles=lines, loc="outside right center", frameon=False, fontsize=9)
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
    axis.set_xticks(lengths, [str(L) for L in lengths])
    axis.set_xlabel("length (steps)")
    axis.set_title(backend, fontsize=10)
    axis.grid(True, which="major", color="#e4e4e4", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)
