# %% [markdown]
# # Reading the pictures
#
# What a state space layer remembers, passes and forgets is in its weights. This guide draws it,
# before and after training, and says what to look for.
#
# The command draws its own runs, and any `.keras` file:
#
# ```
# keras-ssm plot runs/demo                         # pictures of a run, into runs/demo/plots
# keras-ssm plot runs/demo --sampling-rate 16000   # the same in seconds and Hz
# keras-ssm summary runs/demo                      # its layers as a table
# ```
#
# `make demo` trains that run. Next to every trained layer of a run, the pictures show the same
# layer before training, made anew from the run's seed.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # or "tensorflow", or "torch"

import keras
import numpy as np
import scipy.signal

import keras_ssm
from keras_ssm import analysis, visualization

keras.utils.set_random_seed(0)

# %% [markdown]
# ## A model to look at
#
# It tells slow waves from fast ones, in noise.

# %%
rng = np.random.default_rng(0)
y = np.arange(64) % 2
wave = np.sin(np.arange(100) * np.where(y, 0.5, 0.05)[:, None] + rng.uniform(0, 6, (64, 1)))
x = (wave + rng.normal(0, 0.5, wave.shape))[..., None].astype("float32")

model = keras_ssm.models.classifier(2, (None, 1), layer="s5", depth=2, width=8, state_size=16)
before = keras.models.clone_model(model)
before.set_weights(model.get_weights())
model.compile(
    keras_ssm.optimizers.adamw(4e-3, 1e-3),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
history = model.fit(x, y, epochs=4, verbose=0)
assert history.history["loss"][-1] < history.history["loss"][0]

# %% [markdown]
# ## All of them at once

# %%
keras_ssm.summary(model)  # prints the table, and returns it
paths = keras_ssm.plot(model, "plots")  # all pictures of every layer, as PNG files
figure = visualization.plot_memory(model)  # one Figure, with a panel for each layer

layers = analysis.ssm_layers(model)  # {"block_0/s5": ..., "block_1/s5": ...}
layer = layers["block_0/s5"]
visualization.plot_kernels(layer, sampling_rate=100).savefig("kernels.png")
visualization.plot_eigenvalues({"before": before, "after": model})
steps = analysis.memory_length(layer)  # steps that hold 99 % of each feature's kernel
print(f"from {min(steps):.0f} to {max(steps):.0f} steps of memory")

# %% [markdown]
# Every `plot_*` function takes a layer, a block, a model, or a dictionary of them to show side by
# side, and draws in the colors of your matplotlib style, so that `with
# matplotlib.style.context("dark_background"):` gives a dark picture.
#
# All pictures but the last are drawn from the layer's own weights in float64 and take no data. Of a
# pair of conjugate eigenvalues, the layers store one, and one is drawn. Click a picture to enlarge
# it.
#
# ## Eigenvalues: `plot_eigenvalues`
#
# [![Eigenvalues before and after training](../plots/eigenvalues.png)](../plots/eigenvalues.png)
#
# Every dot is a mode. Its distance from the vertical line at 0 is how fast it decays, its height
# how fast it oscillates, both in the layer's own unit of time, of which the learned step dt is a
# part: step sizes are not in this picture. A line of dots at -0.5 is the usual start; training
# spreads it. Where a few modes lie far from the others, as with HiPPO, the axis is linear near 0
# and logarithmic beyond, as its label says. Red crosses in the shaded half grow with time. In S5
# (without `clip_eigenvalues`) that means that long sequences will overflow; in DSS with a softmax
# kernel it is normal, and such a mode reads the end of the sequence.
#
# ## Unit disc: `plot_unit_disc`
#
# [![Discrete eigenvalues before and after training](../plots/unit-disc.png)](../plots/unit-disc.png)
#
# What a mode is multiplied by in every step, step size included. On the circle a mode never
# forgets, near the center it forgets at once; the color says how fast. The angle is the phase
# of one step: half a turn (the left edge) is Nyquist. If all dots sit at 1, the steps are small for
# the sequence, and all modes are slow.
#
# ## Time scales and frequencies: `plot_time_scales`
#
# [![Time scales and frequencies before and after training](../plots/time-scales.png)](../plots/time-scales.png)
#
# To the right, long memory; up, fast oscillation. Compare the right end with the length of your
# sequences: modes far beyond it are seen as constants, and nothing long can be learned if all are
# far below it. `step_min` and `step_max` move the cloud sideways and up together. Modes above the
# dashed line turn by more than half a turn per step, and look like slower ones.
#
# ## Kernels: `plot_kernels`, `plot_kernel_map`
#
# [![Kernels before and after training](../plots/kernels.png)](../plots/kernels.png)
#
# The weight of an input that lies `lag` steps back, for four features, from the shortest memory at
# the top to the longest (for S5, from the input that an output depends on most). A bidirectional
# layer, as here, also has negative lags, the steps ahead.
#
# [![Map of the kernels before and after training](../plots/kernel-map.png)](../plots/kernel-map.png)
#
# The map shows |K| of all features, each relative to its largest value, so that the width of the
# bright part is the memory of a feature. Training has made it wider here.
#
# ## Frequency response: `plot_frequency_response`
#
# [![Frequency responses before and after training](../plots/frequency-response.png)](../plots/frequency-response.png)
#
# What the layer passes and what it attenuates, skip included, for the features with the shortest
# and the longest memory: 0 dB is unchanged, -20 dB a tenth. Peaks are lightly damped modes. Softmax
# kernels and unstable modes have no response to an endless wave; they are drawn for the kernel's
# first taps, which adds ripples.
#
# ## Memory: `plot_memory`
#
# [![Effective memory before and after training](../plots/memory.png)](../plots/memory.png)
#
# The share of the kernel's energy within the last L steps, for every feature. The crossing with the
# dashed line is the length that holds 99 %, which `keras-ssm summary` prints. If it is much shorter
# than what your task needs, lower `step_min`; if most lines are still rising at your sequence
# length, raise `step_max`.
#
# ## State: `plot_states`
#
# [![State of every mode while the layer reads a wave and a single step](../plots/states.png)](../plots/states.png)
#
# |x| of every mode while the layer reads one input, drawn above it, the slowest mode at the top. How far
# a bright band reaches to the right of an event is how long that mode keeps it. For a model,
# `plot_states(model, inputs)` takes one input of the model, and shows each layer while the model
# reads it.
#
# ## While training
#
# `keras_ssm.callbacks.SSMMonitor` writes step sizes, the largest |lambda| and the share of unstable
# modes of every layer into the Keras logs, and stops with the names of the weights if one goes to
# NaN. Put it before the callbacks that write the logs:

# %%
callbacks = [keras_ssm.callbacks.SSMMonitor(), keras.callbacks.CSVLogger("log.csv")]
history = model.fit(x, y, epochs=2, callbacks=callbacks, verbose=0)
print([name for name in history.history if "lambda" in name])

# %% [markdown]
# `max_abs_lambda` creeping above 1 is the usual reason for a loss that explodes on longer
# sequences: use `clip_eigenvalues=True` (S5), or an exp kernel (DSS); S4D cannot leave the unit
# disc unless `parametrization={"real": "none"}`.
#
# ## In the form of control theory

# %%
A, B, C, D, dt = analysis.to_statespace(layer, channel=0)
system = scipy.signal.dlti(A, B, C, D, dt=dt)  # or control.ss(A, B, C, D, dt)

# %% [markdown]
# `channel` is an output feature, or a pair (output, input) for S5, where h alone means (h, h); None
# gives the whole layer with all features in and out. The matrices are real and the state is the one
# before the input, as those packages have it. A bidirectional layer is two systems, the second one
# with `backward=True`.
#
# The pictures here are `runs/demo/plots/block_0-s5-*.png` of `make demo` and `keras-ssm plot
# runs/demo` (S5, 24 epochs of digits, JAX 0.10.2, matplotlib 3.11.2).
#
# ## What to read next
#
# - [Analysis](../reference/analysis.md): the same as numbers
# - [Visualization](../reference/visualization.md): every picture and its options
# - [Which layer](../which_layer.md): what the initial time scales should be
