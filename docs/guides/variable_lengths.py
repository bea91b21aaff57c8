# %% [markdown]
# # Variable lengths, masks and packed documents
#
# Sequences rarely have the same length. There are three ways to give a model many at once: pad them
# and mark the padding with a mask; sort them into buckets so that little is padded; or pack
# several documents into one row. Every way gives the numbers that each sequence gives alone, and
# this guide checks it.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # or "tensorflow", or "torch"

import keras
import numpy as np

import keras_ssm

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)

# %% [markdown]
# ## A list of sequences
#
# Forty walks of 5 to 40 steps; the class is whether a walk drifts up or down. `SequenceBatches`
# takes such a list as it is. With `buckets` every batch comes from one bucket and has its length,
# so that JAX and TensorFlow compile once per bucket, and short sequences are not padded to the
# longest.

# %%
lengths = rng.integers(5, 41, size=40)
drift = rng.integers(0, 2, size=40)
walks = [
    rng.standard_normal((length, 2)).astype("float32") + 2.0 * up - 1.0
    for length, up in zip(lengths, drift, strict=True)
]
batches = keras_ssm.datasets.SequenceBatches(
    walks, drift, batch_size=8, buckets=[20, 40], shuffle=True
)
shapes = {x.shape[1] for x, _ in batches}
assert shapes == {20, 40}

# %% [markdown]
# ## A model that sees what is padding
#
# `masked=True` hides the steps whose features are all 0, which is what `SequenceBatches` pads with.
# In a model of your own, `keras.layers.Masking`, an `Embedding(mask_zero=True)` or the argument
# `mask` of a call do the same. A masked step leaves the state as it is, in blocks and norms too,
# and [`SequencePooling`](../reference/layers.md) averages over the others.

# %%
model = keras_ssm.models.classifier(
    2,
    (None, 2),
    layer="s5",
    depth=1,
    width=8,
    state_size=8,
    step_min=0.01,
    step_max=1.0,
    masked=True,
)
model.compile(
    keras_ssm.optimizers.adamw(1e-2, 3e-3),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
history = model.fit(batches, epochs=3, shuffle=False, verbose=0)
assert history.history["loss"][-1] < history.history["loss"][0]

# %% [markdown]
# Padded or not, the logits are the same:

# %%
shortest = int(np.argmin(lengths))
padded = np.zeros((1, 40, 2), "float32")
padded[0, : lengths[shortest]] = walks[shortest]
alone = model.predict(walks[shortest][None], verbose=0)
np.testing.assert_allclose(model.predict(padded, verbose=0), alone, atol=1e-5)

# %% [markdown]
# A mask may have holes: missing samples in the middle, padding on the left. The layer goes on as if
# the masked steps were not there, even if they hold NaN.

# %%
layer = keras_ssm.layers.S5(8)
u = rng.standard_normal((1, 30, 3)).astype("float32")
present = np.ones((1, 30), bool)
present[:, [0, 1, 7, 12, 13]] = False
damaged = np.where(present[..., None], u, np.nan)
y = keras.ops.convert_to_numpy(layer(damaged, mask=present))
cut_out = keras.ops.convert_to_numpy(layer(u[:, present[0]]))
np.testing.assert_allclose(y[:, present[0]], cut_out, atol=1e-5)

# %% [markdown]
# If time passes while a sample is missing, a mask says too little: see [irregular
# time](irregular_time.py).
#
# ## Packed documents
#
# Language models pack documents one after another into rows of a fixed length, so that nothing
# is padding. `resets` says where a document begins: the state starts anew there, in both
# directions, and no document sees another. Here three documents share a row.

# %%
packed = keras_ssm.models.classifier(
    2, (None, 2), layer="s5", depth=1, width=8, state_size=8, pooling=None, resets=True
)
documents = [walks[index] for index in (0, 1, 2)]
row = np.concatenate(documents)[None]
begins = np.cumsum([0, *lengths[:2]])
resets = np.zeros(row.shape[:2], bool)
resets[0, begins] = True
together = packed.predict({"inputs": row, "resets": resets}, verbose=0)

alone = [
    packed.predict(
        {"inputs": document[None], "resets": np.zeros((1, len(document)), bool)}, verbose=0
    )[0]
    for document in documents
]
np.testing.assert_allclose(together[0], np.concatenate(alone), atol=1e-5)

# %% [markdown]
# A layer takes `resets` in its call, as it takes `mask`, and [a stream](streaming.py) takes them in
# `step` and `advance`.
#
# ## What to read next
#
# - [Data sets](../reference/datasets.md): all of `SequenceBatches`, and folders of your own files
# - [Irregular time and sampling rates](irregular_time.py)
# - [What one NaN poisons](../with_keras.md#what-one-nan-poisons)
