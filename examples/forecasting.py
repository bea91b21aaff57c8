"""The carbon dioxide of the air half a year ahead, week by week, beside seasonal-naive forecasts.

The series is that of Mauna Loa, Hawaii, weekly from 1958 to 2001 (C. D. Keeling and T. P. Whorf,
2004; public domain), as statsmodels (BSD 3-Clause) ships it. A causal model reads it once and has
a forecast of the next 26 weeks at every week. It takes a minute on two cores, under any backend:

    pip install "keras-ssm[examples]"
    KERAS_BACKEND=jax python examples/forecasting.py     # or tensorflow, or torch
"""

import argparse
from typing import Any

import keras
import numpy as np
from statsmodels.datasets import co2

from keras_ssm.layers import DSS, SSMBlock
from keras_ssm.optimizers import adamw

YEAR = 52


def build(horizon: int, depth: int, width: int, state_size: int) -> keras.Model:
    """Changes (batch, length, 1) to those of the next weeks (batch, length, horizon)."""
    inputs = keras.Input((None, 1))
    x = keras.layers.Dense(width)(inputs)
    for _ in range(depth):
        # Steps of 1/100 to 1: memories of a few weeks to a few years.
        ssm = DSS(state_size, step_min=0.01, step_max=1.0)
        x = SSMBlock(ssm, gating="dense", dropout=0.1)(x)
    return keras.Model(inputs, keras.layers.Dense(horizon)(x))


def ahead(series: np.ndarray, horizon: int) -> np.ndarray:
    """At every week the `horizon` values after it; the last weeks have none and are left out."""
    return np.lib.stride_tricks.sliding_window_view(series[1:], horizon)


def windows(series: np.ndarray, length: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Every stretch of `length` weeks, and what follows each of its weeks."""
    x = series[: len(series) - horizon]
    x = np.lib.stride_tricks.sliding_window_view(x, length)[..., None]
    y = np.lib.stride_tricks.sliding_window_view(ahead(series, horizon), length, axis=0)
    return x, y.swapaxes(1, 2)


def main(
    epochs: int,
    horizon: int = 26,
    length: int = 3 * YEAR,
    held_out: int = 5 * YEAR,
    batch_size: int = 32,
    depth: int = 2,
    width: int = 32,
    state_size: int = 16,
) -> dict[str, Any]:
    """Train on the past, then forecast from every week of the last years."""
    keras.utils.set_random_seed(0)

    # Data: the change over a year has no seasons. A few weeks are missing.
    series = co2.load_pandas().data["co2"].interpolate().to_numpy("float32")
    change = series[YEAR:] - series[:-YEAR]
    past, recent = change[: -2 * held_out], change[-2 * held_out : -held_out]
    mean, std = past.mean(), past.std()
    train = windows((past - mean) / std, length, horizon)
    validation = windows((recent - mean) / std, length, horizon)

    model = build(horizon, depth, width, state_size)
    model.compile(adamw(learning_rate=2e-3, ssm_learning_rate=1e-3), "mean_absolute_error")
    history = model.fit(*train, batch_size, epochs=epochs, validation_data=validation, verbose=2)

    # The whole record in one go, which is longer than any window. Seasonal naive: what was a year
    # before, or that and the change over the last year.
    forecasts = model.predict((change[None, :, None] - mean) / std, verbose=0)[0] * std + mean
    truth = ahead(change, horizon)[-held_out + horizon :]
    origins = slice(-held_out, -horizon)
    errors = {
        "seasonal naive": np.abs(truth),
        "seasonal naive, drift": np.abs(truth - change[origins, None]),
        "model": np.abs(truth - forecasts[origins]),
    }
    print(f"\nMean absolute error in ppm over {len(truth)} weeks to forecast from")
    weeks = [1, horizon // 2, horizon]
    print(f"{'weeks ahead':24}" + "".join(f"{week:8}" for week in weeks) + "     all")
    for name, error in errors.items():
        columns = [*(error[:, week - 1].mean() for week in weeks), error.mean()]
        print(f"{name:24}" + "".join(f"{value:8.3f}" for value in columns))
    return {"loss": history.history["loss"], **{name: e.mean() for name, e in errors.items()}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=4)
    main(**vars(parser.parse_args()))
