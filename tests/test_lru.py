"""The LRU against its paper: a NumPy loop, the ring, the size of the state."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_ssm.layers import LRU

H, N, L = 3, 5, 12


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x)).astype("float64")


def built(**options):
    layer = LRU(N, r_min=0.4, r_max=0.95, **options)
    layer.build((None, None, H))
    return layer


def written_out(layer, u, time_steps=None):
    """Outputs and states of the recurrence of Orvieto et al. (2023), eq. 5 to 7, in complex128.

    A step of another duration is that of the same Ornstein-Uhlenbeck process:
    |lam|^(2 t) of the size of the state is kept, and what is added is what was lost.
    """
    nu, theta, gamma = (numpy(w) for w in (layer.nu_log, layer.theta_log, layer.gamma_log))
    log_lam = -np.exp(nu) + 1j * np.exp(theta)
    radius = np.exp(log_lam.real)
    B, C = (numpy(w)[..., 0] + 1j * numpy(w)[..., 1] for w in (layer.B, layer.C))
    x, y, states = np.zeros((len(u), N), complex), [], []
    for k in range(u.shape[1]):
        t = layer.rate * (np.ones((len(u), 1)) if time_steps is None else time_steps[:, k, None])
        added = np.sqrt((1 - radius ** (2 * t)) / (1 - radius**2))
        x = np.exp(t * log_lam) * x + added * np.exp(gamma) * (u[:, k] @ B.T)
        states.append(x)
        y.append((x @ C.T).real + numpy(layer.D) * u[:, k])
    return np.stack(y, 1), np.stack(states, 1)


@pytest.mark.parametrize("rate", [1.0, 2.0, 0.3])
@pytest.mark.parametrize("timed", [False, True])
def test_outputs_and_states_are_those_of_the_paper(rate, timed):
    rng = np.random.default_rng(0)
    u = rng.standard_normal((2, L, H)).astype("float32")
    steps = rng.uniform(0.2, 3, (2, L)).astype("float32") if timed else None
    layer = built(rate=rate)
    y, states = written_out(layer, u.astype("float64"), steps)
    np.testing.assert_allclose(numpy(layer(u, time_steps=steps)), y, rtol=1e-4, atol=2e-5)
    found = numpy(layer.state_sequence(u, time_steps=steps))
    np.testing.assert_allclose(found[..., :N] + 1j * found[..., N:], states, rtol=1e-4, atol=2e-5)


def test_eigenvalues_start_uniformly_on_the_ring():
    """Lemma 3.2: |lam|^2 is uniform between the squared radii, the angle up to max_phase."""
    keras.utils.set_random_seed(0)
    layer = LRU(4000, r_min=0.5, r_max=0.9, max_phase=1.0)
    layer.build((None, None, 1))
    radii = np.exp(-np.exp(numpy(layer.nu_log)))
    angles = np.exp(numpy(layer.theta_log))
    for values, low, high in ((radii**2, 0.25, 0.81), (angles, 0, 1)):
        ordered = (np.sort(values) - low) / (high - low)
        assert ordered.min() > -1e-5
        assert ordered.max() < 1 + 1e-5
        # The Kolmogorov-Smirnov distance, which 4000 uniform numbers exceed once in 1e6.
        assert np.abs(ordered - np.linspace(0, 1, 4000)).max() < 0.043
    assert abs(np.corrcoef(radii, angles)[0, 1]) < 0.08


def test_the_state_starts_with_the_size_of_white_input():
    layer = LRU(64, r_min=0.9, r_max=0.99)
    layer.build((None, None, 8))
    radii = np.exp(-np.exp(numpy(layer.nu_log)))
    np.testing.assert_allclose(np.exp(numpy(layer.gamma_log)), np.sqrt(1 - radii**2), rtol=1e-4)
    u = np.random.default_rng(0).standard_normal((32, 1500, 8)).astype("float32")
    x = numpy(layer.state_sequence(u))[:, -1]
    B = np.sum(numpy(layer.B) ** 2, axis=(1, 2))
    found = np.mean(x[:, :64] ** 2 + x[:, 64:] ** 2, axis=0) / B
    assert 0.8 < found.mean() < 1.2


@pytest.mark.parametrize("rate", [1.0, 2.0])
def test_eigenvalues_in_continuous_time_give_those_of_a_step(rate):
    layer = built(rate=rate)
    (re, im), (dt_re, dt_im) = layer.continuous()
    lam = np.exp(numpy(re) * numpy(dt_re) + 1j * numpy(im) * numpy(dt_im))
    log_lam = -np.exp(numpy(layer.nu_log)) + 1j * np.exp(numpy(layer.theta_log))
    expected = np.exp(rate * log_lam)
    np.testing.assert_allclose(lam, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{"r_min": 0.5, "r_max": 0.4}, {"r_max": 1.0}, {"r_min": -0.1}, {"max_phase": 0.0}]
)
def test_a_ring_that_is_none_is_refused(options):
    with pytest.raises(ValueError, match="Received: "):
        LRU(4, **options)


def test_inputs_and_outputs_start_with_the_variances_of_the_paper():
    """Appendix A: parts of B have 1 / (2 H), parts of C 1 / N; 8192 draws are within 8 %."""
    features, modes = 64, 128
    layer = LRU(modes)
    layer.build((None, None, features))
    for weight, variance in ((layer.B, 1 / (2 * features)), (layer.C, 1 / modes)):
        assert np.var(numpy(weight)[..., 0]) == pytest.approx(variance, rel=0.08)
        assert np.var(numpy(weight)[..., 1]) == pytest.approx(variance, rel=0.08)
