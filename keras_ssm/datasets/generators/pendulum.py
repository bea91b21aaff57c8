"""A swinging pendulum, seen in noisy images at irregular times.

The task follows the descriptions of Becker et al. and the S5 paper, with images and
an integrator of our own.
"""

import math

import numpy as np

# Square root of gravity over the length of the pendulum: small swings take two seconds.
OMEGA = math.pi
# Seconds between the moments from which the times are drawn, and steps of the integrator in one.
TICK = 0.1
SUBSTEPS = 8
# Images of a pendulum before the noise begins, for nothing can be known of what was never seen.
CLEAN = 5


def samples(
    count: int,
    steps: int = 50,
    image_size: int = 24,
    torque: float = 0.1,
    noise: bool = True,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make images of pendulums at irregular times, with the sine and cosine of their angles.

    A pendulum starts at rest at any angle, and a random torque drives it on. Of `2 * steps`
    moments, 0.1 seconds apart, `steps` are drawn at random. An image shows the rod
    and the bob, so that the velocity has to be found from several images and from the times
    between them. The first five images are clear. The noise of the others is correlated in
    time: images fade into noise and out of it, and some in a row show nothing of the
    pendulum.

    Args:
        count: number of pendulums.
        steps: number of images of each.
        image_size: rows and columns of an image.
        torque: change of the velocity in one second, in radians per second and as a
            standard deviation; 0 for a free swing, which `swing` describes.
        noise: cover the images with noise.
        seed: decides every sample, together with the other settings.

    Returns:
        `(images, times, targets)`: float32 images (count, steps, image_size ** 2) with
        values from 0 to 1; float32 times (count, steps) in units of 0.1 seconds,
        increasing from 0 or more; float32 sines and cosines of the angle, which is
        0 where the pendulum hangs down, (count, steps, 2).

    Raises:
        ValueError: for sizes that are not positive, or a negative torque.

    Example:

    >>> from keras_ssm.datasets.generators import pendulum
    >>> images, times, targets = pendulum.samples(3, steps=20, image_size=12)
    >>> images.shape, times.shape, targets.shape
    ((3, 20, 144), (3, 20), (3, 20, 2))

    References:
        - P. Becker et al., [Recurrent Kalman Networks](https://arxiv.org/abs/1905.07357), 2019.
        - J. Smith et al., [Simplified State Space Layers for Sequence
          Modeling](https://arxiv.org/abs/2208.04933), 2023, section 6.3.
    """
    for name, value in (("count", count), ("steps", steps), ("image_size", image_size)):
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}")
    if not 0 <= torque < math.inf:
        raise ValueError(f"`torque` must be 0 or more. Received: torque={torque!r}")
    # RandomState, not default_rng: NumPy promises its stream never changes.
    random = np.random.RandomState(seed)
    moments = 2 * steps
    angles = _simulated(random.uniform(-np.pi, np.pi, count), moments, torque, random)
    chosen = np.sort(np.argsort(random.rand(count, moments), axis=1)[:, :steps], axis=1)
    visible = _visibility(count, moments, random) if noise else np.ones((count, moments))
    angles, visible = (np.take_along_axis(x, chosen, axis=1) for x in (angles, visible))
    visible[:, :CLEAN] = 1
    images = np.empty((count, steps, image_size**2), "float32")
    # One pendulum at a time: what drawing needs on the way is many times as large as an image.
    for image, angle, share in zip(images, angles, visible[..., None], strict=True):
        image[:] = share * draw(angle, image_size)
        if noise:
            image += (1 - share) * random.rand(*image.shape)
    targets = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    return images, chosen.astype("float32"), targets.astype("float32")


def swing(
    angle: np.ndarray, velocity: np.ndarray, duration: float | np.ndarray, substeps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Let pendulums swing freely, by the Runge-Kutta method of fourth order.

    Args:
        angle: angle in radians, 0 hanging down.
        velocity: velocity in radians per second.
        duration: duration in seconds.
        substeps: number of steps of the method.

    Returns:
        Angle and velocity afterwards.

    Example:

    >>> from keras_ssm.datasets.generators import pendulum
    >>> angle, _ = pendulum.swing(np.array(0.01), np.array(0.0), duration=1.0, substeps=100)
    >>> print(round(float(angle), 4))  # half a period later
    -0.01
    """
    h = duration / substeps

    def slope(angle: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return velocity, -(OMEGA**2) * np.sin(angle)

    for _ in range(substeps):
        a1, v1 = slope(angle, velocity)
        a2, v2 = slope(angle + h / 2 * a1, velocity + h / 2 * v1)
        a3, v3 = slope(angle + h / 2 * a2, velocity + h / 2 * v2)
        a4, v4 = slope(angle + h * a3, velocity + h * v3)
        angle = angle + h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
        velocity = velocity + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
    return angle, velocity


def draw(angles: np.ndarray, image_size: int) -> np.ndarray:
    """Draw images of pendulums: a rod from the center and a bob at its end, with soft edges.

    Args:
        angles: angles in radians, 0 hanging down, of shape (...,).
        image_size: rows and columns.

    Returns:
        float32 (..., image_size ** 2), from 0 for nothing to 1.

    Example:

    >>> from keras_ssm.datasets.generators import pendulum
    >>> image = pendulum.draw(np.array(0.0), 9).reshape(9, 9)  # hanging down
    >>> print((image > 0.5).astype(int)[3:])
    [[0 0 0 0 0 0 0 0 0]
     [0 0 0 0 1 0 0 0 0]
     [0 0 0 0 1 0 0 0 0]
     [0 0 0 0 1 0 0 0 0]
     [0 0 0 1 1 1 0 0 0]
     [0 0 0 0 1 0 0 0 0]]
    """
    # In units of the image's half width, rows downwards.
    places = (np.arange(image_size) + 0.5) * 2 / image_size - 1
    across, down = (place.ravel().astype("float32") for place in np.meshgrid(places, places))
    angles = np.asarray(angles, "float32")[..., None]
    sine, cosine = np.sin(angles), np.cos(angles)
    length, rod, bob = 0.65, 0.08, 0.3
    along = np.clip(across * sine + down * cosine, 0, length)
    to_rod = np.hypot(across - along * sine, down - along * cosine)
    to_bob = np.hypot(across - length * sine, down - length * cosine)
    # From inside to outside within the width of a pixel.
    depth = np.maximum(rod - to_rod, bob - to_bob) * image_size / 2
    return np.clip(depth + 0.5, 0, 1)


def _simulated(
    start: np.ndarray, moments: int, torque: float, random: np.random.RandomState
) -> np.ndarray:
    """Angles at every moment, (count, moments), from rest at `start`."""
    angle, velocity = start, np.zeros_like(start)
    angles = [angle]
    for _ in range(moments - 1):
        velocity = velocity + torque * math.sqrt(TICK) * random.standard_normal(len(start))
        angle, velocity = swing(angle, velocity, TICK, SUBSTEPS)
        angles.append(angle)
    return np.stack(angles, axis=1)


def _visibility(count: int, moments: int, random: np.random.RandomState) -> np.ndarray:
    """Share of the pendulum in every image, (count, moments), by the rule of Becker et al.

    A walk between 0 and 1 with steps of at most 0.2; what lies below one threshold of the
    sequence becomes 0, what lies above another 1, and what lies between is stretched.
    """
    walk = np.empty((count, moments))
    walk[:, 0] = random.rand(count)
    for step in range(1, moments):
        walk[:, step] = np.clip(walk[:, step - 1] + random.uniform(-0.2, 0.2, count), 0, 1)
    low, high = random.uniform(0, 0.25, (count, 1)), random.uniform(0.75, 1, (count, 1))
    return np.clip((walk - low) / (high - low), 0, 1)
