"""Schedules against the loop of the S5 code and against torch's scheduler."""

import itertools
import os

import keras
import numpy as np
import pytest
from keras import ops

from keras_ssm.callbacks import ReduceOnPlateau
from keras_ssm.layers import S5
from keras_ssm.optimizers import adamw
from keras_ssm.schedules import S5Schedule, warmup_cosine

BACKEND = os.environ["KERAS_BACKEND"]


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x), "float64")


def rates_of_the_loop(peak, epochs, steps_per_epoch, warmup_epochs):
    """Rates in the order of their use, from a training loop that sets one after each step."""
    used, rate = [], peak
    for epoch in range(epochs):
        for _ in range(steps_per_epoch):
            used.append(rate)
            step = len(used) - 1
            if epoch < warmup_epochs:
                rate = peak * (step + 1) / (steps_per_epoch * warmup_epochs)
            else:
                end = steps_per_epoch * (epochs - warmup_epochs)
                rate = peak * 0.5 * (1 + np.cos(np.pi * min(step, end) / end))
    return used


@pytest.mark.parametrize(("epochs", "steps", "warmup"), [(4, 5, 1), (3, 4, 0), (5, 3, 2)])
def test_s5_schedule_equals_the_loop_of_the_code(epochs, steps, warmup):
    schedule = S5Schedule(0.3, epochs * steps, warmup * steps)
    found = [float(numpy(schedule(step))) for step in range(epochs * steps)]
    expected = rates_of_the_loop(0.3, epochs, steps, warmup)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert copy.get_config() == schedule.get_config()


def test_s5_schedule_refuses_a_rise_without_a_fall():
    with pytest.raises(ValueError, match=r"less than `total_steps`.*warmup_steps=3, total_steps=3"):
        S5Schedule(0.1, 3, 3)


@pytest.mark.parametrize("make", [warmup_cosine, S5Schedule])
def test_wrong_schedules_are_refused(make):
    for peak in (0, -1.0, float("nan"), "fast", None):
        with pytest.raises(ValueError, match=r"`peak` must be a positive number. Received: peak="):
            make(peak, 10)
    for total, warmup in ((0, 0), (10, -1), (10, 10), (10.5, 1), ("10", 1), (10, None)):
        with pytest.raises(ValueError, match=f"Received: warmup_steps={warmup!r}, total_steps="):
            make(0.1, total, warmup)


def test_a_plateau_that_cannot_be_is_refused():
    for factor in (1, -0.1, float("nan"), "half"):
        with pytest.raises(ValueError, match=r"`factor` must be .* Received: factor="):
            ReduceOnPlateau(factor)
    for patience in (-1, 1.5, None):
        with pytest.raises(ValueError, match=r"`patience` must be .* Received: patience="):
            ReduceOnPlateau(patience=patience)


@pytest.mark.parametrize("warmup", [0, 3])
def test_a_cosine_rises_and_falls_as_written_out(warmup):
    schedule = warmup_cosine(0.3, 11, warmup)
    for step in range(13):
        if step < warmup:
            expected = 0.3 * step / warmup
        else:
            expected = 0.15 * (1 + np.cos(np.pi * min((step - warmup) / (11 - warmup), 1)))
        assert float(numpy(schedule(step))) == pytest.approx(expected, abs=1e-7)


def small_model():
    model = keras.Sequential([keras.Input((3, 2)), S5(2), keras.layers.Dense(1)])
    model.compile(adamw(4e-3, 1e-3, 0.0, step_learning_rate=2e-3), "mse")
    return model


def rates(model):
    groups = ("eigenvalues", "step", None)
    return [float(numpy(model.optimizer.learning_rate_of(name))) for name in groups]


@pytest.mark.skipif(BACKEND != "torch", reason="importing torch takes time; it is there already")
@pytest.mark.parametrize("patience", [0, 2])
def test_plateau_equals_the_scheduler_of_torch(patience):
    import torch

    # Rounded, so that values repeat, and differ by less and by more than the threshold.
    close = np.random.default_rng(0).uniform(0.9, 0.9003, 40).round(5).tolist()
    values = [*close, 0.0, 0.0, 1.0]
    model = small_model()
    reference = torch.optim.SGD(
        [{"params": [torch.zeros(1)], "lr": rate} for rate in rates(model)], lr=1.0
    )
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        reference, mode="max", factor=0.5, patience=patience, eps=0.0
    )
    callback, changes = ReduceOnPlateau(0.5, patience), set()
    callback.set_model(model)
    for epoch, value in enumerate(values):
        if epoch == 20:  # A training that goes on.
            callback = ReduceOnPlateau(0.5, patience, history=values[:epoch])
            callback.set_model(model)
        callback.on_epoch_end(epoch, {"val_accuracy": value})
        scheduler.step(value)
        expected = [group["lr"] for group in reference.param_groups]
        np.testing.assert_allclose(rates(model), expected, rtol=1e-5, err_msg=str(epoch))
        changes.add(expected[0])
    assert len(changes) > 3


@pytest.mark.training
def test_plateau_stops_a_fit_that_does_not_grow():
    model = small_model()
    model.compile(model.optimizer, "mse", metrics=["accuracy"])
    x, y = np.ones((4, 3, 2), "float32"), np.full((4, 3, 1), 5.0, "float32")
    weights = []
    model.fit(
        x, y, validation_data=(x, y), epochs=4, verbose=0,
        callbacks=[
            ReduceOnPlateau(0.0, patience=1),
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda *_: weights.append(numpy(model.weights[-1]))
            ),
        ],
    )  # fmt: skip
    # The first epoch sets the best, the second is let pass, and after the third all rates are 0.
    moves = [np.abs(b - a).max() for a, b in itertools.pairwise(weights)]
    assert moves[0] > 1e-3
    assert moves[1] > 1e-3
    assert moves[2] == 0


@pytest.mark.training
@pytest.mark.usefixtures("float32_afterwards")
def test_plateau_reaches_the_optimizer_inside_loss_scaling():
    keras.config.set_dtype_policy("mixed_float16")
    model = small_model()
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    before = float(numpy(model.optimizer.learning_rate))
    callback = ReduceOnPlateau(0.5, patience=0)
    callback.set_model(model)
    for epoch in range(2):
        callback.on_epoch_end(epoch, {"val_accuracy": 0.5})
    after = float(numpy(model.optimizer.learning_rate))
    assert after == pytest.approx(before / 2)


def test_plateau_says_which_metric_is_missing():
    callback = ReduceOnPlateau()
    with pytest.raises(ValueError, match=r"'val_accuracy'.*Received: logs with \['loss'\]"):
        callback.on_epoch_end(0, {"loss": 1.0})
