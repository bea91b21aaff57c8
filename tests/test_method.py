"""`method`: a convolution through the FFT and one by chunks are the same numbers."""

import keras
import numpy as np
import pytest
from equivalences import compiled
from gradients import relative_error, value_and_gradients
from keras import ops
from state_cases import FEATURES, built, twin

from keras_ssm.layers import DSS, S4D
from keras_ssm.ops import chunks

# Every shape is compiled anew on JAX and TensorFlow: there, one layer and two lengths.
CHEAP = keras.backend.backend() in ("torch", "numpy")
NAMES = ["DSS-exp", "S4D-zoh", "S4D-real"] if CHEAP else ["S4D-zoh"]
DIRECTIONS = [False, True] if CHEAP else [True]
LENGTHS = [1, 5, chunks.CHUNK, 6 * chunks.CHUNK + 3]


def pair_of(name, **options):
    layer = built(name, method="fft", **options)
    return layer, twin(name, layer, method="chunk", **options)


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x), "float64")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", LENGTHS if CHEAP else LENGTHS[1::2])
@pytest.mark.parametrize("bidirectional", DIRECTIONS)
def test_chunks_equal_the_fft(name, length, bidirectional):
    rng = np.random.default_rng(length)
    fft, chunk = pair_of(name, bidirectional=bidirectional)
    u = rng.standard_normal((2, length, FEATURES)).astype("float32")
    found, expected = (compiled(layer.__call__)(u) for layer in (chunk, fft))
    assert relative_error(numpy(found), numpy(expected)) < 2e-6


@pytest.mark.parametrize("name", NAMES)
def test_chunks_carry_a_state_and_leave_one(name):
    rng = np.random.default_rng(0)
    fft, chunk = pair_of(name, return_state=True)
    u = rng.standard_normal((2, 2 * chunks.CHUNK + 3, FEATURES)).astype("float32")
    state = rng.standard_normal((2, fft.state_width)).astype("float32")
    mask = rng.random(u.shape[:2]) < 0.7
    results = (compiled(f.__call__)(u, mask=mask, initial_state=state) for f in (fft, chunk))
    for expected, found in zip(*results, strict=True):
        assert relative_error(numpy(found), numpy(expected)) < 2e-6


@pytest.mark.training
@pytest.mark.parametrize("bidirectional", DIRECTIONS)
def test_chunks_have_the_gradients_of_the_fft(bidirectional):
    rng = np.random.default_rng(0)
    layers = pair_of("S4D-zoh", bidirectional=bidirectional)
    u = rng.standard_normal((2, 5 * chunks.CHUNK + 3, FEATURES)).astype("float32")
    g = rng.standard_normal((2, u.shape[1], 2 * FEATURES)).astype("float32")
    expected, found = (
        value_and_gradients(
            lambda u, f=f: ops.sum(f(u) * ops.convert_to_tensor(g)), f.trainable_variables, [u]
        )
        for f in layers
    )
    for a, b in zip(found[1] + found[2], expected[1] + expected[2], strict=True):
        assert relative_error(a, b) < 2e-5


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow traces lengths"
)
def test_chunks_of_an_unknown_length():
    import tensorflow as tf

    fft, chunk = pair_of("S4D-zoh")
    graph = tf.function(chunk, input_signature=[tf.TensorSpec((None, None, FEATURES))])
    for length in (1, 300):
        u = np.random.default_rng(0).standard_normal((2, length, FEATURES)).astype("float32")
        assert relative_error(numpy(graph(u)), numpy(fft(u))) < 2e-6


def test_what_has_no_chunks_says_so():
    with pytest.raises(ValueError, match="softmax kernel has none"):
        DSS(8, method="chunk")
    with pytest.raises(ValueError, match="softmax kernel has none"):
        S4D(8, discretization="softmax", method="chunk")
    with pytest.raises(ValueError, match=r"`method` must be one of.*'slow'"):
        S4D(8, method="slow")
