"""The pendulum against its exact solution, and what is seen of it."""

import numpy as np
import pytest

from keras_ssm.datasets.generators import pendulum

pytestmark = pytest.mark.backend_free


def exact(start, seconds):
    """Angle of a free pendulum that starts at rest: Jacobi's elliptic sine."""
    special = pytest.importorskip("scipy.special")
    k = np.sin(start / 2)
    sine, *_ = special.ellipj(special.ellipk(k**2) - pendulum.OMEGA * seconds, k**2)
    return 2 * np.arcsin(k * sine)


@pytest.mark.parametrize("start", [0.1, -1.5, 3.0])
def test_a_free_swing_is_the_exact_one(start):
    seconds = np.array([0.0, 0.5, 3.3, 10.0])
    angle, velocity = pendulum.swing(np.full(4, start), np.zeros(4), seconds, substeps=4000)
    np.testing.assert_allclose(angle, exact(start, seconds), atol=1e-8)
    # Energy is kept.
    energy = velocity**2 / 2 - pendulum.OMEGA**2 * np.cos(angle)
    np.testing.assert_allclose(energy, -(pendulum.OMEGA**2) * np.cos(start), rtol=1e-8)
    # Of fourth order: half the step, a sixteenth of the error or less.
    errors = [
        abs(pendulum.swing(np.array(start), np.array(0.0), 3.3, n)[0] - exact(start, 3.3))
        for n in (100, 200)
    ]
    assert errors[0] / errors[1] > 12


def test_samples_without_torque_are_exact_at_their_times():
    _, times, targets = pendulum.samples(20, steps=50, image_size=2, torque=0, noise=False, seed=3)
    start = np.random.RandomState(3).uniform(-np.pi, np.pi, 20)[:, None]
    angles = exact(start, times.astype("float64") * pendulum.TICK)
    expected = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    # Those that start nearly upright keep an error of the start the longest.
    np.testing.assert_allclose(targets, expected, atol=2e-3)
    assert np.median(np.abs(targets - expected)) < 1e-6


def test_half_of_the_moments_are_drawn():
    _, times, _ = pendulum.samples(200, steps=10, image_size=2)
    assert (times.shape, times.dtype) == ((200, 10), "float32")
    assert (np.diff(times, axis=1) >= 1).all()
    assert set(np.unique(times)) == set(range(20))
    np.testing.assert_allclose(np.bincount(times.astype(int).ravel()) / 200, 0.5, atol=0.15)


def test_torque_drives_pendulums_apart():
    free, driven = (pendulum.samples(50, image_size=2, torque=t)[2] for t in (0, 0.5))
    gap = np.abs(free - driven).mean(axis=(0, 2))
    assert gap[0] < 0.1 < gap[-1]
    # The velocity of one that hangs still diffuses as a Brownian motion does.
    random = np.random.RandomState(0)
    velocity = np.diff(pendulum._simulated(np.zeros(4000), 2, 1e-3, random), axis=1) / pendulum.TICK
    expected = 1e-3 * np.sqrt(pendulum.TICK) * np.sinc(pendulum.OMEGA * pendulum.TICK / np.pi)
    assert velocity.std() == pytest.approx(expected, rel=0.05)


def test_images_show_the_angle():
    angles = np.linspace(-np.pi, np.pi, 13)[:-1]
    images = pendulum.draw(angles, 25).reshape(-1, 25, 25)
    assert (images.dtype, images.min(), images.max()) == ("float32", 0, 1)
    # The rod goes from the centre; half way there is no bob yet.
    rows, columns = (np.round(12 + 4 * part(angles)).astype(int) for part in (np.cos, np.sin))
    assert (images[np.arange(12), rows, columns] > 0.9).all()
    assert (images[:, 12, 12] > 0.9).all()
    places = np.arange(25) - 12
    across = (images * places).sum(axis=(1, 2))
    down = (images * places[:, None]).sum(axis=(1, 2))
    seen = np.arctan2(across, down)
    np.testing.assert_allclose(np.sin(seen - angles), 0, atol=0.02)
    np.testing.assert_allclose(np.cos(seen - angles), 1, atol=0.02)


def test_noise_hides_images_for_a_while():
    images, _, targets = pendulum.samples(100, steps=40, image_size=8)
    assert (images.shape, images.dtype) == ((100, 40, 64), "float32")
    assert 0 <= images.min() < images.max() <= 1
    clear = pendulum.draw(np.arctan2(targets[..., 0], targets[..., 1]), 8)
    np.testing.assert_allclose(images[:, : pendulum.CLEAN], clear[:, : pendulum.CLEAN], atol=1e-5)
    # An image that is hidden is noise alone, of mean 1/2 and variance 1/12.
    rows, clear = images.reshape(-1, 64), clear.reshape(-1, 64)
    likeness = [np.corrcoef(a, b)[0, 1] for a, b in zip(rows, clear, strict=True)]
    hidden = rows[np.abs(likeness) < 0.1]
    assert len(hidden) > 200
    assert hidden.mean() == pytest.approx(0.5, abs=0.02)
    assert hidden.var() == pytest.approx(1 / 12, abs=0.01)


def test_the_noise_is_correlated_in_time():
    share = pendulum._visibility(2000, 60, np.random.RandomState(0))
    assert (share.min(), share.max()) == (0, 1)
    hidden = share == 0
    assert 0.05 < hidden.mean() < 0.3
    # What is hidden stays hidden more often than not.
    assert hidden[:, 1:][hidden[:, :-1]].mean() > 0.5
    assert np.abs(np.diff(share, axis=1)).max() < 0.2 / 0.5 + 1e-9


def test_the_seed_decides_every_sample():
    first, again, other = (
        pendulum.samples(3, steps=5, image_size=6, seed=seed) for seed in (1, 1, 2)
    )
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    "wrong",
    [{"count": 0}, {"steps": 2.5}, {"image_size": -3}, {"torque": -1}, {"torque": float("nan")}],
)
def test_bad_settings(wrong):
    with pytest.raises(ValueError, match=f"Received: {next(iter(wrong))}="):
        pendulum.samples(**{"count": 2, **wrong})
