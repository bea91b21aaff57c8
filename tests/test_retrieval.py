"""The two-tower model against its encoder and NumPy."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import erf

from keras_ssm.models import retrieval

OPTIONS = {
    "depth": 1, "width": 4, "state_size": 4, "vocabulary_size": 7, "block": {"norm": "batch"},
    "masked": "pooling", "pooling": "mean",
}  # fmt: skip
# The shapes are those of the test of padding in test_models: JAX compiles them once.
PAIRS = np.random.default_rng(0).integers(1, 7, (3, 2, 6)).astype("int32")
PAIRS[0, 1, 4:] = 0
DOCUMENTS = PAIRS.reshape(6, 6)


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x), "float64")


def gelu(x, approximate):
    if approximate:
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


@pytest.mark.parametrize("layer", ["s5", pytest.param("dss", marks=pytest.mark.backend_free)])
def test_logits_equal_numpy_on_the_features_of_one_encoder(layer):
    model = retrieval(3, (2, None), layer, **OPTIONS)
    assert model.output_shape == (None, 3)
    # Where the two forms of gelu differ.
    model.get_layer("hidden").bias.assign(ops.ones(4))
    features = numpy(model.get_layer("encoder")(DOCUMENTS))
    a, b = features[::2], features[1::2]
    hidden, head = ([numpy(w) for w in model.get_layer(n).weights] for n in ("hidden", "head"))
    x = np.concatenate([a, b, a - b, a * b], axis=-1) @ hidden[0] + hidden[1]
    expected = gelu(x, approximate=layer == "s5") @ head[0] + head[1]
    assert np.abs(gelu(x, True) - gelu(x, False)).max() > 1e-4
    np.testing.assert_allclose(numpy(model(PAIRS)), expected, atol=1e-5)


@pytest.mark.backend_free
def test_batch_norm_sees_both_documents_of_all_pairs_at_once():
    model = retrieval(
        2, (2, 6), "s5", **{**OPTIONS, "block": {"norm": "batch", "norm_momentum": 0.0}}
    )
    model(PAIRS, training=True)
    encoder = model.get_layer("encoder")
    block = encoder.get_layer("block_0")
    features = numpy(encoder.get_layer("encoder")(DOCUMENTS))
    np.testing.assert_allclose(
        numpy(block.norm_layer.moving_mean), features.mean(axis=(0, 1)), atol=1e-5
    )


@pytest.mark.backend_free
def test_a_saved_model_gives_the_same_logits(tmp_path):
    model = retrieval(2, (2, 6), "dss", bidirectional=True, **OPTIONS)
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(numpy(copy(PAIRS)), numpy(model(PAIRS)), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (9,)}, r"\(2, length\).* Received: input_shape=\(9,\)"),
        ({"input_shape": (3, 9)}, r"\(2, length\).* Received: input_shape=\(3, 9\)"),
        ({"pooling": None}, "Received: pooling=None"),
        ({"vocabulary_size": None}, "Received: input_shape=.*vocabulary_size=None"),
    ],
    ids=str,
)
def test_a_wrong_argument_names_what_was_expected_and_received(arguments, message):
    with pytest.raises(ValueError, match=message):
        retrieval(**{"num_classes": 2, "input_shape": (2, 6), **OPTIONS, **arguments})
