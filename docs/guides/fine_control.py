# %% [markdown]
# # Fine control: optimizer groups, freezing, your own training loop
#
# `compile` and `fit` with `keras_ssm.optimizers.adamw` are what most models need. This guide shows
# what that optimizer does, how to train a part of a model, and the same training written as a loop
# of your own under each backend.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # or "tensorflow", or "torch"

import keras
import numpy as np

import keras_ssm

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x = rng.standard_normal((64, 32, 3)).astype("float32")
y = (x[:, :, 0].mean(axis=1) > 0).astype("int32")


def make_model():
    keras.utils.set_random_seed(0)
    return keras_ssm.models.classifier(
        2, (32, 3), layer="s5", depth=1, width=8, state_size=8, step_min=0.01, step_max=1.0
    )


loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

# %% [markdown]
# ## Groups
#
# Eigenvalues, input matrices and step sizes decide what a layer remembers; they train with a
# smaller learning rate and without weight decay. Each weight names its group, and one optimizer
# holds the rates of all.

# %%
model = make_model()
ssm = model.get_layer("block_0").ssm
groups = {weight.name: weight.ssm_group for weight in ssm.weights}
print(groups)
assert groups["Lambda_re"] == groups["Lambda_im"] == "eigenvalues"
assert (groups["B"], groups["C"], groups["log_step"]) == ("input", "output", "step")

optimizer = keras_ssm.optimizers.adamw(
    learning_rate=1e-2,  # of everything that is in no other group, and of C and D
    ssm_learning_rate=2e-3,  # of eigenvalues, inputs and steps
    step_learning_rate=1e-3,  # of the steps alone, if they are to have their own
    weight_decay=0.05,  # of the first group alone
    global_clipnorm=1.0,  # over all groups together
)
assert round(float(optimizer.learning_rate_of("eigenvalues")), 6) == 2e-3
assert round(float(optimizer.learning_rate_of("step")), 6) == 1e-3

# %% [markdown]
# `optimizer.learning_rate` is that of the rest. Setting it scales the others with it, so that
# `ReduceLROnPlateau` and `LearningRateScheduler` do what they say. With `total_steps` all rates
# rise for `warmup_steps` and fall as a cosine.

# %%
optimizer.learning_rate = 5e-3
assert round(float(optimizer.learning_rate_of("eigenvalues")), 6) == 1e-3

model.compile(optimizer, loss_fn)
losses = model.fit(x, y, batch_size=16, epochs=3, verbose=0).history["loss"]
print(losses)
assert losses[-1] < losses[0]

# %% [markdown]
# A weight of a layer of your own joins a group by its attribute `ssm_group`; a group of a new name
# gets its rate from `group_learning_rates={"name": rate}`.
#
# ## Freezing
#
# `trainable = False` freezes what it freezes in Keras: a model, a block, a layer. To give a trained
# model a new head, freeze what is below it. A rate that no weight trains with is an error, so leave
# out the rates of the groups that are frozen.

# %%
for layer in model.layers:
    layer.trainable = layer.name == "head"
model.compile(keras_ssm.optimizers.adamw(1e-2), loss_fn)
before = [keras.ops.convert_to_numpy(weight).copy() for weight in ssm.weights]
head = keras.ops.convert_to_numpy(model.get_layer("head").kernel).copy()
model.fit(x, y, epochs=1, verbose=0)
for old, weight in zip(before, ssm.weights, strict=True):
    np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(weight))
assert np.abs(head - keras.ops.convert_to_numpy(model.get_layer("head").kernel)).max() > 0

# %% [markdown]
# A single weight is frozen by its own `trainable`, before the optimizer meets the model. With fixed
# step sizes, for example, the time scales stay where you have set them:

# %%
model = make_model()
ssm = model.get_layer("block_0").ssm
ssm.log_step.trainable = False
assert "log_step" not in [weight.name for weight in model.trainable_weights]

# %% [markdown]
# ## A loop of your own
#
# The layers are Keras layers, so the loop is the usual one of the backend. Nothing in it knows of
# state space layers; the optimizer finds its groups from the weights. Each cell defines
# `train_step` for one backend.

# %%
model = make_model()
optimizer = keras_ssm.optimizers.adamw(1e-2, 5e-3)
optimizer.build(model.trainable_variables)

# %% [markdown]
# JAX: pure functions of the values of all variables.

# %%
if keras.backend.backend() == "jax":
    import jax

    def forward(trainable, fixed, x, y):
        logits, fixed = model.stateless_call(trainable, fixed, x, training=True)
        return loss_fn(y, logits), fixed

    @jax.jit
    def update(values, x, y):
        trainable, fixed, slots = values
        (loss, fixed), gradients = jax.value_and_grad(forward, has_aux=True)(trainable, fixed, x, y)
        trainable, slots = optimizer.stateless_apply(slots, gradients, trainable)
        return loss, (trainable, fixed, slots)

    variables = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    values = tuple([variable.value for variable in group] for group in variables)

    def train_step(x, y):
        global values
        loss, values = update(values, x, y)
        return loss


# %% [markdown]
# TensorFlow: a tape, in a function that is compiled.

# %%
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    @tf.function
    def train_step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_fn(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss


# %% [markdown]
# PyTorch: `backward`, and the gradients that it leaves.

# %%
if keras.backend.backend() == "torch":
    import torch

    def train_step(x, y):
        model.zero_grad()
        loss = loss_fn(torch.as_tensor(y), model(x, training=True))
        loss.backward()
        gradients = [variable.value.grad for variable in model.trainable_variables]
        with torch.no_grad():
            optimizer.apply(gradients, model.trainable_variables)
        return loss.detach()


# %% [markdown]
# And the loop:

# %%
losses = []
for _ in range(3):
    for start in range(0, len(x), 16):
        loss = train_step(x[start : start + 16], y[start : start + 16])
    losses.append(float(loss))
print(losses)

# %% [markdown]
# Under JAX the values are handed back to the variables at the end.

# %%
if keras.backend.backend() == "jax":
    for group, new in zip(variables, values, strict=True):
        for variable, value in zip(group, new, strict=True):
            variable.assign(value)

# %% [markdown]
# This is what `fit` does: the same batches in the same order give the same weights.

# %%
fitted = make_model()
fitted.compile(keras_ssm.optimizers.adamw(1e-2, 5e-3), loss_fn)
fitted.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
for a, b in zip(fitted.get_weights(), model.get_weights(), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)

# %% [markdown]
# ## What to read next
#
# - [Optimizers and schedules](../reference/optimizers.md): the variants of the papers
# - [Callbacks](../reference/callbacks.md): watching the eigenvalues while a model trains
# - [More than one device](devices.py)
# - [Write your own layer](own_layer.py)
