# %% [markdown]
# # Irregular time and sampling rates
#
# A state space layer is a differential equation that is solved from one sample to the next. How
# long a step lasts is therefore an input, not a property of the trained model: samples may come at
# any time, and a model that was trained at one sampling rate runs at another.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # or "tensorflow", or "torch"

import keras
import numpy as np

import keras_ssm

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)

# %% [markdown]
# ## Durations
#
# `time_steps` (batch, length) is the duration of each step in units of the learned step: 1 is the
# sampling period of the training data, 2.5 two and a half of them. The layer holds its input for
# that long. If an input stays as it is for three periods, one step of duration 3 and three steps of
# duration 1 are the same:

# %%
layer = keras_ssm.layers.S5(16, return_state=True, return_sequences=False)
u = rng.standard_normal((2, 20, 4)).astype("float32")
durations = rng.integers(1, 5, size=20)
_, fine = layer(np.repeat(u, durations, axis=1))
_, coarse = layer(u, time_steps=np.tile(durations.astype("float32"), (2, 1)))
np.testing.assert_allclose(
    keras.ops.convert_to_numpy(coarse), keras.ops.convert_to_numpy(fine), atol=1e-4
)

# %% [markdown]
# ## A model with durations
#
# `classifier(..., time_steps=True)` has a second input that reaches every block. In a model of your
# own, hand the tensor to each layer or block: `block(x, time_steps=t)`. The model of this example
# tells slow from fast oscillations that are sampled at random. Both have about as many samples in a
# period, so the samples alone say nothing, and the times say everything.


# %%
def oscillations(count, length=40):
    """Samples at random times, the time from each to the next, and whether it is a fast one."""
    turns = rng.uniform(0.1, 0.9, (count, length))
    fast = rng.integers(0, 2, count)
    between = turns / np.where(fast, 0.9, 0.3)[:, None]
    angles = np.cumsum(turns, axis=1) + rng.uniform(0, 2 * np.pi, (count, 1))
    x = {"inputs": np.sin(angles)[..., None], "time_steps": between}
    return {name: value.astype("float32") for name, value in x.items()}, fast


model = keras_ssm.models.classifier(
    2, (None, 1), layer="s5", depth=1, width=16, state_size=16,
    step_min=0.03, step_max=1.0, time_steps=True,
)  # fmt: skip
model.compile(
    keras_ssm.optimizers.adamw(1e-2, 5e-3),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
x, y = oscillations(256)
model.fit(x, y, batch_size=16, epochs=2, verbose=2)
x, y = oscillations(128)
_, accuracy = model.evaluate(x, y, verbose=0)
print(f"accuracy on new oscillations: {accuracy:.1%}")
assert accuracy > 0.8  # by chance it is 0.5

# %% [markdown]
# The duration belongs to the step that begins: a sample holds from its time to that of the next
# one. If in your data it is the time since the previous sample, shift it by one, or let the model
# see the past alone: what matters is that training and use do the same. Durations are positive; a
# sample that is missing in a regular grid is a [mask](variable_lengths.py) if time stands still,
# and a longer duration if it does not.
#
# ## Another sampling rate
#
# `rate` multiplies all durations. Sound at half the sampling rate has half as many samples,
# each for twice as long: `rate=2`. `with_rate` copies a model so that all its state space layers
# have the new rate; its weights are those of the original.

# %%
model = keras_ssm.models.classifier(4, (None, 1), layer="s5", depth=1, width=16, state_size=16)
half = keras_ssm.models.with_rate(model, 2)

t = np.arange(1024) / 1024
x = np.stack([np.sin(2 * np.pi * f * t) for f in (2, 3, 5)])[..., None].astype("float32")
full = model.predict(x, verbose=0)
with_rate = np.abs(half.predict(x[:, ::2], verbose=0) - full).max()
without = np.abs(model.predict(x[:, ::2], verbose=0) - full).max()
print(f"largest change of a logit: {with_rate:.4f} with the rate, {without:.4f} without")
assert with_rate < 0.1 * without

# %% [markdown]
# What is left is what the samples do not say: the layer holds each one until the next, and
# frequencies above half of the new sampling rate are lost as with any resampling. A layer that
# counts samples and not time, such as a convolution, knows nothing of the rate.
#
# For one call alone, layers and blocks take `rate`, and so do `step` and `advance` of a
# [stream](streaming.py), with `time_steps` beside it:

# %%
machine = keras_ssm.models.streaming(model)
machine.reset(batch_size=3)
logits = machine.advance(x[:, ::2], rate=2.0)
np.testing.assert_allclose(
    keras.ops.convert_to_numpy(logits), half.predict(x[:, ::2], verbose=0), atol=1e-4
)

# %% [markdown]
# ## What to read next
#
# - [Forecasting](forecasting.py)
# - [Streaming](streaming.py)
# - [Reading the pictures](pictures.py): which time scales a layer has learned
