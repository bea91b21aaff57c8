"""A user's layer, taken from the guide, does all that the package's layers do."""

import pathlib
import re
import sys
import types

import keras
import numpy as np
import pytest
from equivalences import numpy, relative
from keras import ops

from keras_ssm import analysis, callbacks, models, optimizers
from keras_ssm.layers import LRU, SSM, SSMBlock, SSMCell
from keras_ssm.ops.systems import SharedState

GUIDE = pathlib.Path(__file__).parents[1] / "docs" / "guides" / "own_layer.py"
FEATURES, LENGTH = 3, 20


def cells():
    return re.findall(r"^# %%\n(.*?)(?=^# %%|\Z)", GUIDE.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def guide():
    """The first cell of the guide as a module of its own, outside the package."""
    module = types.ModuleType("averages_of_a_user")
    sys.modules[module.__name__] = module
    exec(compile(cells()[0], str(GUIDE), "exec"), module.__dict__)
    return module


@pytest.fixture(params=["LRU", "Averages"])
def make(request, guide):
    return {"LRU": LRU, "Averages": guide.Averages}[request.param]


@pytest.fixture
def u():
    return np.random.default_rng(0).standard_normal((2, LENGTH, FEATURES)).astype("float32")


def test_sequence_steps_masks_time_and_resets_agree(make, u):
    layer = make(4, return_state=True)
    layer.build((None, None, FEATURES))
    rng = np.random.default_rng(1)
    time_steps = rng.uniform(0.5, 2, (2, LENGTH)).astype("float32")
    resets = rng.random((2, LENGTH)) < 0.2
    y, state = layer(u, time_steps=time_steps, resets=resets, rate=1.5)
    step_state, outputs = layer.get_initial_state(2), []
    for k in range(LENGTH):
        y_k, step_state = layer.step(
            u[:, k], step_state, time_steps=time_steps[:, k], rate=1.5, resets=resets[:, k]
        )
        outputs.append(numpy(y_k))
    assert relative(np.stack(outputs, axis=1), y) <= 2e-5
    assert relative(step_state, state) <= 2e-5

    mask = np.arange(LENGTH) < np.array([[LENGTH], [LENGTH - 7]])
    y, state = layer(u, mask=mask)
    short, short_state = layer(u[1:, : LENGTH - 7])
    assert relative(y[1:, : LENGTH - 7], short) <= 2e-5
    assert relative(state[1:], short_state) <= 2e-5


def test_both_directions_see_the_sequence_from_both_ends(make, u):
    layer = make(4, bidirectional=True)
    y = numpy(layer(u))
    moved = numpy(layer(u + np.eye(LENGTH, dtype="float32")[-1][:, None]))
    assert np.abs(moved - y)[:, 0].max() > 0


def test_block_cell_save_and_analysis(make, u, tmp_path):
    inputs = keras.Input((None, FEATURES))
    x = SSMBlock(make(4), name="block")(inputs)
    x = keras.layers.RNN(SSMCell(make(4), FEATURES), return_sequences=True)(x)
    model = keras.Model(inputs, x)
    model.save(tmp_path / "model.keras")
    assert relative(keras.models.load_model(tmp_path / "model.keras")(u), model(u)) <= 1e-6
    for layer in analysis.ssm_layers(model).values():
        assert analysis.modes(layer).lam.size == analysis.modes(layer).time_scale.size > 0
        assert np.all(analysis.memory_length(layer) >= 0)
        lags, K = analysis.impulse_response(layer, 5)
        assert K.shape[-1] == len(lags) == 5


@pytest.mark.training
def test_it_trains_in_its_groups_and_is_monitored(make, u):
    model = models.classifier(2, (None, FEATURES), layer=make, depth=1, width=4, state_size=4)
    optimizer = optimizers.adamw(4e-3, 1e-3)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(
        u, np.array([0, 1]), epochs=2, verbose=0, callbacks=[callbacks.SSMMonitor()]
    )
    assert any("max_abs_lambda" in name for name in history.history)
    groups = {w.name: w.ssm_group for w in analysis.ssm_layers(model).popitem()[1].weights}
    assert "eigenvalues" in groups.values()


def test_it_streams_and_is_drawn(make, u, tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    from keras_ssm import visualization

    model = models.classifier(2, (None, FEATURES), layer=make, depth=2, width=4, state_size=4)
    machine = models.streaming(model)
    machine.reset(2)
    outputs = [numpy(machine.step(u[:, k])) for k in range(LENGTH)]
    assert relative(outputs[-1], model(u)) <= 2e-5
    layers = analysis.ssm_layers(model)
    visualization.plot_eigenvalues(layers).savefig(tmp_path / "eigenvalues.png")
    visualization.plot_kernels(layers, length=10).savefig(tmp_path / "kernels.png")


def test_it_is_a_backbone_of_keras_hub(make):
    pytest.importorskip("keras_hub", reason="needs keras-hub")
    from keras_ssm import hub

    backbone = hub.SSMBackbone(11, layer=make, depth=1, width=4, state_size=4)
    copy = hub.SSMBackbone.from_config(backbone.get_config())
    copy.set_weights(backbone.get_weights())
    ids = np.array([[1, 2, 3, 0]])
    inputs = {"token_ids": ids, "padding_mask": ids != 0}
    assert relative(copy(inputs), backbone(inputs)) <= 1e-6


class OneWay(SSM):
    system_class = SharedState

    @property
    def modes(self):
        return self.state_size

    def system(self, rate=None, time_steps=None):
        log_lam = -ops.ones((self.state_size,)) * self.durations(rate, time_steps, 1)
        ones, zeros = ops.ones, ops.zeros
        B = ones((self.state_size, self.width)), zeros((self.state_size, self.width))
        C = ones((1, self.width, self.state_size)), zeros((1, self.width, self.state_size))
        return SharedState((log_lam, 0 * log_lam), (0 * log_lam + 1, 0 * log_lam), B, C, None)


class WrongShapes(OneWay):
    def system(self, rate=None, time_steps=None):
        system = super().system(rate, time_steps)
        return system._replace(B=(ops.ones((2, 2)), ops.zeros((2, 2))))


class Nothing(SSM):
    pass


class NoKind(OneWay):
    system_class = None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda u: Nothing(4), "a property `modes` and a method `system.*Received: Nothing"),
        (lambda u: NoKind(4)(u), "NoKind to have a `system_class`.*Received: None"),
        (lambda u: OneWay(4, bidirectional=True)(u), "offers 1 direction.*bidirectional=True"),
        (lambda u: OneWay(4, step_min=0.1), "step_min"),
        (lambda u: WrongShapes(4)(u), r"`B` of a system must have shape \(4, 3\).*\(2, 2\)"),
        (lambda u: OneWay(4, rate=-1), "`rate` must be a positive number.*rate=-1"),
        (lambda u: models.classifier(2, (None, 1), layer=3), "expected a layer.*layer=3"),
        (
            lambda u: models.classifier(2, (None, 1), layer=OneWay(4), state_size=3),
            "has its arguments already.*state_size=3",
        ),
    ],
)
def test_what_a_leaf_lacks_is_refused(call, message, u):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call(u)


def test_the_rate_of_a_built_layer_is_not_set_without_a_word(u):
    layer = LRU(4)
    layer.rate = 2.0
    layer(u)
    layer.rate = 2.0
    with pytest.raises(ValueError, match=r"with_rate.*rate=3\.0 for a layer with rate=2\.0"):
        layer.rate = 3.0
