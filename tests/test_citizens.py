"""What works with `keras.layers.GRU` works with every layer of the package, and around it."""

import pathlib

import keras
import numpy as np
import pytest
from keras import ops

from keras_ssm import models
from keras_ssm.layers import DSS, LRU, S4, S4D, S5, SequencePooling, SSMBlock, SSMCell

BACKEND = keras.backend.backend()
# TensorFlow builds a graph either way; to compile it as well takes most of the time.
COMPILES = False if BACKEND == "tensorflow" else "auto"
BATCH, LENGTH, FEATURES = 4, 8, 3

LAYERS = {
    "DSS": lambda **k: DSS(4, kernel="exp", **k),
    "S4D": lambda **k: S4D(4, **k),
    "S5": lambda **k: S5(4, **k),
    "S4": lambda **k: S4(4, **k),
    "LRU": lambda **k: LRU(4, **k),
}
each_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
trains = pytest.mark.skipif(BACKEND == "numpy", reason="Keras trains nothing with NumPy")


@pytest.fixture(scope="module")
def u():
    return np.random.default_rng(0).standard_normal((BATCH, LENGTH, FEATURES)).astype("float32")


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x))


def assert_same(found, expected, tolerance=1e-6):
    found, expected = keras.tree.flatten(found), keras.tree.flatten(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(numpy(a), numpy(b), rtol=tolerance, atol=tolerance)


def saved(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def fitted(model, u, **options):
    model.compile("sgd", "mse", jit_compile=COMPILES)
    return model.fit(u, u[..., :1], verbose=0, shuffle=False, **options)


def values(layer):
    return [numpy(w).copy() for w in layer.trainable_weights]


class Wrapped(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.inner, self.head = layer, keras.layers.Dense(1)

    def call(self, x):
        return self.head(self.inner(x))


CONTAINERS = {
    "Sequential": lambda make: keras.Sequential([make(), keras.layers.Dense(1)]),
    "subclass": lambda make: Wrapped(make()),
    "block": lambda make: keras.Sequential([SSMBlock(make()), keras.layers.Dense(1)]),
    "Bidirectional": lambda make: Wrapped(keras.layers.Bidirectional(make())),
    "RNN": lambda make: Wrapped(keras.layers.RNN(SSMCell(make(), FEATURES), return_sequences=True)),
}


@trains
@each_layer
@pytest.mark.parametrize("contain", CONTAINERS.values(), ids=CONTAINERS)
def test_an_unbuilt_model_trains(make, contain, u):
    model = contain(make)
    fitted(model, u)
    assert all(np.all(np.isfinite(w)) for w in values(model))
    assert any("Lambda" in w.path or "log" in w.path for w in model.trainable_weights)


@trains
@each_layer
def test_time_distributed_trains_unbuilt(make, u):
    model = keras.Sequential([keras.layers.TimeDistributed(make()), keras.layers.Dense(1)])
    fitted(model, np.stack([u, 2 * u], axis=1))


@each_layer
@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [True, False])
def test_bidirectional_gives_states_in_every_merge_mode(make, merge, sequences, u, tmp_path):
    layer = make(return_state=True, return_sequences=sequences)
    both = keras.layers.Bidirectional(layer, merge_mode=merge)
    inputs, mask = keras.Input((None, FEATURES)), keras.Input((None,), dtype="bool")
    model = keras.Model([inputs, mask], both(inputs, mask=mask))
    steps = np.arange(LENGTH) < np.array([[8], [5], [1], [8]])
    found = keras.tree.flatten(model([u, steps]))
    forward = both.forward_layer(u, mask=steps)
    backward = both.backward_layer(u, mask=steps)
    first, second = forward[0], backward[0]
    if sequences:
        second = ops.flip(second, axis=1)
    merged = {
        "concat": lambda: [ops.concatenate([first, second], -1)],
        "sum": lambda: [first + second],
        "mul": lambda: [first * second],
        "ave": lambda: [(first + second) / 2],
        None: lambda: [first, second],
    }[merge]()
    assert_same(found, [*merged, forward[1], backward[1]])
    assert_same(saved(model, tmp_path)([u, steps]), found)


@each_layer
def test_a_frozen_part_stays_frozen(make, u, tmp_path):
    inputs = keras.Input((None, FEATURES))
    assert not keras.Model(inputs, SSMBlock(make(), trainable=False)(inputs)).trainable_weights
    assert not keras.Model(
        inputs, keras.layers.Bidirectional(make(trainable=False))(inputs)
    ).trainable_weights

    block = SSMBlock(make())
    model = keras.Model(inputs, block(inputs))
    block.ssm.trainable = False
    paths = [w.path for w in model.trainable_weights]
    assert paths
    assert not any(w.path in paths for w in block.ssm.weights)
    for copy in (keras.models.clone_model(model), saved(model, tmp_path)):
        assert len(copy.trainable_weights) == len(paths)
        assert len(copy.weights) == len(model.weights)
        assert not copy.layers[-1].ssm.trainable
    assert not SSMBlock(make(trainable=False)).ssm.trainable


@pytest.mark.parametrize("name", ["dss", "s4d", "s5", "s4", "lru"])
def test_an_int8_classifier_is_saved_and_loaded(name, u, tmp_path):
    options = {"kernel": "exp"} if name == "dss" else {}
    model = models.classifier(
        2, (None, FEATURES), layer=name, depth=1, width=8, state_size=4, **options
    )
    before = numpy(model(u))
    model.quantize("int8")
    kinds = {str(numpy(w).dtype) for w in model.weights}
    assert "int8" in kinds
    found = numpy(model(u))
    assert 0 < np.abs(found - before).max() < 0.1
    assert_same(saved(model, tmp_path)(u), found)


@pytest.mark.parametrize("kind", ["block", "Bidirectional", "two-way block"])
def test_regularizers_and_names_of_parts_are_kept(kind, u, tmp_path):
    ssm = S4D(4, C_regularizer=keras.regularizers.L2(0.1), name="states")
    inputs = keras.Input((None, FEATURES))
    layer = {
        "block": SSMBlock(ssm, name="outer"),
        "Bidirectional": keras.layers.Bidirectional(ssm, name="outer"),
        "two-way block": SSMBlock(
            S4D(4, C_regularizer=keras.regularizers.L2(0.1), bidirectional=True), name="outer"
        ),
    }[kind]
    model = keras.Model(inputs, layer(inputs))
    model(u)
    copy = saved(model, tmp_path)
    copy(u)
    assert copy.layers[-1].name == "outer"
    assert_same(sum(copy.losses), sum(model.losses))
    assert float(numpy(sum(model.losses))) > 0
    if kind != "Bidirectional":  # whose path Keras loses in loading, of a GRU as well
        assert [w.path for w in copy.weights] == [w.path for w in model.weights]


@trains
@each_layer
def test_a_stateful_layer_trains_and_starts_where_the_batch_before_ended(make, u):
    inputs = keras.Input(batch_shape=(2, None, FEATURES))
    layer = make(stateful=True)
    model = keras.Model(inputs, layer(inputs))
    model.compile("sgd", "mse", jit_compile=COMPILES)
    model.fit(u, u, batch_size=2, epochs=1, shuffle=False, verbose=0)
    state = numpy(layer.states[0])
    assert np.any(state)
    expected = layer(u[:2], initial_state=ops.convert_to_tensor(state))
    layer.states[0].assign(state)  # which the line above has moved on
    assert_same(model.predict(u[:2], batch_size=2, verbose=0), expected, 1e-5)


@trains
@each_layer
@pytest.mark.parametrize("work", ["fit", "predict"])
def test_a_short_last_batch_of_a_stateful_layer_gets_our_message(make, work, u):
    model = keras.Sequential(
        [keras.Input(batch_shape=(3, LENGTH, FEATURES)), make(stateful=True, name="carries")]
    )
    model.compile("sgd", "mse", jit_compile=COMPILES)
    kind = ValueError
    if BACKEND == "tensorflow":
        import tensorflow as tf

        kind = (ValueError, tf.errors.InvalidArgumentError)
    data = (u, u) if work == "fit" else (u,)
    with pytest.raises(kind, match=r"layer .?'carries.?' cannot change\. Expected: 3"):
        getattr(model, work)(*data, batch_size=3, verbose=0)


@each_layer
def test_a_block_hands_reset_state_on(make, u):
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(BATCH, None, FEATURES)),
            SSMBlock(make(stateful=True), norm="layer"),
        ]
    )
    first = numpy(model(u))
    assert np.abs(numpy(model(u)) - first).max() > 1e-6
    model.layers[-1].reset_state()
    assert_same(model(u), first)


@each_layer
def test_empty_batches_are_empty_and_empty_sequences_are_refused(make, u):
    for layer in (make(), SSMBlock(make())):
        layer(u)
        assert tuple(layer(u[:0]).shape) == (0, LENGTH, FEATURES)
        with pytest.raises(ValueError, match="length of at least one step"):
            layer(u[:, :0])


@each_layer
def test_numpy_goes_into_steps_and_chunks(make, u):
    for layer in (make(), SSMBlock(make(), norm="layer")):
        expected = layer(u)
        state = layer.get_initial_state(BATCH)
        y, state = layer.advance(u[:, :5], state)
        assert_same(y, expected[:, :5], 1e-5)
        for k in range(5, LENGTH):
            y, state = layer.step(u[:, k], keras.tree.map_structure(numpy, state))
            assert_same(y, expected[:, k], 1e-5)


@each_layer
def test_states_of_every_step_are_those_of_steps(make, u):
    layer = make()
    layer(u)
    start = np.random.default_rng(1).standard_normal((BATCH, layer.state_width)).astype("float32")
    states, state = layer.state_sequence(u, start), ops.convert_to_tensor(start)
    for k in range(LENGTH):
        _, state = layer.step(u[:, k], state)
        assert_same(states[:, k], state, 1e-5)


@each_layer
@pytest.mark.parametrize("masked", [False, True])
def test_nan_behind_a_mask_reaches_nothing(make, masked, u):
    bad, mask = u.copy(), np.ones((BATCH, LENGTH), bool)
    mask[:, 5:] = mask[1, 2] = False
    bad[~mask] = np.nan
    layer, pool = SSMBlock(make(), norm="layer"), SequencePooling()
    if masked:
        assert_same(pool(layer(bad, mask=mask), mask=mask), pool(layer(u, mask=mask), mask=mask))
    else:
        # The bare layer: what it gives at masked steps is its last output.
        layer = make(return_sequences=False)
        assert_same(layer(bad, mask=mask), layer(u, mask=mask))


@trains
@pytest.mark.parametrize("name", ["dss", "s4d", "s5", "s4", "lru"])
def test_lora_of_a_backbone_trains_less_and_changes_the_output(name):
    pytest.importorskip("keras_hub", reason="the extra `hub` is not installed")
    from keras_ssm import hub

    options = {"kernel": "exp"} if name == "dss" else {}
    backbone = hub.SSMBackbone(20, layer=name, depth=1, width=8, state_size=4, **options)
    tokens = np.arange(12).reshape(2, 6) % 19 + 1
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    before, all_of_it = numpy(backbone(inputs)), len(backbone.trainable_weights)
    backbone.enable_lora(2)
    assert 0 < len(backbone.trainable_weights) < all_of_it
    assert any("lora" in w.path for w in backbone.trainable_weights)
    assert_same(backbone(inputs), before)
    for w in backbone.trainable_weights:
        w.assign(np.random.default_rng(0).standard_normal(w.shape))
    assert np.abs(numpy(backbone(inputs)) - before).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "options", "first", "last", "channels"),
    [
        ("S5", {"time_steps": True}, 20, 39, 3),
        ("S5", {"resets": True}, 20, 29, 3),
        ("LRU", {"resets": True}, 20, 29, 3),
        ("S4", {"resets": True}, 20, 29, 1),
        ("S4D", {}, 0, 39, 1),
        ("S4D", {"time_steps": True}, 20, 39, 1),
        ("DSS", {"resets": True}, 20, 39, 1),
    ],
)
def test_what_one_nan_poisons_is_what_the_page_says(name, options, first, last, channels):
    u = np.random.default_rng(0).standard_normal((2, 40, 3)).astype("float32")
    u[0, 20, 1] = np.nan
    values = {"time_steps": np.ones((2, 40), "float32"), "resets": np.zeros((2, 40), bool)}
    values["resets"][:, [10, 30]] = True
    y = np.isnan(numpy(LAYERS[name]()(u, **{key: values[key] for key in options})))
    steps = np.flatnonzero(y[0].any(axis=1))
    assert not y[1].any()
    assert (steps[0], steps[-1], y[0].any(axis=0).sum()) == (first, last, channels)


def test_every_row_of_the_page_names_a_test():
    folder = pathlib.Path(__file__).parent
    rows = (folder.parent / "docs" / "with_keras.md").read_text("utf-8").splitlines()
    named = [row.split("`")[-2] for row in rows if row.startswith("|") and "`test_" in row]
    tests = "".join(path.read_text("utf-8") for path in folder.glob("test_*.py"))
    assert len(named) > 20
    assert [name for name in named if f"def {name}(" not in tests] == []
