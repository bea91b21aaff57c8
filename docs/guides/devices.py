# %% [markdown]
# # More than one device
#
# Where one device is too small, training uses the engine of its framework: a copy of the model
# on every device, each with a part of every batch. The numbers stay those of one device. JAX can
# split weights and long sequences across devices as well.
#
# | what | JAX | TensorFlow | PyTorch |
# |---|---|---|---|
# | a part of every batch on each device of a process | all devices, `keras.distribution.DataParallel` | all devices, `MirroredStrategy` | one device per process |
# | several processes or hosts | `keras.distribution.initialize` | `MultiWorkerMirroredStrategy` | `DistributedDataParallel` under `torchrun` |
# | weights split across devices | `layout_map` for `keras.distribution.ModelParallel` | - | - |
# | long sequences split across devices | `sequence_parallel` | - | - |
#
# ## From the command
#
# One host, all its devices:
#
# ```
# keras-ssm train digits --layer s5 --backend jax --data-parallel
# keras-ssm train digits --layer s5 --backend tensorflow --data-parallel
# torchrun --nproc-per-node 2 --no-python keras-ssm train digits --layer s5 --backend torch --data-parallel
# ```
#
# Several hosts: the same command in every process, with these variables (PyTorch: `torchrun` with
# `--nnodes` and `--rdzv-endpoint`).
#
# | backend | variables |
# |---|---|
# | JAX | `KERAS_DISTRIBUTION_JOB_ADDRESSES` (of process 0), `KERAS_DISTRIBUTION_NUM_PROCESSES`, `KERAS_DISTRIBUTION_PROCESS_ID` |
# | TensorFlow | `TF_CONFIG`, as `{"cluster": {"worker": ["a:1234", "b:1234"]}, "task": {"type": "worker", "index": 0}}` |
#
# The batch size is that of all devices together, and must be a multiple of their number. Batches,
# their order, batch norm and metrics are those of one device; a batch that does not divide is
# filled up with rows of weight 0. Process 0 writes the run folder and tests the model; for
# `--resume`, all processes must see the folder, and their number may differ. If a process
# ends, the others stop with one line, and `--resume` goes on from the last epoch.
#
# ## From Python
#
# `data_parallel` does what `--data-parallel` does, on the devices that there are. On PyTorch
# `torchrun` starts the processes and sets the variables below; the values here are for a single
# process without it.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # or "tensorflow", or "torch"

import keras
import numpy as np

import keras_ssm

keras.utils.set_random_seed(0)
alone = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29517"}
for name, value in alone.items():
    os.environ.setdefault(name, value)

rng = np.random.default_rng(0)
x, y = rng.standard_normal((32, 50, 3)).astype("float32"), np.arange(32) % 2


def make():
    """A small classifier, the same every time."""
    keras.utils.set_random_seed(1)
    model = keras_ssm.models.classifier(2, (None, 3), layer="s5", depth=1, width=8, state_size=8)
    model.compile(
        keras_ssm.optimizers.adamw(4e-3, 1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def batches():
    """Batches of 8, of all devices together."""
    return keras_ssm.datasets.SequenceBatches(x, y, batch_size=8, shuffle=False)


with keras_ssm.distribution.data_parallel() as replicas:
    with replicas.scope():
        model = make()
    losses = replicas.fit(model, batches(), epochs=2, verbose=0).history["loss"]
print(losses)

expected = make().fit(batches(), shuffle=False, epochs=2, verbose=0).history["loss"]
np.testing.assert_allclose(losses, expected, rtol=1e-5)

# %% [markdown]
# ## A loop of your own
#
# `shard=(rank, world)` gives a process its part of every batch. Together the parts are the batch.

# %%
parts = [
    keras_ssm.datasets.SequenceBatches(x, y, batch_size=8, shuffle=False, shard=(rank, 2))
    for rank in range(2)
]
first = [next(iter(part))[0] for part in parts]
np.testing.assert_array_equal(np.concatenate(first), x[:8])

# %% [markdown]
# ## Weights split across devices
#
# For a model that is too large for one device, `layout_map` says how the weights of our layers are
# split along an axis of the devices, in the terms of `keras.distribution.ModelParallel`. It is a
# starting point: add layouts for layers of your own.

# %%
if keras.backend.backend() == "jax":
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((1, len(devices)), ("batch", "model"), devices)
    layout = keras_ssm.distribution.layout_map(mesh)
    with keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch").scope():
        model = make()
        history = model.fit(x, y, batch_size=8, shuffle=False, epochs=2, verbose=0)
    np.testing.assert_allclose(history.history["loss"], expected, rtol=1e-5)

# %% [markdown]
# ## Sequences split across devices
#
# Under `sequence_parallel`, every device has a piece of each sequence, and only states travel:
# sequences that no device could hold are trained on as they are.

# %%
if keras.backend.backend() == "jax":
    mesh = keras.distribution.DeviceMesh((len(devices),), ("time",), devices)
    with keras_ssm.distribution.sequence_parallel(mesh, "time").scope():
        model = make()
        history = model.fit(x, y, batch_size=8, shuffle=False, epochs=2, verbose=0)
    np.testing.assert_allclose(history.history["loss"], expected, rtol=1e-5)

# %% [markdown]
# ## What was run
#
# `python benchmarks/devices.py` on 2 shared cores: 20 steps of a classifier with batch norm, S5,
# LRU, S4D, S4 and DSS; the largest relative difference from one device, over all layers.
#
# | backend | run | losses of 20 steps | weights |
# |---|---|---|---|
# | torch 2.13.0+cpu | 2 processes | 1.9e-07 | 2.4e-06 |
# | torch 2.13.0+cpu | 4 processes | 2.0e-07 | 1.2e-05 |
# | jax 0.10.2 | 2 devices | 1.8e-07 | 2.0e-06 |
# | jax 0.10.2 | 2 processes | 1.8e-07 | 2.0e-06 |
# | jax 0.10.2 | 4 devices | 1.8e-07 | 2.8e-06 |
# | jax 0.10.2 | 4 processes | 1.8e-07 | 1.3e-06 |
#
# TensorFlow was run by the tests alone: two processes, one of which is killed, resumed on one.
#
# `python benchmarks/sequence.py --costs` at B,L,H,N = 2,4096,16,16: the costs of one of four
# devices that share a sequence, relative to one that does everything.
#
# | layer | run | operations | memory |
# |---|---|---|---|
# | S5 | forward / gradient | 0.26 / 0.30 | 0.29 / 0.34 |
# | S5, bidirectional | forward / gradient | 0.29 / 0.34 | 0.25 / 0.36 |
# | LRU | forward / gradient | 0.26 / 0.30 | 0.25 / 0.35 |
# | S4D | forward / gradient | 0.16 / 0.24 | 0.22 / 0.42 |
# | S4D, bidirectional | forward / gradient | 0.29 / 0.45 | 0.41 / 0.77 |
#
# Only states travel, (devices, batch, state_width + 2) for each direction, and the gradients of the
# weights.
#
# ## Limits
#
# - GPUs and several hosts were not available: the runs were processes on one machine.
# - Dropout is drawn by each process on PyTorch, and is the same in every copy on TensorFlow; only
#   on JAX does a run with dropout have the numbers of one device.
# - Sequences split across devices: S4 with `time_steps` or `resets`, and resets of a softmax
#   kernel, are refused, as is a length that is not a multiple of the number of devices.
#
# ## What to read next
#
# - [Several devices](../reference/distribution.md): every function
# - [The command](../reference/runs.md): `--data-parallel`, `--resume`
# - [Data sets](../reference/datasets.md): `SequenceBatches`
