# %% [markdown]
# # Forecasting
#
# A causal model gives an output at every step, so that one pass over a long series trains a
# forecast from every hour of it at once; there are no windows to cut. Afterwards it runs as a
# [stream](streaming.py): each new measurement costs one step.
#
# The series is synthetic: hourly values with a daily swing whose height wanders, a slower one, and
# noise.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # or "tensorflow", or "torch"

import keras
import numpy as np

import keras_ssm
from keras_ssm.layers import S5, SSMBlock

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)

DAY, HOURS = 24, 24 * 200
t = np.arange(HOURS)
height = 1.0 + 0.5 * np.sin(2 * np.pi * t / (11 * DAY))
series = height * np.sin(2 * np.pi * t / DAY) + np.sin(2 * np.pi * t / (3.5 * DAY))
series = (series + 0.1 * rng.standard_normal(HOURS)).astype("float32")

# %% [markdown]
# ## Targets: the change from now
#
# From every hour, the value 1, 6 and 24 hours ahead, as the difference from the value now. A head
# that begins at zero then begins with the forecast that everything stays as it is.
#
# The past is for training, the last 40 days are for testing; what scales the data is taken from the
# past alone, and no target of the past lies in the test days.

# %%
HORIZONS = (1, 6, 24)
usable = HOURS - max(HORIZONS)
changes = np.stack([series[h : h + usable] - series[:usable] for h in HORIZONS], axis=1)
split = usable - 40 * DAY
past = split - max(HORIZONS)
mean, std = series[:split].mean(), series[:split].std()
inputs_all = ((series - mean) / std)[:, None]
scale = changes[:past].std(axis=0)

# %% [markdown]
# Training sequences of ten days, with the targets at every hour. The first hours of a
# sequence forecast from little, as the stream will in its first hours.

# %%
LENGTH = 10 * DAY
starts = range(0, past - LENGTH + 1, DAY)
x = np.stack([inputs_all[s : s + LENGTH] for s in starts])
y = np.stack([changes[s : s + LENGTH] / scale for s in starts])

# %% [markdown]
# ## The model
#
# Steps of 0.01 to 1 at the start are memories of an hour to some days. The layers are not
# `bidirectional`: that would look ahead.

# %%
inputs = keras.Input((None, 1))
h = keras.layers.Dense(16)(inputs)
for _ in range(2):
    h = SSMBlock(S5(16, step_min=0.01, step_max=1.0))(h)
model = keras.Model(inputs, keras.layers.Dense(len(HORIZONS), kernel_initializer="zeros")(h))

model.compile(keras_ssm.optimizers.adamw(1e-2, 4e-3), "mean_absolute_error")
model.fit(x, y, batch_size=16, epochs=5, verbose=2)

# %% [markdown]
# ## Rolling forecasts
#
# The stream reads the past in one chunk, then hour after hour of what is held out, and forecasts
# from each. It is compared with two forecasts that every model should beat: the value now, and the
# value a day earlier at the hour that is forecast (seasonal naive).

# %%
machine = keras_ssm.models.streaming(model)
machine.reset(batch_size=1)
machine.advance(inputs_all[None, split - 20 * DAY : split])
forecasts = machine.advance(inputs_all[None, split:usable])
forecasts = keras.ops.convert_to_numpy(forecasts)[0] * scale

truth, now = changes[split:], np.arange(split, usable)
seasonal = np.stack([series[now + h - DAY] - series[now] for h in HORIZONS], axis=1)
for name, forecast in {"S5": forecasts, "seasonal naive": seasonal, "now": 0 * truth}.items():
    errors = np.abs(forecast - truth).mean(axis=0)
    print(f"{name:16}" + "".join(f"{error:8.3f}" for error in errors))
error = np.abs(forecasts - truth).mean(axis=0)
assert (error < np.abs(truth).mean(axis=0)).all()
assert (error < np.abs(seasonal - truth).mean(axis=0)).all()

# %% [markdown]
# `advance` over the held-out hours is a loop of `step`, only faster: at hour k the state has seen
# nothing after k. Live, it is one `machine.step(measurement)` an hour.
#
# With measurements at irregular times, give their durations as `time_steps`; with several series of
# different lengths, pad and [mask](variable_lengths.py) them.
#
# ## What to read next
#
# - `examples/forecasting.py`: real weather at three airports, beside a GRU
# - [Irregular time and sampling rates](irregular_time.py)
# - [Deploy](../deploy.md)
