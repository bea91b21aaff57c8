"""Pictures on fixed weights: against recorded ones, and their data on every backend.

`python tests/test_visualization.py` (KERAS_BACKEND=numpy) records them anew; look at what it wrote.
"""

import pathlib
import sys

import keras
import numpy as np
import pytest

import keras_ssm
from keras_ssm import analysis, visualization
from keras_ssm.layers import DSS, LRU, S4D, S5, SSMBlock

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
    return fixed(S4D(8, name="s4d"))


def s5(shift=0.0):
    return fixed(S5(12, bidirectional=True, name="s5"), shift)


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
        visualization.plot_memory(layers, ax=axes)
    with pytest.raises(ValueError, match=r"must be 8 axes, 4 for each of 2 layers. Received: 4"):
        visualization.plot_kernels(layers, 10, ax=axes)


@pytest.mark.backend_free
def test_a_softmax_kernel_is_drawn_over_its_length():
    layer = fixed(DSS(4))
    figure = visualization.plot_kernels(layer, 30)
    assert [len(axes.lines[0].get_xdata()) for axes in figure.axes] == [30] * 4
    visualization.plot_frequency_response(layer, length=30)
    with pytest.raises(ValueError, match="normalized over a length"):
        visualization.plot_memory(layer)


def model():
    """Three kinds of layer, one of them bidirectional, for 40 steps of 3 features."""
    inputs = keras.Input((40, 3))
    x = SSMBlock(S5(8, name="s5"), name="first")(keras.layers.Dense(5)(inputs))
    x = SSMBlock(S4D(8, name="s4d"), prenorm=False, name="second")(x)
    return keras.Model(inputs, LRU(4, bidirectional=True, name="lru")(x), name="three")


PATHS = ["first/s5", "second/s4d", "lru"]


@pytest.mark.backend_free
def test_a_model_is_drawn_layer_by_layer_two_in_a_row():
    three = model()
    for name in visualization.__all__:
        if name.startswith("plot_"):
            extra = [np.ones((40, 3))] if name == "plot_states" else []
            figure = getattr(visualization, name)(three, *extra)
            titled = [axes for axes in figure.axes if axes.get_title()]
            assert [axes.get_title() for axes in titled] == PATHS, name
            boxes = [axes.get_subplotspec() for axes in titled]
            assert [box.colspan.start for box in boxes] == [0, 1, 0], name
            # On every panel the time or the real part is named, at the left the values.
            shown = [a for a in figure.axes if a.get_label() != "<colorbar>"]
            assert len([a for a in shown if a.get_xlabel()]) == 3, name
            left = [a for a in shown if a.get_subplotspec().colspan.start == 0]
            assert all(a.get_ylabel() for a in left), name
            assert figure.get_figwidth() < 10


@pytest.mark.backend_free
def test_two_models_stand_side_by_side_by_layer():
    old, new = model(), model()
    figure = visualization.plot_eigenvalues({"old": old, "new": new})
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"{label}: {path}" for path in PATHS for label in ("old", "new")]
    figure = visualization.plot_memory({"a": old.get_layer("first"), "b": new.get_layer("first")})
    assert figure.get_suptitle() == "Effective memory of first/s5"


def test_the_state_of_a_model_is_for_what_each_of_its_layers_reads():
    three, u = model(), np.random.default_rng(0).standard_normal((40, 3)).astype("float32")
    figure = visualization.plot_states(three, u, feature=2)
    first = keras.Model(three.inputs[0], three.get_layer("first").output)
    read = keras.ops.convert_to_numpy(first(u[None]))[0]
    drawn = [axes for axes in figure.axes if axes.get_title() == "second/s4d"]
    np.testing.assert_allclose(drawn[0].lines[0].get_ydata(), read[:, 2], rtol=1e-5, atol=1e-5)
    assert not any("call" in vars(layer) for layer in analysis.ssm_layers(three).values())


@pytest.mark.backend_free
def test_kernels_stand_one_below_another():
    layers = {"one": s4d(), "two": fixed(S4D(8, name="s4d"), 0.1)}
    figure = visualization.plot_kernels(layers, LENGTH, [3, 1, 0])
    assert [axes.get_subplotspec().rowspan.start for axes in figure.axes] == [0, 0, 1, 1, 2, 2]
    for row, channel in enumerate([3, 1, 0]):
        for axes, layer in zip(figure.axes[2 * row :], layers.values(), strict=False):
            expected = analysis.impulse_response(layer, LENGTH, channel)[1]
            np.testing.assert_array_equal(axes.lines[0].get_ydata(), expected)
            assert axes.texts[0].get_text() == f"feature {channel}"
    # Each layer of a model has kernels of its own: an S4D has no pairs, as an S5 has.
    figure = visualization.plot_kernels(model())
    texts = [axes.texts[0].get_text() for axes in figure.axes]
    assert sum("→" in text for text in texts) == 8
    assert sum("feature" in text for text in texts) == 4
    # In the axes of one picture, all of them.
    axes = Figure().subplots()
    visualization.plot_kernels(s4d(), LENGTH, [0, 1], ax=axes)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["feature 0", "feature 1"]


@pytest.mark.backend_free
def test_one_far_eigenvalue_does_not_flatten_the_others():
    near, far = s4d(), s4d()
    imaginary = np.asarray(keras.ops.convert_to_numpy(far.Lambda_im))
    far.Lambda_im.assign(np.where(imaginary == imaginary.max(), 1e4, imaginary))
    scales = [visualization.plot_eigenvalues(layer).axes[0].get_yscale() for layer in (near, far)]
    assert scales == ["linear", "symlog"]
    axes = visualization.plot_eigenvalues(far).axes[0]
    assert "logarithmic beyond" in axes.get_ylabel()
    # In pixels: the others lie within a third of the height, not within a hundredth of it.
    points = axes.transData.transform(axes.collections[0].get_offsets())[:, 1]
    rest = np.sort(points)[: len(points) * 3 // 4]
    assert np.ptp(rest) > axes.get_window_extent().height / 3


@pytest.mark.backend_free
def test_lines_are_light_in_a_dark_style():
    with matplotlib.style.context("dark_background"):
        axes = visualization.plot_memory(s4d()).axes[0]
    assert axes.lines[FEATURES].get_color() == "white"


@pytest.mark.backend_free
def test_what_has_no_layers_is_not_drawn():
    with pytest.raises(ValueError, match="'dense', which has none"):
        keras_ssm.plot(keras.layers.Dense(1, name="dense"))
    with pytest.raises(ValueError, match=r"or a model with such layers. Received: 'runs/demo'"):
        keras_ssm.plot("runs/demo")
    with pytest.raises(ValueError, match="which is not built"):
        keras_ssm.plot(keras.Sequential([S5(4)]))


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
