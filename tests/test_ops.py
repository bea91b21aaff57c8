"""The mathematics against plain NumPy loops in complex128: values and gradients."""

import keras
import numpy as np
import oracles
import pytest
from gradients import relative_error, value_and_gradients
from keras import ops

from keras_ssm.ops import complex as pairs
from keras_ssm.ops import convolution, discretization, scan, vandermonde, varying_scan
from keras_ssm.ops.complex import powers

LENGTHS = [1, 2, 3, 16, 17, 64, 100, 257]


def pair(z):
    return ops.convert_to_tensor(z.real.astype("float32")), ops.convert_to_tensor(
        z.imag.astype("float32")
    )


def joined(z):
    return ops.convert_to_numpy(z[0]) + 1j * ops.convert_to_numpy(z[1])


def modes(rng, *shape):
    """Logarithms of stable modes, slow and fast, float32-representable."""
    re = -np.exp(rng.uniform(np.log(1e-4), np.log(0.3), shape))
    im = rng.uniform(-np.pi, np.pi, shape) * rng.uniform(0, 1, shape) ** 3
    return re.astype("float32").astype("float64") + 1j * im.astype("float32").astype("float64")


def complex_normal(rng, *shape):
    z = rng.standard_normal((2, *shape)).astype("float32").astype("float64")
    return z[0] + 1j * z[1]


@pytest.mark.parametrize("length", LENGTHS)
def test_vandermonde_product_equals_the_sum_of_powers(length):
    rng = np.random.default_rng(0)
    log_lam, w = modes(rng, 3, 4), complex_normal(rng, 2, 3, 4)
    K = vandermonde.sum_modes(pair(w), pair(log_lam), length)
    assert relative_error(ops.convert_to_numpy(K), oracles.vandermonde(w, log_lam, length)) < 2e-6


@pytest.mark.parametrize("length", LENGTHS)
def test_weighted_sum_equals_the_state_of_the_loop(length):
    rng = np.random.default_rng(0)
    log_lam = modes(rng, 3, 4)
    u = rng.standard_normal((2, 3, length)).astype("float32")
    x = vandermonde.weighted_sum(ops.convert_to_tensor(u), pair(log_lam))
    assert relative_error(joined(x), oracles.weighted_sum(u, log_lam)) < 2e-6


def in_chunks(b):
    """A pair of (B, L, P) in the layout of the scan."""
    parts = [ops.transpose(scan.to_chunks(z), (3, 2, 0, 1)) for z in b]
    return ops.stack(parts, axis=1)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="no unknown sizes at run time")
def test_chunks_are_counted_in_a_batch_of_unknown_size():
    """Otherwise the scan would go as deep as for a length that is not known."""
    import tensorflow as tf

    shapes = []

    @tf.function(input_signature=[tf.TensorSpec((None, 40, 3))])
    def run(u):
        chunks = scan.to_chunks(u)
        b = tf.transpose(tf.stack([chunks, chunks], axis=1), (4, 1, 3, 0, 2))
        shapes.append(chunks.shape)
        lam = tf.fill((3,), -0.1)
        shapes.append(scan.powers_in_chunks((lam, lam), *scan.chunk_sizes(b)).shape)
        return scan.run_scan((lam, lam), b)

    run(tf.ones((2, 40, 3)))
    assert shapes[0].as_list() == [None, 3, 16, 3]
    assert shapes[1][0] == 2


def in_time(x, length):
    """Back to a pair of (B, L, P)."""
    return [scan.from_chunks(ops.transpose(x[:, k], (2, 3, 1, 0)), length) for k in (0, 1)]


def block_scan(log_lam, b, x0=None, reverse=False):
    start = None if x0 is None else ops.stack([ops.transpose(z) for z in x0], axis=1)
    return in_time(scan.run_scan(log_lam, in_chunks(b), start, reverse), ops.shape(b[0])[1])


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("with_start", [False, True])
def test_block_scan_equals_the_loop(length, with_start):
    rng = np.random.default_rng(0)
    log_lam, b, x0 = modes(rng, 5), complex_normal(rng, 2, length, 5), complex_normal(rng, 2, 5)
    start = pair(x0) if with_start else None
    x = block_scan(pair(log_lam), pair(b), start)
    expected = oracles.scan(np.exp(log_lam), b, x0 if with_start else np.zeros_like(x0))
    assert relative_error(joined(x), expected) < 5e-6


@pytest.mark.parametrize("length", [1, 17, 257])
def test_reverse_scan_is_the_scan_of_the_reversed_sequence(length):
    rng = np.random.default_rng(0)
    log_lam, b = modes(rng, 5), complex_normal(rng, 2, length, 5)
    x = block_scan(pair(log_lam), pair(b), reverse=True)
    expected = oracles.scan(np.exp(log_lam), b[:, ::-1], np.zeros((2, 5)))[:, ::-1]
    assert relative_error(joined(x), expected) < 5e-6


def test_block_scan_survives_a_growing_mode_as_long_as_the_sequence_does():
    log_lam = np.array([0.75 + 0.1j])  # e^75 after 100 steps; e^192 after 16 x 16
    b = np.zeros((1, 100, 1), complex)
    b[:, 0] = 1
    x = block_scan(pair(log_lam), pair(b))
    expected = oracles.scan(np.exp(log_lam), b, np.zeros((1, 1)))
    assert relative_error(joined(x), expected) < 1e-4
    assert np.all(np.isfinite(joined(x)))


@pytest.mark.parametrize("length", [1, 2, 7, 64])
@pytest.mark.parametrize("two_sided", [False, True])
def test_convolution_equals_the_double_loop(length, two_sided):
    rng = np.random.default_rng(0)
    u = rng.standard_normal((2, length, 3)).astype("float32")
    k = rng.standard_normal((2, 2, 3, length)).astype("float32")
    arguments = [u, k[0], k[1]] if two_sided else [u, k[0]]
    y = convolution.convolve(*(ops.convert_to_tensor(x) for x in arguments))
    assert relative_error(ops.convert_to_numpy(y), oracles.convolve(*arguments)) < 2e-6


@pytest.mark.parametrize("n", [1, 2, 7, 11, 13, 97, 1999, 2**15 + 1])
def test_fft_lengths_are_the_next_with_small_factors(n):
    found = convolution.fft_length(n)
    smooth = sorted(2**a * 3**b * 5**c for a in range(18) for b in range(12) for c in range(8))
    assert found == next(m for m in smooth if m >= n)


@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
def test_discretization_equals_the_textbook(rule):
    rng = np.random.default_rng(0)
    Lambda = -np.exp(rng.uniform(-7, 2, (4, 5))) + 1j * rng.uniform(-50, 50, (4, 5))
    dt = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), (4, 1)))
    log_lam, gamma = discretization.DISCRETIZATIONS[rule](
        pair(Lambda), ops.convert_to_tensor(dt.astype("float32"))
    )
    z = dt * Lambda
    if rule == "zoh":
        lam, expected = np.exp(z), (np.exp(z) - 1) / Lambda
    else:
        lam, expected = (1 + z / 2) / (1 - z / 2), dt / (1 - z / 2)
    assert relative_error(joined(pairs.exp(log_lam)), lam) < 2e-6
    assert relative_error(joined(gamma), expected) < 2e-6


@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
def test_discretization_is_exact_to_first_order_at_tiny_steps(rule):
    """exp(z) - 1 in its plain form would keep one digit of three here."""
    Lambda, dt = np.array([-0.5 + 0.01j]), 1e-5
    _, gamma = discretization.DISCRETIZATIONS[rule](pair(Lambda), ops.convert_to_tensor(dt))
    assert abs(joined(gamma)[0] / dt - 1) < 1e-5


@pytest.mark.training
def test_gradients_are_finite_at_a_zero_eigenvalue():
    zero = np.zeros((1,), "float32")
    _, _, gradients = value_and_gradients(
        lambda re, im: ops.sum(discretization.zoh((re, im), 0.1)[1][0]), [], [zero, zero]
    )
    # gamma = dt + dt^2 Lambda / 2 + ...: its derivative is dt^2 / 2 where it is not guarded.
    assert all(np.all(np.isfinite(g)) for g in gradients)


def test_phases_of_long_powers_keep_their_digits():
    """At 65,536 steps the plain product k * im in float32 is off by up to 6e-8 k im = 4e-3."""
    im = (np.array([1e-3, 0.02, 0.3]) * np.pi).astype("float32")
    log_lam = 1j * im.astype("float64")
    k, stride = np.arange(256), 256
    z = joined(powers(pair(log_lam), len(k), stride=stride))
    expected = np.exp(log_lam[:, None] * k * stride)
    assert np.max(np.abs(z - expected)) < 5e-6


@pytest.mark.training
@pytest.mark.parametrize("length", [1, 17, 100])
def test_gradients_equal_finite_differences(length):
    """Of the Vandermonde product and its transpose, along one random direction."""
    rng = np.random.default_rng(0)
    log_lam, w = modes(rng, 3, 4), complex_normal(rng, 2, 3, 4)
    u = rng.standard_normal((2, 3, length))
    gK, gx = rng.standard_normal((2, 3, length)), complex_normal(rng, 2, 3, 4)
    arrays = [log_lam.real, log_lam.imag, w.real, w.imag, u]

    def ours(re, im, w_re, w_im, u):
        K = vandermonde.sum_modes((w_re, w_im), (re, im), length)
        x = vandermonde.weighted_sum(u, (re, im))
        total = ops.sum(K * ops.cast(gK, "float32")) + ops.sum(x[0] * ops.cast(gx.real, "float32"))
        return total + ops.sum(x[1] * ops.cast(gx.imag, "float32"))

    def theirs(re, im, w_re, w_im, u):
        K = oracles.vandermonde(w_re + 1j * w_im, re + 1j * im, length)
        x = oracles.weighted_sum(u, re + 1j * im)
        return np.sum(K * gK) + np.sum(x.real * gx.real) + np.sum(x.imag * gx.imag)

    assert_gradients_equal_differences(ours, theirs, arrays)


@pytest.mark.training
@pytest.mark.parametrize("length", [1, 50])
def test_gradients_of_the_convolution_equal_finite_differences(length):
    rng = np.random.default_rng(0)
    g = rng.standard_normal((2, length, 6))
    arrays = [rng.standard_normal((2, length, 3)), *rng.standard_normal((2, 2, 3, length))]

    def ours(u, kernel, backward_kernel):
        y = convolution.convolve(u, kernel, backward_kernel)
        return ops.sum(y * ops.cast(g, "float32"))

    def theirs(u, kernel, backward_kernel):
        return np.sum(oracles.convolve(u, kernel, backward_kernel) * g)

    assert_gradients_equal_differences(ours, theirs, arrays)


@pytest.mark.training
@pytest.mark.parametrize("length", [1, 17, 100])
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_the_scan_equal_finite_differences(length, reverse):
    rng = np.random.default_rng(0)
    log_lam, b, x0 = modes(rng, 4), complex_normal(rng, 2, length, 4), complex_normal(rng, 2, 4)
    g = complex_normal(rng, 2, length, 4)
    x0 = np.zeros_like(x0) if reverse else x0
    arrays = [log_lam.real, log_lam.imag, b.real, b.imag, x0.real, x0.imag]
    direction = -1 if reverse else 1

    def ours(re, im, b_re, b_im, x0_re=None, x0_im=None):
        x = block_scan((re, im), (b_re, b_im), None if reverse else (x0_re, x0_im), reverse)
        return ops.sum(x[0] * ops.cast(g.real, "float32") + x[1] * ops.cast(g.imag, "float32"))

    def theirs(re, im, b_re, b_im, x0_re=0.0, x0_im=0.0):
        b, start = (b_re + 1j * b_im)[:, ::direction], x0_re + 1j * x0_im
        x = oracles.scan(np.exp(re + 1j * im), b, np.zeros((2, 4)) if reverse else start)
        return np.sum((x[:, ::direction] * np.conj(g)).real)

    assert_gradients_equal_differences(ours, theirs, arrays[:4] if reverse else arrays)


@pytest.mark.training
@pytest.mark.parametrize("length", [1, 37])
def test_gradients_of_the_varying_scan_equal_finite_differences(length):
    rng = np.random.default_rng(0)
    log_lam = modes(rng, 2, length, 4)
    b, x0 = complex_normal(rng, 2, length, 4), complex_normal(rng, 2, 4)
    g = complex_normal(rng, 2, length, 4)
    arrays = [log_lam.real, log_lam.imag, b.real, b.imag, x0.real, x0.imag]

    def ours(re, im, b_re, b_im, x0_re, x0_im):
        x = varying_scan.run_varying_scan((re, im), (b_re, b_im), (x0_re, x0_im))
        return ops.sum(x[0] * ops.cast(g.real, "float32") + x[1] * ops.cast(g.imag, "float32"))

    def theirs(re, im, b_re, b_im, x0_re, x0_im):
        x = oracles.scan(np.exp(re + 1j * im), b_re + 1j * b_im, x0_re + 1j * x0_im)
        return np.sum((x * np.conj(g)).real)

    assert_gradients_equal_differences(ours, theirs, arrays)


def assert_gradients_equal_differences(ours, theirs, arrays):
    rng = np.random.default_rng(1)
    value, _, gradients = value_and_gradients(ours, [], [a.astype("float32") for a in arrays])
    assert value == pytest.approx(theirs(*arrays), rel=1e-4, abs=1e-4)
    for i, gradient in enumerate(gradients):
        direction = rng.standard_normal(arrays[i].shape)
        h = 1e-6
        moved = [
            theirs(*(a + s * h * direction if j == i else a for j, a in enumerate(arrays)))
            for s in (1, -1)
        ]
        expected = (moved[0] - moved[1]) / (2 * h)
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=2e-4, abs=1e-3)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow traces lengths"
)
@pytest.mark.parametrize("jit", [False, True])
def test_unknown_lengths_give_the_same_numbers_in_a_graph(jit):
    import tensorflow as tf

    from keras_ssm.layers import DSS, S4D, S5

    for layer in (S5(8), S4D(8, bidirectional=True), DSS(4)):
        layer.build((None, None, 3))
        graph = tf.function(
            layer.__call__, jit_compile=jit, input_signature=[tf.TensorSpec([None, None, 3])]
        )
        for length in (1, 5, 100):
            u = np.random.default_rng(0).standard_normal((2, length, 3)).astype("float32")
            assert relative_error(graph(u).numpy(), layer(u).numpy()) < 5e-6
