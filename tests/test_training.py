"""Trainings by recipe on several devices, and the data of tasks."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import keras_ssm_cli
from keras_ssm import recipes, tasks

BACKEND = os.environ["KERAS_BACKEND"]
TINY = [
    "train", "digits", "--layer", "s5", "--set", "depth=1", "width=4", "state_size=4", "epochs=2",
    "batch_size=16", "data.train_size=64",
]  # fmt: skip


def losses(folder):
    with open(folder / "history.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.training
@pytest.mark.skipif(BACKEND != "jax", reason="only JAX has keras.distribution")
def test_four_devices_train_to_the_losses_of_one(tmp_path):
    assert keras_ssm_cli.main([*TINY, "--out", str(tmp_path / "one")]) == 0
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    code = (
        "import sys, jax, keras_ssm_cli\n"
        "code = keras_ssm_cli.main(sys.argv[1:])\n"
        "print('devices', len(jax.devices()))\n"
        "sys.exit(code)"
    )
    command = [
        sys.executable,
        "-c",
        code,
        *TINY,
        "--data-parallel",
        "--out",
        str(tmp_path / "four"),
    ]
    run = subprocess.run(
        command, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("devices 4\n")
    np.testing.assert_allclose(losses(tmp_path / "four"), losses(tmp_path / "one"), rtol=1e-5)
    counts = [json.loads((tmp_path / n / "result.json").read_text()) for n in ("four", "one")]
    assert counts[0]["test_count"] == counts[1]["test_count"] == 359
    assert counts[0]["test_correct"] == pytest.approx(counts[1]["test_correct"], abs=1)


@pytest.mark.training
def test_the_config_of_a_run_repeats_it(tmp_path):
    if BACKEND != "torch":
        pytest.skip("compiling twice is left to the backend that does not")
    config = str(tmp_path / "one" / "config.json")
    assert keras_ssm_cli.main([*TINY, "--seed", "3", "--out", str(tmp_path / "one")]) == 0
    assert keras_ssm_cli.main(["train", config, "--out", str(tmp_path / "two")]) == 0
    assert losses(tmp_path / "two") == losses(tmp_path / "one")
    # TensorBoard's writer is TensorFlow's.
    pytest.importorskip("tensorflow")
    logged = [
        "train",
        config,
        "--tensorboard",
        "--set",
        "epochs=1",
        "--out",
        str(tmp_path / "three"),
    ]
    assert keras_ssm_cli.main(logged) == 0
    assert list((tmp_path / "three" / "tensorboard").rglob("events.out.*"))


@pytest.mark.training
def test_speech_at_16_khz_is_tested_at_8_khz_too():
    from keras_ssm import training

    rng = np.random.default_rng(0)
    recipe = recipes.get("sc10", "s4d", "small")
    recipe["model"].update(depth=1, width=2, state_size=2)
    recipe["data"].update(rate=1, input_shape=[64, 1])
    parts = [(rng.integers(-99, 99, (8, 64)).astype("int16"), np.arange(8)) for _ in range(3)]
    data = tasks.Data(*parts, 0.0, 50.0)
    half = tasks.Data(*((x[:, ::2], y) for x, y in parts))
    model = recipes.build_model(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "load", lambda recipe, data_dir, rate: half)
        result = training.score(recipe, model, data)
    slower = recipes.build_model({**recipe, "model": {**recipe["model"], "rate": 2.0}}, (32, 1))
    slower.set_weights(model.get_weights())
    x, y = half.test
    expected = np.argmax(slower.predict(x[..., None] / 50.0, verbose=0), axis=-1) == y
    assert result["test_accuracy_8khz"] == np.mean(expected)
    assert set(result) == {"test_accuracy", "test_correct", "test_count", "test_accuracy_8khz"}


@pytest.mark.backend_free
def test_batches_are_even_where_they_can_be():
    for count in (1, 7, 97, 100, 2000, 10_007):
        size = tasks.even_batch_size(count, 64)
        assert size <= 64
        assert count % size == 0 or (size == 64 and all(count % n for n in range(33, 65)))


@pytest.mark.backend_free
def test_every_recipe_has_a_loader():
    for task, layer, scale in recipes.names():
        recipe = recipes.get(task, layer, scale)
        assert task in tasks._LOADERS or task in ("sc10", "sc35")
        assert "generate" not in recipe["data"] or task in tasks._GENERATORS


@pytest.mark.backend_free
def test_training_batches_are_shuffled_whole_and_scaled():
    recipe = recipes.get("smnist", "s5", "small")
    x = np.random.default_rng(0).integers(0, 256, (101, 9)).astype("uint8")
    data = tasks.Data((x, np.arange(101)), (x, np.arange(101)), (x, np.arange(101)), 0.0, 255.0)
    train = tasks.batches(data, "train", recipe, training=True, seed=1)
    samples = np.concatenate([y for _, y in train])
    assert len(train) == 2
    assert len(set(samples)) == 100
    assert (np.diff(samples) < 0).any()
    test = tasks.batches(data, "test", recipe)
    np.testing.assert_array_equal(np.concatenate([y for _, y in test]), np.arange(101))
    np.testing.assert_allclose(np.concatenate([x for x, _ in test])[..., 0], x / 255.0, rtol=1e-6)


def test_the_last_of_equally_good_epochs_is_kept(tmp_path):
    import keras

    from keras_ssm.callbacks import BestCheckpoint

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    best = BestCheckpoint(tmp_path / "best.keras", history=[0.25])
    best.set_model(model)
    for epoch, accuracy in enumerate([0.0, 0.5, 0.5, 0.25]):
        model.set_weights([np.full((2, 1), epoch)])
        best.on_epoch_end(epoch, {"val_accuracy": accuracy})
    kept = keras.saving.load_model(tmp_path / "best.keras").get_weights()
    np.testing.assert_array_equal(kept[0], np.full((2, 1), 2))
