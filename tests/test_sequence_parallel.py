"""Sequences cut over four devices give the numbers of one, for a part of the work of each."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_ssm import distribution, layers, models

BACKEND = keras.backend.backend()
COMMAND = pathlib.Path(__file__).resolve().parents[1] / "benchmarks" / "sequence.py"

pytestmark = pytest.mark.training
on_jax = pytest.mark.skipif(BACKEND != "jax", reason="`jax.shard_map` cuts the sequences")


def table(*arguments):
    """The rows that the command prints, in a process with four host devices."""
    root = os.pathsep.join([str(COMMAND.parents[1]), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, str(COMMAND), *arguments],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    rows = [line.strip("| ").split(" | ") for line in result.stdout.splitlines()]
    return [
        row for row in rows if row[0] not in ("layer", "---|---|---|---", "---|---|---|---|---")
    ]


# The command goes through all ways of a call, and costs.
@on_jax
def test_outputs_gradients_and_losses_are_those_of_one_device():
    """Of all five layers and their systems, with masks and both directions; and inside `fit`."""
    names = ("s5", "lru", "s4d", "s4", "dss-softmax")
    fit, *rows = table("--layers", *names, "--calls", "mask-bidirectional", "--fit")
    assert [row[0] for row in rows] == list(names)
    for row in [fit, *rows]:
        assert all(float(error) < 1e-5 for error in row[1:] if error[0].isdigit()), row


@on_jax
def test_a_device_does_a_third_and_only_states_travel():
    """By the compiler's own count: 2 sequences with 8 complex modes, and two numbers for each."""
    rows = table("--costs", "--layers", "s5", "--shape", "2,2048,8,16")
    for _, run, flops, memory, collectives in rows:
        both, gradient = "bidirectional" in run, "gradient" in run
        if not both:
            assert float(flops) <= 1 / 3
            assert float(memory) <= 1 / 2
        expected = [f"{1 + both} all-gather f32[4,2,18]"]
        if gradient:
            expected.append(f"{1 + both} reduce-scatter f32[1,2,18]")
        # With gradients, those of the weights are added up too.
        found = [c for c in collectives.split(", ") if not (gradient and "all-reduce" in c)]
        assert sorted(found) == sorted(expected), run


@on_jax
def test_what_cannot_be_cut_is_refused():
    mesh = keras.distribution.DeviceMesh((1,), ["time"], keras.distribution.list_devices()[:1])
    with pytest.raises(ValueError, match=r"one of its axes\. Received: .*axis='depth'"):
        distribution.sequence_parallel(mesh, "depth")
    x = np.ones((1, 4, 2), "float32")
    with distribution.sequence_parallel(mesh, "time").scope():
        assert layers.S5(4)(x).shape == (1, 4, 2)
        with pytest.raises(ValueError, match=r"S4 takes steps.*Received: time_steps"):
            layers.S4(4)(x, time_steps=np.ones((1, 4), "float32"))
        with pytest.raises(ValueError, match=r"softmax kernel.*Received: resets"):
            layers.DSS(4)(x, resets=np.zeros((1, 4), bool))


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has it")
def test_other_backends_say_so():
    with pytest.raises(ValueError, match=f"JAX.*Received: backend {BACKEND}"):
        distribution.sequence_parallel(None, "time")


# Weights over devices.


@pytest.mark.parametrize("name", ["s5", "lru", "s4d", "s4", "dss"])
def test_every_weight_of_a_layer_has_a_layout_that_fits(name):
    """The axis that is cut is the one of the modes, of the channels or of the units."""
    modes, width = 12, 8
    options = {"state_size": 2 * modes if name in ("s5", "s4d", "s4") else modes}
    model = models.classifier(5, (16, 3), name, depth=2, width=width, bidirectional=True, **options)
    mesh = keras.distribution.DeviceMesh((1, 1), ["batch", "model"], ["cpu:0"])
    layouts = distribution.layout_map(mesh)
    whole = []
    for variable in model.variables:
        layout = layouts[variable.path]
        if layout is None:
            whole.append(variable.path.split("/", 2)[-1])
            continue
        assert len(layout.axes) == len(variable.shape), variable.path
        cut = variable.shape[layout.axes.index("model")]
        assert cut % (modes if name in ("s5", "lru") and f"/{name}" in variable.path else 4) == 0
    shared = {"D", "gamma", "beta", "encoder/bias"} if name in ("s5", "lru") else {"gamma", "beta"}
    if name == "dss":
        shared |= {"Lambda_re", "Lambda_im"}
    assert {path.rpartition("/")[2] for path in whole} - {"bias"} <= shared | {"gamma", "beta"}


def test_a_layout_map_is_of_a_mesh():
    with pytest.raises(ValueError, match="Received: mesh=4"):
        distribution.layout_map(4)
