"""Training as the official code trains: 80 recorded losses from the same initial weights.

The records hold the losses of the official S5 and of the official minimal S4D
in its example's model, in float64, on 8 by 8 digits read pixel by pixel.
"""

import pathlib

import keras
import numpy as np
import pytest

from keras_ssm.models import classifier
from keras_ssm.optimizers import adamw

GOLDEN = pathlib.Path(__file__).parent / "golden"
BATCHES_PER_EPOCH = 16


def s5_model():
    model = classifier(
        10, (64, 1), "s5", depth=2, width=16, state_size=16, blocks=2, bidirectional=True,
        gating="half_glu1", norm="layer", norm_epsilon=1e-6,
    )  # fmt: skip
    return model, adamw(4e-3, 1e-3, weight_decay=0.05)


def s5_weights(official):
    """Our weights, by path, from the flax names."""
    weights = {}
    for name, value in official.items():
        *parents, leaf = name.removeprefix("encoder.").split(".")
        leaf = {"C1": "C", "C2": "C_backward", "scale": "gamma"}.get(leaf, leaf)
        if parents[0].startswith("layers_"):
            child = {"seq": "s5", "out2": "gating/out2"}.get(parents[1], parents[1])
            if parents[1] == "norm":
                leaf = {"bias": "beta"}.get(leaf, leaf)
            path = f"block_{parents[0].removeprefix('layers_')}/{child}/{leaf}"
        else:
            path = f"{parents[0].replace('decoder', 'head')}/{leaf}"
        weights[path] = value[:, 0] if leaf == "log_step" else value
    return weights


def s4d_model(rates):
    model = classifier(
        10, (64, 1), "s4d", depth=2, width=16, state_size=16, train_B=False,
        gating="glu", norm="layer", prenorm=False, norm_epsilon=1e-5,
    )  # fmt: skip
    boundaries = [BATCHES_PER_EPOCH * epoch - 1 for epoch in range(1, 5)]
    schedules = [
        keras.optimizers.schedules.PiecewiseConstantDecay(
            boundaries, rates[group][::BATCHES_PER_EPOCH].tolist()
        )
        for group in ("general", "special")
    ]
    return model, adamw(*schedules, weight_decay=0.01)


def s4d_weights(official):
    """Our weights, by path, from the torch names; ours has -i Im Lambda, hence the conjugate C."""
    leaves = {
        "D": ("s4d/D", lambda x: x[None]),
        "kernel.C": ("s4d/C", lambda x: (x * [1.0, -1.0])[None]),
        "kernel.log_dt": ("s4d/log_step", lambda x: x[:, None]),
        "kernel.log_A_real": ("s4d/Lambda_re", lambda x: x),
        "kernel.A_imag": ("s4d/Lambda_im", lambda x: x),
        "output_linear.0.weight": ("gating/out1/kernel", lambda x: x[..., 0].T),
        "output_linear.0.bias": ("gating/out1/bias", lambda x: x),
        "weight": ("norm/gamma", lambda x: x),
        "bias": ("norm/beta", lambda x: x),
    }
    weights = {
        "encoder/kernel": official["encoder.weight"].T,
        "encoder/bias": official["encoder.bias"],
        "head/kernel": official["decoder.weight"].T,
        "head/bias": official["decoder.bias"],
    }
    for name, value in official.items():
        if name.startswith(("s4_layers.", "norms.")):
            _, index, leaf = name.split(".", 2)
            path, convert = leaves[leaf]
            weights[f"block_{index}/{path}"] = convert(value)
    return weights


def assign(model, weights):
    assert {v.path for v in model.trainable_variables} == set(weights)
    for variable in model.trainable_variables:
        variable.assign(weights[variable.path])


@pytest.mark.training
@pytest.mark.parametrize("name", ["s5_ln", "s4d"])
def test_losses_of_80_steps_equal_those_of_the_official_training(name):
    record = np.load(GOLDEN / f"traj__{name}.npz")
    data = np.load(GOLDEN / "digits.npz")
    official = {k[3:]: record[k] for k in record.files if k.startswith("p0.")}
    if name == "s4d":
        rates = {k[3:]: record[k] for k in record.files if k.startswith("lr.")}
        model, optimizer = s4d_model(rates)
        assign(model, s4d_weights(official))
    else:
        model, optimizer = s5_model()
        assign(model, s5_weights(official))
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    pixels, labels = data["train_pixels"].astype("float32")[..., None] / 16, data["train_labels"]

    losses = []
    for rows in record["batch_indices"]:
        # Of train_on_batch, the loss is a running mean: restarted for every batch.
        model.reset_metrics()
        losses.append(float(model.train_on_batch(pixels[rows], labels[rows])))

    deviation = np.max(np.abs(losses - record["loss"]))
    print(f"largest deviation {deviation:.1e}")
    assert deviation < 1e-4
    assert record["loss"][0] - record["loss"][-1] > 0.1  # the record is no standstill
