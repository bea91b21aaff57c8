"""Models as machines: steps, chunks and sequences are the same; what cannot stream says why."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from equivalences import numpy, relative
from keras import ops
from state_cases import FEATURES, LAYERS

from keras_ssm import models
from keras_ssm.layers import DSS, LRU, S5, SequencePooling, SSMBlock, SSMCell
from keras_ssm.testing import check_streaming

L = keras.layers
TOLERANCE = 2e-5
NAMES = ["DSS-exp", "DSS-softmax", "S4D-zoh", "S5-zoh", "LRU"]
pytestmark = pytest.mark.usefixtures("step_by_step")


@pytest.fixture
def u():
    return np.random.default_rng(0).standard_normal((3, 7, FEATURES)).astype("float32")


def sequences(length=None, features=FEATURES):
    return keras.Input((length, features))


def functional(build, length=None):
    inputs = sequences(length)
    return keras.Model(inputs, build(inputs))


def loop(machine, u):
    return np.stack([numpy(machine.step(u[:, k])) for k in range(u.shape[1])], axis=1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", ["alone", "block", "last", "state"])
def test_every_layer_streams(name, where):
    if where == "block":
        two_channels = name in ("DSS-exp", "S4D-zoh")
        gating = "glu" if two_channels else "dense"
        model = functional(lambda x: SSMBlock(LAYERS[name](), gating=gating)(x))
    elif where == "last":
        model = functional(LAYERS[name](return_sequences=False))
    elif where == "state":
        model = functional(LAYERS[name](return_state=True))
    else:
        model = functional(LAYERS[name]())
    check_streaming(model, tolerance=TOLERANCE)


@pytest.mark.parametrize(
    "options",
    [
        {"layer": "s5"},
        {"layer": "s4d", "pooling": "last", "block": {"norm": "batch", "gating": "half_glu2"}},
        {"layer": "lru", "pooling": "last"},
        {"layer": "dss", "kernel": "exp", "pooling": None, "block": {"prenorm": False}},
        {"layer": "dss", "length": 40, "pooling": "mean"},
    ],
)
def test_a_classifier_starts_anew_after_every_reset(options):
    model = models.classifier(5, (None, FEATURES), depth=2, width=8, state_size=8, **options)
    u = np.random.default_rng(0).standard_normal((3, 20, FEATURES)).astype("float32")
    expected = numpy(model(u))
    machine = models.streaming(model)
    for _ in range(2):
        machine.reset(3)
        y = loop(machine, u)
        y = y if options.get("pooling", "mean") is None else y[:, -1]
        assert relative(y, expected) <= TOLERANCE


@pytest.mark.training
def test_trained_digits_give_the_predictions_of_predict():
    from keras_ssm.datasets import digits

    (x, y), *_, (x_test, _) = digits.load_data()
    model = models.classifier(10, (None, 1), layer="s5", depth=1, width=16, state_size=16)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    model.fit(x[:640], y[:640], batch_size=64, epochs=1, verbose=0)
    expected = model.predict(x_test[:64], batch_size=64, verbose=0)
    machine = models.streaming(model)
    machine.reset(64)
    logits = loop(machine, x_test[:64])[:, -1]
    assert relative(logits, expected) <= TOLERANCE
    np.testing.assert_array_equal(logits.argmax(-1), expected.argmax(-1))


def block():
    return SSMBlock(S5(8))


def shared():
    layer = block()
    return lambda x: layer(layer(x) + x)


def nested(x):
    inner = functional(lambda x: SSMBlock(S5(8), name="same")(x) * 2.0)
    twice = inner(inner(x))
    return SSMBlock(S5(8), name="same")(keras.Sequential([sequences(), block()])(twice))


def decoder(x):
    """A summary, and what may come after one: layers over another time."""
    summary = GRU(4)(x)
    return L.Bidirectional(GRU(2, return_sequences=True))(L.RepeatVector(5)(summary))


GRU = L.GRU
GRAPHS = {
    "operators": lambda x: block()(x) + x - 1.0,
    "ops": lambda x: ops.tanh(block()(x)) * 2,
    "scale": lambda x: block()(x) * np.array([1.0, 2.0, 3.0], "float32"),
    "features": lambda x: ops.softmax(block()(x), axis=-1)[..., 1:],
    "axes": lambda x: ops.squeeze(
        ops.expand_dims(block()(x), 3) / ops.sum(x**2, 2)[..., None, None], 3
    ),
    "joined": lambda x: ops.concatenate([x, ops.flip(x, axis=2)], axis=-1),
    "matrix": lambda x: ops.matmul(x, np.ones((FEATURES, 2), "float32")),
    "einsum": lambda x: ops.einsum("btf,btg->btfg", x, x),
    "last": lambda x: L.Dense(2)(block()(x)[:, -1]),
    "last features": lambda x: block()(x)[:, -1, :2],
    "last, time kept": lambda x: block()(x)[:, -1:],
    "concatenate": lambda x: L.Concatenate()([block()(x), x]),
    "shared": lambda x: shared()(x),
    "nested": nested,
    "conv": lambda x: S5(4)(L.Conv1D(4, 3, padding="causal", dilation_rate=2)(x)),
    "conv of one": lambda x: L.Conv1D(4, 1, activation="relu")(x),
    "gru": lambda x: L.GRU(4, return_sequences=True)(x),
    "lstm": lambda x: L.LSTM(4, return_sequences=True, return_state=True)(x),
    "simple rnn": lambda x: L.SimpleRNN(4)(x),
    "cells": lambda x: L.RNN([L.GRUCell(4), L.LSTMCell(2)], return_sequences=True)(x),
    "our cell": lambda x: L.RNN(SSMCell(S5(8), FEATURES))(x),
    "time distributed": lambda x: L.TimeDistributed(L.Dense(2))(x),
    "pooling": lambda x: L.GlobalAveragePooling1D()(block()(x)),
    "pooling, kept": lambda x: L.GlobalAveragePooling1D(keepdims=True)(x) * 2.0,
    "max pooling": lambda x: L.GlobalMaxPooling1D()(block()(x)),
    "our pooling": lambda x: SequencePooling()(block()(x)),
    "mean, sum, extremes": lambda x: [f(x, axis=1) for f in (ops.mean, ops.sum, ops.max, ops.min)],
    "summary of a scalar": lambda x: ops.mean(x[:, :, 0], axis=1),
    "decoder": decoder,
    "reshape": lambda x: L.Reshape((-1, 1, FEATURES))(x),
    "permute": lambda x: L.Permute((1, 3, 2))(L.Reshape((-1, 1, FEATURES))(x)),
    "lambda": lambda x: L.Lambda(lambda x: ops.tanh(x)[:, -1] * 2.0)(x),
    "own activation": lambda x: L.Dense(2, activation=lambda x: ops.tanh(x) + x)(x),
    "einsum dense": lambda x: L.EinsumDense("btf,fg->btg", (None, 2))(x),
    "norms": lambda x: L.UnitNormalization()(L.RMSNormalization()(L.BatchNormalization()(x))),
    "outputs": lambda x: {"a": block()(x), "b": SequencePooling("last")(x)},
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_streams_and_its_chunks_are_its_steps(name):
    check_streaming(functional(GRAPHS[name]), tolerance=TOLERANCE)


def test_sequential_models_tokens_and_fixed_lengths_stream():
    tokens = [keras.Input((None,), dtype="int32"), L.Embedding(9, 4), block(), L.Dense(2)]
    check_streaming(keras.Sequential(tokens), tolerance=TOLERANCE)
    built = keras.Sequential([block(), L.Dense(2)])
    built.build((None, None, FEATURES))
    check_streaming(built, tolerance=TOLERANCE)
    fixed = functional(lambda x: L.Reshape((13, 1, FEATURES))(block()(x)), length=13)
    check_streaming(fixed, tolerance=TOLERANCE)
    scalars = keras.Input((None,))
    check_streaming(keras.Model(scalars, L.Dense(2)(scalars[:, :, None])), tolerance=TOLERANCE)


def test_inputs_beside_the_sequence_are_given_at_every_step(u):
    x, times = keras.Input((None, FEATURES), name="x"), keras.Input((None,), name="times")
    gain = keras.Input((1, FEATURES), name="gain")
    h = S5(8)(x * gain, time_steps=times)
    model = keras.Model({"x": x, "gain": gain, "times": times}, h)
    machine = models.streaming(model)
    gain = np.full((3, 1, FEATURES), 2.0, "float32")
    times = np.random.default_rng(1).uniform(0.5, 2, u.shape[:2]).astype("float32")
    expected = numpy(model({"x": u, "gain": gain, "times": times}))
    machine.reset(3)
    y = [
        numpy(machine.step({"x": u[:, k], "gain": gain, "times": times[:, k]}))
        for k in range(u.shape[1])
    ]
    assert relative(np.stack(y, 1), expected) <= TOLERANCE
    with pytest.raises(ValueError, match=r"itself gives 's5\w*' its `time_steps`"):
        machine.step({"x": u[:, 0], "gain": gain, "times": times[:, 0]}, time_steps=np.ones(3))
    with pytest.raises(ValueError, match=r"has 3 inputs.*Received: ndarray"):
        machine.step(u[:, 0])


REFUSED = {
    "bidirectional": (lambda x: S5(8, bidirectional=True)(x), r"'s5\w*' \(S5\).* backwards"),
    "block": (lambda x: SSMBlock(S5(8, bidirectional=True), name="b")(x), r"'b' .* backwards"),
    "go_backwards": (lambda x: S5(8, go_backwards=True)(x), r"backwards"),
    "wrapper": (
        lambda x: L.Bidirectional(S5(8))(x),
        r"\(Bidirectional\) cannot stream: .*not known",
    ),
    "softmax": (lambda x: DSS(8)(x), r"\(DSS\).*normalized over a length"),
    "mask": (lambda x: S5(8)(x, mask=ops.any(x > 0, -1)), r"`mask`"),
    "initial state": (
        lambda x: S5(8)(x, initial_state=x[:, -1, :1] * np.ones(8)),
        r"cannot stream",
    ),
    "conv": (
        lambda x: L.Conv1D(3, 3, padding="same")(x),
        r"\(Conv1D\) cannot stream: it reads later",
    ),
    "strides": (lambda x: L.Conv1D(3, 3, strides=2, padding="causal")(x), r"strides=2"),
    "gru": (lambda x: L.GRU(3, go_backwards=True)(x), r"\(GRU\).* backwards"),
    "max pool": (lambda x: L.MaxPooling1D()(x), r"\(MaxPooling1D\) cannot stream"),
    "attention": (lambda x: L.MultiHeadAttention(1, 2)(x, x), r"\(MultiHeadAttention\)"),
    "flatten": (lambda x: L.Flatten()(x), r"\(Flatten\)"),
    "norm": (lambda x: L.LayerNormalization(axis=1)(x), r"acts along time \(axis=\[1\]\)"),
    "softmax layer": (lambda x: L.Softmax(axis=1)(x), r"acts along time"),
    "scalar softmax": (lambda x: L.Activation("softmax")(x[:, :, 0]), r"acts along time"),
    "own activation": (
        lambda x: L.Dense(2, activation=lambda x: x - ops.mean(x, 1, keepdims=True))(x),
        r"\(Dense\) cannot stream: of its activation",
    ),
    "flip": (lambda x: ops.flip(x, axis=1), r"Operation 'flip\w*' \(Flip\).*along time \(axis=1\)"),
    "cumsum": (lambda x: ops.cumsum(x, axis=1), r"'cumsum\w*' .*along time"),
    "softmax op": (lambda x: ops.softmax(x, axis=-2), r"along time \(axis=-2\)"),
    "all axes": (lambda x: ops.norm(x), r"cannot stream"),
    "over time": (lambda x: ops.std(x, axis=(1, 2)), r"along time"),
    "positions": (
        lambda x: x + np.ones((13, 1), "float32"),
        r"\(Add\).*\(13, 1\) differs from step to step",
    ),
    "transpose": (lambda x: ops.transpose(x, (0, 2, 1)), r"moves the time axis"),
    "reshape": (lambda x: ops.reshape(x, (-1, FEATURES)), r"\(Reshape\).*time axis"),
    "first step": (lambda x: x[:, 0], r"\(GetItem\) cannot stream: it selects steps"),
    "shift": (lambda x: x[:, 1:], r"it selects steps"),
    "attention by hand": (lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))), r"cannot stream"),
    "einsum": (lambda x: ops.einsum("btf,bsf->bts", x, x), r"\(Einsum\)"),
    "squeeze and excite": (
        lambda x: x * ops.mean(x, 1, keepdims=True),
        r"at the end of the sequence",
    ),
    "pad": (lambda x: ops.pad(x, ((0, 0), (1, 0), (0, 0))), r"\(Pad\) cannot stream"),
    "inside": (lambda x: functional(lambda x: ops.flip(x, 1))(x), r"'flip\w*'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_stream_is_named_with_its_reason(name):
    build, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        models.streaming(functional(build, length=13 if name in ("positions", "norm") else None))


class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2.0 * x


class Delayed(keras.layers.Layer):
    """The input of the step before."""

    def call(self, x):
        return ops.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]


class Subclassed(keras.Model):
    def __init__(self, width=2, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.block, self.head = block(), L.Dense(width)

    def call(self, x):
        return self.head(self.block(x))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@pytest.fixture
def registry(monkeypatch):
    from keras_ssm.models import stepping

    monkeypatch.setattr(stepping, "REGISTRY", {})


def delayed(**options):
    return {
        "step": lambda layer, x, state: (state["before"], {"before": x}),
        "initial_state": lambda layer, batch: {"before": ops.zeros((batch, FEATURES))},
        **options,
    }


@pytest.mark.usefixtures("registry")
def test_layers_of_the_users_stream_once_they_are_registered():
    own = functional(lambda x: Delayed()(Doubled()(x)))
    with pytest.raises(ValueError, match=r"\(Doubled\).*register_step"):
        models.streaming(own)
    models.register_step(Doubled)
    with pytest.raises(ValueError, match=r"\(Delayed\)"):
        models.streaming(own)
    models.register_step(Delayed, **delayed())
    check_streaming(own, tolerance=TOLERANCE)

    def advance(layer, x, state):
        both = ops.concatenate([state["before"][:, None], x], axis=1)
        return both[:, :-1], {"before": both[:, -1]}

    models.register_step(Delayed, **delayed(advance=advance))
    check_streaming(own, tolerance=TOLERANCE)

    class Other(Doubled):
        def call(self, x):
            return ops.flip(x, 1)

    with pytest.raises(ValueError, match=r"\(Other\)"):
        models.streaming(functional(lambda x: Other()(x)))
    for arguments in ((Doubled(),), (Doubled, delayed()["step"]), (Doubled, 3)):
        with pytest.raises(ValueError, match=r"Received"):
            models.register_step(*arguments)


@pytest.mark.usefixtures("registry")
def test_check_streaming_finds_what_is_wrong():
    backwards = functional(lambda x: S5(8, bidirectional=True)(x))
    with pytest.raises(AssertionError, match=r"not causal.*Expected: at most"):
        check_streaming(backwards)
    models.register_step(Delayed, **delayed(step=lambda layer, x, state: (x, state)))
    with pytest.raises(AssertionError, match=r"different numbers by `step`"):
        check_streaming(functional(lambda x: Delayed()(x)))
    models.register_step(Delayed, **delayed(advance=lambda layer, x, state: (x, state)))
    with pytest.raises(AssertionError, match=r"different numbers by `advance`"):
        check_streaming(functional(lambda x: Delayed()(x)))
    model = Subclassed()
    x = np.ones((1, 5, FEATURES), "float32")
    model(x)
    with pytest.raises(ValueError, match=r"functional Keras model"):
        check_streaming(model, x)
    with pytest.raises(ValueError, match=r"give sequences as `x`"):
        check_streaming(model)


def mixed():
    return functional(lambda x: L.GRU(4)(SSMBlock(LRU(4), name="block")(x)))


def test_rows_start_anew_while_the_others_go_on(u):
    model = mixed()
    machine = models.streaming(model)
    for rows in ([1], np.array([False, True, False])):
        machine.reset(3)
        machine.advance(u[:, :4])
        machine.reset(rows=rows)
        y = numpy(machine.advance(u[:, 4:]))
        assert relative(y[[0, 2]], numpy(model(u))[[0, 2]]) <= TOLERANCE
        assert relative(y[1], numpy(model(u[:, 4:]))[1]) <= TOLERANCE


def test_states_go_into_another_process(u, tmp_path, backend):
    model = mixed()
    model.save(tmp_path / "model.keras")
    machine = models.streaming(model)
    machine.reset(3)
    machine.advance(u[:, :4])
    assert list(machine.states) == ["block_state", f"{model.layers[-1].name}_state"]
    np.savez(tmp_path / "states.npz", **machine.states)
    np.save(tmp_path / "u.npy", u[:, 4:])
    code = (
        "import numpy as np, keras, keras_ssm\n"
        "machine = keras_ssm.models.streaming(keras.models.load_model('model.keras'))\n"
        "machine.states = dict(np.load('states.npz'))\n"
        "y = machine.advance(np.load('u.npy'))\n"
        "np.save('y.npy', keras.ops.convert_to_numpy(y))\n"
    )
    root = str(pathlib.Path(__file__).parents[1])
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": root}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert relative(np.load(tmp_path / "y.npy"), numpy(model(u))) <= TOLERANCE


@pytest.mark.parametrize("change", ["assign", "load", "fit"])
@pytest.mark.training
def test_a_system_is_made_once_and_again_when_weights_change(change, u, backend, tmp_path):
    model = functional(lambda x: SSMBlock(S5(8), name="block")(x))
    ssm = model.get_layer("block").ssm
    made = []
    discretise = ssm.checked_system
    ssm.checked_system = lambda *arguments: made.append(arguments) or discretise(*arguments)
    machine = models.streaming(model)
    machine.reset(3)
    made.clear()
    loop(machine, u)
    # TensorFlow's variables change without a trace: there it is part of the step.
    assert backend == "tensorflow" or len(made) == 1
    if change == "assign":
        ssm.log_step.assign(ssm.log_step + 1.0)
    elif change == "load":
        other = keras.models.clone_model(model)
        other.save_weights(tmp_path / "other.weights.h5")
        model.load_weights(tmp_path / "other.weights.h5")
    else:
        model.compile(keras.optimizers.Adam(0.1), "mse")
        model.fit(u, u, verbose=0)
    del ssm.checked_system
    machine.reset(3)
    assert relative(loop(machine, u), numpy(model(u))) <= TOLERANCE


def test_time_steps_and_rate_reach_all_layers(u):
    model = functional(lambda x: SSMBlock(S5(8), name="block")(LRU(4)(x)))
    machine = models.streaming(model)
    machine.reset(3)
    fast = np.stack([numpy(machine.step(u[:, k], rate=2)) for k in range(u.shape[1])], 1)
    expected = numpy(models.with_rate(model, 2)(u))
    assert relative(fast, expected) <= TOLERANCE
    assert relative(fast, numpy(model(u))) > 1e-2
    machine.reset(3)
    same = np.full(3, 2.0, "float32")
    y = [numpy(machine.step(u[:, k], time_steps=same)) for k in range(u.shape[1])]
    assert relative(np.stack(y, 1), expected) <= TOLERANCE


def test_a_chunk_takes_time_steps_and_rate(u):
    model = functional(lambda x: SSMBlock(S5(8), name="block")(LRU(4)(x)))
    machine = models.streaming(model)
    times = np.random.default_rng(1).uniform(0.5, 2, u.shape[:2]).astype("float32")
    machine.reset(3)
    steps = [machine.step(u[:, k], times[:, k], rate=2) for k in range(u.shape[1])]
    machine.reset(3)
    assert (
        relative(machine.advance(u, times, rate=2), np.stack([*map(numpy, steps)], 1)) <= TOLERANCE
    )


def test_documents_begin_within_a_chunk_and_with_a_step(u):
    model = functional(lambda x: SSMBlock(S5(8), name="block")(LRU(4)(x)))
    machine = models.streaming(model)
    resets = np.random.default_rng(2).random(u.shape[:2]) < 0.4
    machine.reset(3)
    expected = []
    for k in range(u.shape[1]):
        machine.reset(rows=resets[:, k])
        expected.append(numpy(machine.step(u[:, k])))
    expected = np.stack(expected, 1)
    machine.reset(3)
    steps = [numpy(machine.step(u[:, k], resets=resets[:, k])) for k in range(u.shape[1])]
    assert relative(np.stack(steps, 1), expected) <= TOLERANCE
    machine.reset(3)
    assert relative(machine.advance(u, resets=resets), expected) <= TOLERANCE


def test_resets_that_would_miss_a_state_are_refused(u):
    machine = models.streaming(functional(lambda x: S5(8)(L.GRU(4, return_sequences=True)(x))))
    machine.reset(3)
    with pytest.raises(ValueError, match=r"reset\(rows=.*\['gru\w*'\]"):
        machine.step(u[:, 0], resets=np.ones(3, bool))


BAD = {
    "chunk": (lambda m, u: m.advance(u[:, 0]), r"chunk.*\(batch, length, 3\).*\(3, 3\)"),
    "empty chunk": (lambda m, u: m.advance(u[:, :0]), r"at least one step.*\(3, 0, 3\)"),
    "step": (
        lambda m, u: m.step(u),
        r"must have shape \(batch, 3\)\. Received: x.*\(3, 7, 3\)",
    ),
    "batch": (lambda m, u: m.step(u[:2, 0]), r"reset for 3 sequences.*\(2, 3\)"),
    "words": (lambda m, u: m.step("abc"), r"numbers of dtype float32\. Received: x='abc'"),
    "times": (lambda m, u: m.step(u[:, 0], time_steps=np.ones(2)), r"shape \(3,\).*\(2,\)"),
    "negative": (lambda m, u: m.step(u[:, 0], time_steps=-np.ones(3)), r"positive.*-1\.0"),
    "resets": (
        lambda m, u: m.step(u[:, 0], resets=np.ones(2, bool)),
        r"`resets` must be booleans of shape \(3,\).*\(2,\)",
    ),
    "rate": (
        lambda m, u: m.step(u[:, 0], rate=0),
        r"positive number.*rate=0",
    ),
    "both": (lambda m, u: m.reset(2, rows=[0]), r"either `batch_size` or `rows`"),
    "neither": (lambda m, u: m.reset(), r"either `batch_size` or `rows`"),
    "size": (lambda m, u: m.reset(0), r"batch_size=0"),
    "rows": (lambda m, u: m.reset(rows=[3]), r"indices below 3"),
    "mask": (lambda m, u: m.reset(rows=[True, False]), r"booleans \(3,\)"),
    "names": (lambda m, u: set_states(m, a=np.zeros(3)), r"keys \['block_state'.*Received: \['a'"),
    "shape": (lambda m, u: set_states(m, block_state=np.zeros((3, 2), "float32")), r"\(3, 2\)"),
    "dtype": (
        lambda m, u: set_states(m, block_state=np.zeros((3, 8), "int32")),
        r"'block_state'.*dtype float32\. Received: .*int32",
    ),
    "sizes": (
        lambda m, u: set_states(m, block_state=np.zeros((2, 8), "float32")),
        r"one number of sequences.*\[2, 3\]",
    ),
}


def set_states(machine, **states):
    machine.states = {**machine.states, **states}


@pytest.fixture(scope="module")
def machine():
    return models.streaming(mixed())


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name, machine, u):
    call, message = BAD[name]
    machine.reset(3)
    before = machine.states
    with pytest.raises(ValueError, match=message):
        call(machine, u)
    for key, value in machine.states.items():
        np.testing.assert_array_equal(value, before[key])


def test_before_a_reset_there_is_nothing_to_read_or_run(u):
    machine = models.streaming(mixed())
    for call in (lambda: machine.step(u[:, 0]), lambda: machine.states):
        with pytest.raises(ValueError, match=r"`reset\(batch_size\)` must be called"):
            call()
    with pytest.raises(ValueError, match=r"rows|reset"):
        machine.reset(rows=[0])
    for model in (Subclassed(), keras.Sequential([block()]), L.Dense(2)):
        with pytest.raises(ValueError, match=r"functional Keras model or a Sequential.*Received"):
            models.streaming(model)


def test_the_step_as_a_model_is_saved_with_names(u, tmp_path):
    model = functional(lambda x: SSMBlock(S5(8), name="block")(ops.tanh(nested(x))))
    machine = models.streaming(model)
    machine.model.save(tmp_path / "step.keras")
    step = keras.models.load_model(tmp_path / "step.keras")
    names = [x.name for x in step.inputs]
    assert names[0] == "step"
    assert "block_state" in names
    assert step.output_names == ["output", *(f"next_{name}" for name in names[1:])]
    machine.reset(3)
    states = [machine.states[name] for name in names[1:]]
    for k in range(u.shape[1]):
        y, *states = step([ops.convert_to_tensor(x) for x in (u[:, k], *states)])
    assert relative(y, numpy(model(u))[:, -1]) <= TOLERANCE


@pytest.mark.parametrize("kind", ["functional", "sequential", "nested", "subclass", "wrapped"])
def test_with_rate_is_the_model_at_another_rate(kind, u):
    model = {
        "functional": lambda: models.classifier(2, (None, FEATURES), depth=1, width=4),
        "sequential": lambda: keras.Sequential([sequences(), block(), L.Dense(2)]),
        "nested": lambda: functional(lambda x: functional(block())(x)),
        "subclass": Subclassed,
        "wrapped": lambda: functional(L.Bidirectional(S5(8))),
    }[kind]()
    before = numpy(model(u))
    other = models.with_rate(model, 2)
    layers = [layer for layer in other._flatten_layers() if hasattr(layer, "state_width_of")]
    assert [layer.rate for layer in layers] == [2] * len(layers)
    for layer in [layer for layer in model._flatten_layers() if hasattr(layer, "state_width_of")]:
        assert layer.rate == 1.0
        layer.log_step.assign(layer.log_step + np.log(2))
    assert relative(numpy(other(u)), numpy(model(u))) <= TOLERANCE
    assert relative(numpy(other(u)), before) > 1e-3


class Unclonable(Subclassed):
    def __init__(self, width, extra):
        super().__init__(width)
        self.extra = extra


def test_with_rate_refuses_what_it_cannot_do(u):
    unclonable = Unclonable(2, object())
    unclonable(u)
    for model, rate, message in (
        (unclonable, 2, r"Unclonable .* cannot be copied: its `get_config`"),
        (functional(L.Dense(2)), 2, r"with state space layers"),
        (Subclassed(), 2, r"that is built"),
        (functional(block()), -1, r"rate=-1"),
    ):
        with pytest.raises(ValueError, match=message):
            models.with_rate(model, rate)
    layer = S5(8)
    layer(u)
    with pytest.raises(ValueError, match=r"models\.with_rate"):
        layer.rate = 2
