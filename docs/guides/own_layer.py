# %% [markdown]
# # Write your own layer
#
# A state space layer is a *parametrization*: it owns weights and says how they become a discretized
# *system*. Running the system is the package's work: whole sequences and single steps, chunks with
# the state carried over, masks, packed documents, irregular time, both directions, streaming,
# saving, mixed precision.
#
# This page makes a bank of leaky averages, the simplest layer that is worth having: every channel
# is averaged over several learned spans of time, and the averages are mixed into one output,
#
# $$x_k = \lambda\, x_{k-1} + (1 - \lambda)\, u_k, \qquad y_k = \sum_n C_n x_{k,n} + D u_k,
# \qquad \lambda = e^{-\Delta t / \tau}.$$
#
# ## The leaf

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # or "tensorflow", or "torch"

import keras
import numpy as np
from keras import ops

import keras_ssm
from keras_ssm.layers import SSM
from keras_ssm.ops.systems import Channelwise


@keras.saving.register_keras_serializable(package="averages")
class Averages(SSM):
    """A bank of leaky averages of every channel.

    Args:
        state_size: number of averages of a channel.
        span: longest span at the start, in steps.
        bidirectional: average from the end as well.
        **kwargs: of `SSM` and `keras.layers.Layer`.
    """

    system_class = Channelwise
    weight_names = ("C",)

    def __init__(self, state_size=8, span=100.0, bidirectional=False, **kwargs):
        super().__init__(state_size, bidirectional=bidirectional, **kwargs)
        self.span = span

    @property
    def modes(self):
        return self.state_size

    def build(self, input_shape):
        super().build(input_shape)
        H, N, directions = self.width, self.state_size, 2 if self.bidirectional else 1
        spans = keras.initializers.RandomUniform(0.0, ops.log(self.span))
        self.log_span = self.add_parameter("log_span", (H, N), spans, group="eigenvalues")
        self.C = self.add_parameter("C", (directions, 1, H, N), "glorot_uniform", group="output")
        self.D = self.add_parameter("D", (1, H), "ones", group="output")

    def system(self, rate=None, time_steps=None):
        steps = self.durations(rate, time_steps, axes=2)
        log_lam = -steps * ops.exp(-ops.convert_to_tensor(self.log_span))
        gain, C = -ops.expm1(log_lam), ops.convert_to_tensor(self.C)
        zero = ops.zeros_like
        return Channelwise(
            (log_lam, zero(log_lam)),
            (gain, zero(gain)),
            (C, zero(C)),
            ops.convert_to_tensor(self.D),
        )

    def get_config(self):
        return {**super().get_config(), "span": self.span}


# %% [markdown]
# - `system_class` is the kind of system that `system` gives; the [reference](../reference/ops.md)
#   lists them: one state for all channels (`SharedState`), one for each (`Channelwise`),
#   one normalized over a length (`Softmax`), one whose matrix is diagonal plus low rank
#   (`LowRank`).
# - `modes` says how many complex modes are stored, per channel where each has a state of its own.
#   The size of the state follows from it.
# - `build` calls that of the base first, which sets `self.width`. Every weight names the group of
#   [`optimizers.adamw`](../reference/optimizers.md) that trains it; a name of your own needs a rate
#   of its own.
# - `system` takes `rate` and `time_steps` and needs no case for either: `durations` gives what the
#   step sizes are multiplied by, in the right shape. Complex numbers are pairs of real tensors.
# - `weight_names` adds `C_initializer`, `C_regularizer` and `C_constraint` to the arguments.
#
# What a leaf does not have, the base refuses: arguments nobody named, and `bidirectional=True`
# where the system has one direction.
#
# ## What it can do now

# %%
layer = Averages(4, return_state=True)
x = np.random.default_rng(0).standard_normal((2, 50, 3)).astype("float32")
y, state = layer(x)

step_state = layer.get_initial_state(2)
for k in range(50):
    y_k, step_state = layer.step(x[:, k], step_state)
np.testing.assert_allclose(ops.convert_to_numpy(y_k), ops.convert_to_numpy(y[:, -1]), atol=1e-5)

durations = np.random.default_rng(1).uniform(0.5, 2.0, (2, 50)).astype("float32")
y, state = layer(x, time_steps=durations, mask=durations < 1.8)

# %% [markdown]
# It works in blocks and models like the others, by its class or by the name under which it is
# registered:

# %%
model = keras_ssm.models.classifier(2, (None, 3), layer=Averages, depth=2, width=8, state_size=4)
model.compile(
    keras_ssm.optimizers.adamw(4e-3, 1e-3),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)

machine = keras_ssm.models.streaming(model)
machine.reset(batch_size=2)
logits = [machine.step(x[:, k]) for k in range(50)][-1]

memory = keras_ssm.analysis.memory_length(model.get_layer("block_0"))

# %% [markdown]
# ## What to read next
#
# - [Layers](../reference/layers.md): the base class `SSM`, and what `S5` and `LRU` make of it
# - [Operations](../reference/ops.md): the systems, and the pieces to build one from
# - [Streaming](streaming.py): `testing.check_streaming` for the tests of your model
