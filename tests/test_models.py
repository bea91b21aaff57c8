"""The classifier: unknown lengths, padding, compilation, float policies."""

import functools
import os

import keras
import numpy as np
import pytest
from keras import ops

from keras_ssm.layers import DSS, S4D, S5, OneHotDense, SequencePooling, SSMBlock
from keras_ssm.models import classifier
from keras_ssm.optimizers import adamw

BACKEND = os.environ["KERAS_BACKEND"]


def three_layers(norm="layer", **compile_options):
    """Of unknown batch and length; all three layers in one, to compile once."""
    inputs = keras.Input((None, 1))
    x = keras.layers.Dense(4)(inputs)
    x = SSMBlock(S5(4), gating="half_glu1", norm=norm)(x)
    x = SSMBlock(S4D(4), norm=norm)(x)
    x = SSMBlock(DSS(4), gating="dense", norm=norm)(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(SequencePooling()(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(adamw(4e-3, 1e-3), loss, **compile_options)
    return model


def data(batch=4, length=20):
    rng = np.random.default_rng(length)
    return rng.normal(size=(batch, length, 1)).astype("float32"), rng.integers(0, 3, batch)


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x), "float64")


def test_a_sequence_gives_the_same_in_batches_of_any_size():
    model = classifier(3, (None, 1), "s5", depth=1, width=4, state_size=4)
    x, _ = data(5)
    alone = model.predict(x[3:4], verbose=0)
    np.testing.assert_allclose(model.predict(x, verbose=0)[3:4], alone, rtol=1e-4, atol=1e-5)


# Without compilation, JAX compiles every operation by itself, which takes longer.
@pytest.mark.training
@pytest.mark.parametrize(
    "jit", {"jax": [True], "tensorflow": [True, False], "torch": [False]}.get(BACKEND, [])
)
def test_fit_and_predict_of_two_lengths_equal_the_eager_model(jit):
    model = three_layers(jit_compile=jit)
    # TensorFlow's XLA compiler takes long, and compiles for every length anew as JAX's does.
    for length in (20, 37) if BACKEND != "tensorflow" or not jit else (37,):
        x, y = data(4, length)
        logits = model.predict(x, batch_size=4, verbose=0)
        history = model.fit(x, y, batch_size=4, epochs=3, verbose=0).history["loss"]
        assert history[0] == pytest.approx(cross_entropy(logits, y), abs=1e-4)
        assert history[2] < history[0]
        assert np.max(np.abs(model.predict(x, batch_size=4, verbose=0) - logits)) > 1e-3
    if BACKEND != "jax":  # which would compile every operation by itself
        predicted = model.predict(x, batch_size=4, verbose=0)
        np.testing.assert_allclose(predicted, numpy(model(x)), rtol=1e-3, atol=1e-4)


def cross_entropy(logits, labels):
    normalizer = np.log(np.sum(np.exp(logits), axis=-1))
    return float(np.mean(normalizer - logits[np.arange(len(labels)), labels]))


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


@pytest.mark.training
@pytest.mark.usefixtures("float32_afterwards")
def test_mixed_precision_trains_as_float32_does_on_float32_parameters():
    (x, y), reference = data(), three_layers()
    expected = cross_entropy(reference.predict(x, verbose=0), y)
    for dtype in ("bfloat16", "float16"):
        keras.config.set_dtype_policy(f"mixed_{dtype}")
        model = three_layers(run_eagerly=BACKEND != "jax")  # whichever takes less time
        assert model.output.dtype == dtype
        model.set_weights([numpy(w) for w in reference.weights])
        losses = []
        for _ in range(5):
            model.reset_metrics()
            losses.append(float(model.train_on_batch(x, y)))
        assert losses[0] == pytest.approx(expected, abs=0.02)
        assert losses[-1] < losses[0]
        assert {keras.backend.standardize_dtype(w.dtype) for w in model.weights} == {"float32"}
        for new, old in zip(model.trainable_weights, reference.trainable_weights, strict=True):
            assert np.isfinite(numpy(new)).all()
            assert np.any(numpy(new) != numpy(old)), new.path
        scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        assert scaled == (dtype == "float16")


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
    return classifier(3, (None, 1), "dss", depth=1, width=4, state_size=4, block={"norm": "batch"})


def test_tokens_with_padding_give_the_logits_of_the_tokens_alone():
    model = classifier(
        3, (None,), "s5", depth=1, width=4, state_size=4, vocabulary_size=7, masked=True,
        pooling="last",
    )  # fmt: skip
    tokens = np.array([[3, 1, 6, 2, 0, 0]], "int32")
    padded, alone = (model.predict(t, verbose=0) for t in (tokens, tokens[:, :4]))
    np.testing.assert_allclose(padded, alone, atol=1e-5)


def test_a_token_is_encoded_as_a_dense_layer_encodes_its_one_hot_vector():
    tokens = np.array([[3, 0, 6], [5, 5, 1]])
    layer, dense = OneHotDense(7, 4, mask_zero=True), keras.layers.Dense(4)
    encoded = layer(tokens)
    layer.bias.assign(np.arange(4.0))
    dense.build((None, None, 7))
    dense.set_weights(layer.get_weights())
    np.testing.assert_allclose(
        numpy(layer(tokens)), numpy(dense(ops.one_hot(tokens, 7))), atol=1e-6
    )
    assert layer.count_params() == 7 * 4 + 4
    np.testing.assert_array_equal(numpy(layer.compute_mask(tokens)), tokens != 0)
    assert tuple(encoded.shape) == layer.compute_output_shape(tokens.shape) == (2, 3, 4)
    copy = OneHotDense.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()


@pytest.mark.parametrize("prenorm", [True, False])
def test_padding_that_only_the_pooling_masks_is_a_step_like_any_other(prenorm):
    options = {
        "input_shape": (None,), "layer": "s5", "depth": 1, "width": 4, "state_size": 4,
        "vocabulary_size": 7, "one_hot": True, "bidirectional": True,
        "block": {"norm": "batch", "prenorm": prenorm}, "final_norm": True,
    }  # fmt: skip
    model = classifier(None, masked="pooling", pooling="mean", **options)
    plain = classifier(None, masked=False, pooling=None, **options)
    full = classifier(None, masked=True, pooling="mean", **options)
    plain.set_weights([numpy(w) for w in model.weights])
    full.set_weights([numpy(w) for w in model.weights])
    tokens = np.tile(np.array([[3, 1, 6, 2, 0, 0], [1, 2, 3, 4, 5, 6]], "int32"), (3, 1))
    # In training, so that padding is in the statistics of both norms too.
    pooled, features = numpy(model(tokens, training=True)), numpy(plain(tokens, training=True))
    keep = (tokens != 0)[..., None]
    np.testing.assert_allclose(pooled, (features * keep).sum(1) / keep.sum(1), atol=1e-6)
    for a, b in zip(model.non_trainable_weights, plain.non_trainable_weights, strict=True):
        np.testing.assert_allclose(numpy(a), numpy(b), atol=1e-6, err_msg=a.path)
    assert np.abs(pooled - numpy(full(tokens, training=True))).max() > 1e-3


@pytest.mark.backend_free
def test_the_norm_after_the_last_block_sees_valid_steps_only_when_padding_is_hidden():
    options = {
        "input_shape": (None,), "layer": "dss", "depth": 1, "width": 4, "state_size": 4,
        "vocabulary_size": 7, "block": {"norm": "batch", "norm_momentum": 0.0}, "final_norm": True,
        "pooling": "last",
    }  # fmt: skip
    model = classifier(None, masked=True, **options)
    tokens = np.array([[3, 1, 6, 2, 0, 0], [1, 2, 3, 4, 5, 6]], "int32")
    last = numpy(model(tokens, training=True))
    norm = model.get_layer("norm")
    # With momentum 0 the moving average is that of this batch.
    block = keras.Model(model.inputs, model.get_layer("block_0").output)
    valid = numpy(block(tokens, training=True))[tokens != 0]
    np.testing.assert_allclose(numpy(norm.moving_mean), valid.mean(axis=0), atol=1e-5)
    scaled = (valid - valid.mean(axis=0)) / np.sqrt(valid.var(axis=0) + 1e-5)
    np.testing.assert_allclose(last, scaled[[3, 9]], atol=1e-4)


@pytest.mark.backend_free
def test_the_initializer_of_the_encoder_may_be_named():
    for options, name in [
        ({"input_shape": (None, 2)}, "kernel"),
        ({"input_shape": (None,), "vocabulary_size": 9}, "embeddings"),
        ({"input_shape": (None,), "vocabulary_size": 9, "one_hot": True}, "kernel"),
    ]:
        model = classifier(3, depth=1, width=8, encoder_initializer="ones", **options)
        np.testing.assert_array_equal(numpy(getattr(model.get_layer("encoder"), name)), 1)


def test_without_pooling_there_are_logits_at_every_step():
    model = classifier(3, (None, 2), "s4d", depth=1, width=4, state_size=4, pooling=None)
    assert model.output_shape == (None, None, 3)
    assert model.predict(np.ones((2, 5, 2), "float32"), verbose=0).shape == (2, 5, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "lstm"}, "expected a layer: one of .*'s5'.* Received: layer='lstm'"),
        ({"depth": 0}, "`depth` must be a positive integer. Received: depth=0"),
        (
            {"input_shape": (None,)},
            r"must be \(length, features\).*: input_shape=\(None,\)",
        ),
        ({"vocabulary_size": 5}, "Received: input_shape=.*, vocabulary_size=5"),
        ({"one_hot": True}, "needs a `vocabulary_size`"),
        ({"masked": "norm"}, "must be False, True or 'pooling'. Received: masked='norm'"),
        (
            {"masked": "pooling", "pooling": "all_mean"},
            "needs pooling=.* Received: masked='pooling', pooling='all_mean'",
        ),
        ({"block": {"gate": "glu"}}, "may have 'gating', .* Received: block=.*'gate'"),
        ({"block": {"norm": None}, "final_norm": True}, "needs a `norm`. Received: .*norm=None"),
        ({"pooling": "max"}, "`mode` must be one of .* Received: mode='max'"),
    ],
    ids=str,
)
def test_a_wrong_argument_names_what_was_expected_and_received(options, message):
    with pytest.raises(ValueError, match=message):
        classifier(**{"num_classes": 3, "input_shape": (None, 1), **options})
