# %% [markdown]
# # Deploy
#
# A model that was trained under any backend becomes one file that another runtime runs, one step
# at a time, with a state of constant size: on a phone, on a microcontroller's host, in a
# browser, in a service without Keras. This guide writes such a file, runs it without Keras, and
# keeps its state.
#
# `pip install "keras-ssm[export]"` installs what it needs.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # or "tensorflow", or "torch"

import keras
import numpy as np

import keras_ssm
from keras_ssm_runner import load

keras.utils.set_random_seed(0)
model = keras_ssm.models.classifier(2, (None, 3), layer="s5", depth=2, width=8, state_size=8)

# %% [markdown]
# ## Write a file
#
# `export.step` writes one step, or `chunk` steps per call, with an input and an output for every
# state. Any backend will do: where it cannot write the format, a process under another one that is
# installed does. The file is run in its own runtime and compared with the model before it is given
# its name; `error` is the largest difference found, relative to the largest output.

# %%
artefact = keras_ssm.export.step(model, "step.onnx", sampling_rate=100)
print(f"{artefact.size} bytes, error {artefact.error:.1e}")
assert artefact.error < 1e-4

# %% [markdown]
# `export.model` writes the model as it is, for whole sequences. The command does both with a
# training run:
#
# ```
# keras-ssm export runs/mine --format onnx                         # whole sequences
# keras-ssm export runs/mine --format litert --step                # one step in a call
# keras-ssm export runs/mine --format litert --step --chunk 80     # 80 steps in a call
# ```
#
# ## Run it
#
# `keras_ssm_runner` is one module that needs NumPy and the runtime of the file, neither Keras nor
# the framework that trained the model; on a small device, copy it.

# %%
stream = load("step.onnx")
x = np.random.default_rng(0).standard_normal((1, 60, 3)).astype("float32")
stream.reset(batch_size=1)
outputs = [stream.step(x[:, k]) for k in range(60)]
np.testing.assert_allclose(outputs[-1], model.predict(x, verbose=0), atol=1e-4)

# %% [markdown]
# ## Keep the state
#
# The state is a dictionary of arrays, one row for each sequence, to save and to set: after a
# restart, the stream continues where it was.

# %%
saved = stream.states
print({name: value.shape for name, value in saved.items()})
expected = stream.step(x[:, 0])

restarted = load("step.onnx")
restarted.reset(batch_size=1)
restarted.states = saved
np.testing.assert_array_equal(restarted.step(x[:, 0]), expected)

# %% [markdown]
# ## What the file says about itself
#
# Names, shapes and initial values of the states, steps per call, the sampling rate, whether the
# output is pooled, and versions travel with the file.

# %%
print(sorted(stream.metadata))
assert stream.metadata["sampling_rate"] == 100

# %% [markdown]
# ## What to read next
#
# - [Formats](../deploy.md): ONNX, LiteRT, OpenVINO, SavedModel, PyTorch; 8 bits; in a browser
# - [Streaming](streaming.py): the same step in Python, under Keras
# - [Export](../reference/export.md): every option
