"""Training as the official code trains: 80 recorded losses from the same initial weights.

The records hold the losses of the official S5 and of the official minimal S4D
in its example's model, in float64, on 8 by 8 digits read pixel by pixel.
"""

import pathlib

import keras
import numpy as np
import pytest

from keras_ssm.converters import load_official
from keras_ssm.models import classifier
from keras_ssm.optimizers import adamw

GOLDEN = pathlib.Path(__file__).parent / "golden"
BATCHES_PER_EPOCH = 16


def s5_model():
    model = classifier(
        10, (64, 1), "s5", depth=2, width=16, state_size=16, blocks=2, bidirectional=True,
        block={"gating": "half_glu1", "norm": "layer", "norm_epsilon": 1e-6},
    )  # fmt: skip
    return model, adamw(4e-3, 1e-3, weight_decay=0.05)


def load_s5(model, official):
    """Official initial weights, blocks by the converters and the two Dense layers here."""
    for name in ("encoder", "head"):
        flax = {"encoder": "encoder.encoder", "head": "decoder"}[name]
        model.get_layer(name).set_weights([official[f"{flax}.kernel"], official[f"{flax}.bias"]])
    for index in (0, 1):
        load_official(
            model.get_layer(f"block_{index}"), below(official, f"encoder.layers_{index}.")
        )


def s4d_model(rates):
    model = classifier(
        10, (64, 1), "s4d", depth=2, width=16, state_size=16, parametrization={"train_B": False},
        block={"gating": "glu", "norm": "layer", "prenorm": False, "norm_epsilon": 1e-5},
    )  # fmt: skip
    boundaries = [BATCHES_PER_EPOCH * epoch - 1 for epoch in range(1, 5)]
    schedules = [
        keras.optimizers.schedules.PiecewiseConstantDecay(
            boundaries, rates[group][::BATCHES_PER_EPOCH].tolist()
        )
        for group in ("general", "special")
    ]
    return model, adamw(*schedules, weight_decay=0.01)


def load_s4d(model, official):
    """Official initial weights; the norms belong to the example's model, not to its layer."""
    for name, torch in (("encoder", "encoder"), ("head", "decoder")):
        weight, bias = official[f"{torch}.weight"], official[f"{torch}.bias"]
        model.get_layer(name).set_weights([weight.T, bias])
    for index in (0, 1):
        block = model.get_layer(f"block_{index}")
        load_official(block, below(official, f"s4_layers.{index}."), minimal=True)
        norm = below(official, f"norms.{index}.")
        block.norm_layer.set_weights([norm["weight"], norm["bias"]])


def below(official, prefix):
    return {k.removeprefix(prefix): v for k, v in official.items() if k.startswith(prefix)}


@pytest.mark.training
@pytest.mark.parametrize("name", ["s5_ln", "s4d"])
def test_losses_of_80_steps_equal_those_of_the_official_training(name):
    record = np.load(GOLDEN / f"traj__{name}.npz")
    data = np.load(GOLDEN / "digits.npz")
    official = {k[3:]: record[k] for k in record.files if k.startswith("p0.")}
    if name == "s4d":
        rates = {k[3:]: record[k] for k in record.files if k.startswith("lr.")}
        model, optimizer = s4d_model(rates)
        load_s4d(model, official)
    else:
        model, optimizer = s5_model()
        load_s5(model, official)
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
