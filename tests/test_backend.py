"""The choice of the framework."""

import keras
import numpy as np
import pytest
from gradients import relative_error
from keras import ops

import keras_ssm.backend


def test_cosine_and_sine_keep_their_digits():
    x = np.linspace(-1000, 1000, 100_001).astype("float32")
    for found, exact in zip(
        keras_ssm.backend.cos_sin(ops.convert_to_tensor(x)), (np.cos, np.sin), strict=True
    ):
        assert np.max(np.abs(ops.convert_to_numpy(found) - exact(x.astype("float64")))) < 2e-7


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the others have an argument for precision"
)
@pytest.mark.parametrize("transpose_a", [False, True])
def test_products_keep_float32_where_factors_are_rounded_to_tf32(transpose_a, monkeypatch):
    """Simulated: a product that rounds its factors as a GPU does, to a relative 2^-11."""
    import tensorflow as tf

    from keras_ssm.backend import tensorflow as ours

    exact = tf.matmul

    def in_tf32(a, b, transpose_a=False):
        rounded = [tf.bitcast(tf.bitcast(x, tf.int32) + (1 << 12), tf.float32) for x in (a, b)]
        return exact(
            *(
                tf.bitcast(tf.bitwise.bitwise_and(tf.bitcast(x, tf.int32), -(1 << 13)), tf.float32)
                for x in rounded
            ),
            transpose_a,
        )

    a, b = np.random.default_rng(0).standard_normal((2, 64, 64)).astype("float32")
    expected = (a.T if transpose_a else a).astype("float64") @ b

    def product():
        return ours.precise_matmul(tf.constant(a), tf.constant(b), transpose_a)

    monkeypatch.setattr(tf, "matmul", in_tf32)
    monkeypatch.setattr(ours, "rounds_to_tf32", lambda: False)
    assert (
        relative_error(ours.precise_matmul(tf.constant(a), tf.constant(b), transpose_a), expected)
        > 1e-4
    )
    monkeypatch.setattr(ours, "rounds_to_tf32", lambda: True)
    assert (
        relative_error(ours.precise_matmul(tf.constant(a), tf.constant(b), transpose_a), expected)
        < 1e-6
    )


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="simulates the one framework")
@pytest.mark.parametrize("transpose_a", [False, True])
def test_torch_keeps_float32_where_factors_are_rounded_to_tf32(transpose_a, monkeypatch):
    """Simulated, as for TensorFlow: `set_float32_matmul_precision("high")` on a GPU."""
    import torch

    from keras_ssm.backend import torch as ours

    exact = torch.matmul

    def rounded(x):
        return ((x.contiguous().view(torch.int32) + (1 << 12)) & -(1 << 13)).view(torch.float32)

    rng = np.random.default_rng(0)
    a, b, start = (
        torch.tensor(rng.standard_normal((2, 64, 64)), dtype=torch.float32) for _ in "abc"
    )
    expected = (a.mT if transpose_a else a).double() @ b.double()

    def error():
        return relative_error(ours.precise_matmul(a, b, transpose_a), expected)

    monkeypatch.setattr(torch, "matmul", lambda a, b: exact(rounded(a), rounded(b)))
    assert error() > 1e-4
    monkeypatch.setattr(ours, "rounds_to_tf32", lambda x: True)
    assert error() < 1e-6
    with torch.no_grad():
        total = ours.accumulate(start.clone(), (a.mT if transpose_a else a, b))
    assert relative_error(total, expected + start) < 1e-6


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="a setting of torch")
def test_what_a_user_sets_for_products_on_a_gpu_is_seen(monkeypatch):
    import torch

    from keras_ssm.backend import torch as ours

    class OnGpu:
        is_cuda, dtype = True, torch.float32

    assert not ours.rounds_to_tf32(OnGpu)
    try:
        torch.set_float32_matmul_precision("high")
        assert ours.rounds_to_tf32(OnGpu)
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.allow_tf32 = True
        assert ours.rounds_to_tf32(OnGpu)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="the others have no argument for precision"
)
def test_products_ask_for_full_precision_and_projections_do_not():
    import jax

    def precision(product):
        text = jax.jit(product).lower(np.ones((2, 2), "f4"), np.ones((2, 2), "f4")).as_text()
        return "HIGHEST" in text

    assert precision(keras_ssm.backend.precise_matmul)
    assert not precision(keras_ssm.backend.dense_matmul)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the others convolve all at once")
@pytest.mark.parametrize("C", [1, 2])
def test_blocks_of_channels_convolve_as_all_at_once(C, monkeypatch):
    import torch

    from keras_ssm.backend import torch as ours

    rng = np.random.default_rng(0)
    u, kernel, g = (
        torch.tensor(rng.standard_normal(shape), requires_grad=True)
        for shape in ((2, 9, 20), (C, 20, 9), (2, 9, 20 * C))
    )

    def results():
        y = ours.convolve(u, kernel, 18)
        return [y.detach(), *torch.autograd.grad((y * g).sum(), [u, kernel])]

    whole = results()
    monkeypatch.setattr(ours, "_BLOCK", 1)
    assert [block.stop for block in ours._blocks(u, C, 18)] == [8, 16, 20]
    for blocks, expected in zip(results(), whole, strict=True):
        assert relative_error(blocks, expected) < 1e-14
