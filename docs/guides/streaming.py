# %% [markdown]
# # Streaming
#
# A model that was trained on whole sequences runs one step at a time, with the same weights and the
# same numbers. What it keeps between two steps is a state of constant size, however long the stream
# is. This guide makes a detector, takes it apart into steps and chunks, keeps and restores its
# state, serves several clients, and teaches it a layer of your own.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # or "tensorflow", or "torch"

import keras
import numpy as np

import keras_ssm
from keras_ssm.layers import S5, SSMBlock

keras.utils.set_random_seed(0)

# %% [markdown]
# ## A causal model
#
# Whatever reads forward can stream: state space layers of one direction, GRU and LSTM, causal
# convolutions, everything that treats each step by itself, running means. This model gives a score
# at every step.

# %%
inputs = keras.Input((None, 3))
x = keras.layers.Conv1D(16, 4, padding="causal", activation="gelu")(inputs)
x = SSMBlock(S5(16))(x)
x = SSMBlock(S5(16))(x)
model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))

u = np.random.default_rng(0).standard_normal((2, 60, 3)).astype("float32")
whole = model.predict(u, verbose=0)

# %% [markdown]
# ## Steps and chunks
#
# `streaming` makes a machine of it. `reset(batch_size)` begins that many sequences side by side;
# `step` takes one step of each, `advance` a chunk of any length, computed in parallel, such as what
# has piled up, or the prompt before the first step.

# %%
machine = keras_ssm.models.streaming(model)
machine.reset(batch_size=2)
outputs = [keras.ops.convert_to_numpy(machine.advance(u[:, :40]))]
for k in range(40, 60):
    outputs.append(keras.ops.convert_to_numpy(machine.step(u[:, k]))[:, None])
np.testing.assert_allclose(np.concatenate(outputs, axis=1), whole, atol=1e-5)

# %% [markdown]
# The machine shares the weights of the model: train on, and the next step has the new ones.
#
# ## The state is yours
#
# `states` is a dictionary of NumPy arrays, one row for each sequence: look at it, save it with
# `np.savez`, and set it in another process or under another backend.

# %%
kept = machine.states
print({name: value.shape for name, value in kept.items()})

machine.step(u[:, 0])  # something happens in between
machine.states = kept
after = keras.ops.convert_to_numpy(machine.step(u[:, 1]))

longer = np.concatenate([u, u[:, 1:2]], axis=1)
np.testing.assert_allclose(after, model.predict(longer, verbose=0)[:, -1], atol=1e-5)

# %% [markdown]
# ## Several clients
#
# A server keeps one row for each client. When a client leaves and another one takes the row,
# `reset(rows=...)` starts that row anew while the others go on.

# %%
machine.reset(batch_size=2)
machine.advance(u)
machine.reset(rows=[1])
first = keras.ops.convert_to_numpy(machine.step(u[:, 0]))
np.testing.assert_allclose(first[1], whole[1, 0], atol=1e-5)
goes_on = np.concatenate([u[:1], u[:1, :1]], axis=1)
np.testing.assert_allclose(first[0], model.predict(goes_on, verbose=0)[0, -1], atol=1e-5)

# %% [markdown]
# Within a chunk, `advance(chunk, resets=...)` starts sequences anew where a boolean (batch, length)
# says so, in models whose only states are those of state space layers.
#
# ## What cannot stream says so
#
# A layer that reads from the end needs the end first. The error names it:

# %%
both = keras_ssm.models.classifier(2, (None, 3), depth=1, width=8, state_size=8, bidirectional=True)
try:
    keras_ssm.models.streaming(both)
except ValueError as error:
    print(error)
    refusal = str(error)
assert "block_0" in refusal
assert "backwards" in refusal

# %% [markdown]
# ## A layer of your own
#
# `streaming` does not guess what an unknown layer does with time. `register_step` says it: what one
# step gives and what it hands to the next one. This layer subtracts the previous step.


# %%
@keras.saving.register_keras_serializable(package="streaming_guide")
class Difference(keras.layers.Layer):
    """x_k - x_(k-1), with x_(-1) = 0."""

    def call(self, x):
        return x - keras.ops.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]

    def compute_output_shape(self, input_shape):
        return input_shape


keras_ssm.models.register_step(
    Difference,
    step=lambda layer, x, before: (x - before, x),
    initial_state=lambda layer, batch_size: keras.ops.zeros((batch_size, 3)),
)

# %% [markdown]
# A layer that treats every step by itself needs no more than `register_step(MyLayer)`.
#
# `check_streaming` finds out whether all of it is right: that no output depends on a later input,
# and that steps and chunks give the numbers of the whole sequence. Put it into the tests of your
# model.

# %%
inputs = keras.Input((None, 3))
x = SSMBlock(S5(8))(keras.layers.Dense(8)(Difference()(inputs)))
own = keras.Model(inputs, keras.layers.Dense(1)(x))
report = keras_ssm.testing.check_streaming(own)
print(report)
assert max(report) < 1e-4

# %% [markdown]
# ## What to read next
#
# - [Deploy](deploy.py): the step as a file that runs without Keras
# - [Irregular time and sampling rates](irregular_time.py): `step(x, time_steps=..., rate=...)`
# - [Models](../reference/models.md): all that a machine can do
