# %% [markdown]
# # From LSTM to S5 in five lines
#
# A state space layer takes the place of a recurrent layer: it reads a sequence step by step, keeps
# a state of constant size, and gives an output at every step. Its recurrence is linear, so
# training does not have to go through the sequence one step at a time. This guide takes a
# classifier made of `keras.layers.LSTM` and changes what has to change.
#
# The data are handwritten digits that come with scikit-learn, read pixel by pixel: 64 steps of one
# feature each.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # or "tensorflow", or "torch"

import keras
import numpy as np
from keras import layers

import keras_ssm

keras.utils.set_random_seed(0)
(x_train, y_train), _, (x_test, y_test) = keras_ssm.datasets.digits.load_data()
assert x_train.shape[1:] == (64, 1)

# %% [markdown]
# ## Before
#
# Two LSTM layers; the second one gives its last output, from which a dense layer reads the class.

# %%
inputs = keras.Input((None, 1))
x = layers.LSTM(32, return_sequences=True)(inputs)
x = layers.LSTM(32)(x)
lstm = keras.Model(inputs, layers.Dense(10)(x))

# %% [markdown]
# ## After
#
# Five lines change:
#
# 1. a dense layer gives the sequence its features, since S5 has as many outputs as inputs;
# 2. and 3. a [block](../reference/layers.md) is what the LSTM was: a norm, the layer, what follows
#    it in its paper, and a residual connection, so that blocks can be stacked;
# 4. the head reads the mean over the sequence instead of the last output;
# 5. the optimizer has a smaller learning rate for the eigenvalues, input matrices and step sizes.

# %%
steps = {"step_min": 0.01, "step_max": 1.0}

inputs = keras.Input((None, 1))
x = layers.Dense(32)(inputs)
x = keras_ssm.layers.SSMBlock(keras_ssm.layers.S5(32, **steps))(x)
x = keras_ssm.layers.SSMBlock(keras_ssm.layers.S5(32, **steps))(x)
x = keras_ssm.layers.SequencePooling("mean")(x)
model = keras.Model(inputs, layers.Dense(10)(x))

optimizer = keras_ssm.optimizers.adamw(learning_rate=1e-2, ssm_learning_rate=3e-3)

# %% [markdown]
# `step_min` and `step_max` are the one thing to think about. They are the range of the step sizes
# at the start, and 1 / step is about the number of samples that a mode of the state remembers. The
# defaults, 0.001 to 0.1, suit sequences of thousands of steps; these have 64.
#
# Everything else is Keras: `compile`, `fit`, callbacks, `save`.

# %%
model.compile(
    optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
)
model.fit(x_train, y_train, batch_size=64, epochs=5, verbose=2)
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"test accuracy after five epochs: {accuracy:.1%}")
assert accuracy > 0.5  # by chance it is 0.1

model.save("digits.keras")
loaded = keras.models.load_model("digits.keras")
np.testing.assert_allclose(
    loaded.predict(x_test[:8], verbose=0), model.predict(x_test[:8], verbose=0), atol=1e-5
)

# %% [markdown]
# ## What you know from LSTM
#
# The arguments of Keras' recurrent layers mean here what they mean there: `return_sequences` (on by
# default, since these layers are stacked), `return_state`, `go_backwards`, `stateful`, `mask`,
# `initial_state`, `keras.layers.Bidirectional`. A state is one tensor. The two halves of a
# sequence, with the state handed over, give what the whole gives:

# %%
layer = keras_ssm.layers.S5(32, return_state=True)
u = np.random.default_rng(0).standard_normal((2, 50, 8)).astype("float32")
whole, final = layer(u)
first, state = layer(u[:, :30])
second, state = layer(u[:, 30:], initial_state=state)
halves = np.concatenate([keras.ops.convert_to_numpy(y) for y in (first, second)], axis=1)
np.testing.assert_allclose(halves, keras.ops.convert_to_numpy(whole), atol=1e-4)
assert tuple(final.shape) == (2, 32)

# %% [markdown]
# The gates that look at the input to decide what to forget have no counterpart. The eigenvalues of
# S5 are the same for every input, and what is nonlinear sits between the layers, in the block.
# Where a task is all about resetting by content and sequences are short, keep the LSTM.
#
# For classification, `S5(..., bidirectional=True)` reads the sequence from both ends. Leave it out
# where the model is to stream or to forecast.
#
# ## What to read next
#
# - [Variable lengths, masks and packed documents](variable_lengths.py)
# - [Streaming](streaming.py): the same model, one step at a time
# - [Layers](../reference/layers.md): S5, S4D, S4, DSS and LRU
