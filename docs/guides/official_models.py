# %% [markdown]
# # Bring an official model
#
# Weights that were trained with the authors' code run here, stream here, and go back. A checkpoint
# of lindermanlab/S5, state-spaces/s4 or ag1988/dss is a dictionary of arrays under the names of
# that code; `load_official` sets the weights of a layer, a block or a whole model from it.
#
# No checkpoint is downloaded here. Two stand-ins of a few lines of NumPy compute what the official
# modules compute, from arrays under the official names, so that the numbers can be compared.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # or "tensorflow", or "torch"

import keras
import numpy as np

import keras_ssm
from keras_ssm import converters

rng = np.random.default_rng(0)
u = rng.standard_normal((2, 40, 4)).astype("float32")

# %% [markdown]
# ## S5: flax variables
#
# `S5SSM` of lindermanlab/S5 stores half of the conjugate pairs: eigenvalues as real and imaginary
# parts, complex B and C as pairs on a last axis. Its recurrence, written out:

# %%
P, H = 6, 4
s5 = {
    "params": {
        "Lambda_re": -rng.uniform(0.3, 0.7, P),
        "Lambda_im": rng.uniform(0, 10, P),
        "log_step": rng.uniform(np.log(0.01), np.log(0.1), (P, 1)),
        "B": rng.standard_normal((P, H, 2)),
        "C": rng.standard_normal((H, P, 2)),
        "D": rng.standard_normal(H),
    }
}


def complex_of(array):
    return array[..., 0] + 1j * array[..., 1]


def s5_ssm(variables, u):
    p = variables["params"]
    Lambda, dt = p["Lambda_re"] + 1j * p["Lambda_im"], np.exp(p["log_step"][:, 0])
    lam = np.exp(Lambda * dt)  # zero-order hold
    B = ((lam - 1) / Lambda)[:, None] * complex_of(p["B"])
    x, outputs = np.zeros((len(u), P), complex), []
    for k in range(u.shape[1]):
        x = lam * x + u[:, k] @ B.T
        outputs.append(2 * (x @ complex_of(p["C"]).T).real + p["D"] * u[:, k])
    return np.stack(outputs, axis=1)


# %% [markdown]
# `layer_options` translates the arguments that the official module was made with. `ssm_size` is the
# size before conjugate symmetry halves it.

# %%
options = converters.layer_options("s5", {"ssm_size": 2 * P, "blocks": 1, "discretization": "zoh"})
layer = keras_ssm.layers.S5(**options)
layer.build((None, None, H))
converters.load_official(layer, s5)
y = keras.ops.convert_to_numpy(layer(u))
np.testing.assert_allclose(y, s5_ssm(s5, u), rtol=1e-4, atol=1e-4)

# %% [markdown]
# ## S4D: a state_dict
#
# The minimal S4D of state-spaces/s4 (`models/s4/s4d.py`) is a convolution with the kernel 2 Re sum
# C (exp(dt A) - 1) / A exp(dt A k). The dictionary is what torch's `state_dict()` gives; tensors of
# any framework are taken as well as arrays, and prefixes that all names share are dropped.

# %%
N = 8  # conjugate pairs of each of the 4 channels
s4d = {
    "layer.kernel.log_dt": rng.uniform(np.log(0.01), np.log(0.1), H),
    "layer.kernel.log_A_real": np.log(0.5) * np.ones((H, N)),
    "layer.kernel.A_imag": np.pi * np.tile(np.arange(N), (H, 1)),
    "layer.kernel.C": rng.standard_normal((H, N, 2)),
    "layer.D": rng.standard_normal(H),
}


def minimal_s4d(state_dict, u):
    p = {name.removeprefix("layer."): value for name, value in state_dict.items()}
    A = -np.exp(p["kernel.log_A_real"]) + 1j * p["kernel.A_imag"]
    dtA = A * np.exp(p["kernel.log_dt"])[:, None]
    C = complex_of(p["kernel.C"]) * (np.exp(dtA) - 1) / A
    length = u.shape[1]
    kernel = 2 * np.einsum("hn,hnk->kh", C, np.exp(dtA[..., None] * np.arange(length))).real
    y = p["D"] * u
    for k in range(length):
        y[:, k:] += kernel[: length - k] * u[:, k, None]
    return y


layer = keras_ssm.layers.S4D(state_size=2 * N)
layer.build((None, None, H))
converters.load_official(layer, s4d)
y = keras.ops.convert_to_numpy(layer(u))
np.testing.assert_allclose(y, minimal_s4d(s4d, u), rtol=1e-4, atol=1e-4)

# %% [markdown]
# What does not fit is named before anything is set:

# %%
broken = {name: value for name, value in s4d.items() if not name.endswith("log_dt")}
try:
    converters.load_official(layer, broken)
except ValueError as error:
    print(error)
    message = str(error)
assert "1 missing: 'kernel.log_dt'" in message

# %% [markdown]
# ## Whole models
#
# A `classifier` takes the checkpoint of a whole official model. What the names do not tell, such as
# the gating, has to be what it was there; the [reference](../reference/converters.md) has the
# table. `export_official` goes the other way, so that a model trained here continues in the
# authors' code.

# %%
model = keras_ssm.models.classifier(
    10, (None, 1), layer="s5", depth=2, width=8, state_size=8,
    block={"gating": "half_glu1", "norm": "batch"},
)  # fmt: skip
arrays = converters.export_official(model)
print(*arrays, sep="\n")
np.savez("s5.npz", **arrays)

copy = keras.models.clone_model(model)
converters.load_official(copy, converters.read_checkpoint("s5.npz"))
x = rng.standard_normal((2, 30, 1)).astype("float32")
np.testing.assert_array_equal(copy.predict(x, verbose=0), model.predict(x, verbose=0))

# %% [markdown]
# `read_checkpoint` reads files of torch, lightning, safetensors, NumPy and flax, without running
# code that is in them.
#
# And the model streams at once:

# %%
machine = keras_ssm.models.streaming(copy)
machine.reset(batch_size=2)
for k in range(30):
    logits = machine.step(x[:, k])
np.testing.assert_allclose(
    keras.ops.convert_to_numpy(logits), model.predict(x, verbose=0), atol=1e-4
)

# %% [markdown]
# ## What to read next
#
# - [Official checkpoints](../reference/converters.md): names, layouts, options
# - [What is left out](../left_out.md) of the official code
# - [Streaming](streaming.py) and [deploying](../deploy.md) what you brought
