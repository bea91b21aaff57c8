"""The classifier: published sizes, unknown lengths, compilation, float policies."""

import functools
import os

import keras
import numpy as np
import pytest
from keras import ops

from keras_ssm.layers import DSS, S4D, S5, SequencePooling, SSMBlock
from keras_ssm.models import classifier
from keras_ssm.optimizers import adamw

BACKEND = os.environ["KERAS_BACKEND"]

S4D_SC35 = {
    "num_classes": 35, "input_shape": (None, 1), "layer": "s4d", "depth": 6, "width": 128,
    "state_size": 64, "bidirectional": True, "norm": "batch",
}  # fmt: skip


def s5(num_classes, features, depth, width, state_size, blocks, gating, **options):
    return {
        "num_classes": num_classes, "input_shape": (None, features), "layer": "s5",
        "depth": depth, "width": width, "state_size": state_size, "blocks": blocks,
        "gating": gating, "bidirectional": True, "norm": "batch", **options,
    }  # fmt: skip


def dss(num_classes, depth, width, vocabulary_size=None):
    return {
        "num_classes": num_classes, "input_shape": (None,) if vocabulary_size else (None, 1),
        "layer": "dss", "depth": depth, "width": width, "state_size": 64,
        "vocabulary_size": vocabulary_size, "norm": "batch",
    }  # fmt: skip


PUBLISHED = {
    "s4d-sc35": (305_827, {**S4D_SC35, "n_ssm": 2}),
    "s4d-sc35-untied": (402_595, {**S4D_SC35, "n_ssm": None}),
    "s5-listops": (188_490, s5(10, 20, 8, 128, 16, 8, "half_glu2", C_initializer="lecun_normal")),
    "s5-text": (1_321_154, s5(2, 135, 6, 256, 192, 12, "half_glu2")),
    "s5-retrieval": (706_434, s5(2, 98, 6, 128, 256, 16, "half_glu1")),
    "s5-image": (5_133_706, s5(10, 1, 6, 512, 384, 3, "half_glu1", clip_eigenvalues=True)),
    "s5-pathfinder": (1_113_602, s5(2, 1, 6, 192, 256, 8, "half_glu1")),
    "s5-pathx": (694_018, s5(2, 1, 6, 128, 256, 16, "half_glu1", C_initializer="complex_normal")),
    "s5-sc35": (283_523, s5(35, 1, 6, 96, 128, 16, "half_glu1")),
    "dss-listops": (205_578, dss(10, 6, 128, 18)),
    "dss-text": (152_194, dss(2, 4, 128, 135)),
    "dss-image": (1_991_434, dss(10, 6, 512)),
    "dss-pathfinder": (600_834, dss(2, 6, 256)),
    "dss-sc10": (203_530, dss(10, 6, 128)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_number_of_parameters_equals_that_of_the_published_model(name):
    count, options = PUBLISHED[name]
    model = classifier(**options)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == count


def three_layers(norm="layer", **compile_options):
    """Of unknown batch and length; all three layers in one, to compile once."""
    inputs = keras.Input((None, 1))
    x = keras.layers.Dense(4)(inputs)
    x = SSMBlock(S5(4, bidirectional=True), gating="half_glu1", norm=norm)(x)
    x = SSMBlock(S4D(4), norm=norm)(x)
    x = SSMBlock(DSS(4), gating="dense", norm=norm)(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(SequencePooling()(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(adamw(1e-2, 1e-3), loss, **compile_options)
    return model


def data(batch=4, length=20):
    rng = np.random.default_rng(length)
    return rng.normal(size=(batch, length, 1)).astype("float32"), rng.integers(0, 3, batch)


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x), "float64")


def test_one_model_takes_two_lengths_and_batch_sizes():
    model = classifier(3, (None, 1), "s5", depth=1, width=4, state_size=4)
    for length in (20, 37):
        x, _ = data(5, length)
        alone = np.concatenate([numpy(model(x[i : i + 1])) for i in (0, 4)])
        np.testing.assert_allclose(numpy(model(x))[[0, 4]], alone, rtol=1e-4, atol=1e-5)


# Without compilation, JAX compiles every operation by itself, which takes longer.
@pytest.mark.training
@pytest.mark.parametrize(
    "jit", {"jax": [True], "tensorflow": [True, False], "torch": [False]}.get(BACKEND, [])
)
def test_fit_and_predict_of_two_lengths_equal_the_eager_model(jit):
    model = three_layers(jit_compile=jit)
    for length in (20, 37):
        x, y = data(4, length)
        before = float(numpy(model.compute_loss(y=ops.convert_to_tensor(y), y_pred=model(x))))
        history = model.fit(x, y, batch_size=4, epochs=3, verbose=0).history["loss"]
        assert history[0] == pytest.approx(before, abs=1e-4)
        assert history[2] < history[1] < history[0]
    predicted = model.predict(x, batch_size=4, verbose=0)
    np.testing.assert_allclose(predicted, numpy(model(x)), rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(BACKEND != "torch", reason="the other backends compile in the test above")
def test_the_compiler_of_torch_traces_a_model(monkeypatch):
    import torch

    # Generating code for what was traced takes a minute.
    traced = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", traced)
    model = classifier(3, (None, 1), "s4d", depth=1, width=4, state_size=4)
    model.jit_compile = True
    x, _ = data()
    np.testing.assert_allclose(model.predict(x, verbose=0), numpy(model(x)), atol=1e-5)


@pytest.fixture
def policy(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


@pytest.mark.training
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"], indirect=True)
def test_mixed_precision_trains_as_float32_does_on_float32_parameters(policy):
    eager = BACKEND != "jax"  # whichever needs less time
    model = three_layers(run_eagerly=eager)
    keras.config.set_dtype_policy("float32")
    reference = three_layers()
    reference.set_weights([numpy(w) for w in model.weights])
    x, y = data()
    outputs = model(x)
    assert policy.endswith(keras.backend.standardize_dtype(outputs.dtype))
    np.testing.assert_allclose(numpy(ops.cast(outputs, "float32")), numpy(reference(x)), atol=0.05)
    before = [numpy(w) for w in model.trainable_weights]
    losses = []
    for _ in range(5):
        model.reset_metrics()
        losses.append(float(model.train_on_batch(x, y)))
    assert losses[-1] < losses[0]
    assert {keras.backend.standardize_dtype(w.dtype) for w in model.weights} == {"float32"}
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert np.isfinite(numpy(weight)).all()
        assert np.any(numpy(weight) != old), weight.path
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")


def test_nan_in_the_input_of_predict_changes_no_weight():
    model = three_layers(norm="batch") if BACKEND != "numpy" else uncompiled()
    x, _ = data()
    weights = [numpy(w) for w in model.weights]
    expected = model.predict(x, verbose=0)
    broken = model.predict(np.full_like(x, np.nan), verbose=0)
    assert np.isnan(broken).all()
    for weight, old in zip(model.weights, weights, strict=True):
        np.testing.assert_array_equal(numpy(weight), old, err_msg=weight.path)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


def uncompiled():
    return classifier(3, (None, 1), "dss", depth=1, width=4, state_size=4, norm="batch")


@pytest.mark.parametrize("layer", ["dss", "s4d", "s5"])
def test_tokens_with_padding_give_the_logits_of_the_tokens_alone(layer):
    options = {"kernel": "exp"} if layer == "dss" else {}
    model = classifier(
        3, (None,), layer, depth=1, width=4, state_size=4, vocabulary_size=7, masked=True,
        pooling="last", **options,
    )  # fmt: skip
    tokens = np.array([[3, 1, 6, 2, 0, 0]], "int32")
    np.testing.assert_allclose(numpy(model(tokens)), numpy(model(tokens[:, :4])), atol=1e-5)


def test_without_pooling_there_are_logits_at_every_step():
    model = classifier(3, (None, 2), "s4d", depth=1, width=4, state_size=4, pooling=None)
    assert model.output_shape == (None, None, 3)
    assert tuple(model(np.ones((2, 5, 2), "float32")).shape) == (2, 5, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "lstm"}, "`layer` must be one of .*'s5'.* Received: layer='lstm'"),
        ({"depth": 0}, "`depth` must be a positive integer. Received: depth=0"),
        (
            {"input_shape": (None,)},
            r"must be \(length, features\).*: input_shape=\(None,\)",
        ),
        ({"vocabulary_size": 5}, "Received: input_shape=.*, vocabulary_size=5"),
        ({"pooling": "max"}, "`mode` must be one of .* Received: mode='max'"),
    ],
    ids=str,
)
def test_a_wrong_argument_names_what_was_expected_and_received(options, message):
    with pytest.raises(ValueError, match=message):
        classifier(**{"num_classes": 3, "input_shape": (None, 1), **options})
