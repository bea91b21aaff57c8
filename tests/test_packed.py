"""Packed documents and irregular time: in layers, blocks, classifiers, pairs, steps and chunks."""

import itertools

import keras
import numpy as np
import pytest
from equivalences import numpy, relative
from gradients import value_and_gradients
from keras import ops
from state_cases import FEATURES, LAYERS, built

from keras_ssm import models
from keras_ssm.layers import S5, SSMBlock

BATCH, LENGTH = 2, 45
RNG = np.random.default_rng(0)
U = RNG.standard_normal((BATCH, LENGTH, FEATURES)).astype("float32")
RESETS = RNG.random((BATCH, LENGTH)) < 0.15
MASK = RNG.random((BATCH, LENGTH)) < 0.7
TIME_STEPS = RNG.uniform(0.5, 2, (BATCH, LENGTH)).astype("float32")


def documents(row):
    """Bounds of the documents of one row."""
    begins = [0, *(k for k in range(1, LENGTH) if RESETS[row, k]), LENGTH]
    return list(itertools.pairwise(begins))


def start_of(layer):
    state = np.random.default_rng(1).standard_normal((BATCH, layer.state_width)).astype("float32")
    if layer.state_width % 2:
        state[:, -1] = 5  # a softmax state counts its steps last
    return state


def stepped(layer, state, **options):
    """Outputs and last state of a loop of steps that starts anew at the resets."""
    outputs = []
    for k in range(LENGTH):
        given = {name: value[:, k] for name, value in options.items()}
        y, state = layer.step(U[:, k], state, resets=RESETS[:, k], **given)
        outputs.append(numpy(y))
    return np.stack(outputs, axis=1), state


@pytest.mark.parametrize("name", LAYERS)
def test_a_sequence_with_resets_is_a_loop_of_steps_with_resets(name, step_by_step):
    layer = built(name, return_state=True)
    start = start_of(layer)
    for options in ({}, {"time_steps": TIME_STEPS}):
        y, state = layer(U, initial_state=start, resets=RESETS, **options)
        y_steps, state_steps = stepped(layer, start, **options)
        assert relative(y, y_steps) <= 2e-5
        assert relative(state, state_steps) <= 2e-5
    states = layer.state_sequence(U, start, resets=RESETS)
    assert relative(states[:, -1], layer(U, initial_state=start, resets=RESETS)[1]) <= 2e-5


@pytest.mark.parametrize("name", LAYERS)
def test_documents_do_not_see_each_other_in_either_direction(name, step_by_step):
    layer = built(name, bidirectional=True)
    for options in ({}, {"time_steps": TIME_STEPS}):
        y = numpy(layer(U, resets=RESETS, **options))
        row, alone = 0, []
        for begin, end in documents(0):
            cut = {key: value[:1, begin:end] for key, value in options.items()}
            alone.append(numpy(layer(U[:1, begin:end], **cut))[row])
        assert relative(y[0], np.concatenate(alone)) <= 2e-5


@pytest.mark.parametrize("name", ["DSS-softmax", "S4D-zoh", "S5-zoh"])
def test_a_reset_at_a_masked_step_counts_for_what_follows(name, step_by_step):
    layer = built(name, return_state=True)
    start = start_of(layer)
    y, state = layer(U, initial_state=start, resets=RESETS, mask=MASK)
    now, last, expected = start, np.zeros_like(numpy(y)[:, 0]), []
    for k in range(LENGTH):
        y_k, following = layer.step(U[:, k], now, resets=RESETS[:, k])
        now = np.where(RESETS[:, k, None], 0, now)
        now = np.where(MASK[:, k, None], numpy(following), now)
        last = np.where(MASK[:, k, None], numpy(y_k), last)
        expected.append(last)
    assert relative(y, np.stack(expected, axis=1)) <= 2e-5
    assert relative(state, now) <= 2e-5


def test_a_state_that_a_masked_reset_ends_is_zero():
    layer = built("S5-zoh", return_state=True)
    mask = np.arange(LENGTH) < np.full((BATCH, 1), LENGTH - 3)
    resets = np.arange(LENGTH) == np.array([[LENGTH - 1], [LENGTH - 5]])
    state = numpy(layer(U, mask=mask, resets=resets)[1])
    assert not state[0].any()
    assert state[1].any()


def test_what_one_document_holds_reaches_no_other():
    for name in ("S5-zoh", "LRU"):
        u = U.copy()
        begin, end = documents(0)[1]
        u[0, begin:end] = np.nan
        y = numpy(built(name)(u, resets=RESETS))
        assert np.isnan(y[0, begin:end]).all()
        assert not np.isnan(y[0, :begin]).any()
        assert not np.isnan(y[0, end:]).any()


@pytest.mark.training
@pytest.mark.parametrize("name", ["S4D-zoh", "S5-zoh"])
def test_gradients_with_resets_are_those_of_steps(name):
    layer = built(name)
    length = 9
    u, resets = U[:, :length], RESETS[:, :length].copy()
    resets[0, 4] = True

    def whole(u):
        return ops.sum(layer(u, resets=resets) ** 2)

    def steps(u):
        state, total = layer.get_initial_state(BATCH), 0.0
        for k in range(length):
            y, state = layer.step(u[:, k], state, resets=resets[:, k])
            total = total + ops.sum(y**2)
        return total

    found = value_and_gradients(whole, layer.trainable_variables, [u])
    expected = value_and_gradients(steps, layer.trainable_variables, [u])
    for a, b in zip([*found[1], *found[2]], [*expected[1], *expected[2]], strict=True):
        assert relative(a, b) <= 2e-4


def test_a_block_hands_time_rate_and_resets_on():
    block = SSMBlock(S5(8))
    options = {"time_steps": TIME_STEPS, "rate": 1.5, "resets": RESETS}
    y = block(U, **options)
    start = block.get_initial_state(BATCH)
    y_advance, state = block.advance(U, start, **options)
    assert relative(y_advance, y) <= 1e-6
    outputs = []
    for k in range(LENGTH):
        given = {"time_steps": TIME_STEPS[:, k], "rate": 1.5, "resets": RESETS[:, k]}
        y_k, start = block.step(U[:, k], start, **given)
        outputs.append(numpy(y_k))
    assert relative(np.stack(outputs, axis=1), y) <= 2e-5
    assert relative(start, state) <= 2e-5


def test_a_classifier_has_inputs_for_them(tmp_path):
    options = {"depth": 1, "width": 8, "state_size": 8, "pooling": None}
    model = models.classifier(3, (None, FEATURES), time_steps=True, resets=True, **options)
    inputs = {"inputs": U, "time_steps": TIME_STEPS, "resets": RESETS}
    y = numpy(model(inputs))
    begin, end = documents(0)[1]
    cut = {key: value[:1, begin:end] for key, value in inputs.items()}
    assert relative(y[:1, begin:end], model({**cut, "resets": 0 * cut["resets"]})) <= 2e-5
    model.save(tmp_path / "model.keras")
    assert relative(keras.models.load_model(tmp_path / "model.keras")(inputs), y) <= 1e-6


def test_pairs_have_inputs_for_them():
    model = models.retrieval(
        2, (2, None), time_steps=True, vocabulary_size=9, depth=1, width=4, state_size=4
    )
    tokens = np.random.default_rng(0).integers(1, 9, (3, 2, 6)).astype("int32")
    ones = np.ones((3, 2, 6), "float32")
    plain = models.retrieval(2, (2, None), vocabulary_size=9, depth=1, width=4, state_size=4)
    plain.set_weights([numpy(w) for w in model.weights])
    assert relative(model({"inputs": tokens, "time_steps": ones}), plain(tokens)) <= 2e-5


@pytest.mark.parametrize("name", ["resets", "mask", "time_steps"])
def test_a_wrong_shape_is_named(name):
    layer = built("S5-zoh")
    with pytest.raises(ValueError, match=rf"`{name}` must have shape \(batch, length\)"):
        layer(U, **{name: np.ones((BATCH, LENGTH + 1), "float32")})
