"""Pictures on fixed weights: against recorded ones, and their data on every backend.

`python tests/test_visualization.py` (KERAS_BACKEND=numpy) records them anew; look at what it wrote.
"""

import pathlib
import sys

import numpy as np
import pytest

from keras_ssm import visualization
from keras_ssm.layers import DSS, S4D, S5, SSMBlock

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.testing.compare import compare_images  # noqa: E402

BASELINE = pathlib.Path(__file__).parent / "baseline"
DRAWN_BY = "3.11"
# Root mean square of 255 grey values; the same weights on another CPU move lines by less than a
# hundredth of a pixel (below 0.1), a missing line or label is 2 or more.
TOLERANCE = 1.0
FEATURES, LENGTH = 4, 120


def fixed(layer, shift=0.0):
    """Weights that no random number generator or backend decides."""
    layer.build((None, None, FEATURES))
    random = np.random.RandomState(0)  # NumPy promises its stream
    for weight in layer.weights:
        values = random.standard_normal(tuple(weight.shape)) / 4
        index = np.indices(values.shape)[-1]
        if weight.name == "Lambda_re":
            values = (np.log(0.5) if isinstance(layer, S4D) else -0.5) + values / 4 + shift
        elif weight.name == "Lambda_im":
            values = (np.pi if isinstance(layer, S4D) else -2.0) * index + shift
        elif weight.name == "log_step":
            values = np.linspace(np.log(0.02), np.log(0.4), values.size).reshape(values.shape)
        weight.assign(values)
    return layer


def s4d():
    return fixed(S4D(8))


def s5(shift=0.0):
    return fixed(S5(12, bidirectional=True), shift)


def inputs():
    wave = np.sin(np.arange(LENGTH) / 5)[:, None] * [1, 0, 0, 0]
    return wave * (np.arange(LENGTH) < 80)[:, None]


PICTURES = {
    "eigenvalues": lambda: visualization.plot_eigenvalues({"before": s5(), "after": s5(0.3)}),
    "unit-disc": lambda: visualization.plot_unit_disc(s4d(), sampling_rate=1000.0),
    "time-scales": lambda: visualization.plot_time_scales({"S4D": s4d(), "S5": s5(0.6)}),
    "kernels": lambda: visualization.plot_kernels({"S4D": s4d(), "S5": s5()}, LENGTH, [0, 2]),
    "kernel-map": lambda: visualization.plot_kernel_map(s5(), LENGTH, sampling_rate=1000.0),
    "frequency-response": lambda: visualization.plot_frequency_response(s4d(), sampling_rate=8.0),
    "memory": lambda: visualization.plot_memory({"S4D": s4d(), "unstable S5": s5(0.6)}),
    "states": lambda: visualization.plot_states(s4d(), inputs(), feature=0),
}  # fmt: skip


def save(figure, path):
    figure.savefig(path, dpi=60, metadata={"Software": None})


@pytest.mark.backend_free
@pytest.mark.skipif(
    not matplotlib.__version__.startswith(DRAWN_BY),
    reason=f"text and ticks are drawn as matplotlib {DRAWN_BY} does, which drew the baselines",
)
@pytest.mark.parametrize("name", PICTURES)
def test_the_picture_is_the_recorded_one(name, tmp_path):
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        save(PICTURES[name](), tmp_path / f"{name}.png")
    expected = tmp_path / "expected.png"
    expected.write_bytes((BASELINE / f"{name}.png").read_bytes())
    assert compare_images(expected, tmp_path / f"{name}.png", tol=TOLERANCE) is None


def data(figure):
    """Everything that a figure draws, as one array."""
    parts = []
    for axes in figure.axes:
        if axes.get_label() == "<colorbar>":
            continue
        parts += [line.get_xydata() for line in axes.lines]
        parts += [points.get_offsets() for points in axes.collections]
        parts += [image.get_array() for image in axes.images]
    return np.concatenate([np.ravel(np.ma.filled(part, np.nan)) for part in parts])


@pytest.mark.parametrize("name", PICTURES)
def test_the_data_of_a_picture_are_those_of_every_backend(name):
    found, expected = data(PICTURES[name]()), np.load(BASELINE / "data.npz")[name]
    # Phases at half a turn may fall on either side of it.
    turned = np.abs(found - expected) > 359 if name == "frequency-response" else 0
    np.testing.assert_allclose(
        np.where(turned, expected, found), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
    )


@pytest.mark.backend_free
def test_pictures_are_drawn_into_the_axes_given_and_not_into_pyplot():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    figure = Figure()
    axes = figure.subplots(2, 2)
    layers = {"one": s4d(), "two": SSMBlock(s5())}
    assert visualization.plot_frequency_response(layers, [0], ax=axes) is figure
    assert [a.get_title() for a in axes.ravel()] == ["one", "two", "", ""]
    assert all(a.lines for a in axes.ravel())
    assert visualization.plot_memory(layers["one"]) is not figure
    assert pyplot.get_fignums() == before
    with pytest.raises(ValueError, match=r"must be 2 axes, 1 for each of 2 layers. Received: 4"):
        visualization.plot_kernels(layers, 10, ax=axes)


@pytest.mark.backend_free
def test_a_softmax_kernel_is_drawn_over_its_length():
    layer = fixed(DSS(4))
    figure = visualization.plot_kernels(layer, 30)
    assert {len(line.get_xdata()) for line in figure.axes[0].lines[:4]} == {30}
    visualization.plot_frequency_response(layer, length=30)
    with pytest.raises(ValueError, match="normalised over a length"):
        visualization.plot_memory(layer)


@pytest.mark.backend_free
def test_wrong_arguments_and_a_missing_matplotlib_are_named(monkeypatch):
    with pytest.raises(ValueError, match="at least one layer"):
        visualization.plot_eigenvalues({})
    with pytest.raises(ValueError, match=r"`feature` must be below 4. Received: feature=4"):
        visualization.plot_states(s4d(), inputs(), feature=4)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "keras-ssm\[plot\]"'):
        visualization.plot_unit_disc(s4d())


if __name__ == "__main__":
    BASELINE.mkdir(exist_ok=True)
    matplotlib.rcdefaults()
    for name, picture in PICTURES.items():
        save(picture(), BASELINE / f"{name}.png")
    arrays = {name: data(picture()).astype("float32") for name, picture in PICTURES.items()}
    np.savez_compressed(BASELINE / "data.npz", **arrays)
