"""Where a pendulum is, from noisy images at irregular times: the times matter.

Half of the moments are not seen, some images show nothing but noise, and the velocity is not in
any image. A state space layer takes the durations between the images as `time_steps` and lets its
state evolve for that long; here it is compared with itself without them, and with a GRU that gets
them as one more feature. It takes some minutes on two cores, under any backend:

    KERAS_BACKEND=jax python examples/irregular_pendulum.py     # or tensorflow, or torch
    KERAS_BACKEND=jax python examples/irregular_pendulum.py --layer LRU
"""

import argparse
from typing import Any

import keras
import numpy as np

from keras_ssm.datasets.generators import pendulum
from keras_ssm.layers import Gating, make_layer, time_scales
from keras_ssm.optimizers import adamw


def build(
    layer: str, timed: bool, pixels: int, depth: int, width: int, state_size: int
) -> keras.Model:
    """Images (batch, length, pixels) and durations (batch, length) to sines and cosines."""
    images, durations = keras.Input((None, pixels)), keras.Input((None,))
    x = keras.layers.Dense(width, "gelu")(images)
    x = keras.layers.Dense(width)(x)
    for number in range(depth):
        y = keras.layers.LayerNormalization()(x)
        if layer == "GRU":
            if timed:
                y = keras.layers.Concatenate()([y, keras.layers.Reshape((-1, 1))(durations)])
            y = keras.layers.GRU(width, return_sequences=True)(y)
        else:
            # A step is one moment, a swing about twenty of them.
            scales = time_scales(layer.lower(), step_min=0.01, step_max=1.0)
            ssm = make_layer(layer.lower(), state_size, name=f"{layer}_{number}", **scales)
            y = ssm(y, time_steps=durations) if timed else ssm(y)
        x = keras.layers.Add()([x, Gating("half_glu1", width)(y)])
    x = keras.layers.LayerNormalization()(x)
    return keras.Model([images, durations], keras.layers.Dense(2)(x))


def data(count: int, seed: int, **options: Any) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Inputs of the model, targets, and the times of the images."""
    images, times, targets = pendulum.samples(count, seed=seed, **options)
    # Nothing came before the first image.
    durations = np.diff(times, axis=1, prepend=times[:, :1] - 1)
    return [images, durations], targets, times


def draw(path: str, images: np.ndarray, times: np.ndarray, angles: dict[str, np.ndarray]) -> None:
    """One pendulum: some of its images, and its angle as it is and as the models say."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(10, 5), layout="constrained")
    rows = figure.add_gridspec(2, 1, height_ratios=(1, 4))
    side = int(images.shape[-1] ** 0.5)
    shown = slice(None, None, -(-len(images) // 14))
    strip = rows[0].subgridspec(1, len(images[shown]))
    for column, (image, time) in enumerate(zip(images[shown], times[shown], strict=True)):
        axes = figure.add_subplot(strip[column])
        axes.imshow(image.reshape(side, side), cmap="gray", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[], xlabel=f"{time * pendulum.TICK:.1f} s")
    axes = figure.add_subplot(rows[1])
    for name, angle in angles.items():
        style = {"color": "black", "linewidth": 3, "alpha": 0.3} if name == "truth" else {}
        axes.plot(times * pendulum.TICK, np.degrees(angle), "o-", markersize=3, label=name, **style)
    axes.set(xlabel="seconds", ylabel="angle in degrees, 0 hanging down")
    # Room for the names above the curves.
    axes.margins(y=0.15)
    axes.legend(loc="upper center", ncols=len(angles))
    figure.savefig(path, dpi=120)
    print(f"One pendulum is drawn in {path}")


def main(
    layer: str,
    epochs: int,
    plot: str | None,
    counts: tuple[int, int] = (2_000, 200),
    steps: int = 50,
    image_size: int = 12,
    depth: int = 2,
    width: int = 32,
    state_size: int = 32,
) -> dict[str, Any]:
    """Train three models on the same pendulums, and compare them on new ones."""
    options = {"steps": steps, "image_size": image_size}
    x, y, _ = data(counts[0], seed=0, **options)
    x_test, y_test, times = data(counts[1], seed=1, **options)
    models = {
        f"{layer} with time_steps": (layer, True),
        f"{layer} without": (layer, False),
        "GRU with durations": ("GRU", True),
    }
    losses, errors, angles = {}, {}, {"truth": np.arctan2(*np.moveaxis(y_test[0], -1, 0))}
    for name, (kind, timed) in models.items():
        print(f"\n{name}")
        keras.utils.set_random_seed(0)
        model = build(kind, timed, image_size**2, depth, width, state_size)
        batch_size = 32
        total = epochs * -(-counts[0] // batch_size)
        model.compile(adamw(4e-3, total_steps=total), "mean_squared_error")
        history = model.fit(x, y, batch_size, epochs, verbose=2)
        predictions = model.predict(x_test, verbose=0)
        losses[name] = history.history["loss"]
        errors[name] = float(np.mean((predictions - y_test) ** 2))
        angles[name] = np.arctan2(*np.moveaxis(predictions[0], -1, 0))
    print(f"\nMean squared error of sine and cosine on {counts[1]} other pendulums")
    for name, error in errors.items():
        print(f"{name:24}{error:8.4f}")
    if plot:
        draw(plot, x_test[0][0], times[0], angles)
    return {"losses": losses, "errors": errors}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layer", default="S5", help="any layer of keras_ssm.layers")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--plot", default="irregular_pendulum.png")
    main(**vars(parser.parse_args()))
