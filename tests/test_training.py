"""Trainings by recipe on several devices, and the data of tasks."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import keras_ssm_cli
from keras_ssm import recipes
from keras_ssm.recipes.data import even_batch_size

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


# What a training run reads: data that show by their values where they went.


@pytest.fixture
def task(monkeypatch):
    """Gives a task other data; the rest of it stays."""

    def replace(name, load):
        monkeypatch.setitem(recipes.TASKS, name, recipes.TASKS[name]._replace(load=load))

    return replace


@pytest.mark.training
def test_each_part_is_read_for_what_it_is_there_for(task, tmp_path, monkeypatch):
    import keras

    from keras_ssm.cli import run_folder, training

    seed = 5
    recipe = recipes.get("digits", "s4d", "small")
    recipe["model"].update(depth=1, width=4, state_size=4, dropout=0.0, bidirectional=False)
    # One small step an epoch: the answer changes after several.
    recipe["training"].update(batch_size=32, epochs=12)
    recipe["optimizer"].update(learning_rate=0.1, ssm_learning_rate=0.001)
    # One input for all, so that a model has one answer for all. New weights say `before`;
    # the training part alone says `trained`.
    x = np.ones((32, 64, 1), "float32")
    keras.utils.set_random_seed(seed)
    logits = recipes.build_model(recipe).predict(x[:1], verbose=0)
    before, trained = int(logits.argmax()), int(logits.argmin())

    def labels(share):
        y = np.full(32, trained)
        y[: int(32 * share)] = before
        return y.astype("int32")

    parts = (x, labels(0.0)), (x, labels(0.75)), (x, labels(0.25))
    task("digits", lambda settings, folder: parts)
    made, batches = [], recipes.batches

    def kept(*arguments, **options):
        made.append(batches(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(recipes, "batches", kept)
    result = training.train(recipe, tmp_path / "run", seed=seed)

    with open(tmp_path / "run" / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # It starts at the answer of the new weights and ends at that of the training part.
    assert [float(rows[k]["accuracy"]) for k in (0, -1)] == [0.0, 1.0]
    assert [float(rows[k]["val_accuracy"]) for k in (0, -1)] == [0.75, 0.25]
    answers = {}
    for name in (run_folder.BEST, run_folder.MODEL):
        model = run_folder.read_model(tmp_path / "run" / name)
        answers[name] = int(model.predict(x[:1], verbose=0).argmax())
    assert answers == {run_folder.BEST: before, run_folder.MODEL: trained}
    assert result["test_accuracy"] == 0.25

    # Seeds: the order of the data, and whatever is drawn in an epoch.
    assert made[0].shuffle
    assert made[0].seed == seed
    drawn = np.random.rand()
    mixed = np.random.SeedSequence([seed, 11]).generate_state(1)
    keras.utils.set_random_seed(int(mixed[0]))
    assert drawn == np.random.rand()


@pytest.mark.backend_free
def test_the_training_part_gives_the_scale_of_all_parts(task):
    rng = np.random.default_rng(0)
    parts = [
        (rng.normal(mean, std, (4, 16_000)).astype("int16"), np.arange(4, dtype="int32"))
        for mean, std in ((50, 20), (500, 200), (5000, 2000))
    ]
    task("sc10", lambda settings, folder: parts)
    recipe = recipes.get("sc10", "s5", "small")
    recipe["data"].update(rate=1, input_shape=[16_000, 1])
    del recipe["data"]["generate"]
    data = recipes.load_data(recipe)
    train = parts[0][0].astype("float64")
    np.testing.assert_allclose([data.mean, data.std], [train.mean(), train.std()], rtol=1e-4)
    for part, (x, _) in zip(("train", "validation", "test"), parts, strict=True):
        ((batch, _),) = [recipes.batches(data, part, recipe)[0]]
        np.testing.assert_allclose(batch[..., 0], (x - train.mean()) / train.std(), rtol=1e-3)


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("scifar", [0.4914, 0.4822, 0.4465], [0.247, 0.243, 0.261]),
        ("lra-image", 122.6 / 255, 61 / 255),
    ],
)
def test_pixels_are_scaled_by_channel(task, name, mean, std):
    recipe = recipes.get(name, "s4d")
    shape = recipe["data"]["input_shape"]
    x = np.random.default_rng(0).integers(0, 256, (50, *shape)).astype("uint8")
    task(name, lambda settings, folder: [(x, np.zeros(50, "int32"))] * 3)
    batch, _ = recipes.batches(recipes.load_data(recipe), "test", recipe)[0]
    np.testing.assert_allclose(batch, (x / 255 - mean) / std, atol=1e-5)


def test_speech_at_16_khz_is_tested_at_8_khz_too(task, tmp_path):
    from keras import ops

    from keras_ssm import analysis
    from keras_ssm.cli import evaluation

    rng = np.random.default_rng(0)
    recipe = recipes.get("sc10", "s4d", "small")
    recipe["model"].update(depth=1, width=2, state_size=2)
    recipe["data"].update(rate=1, input_shape=[16_000, 1])
    del recipe["data"]["generate"]
    parts = [(rng.normal(9, 99, (8, 16_000)).astype("int16"), np.arange(8)) for _ in range(3)]
    task(
        "sc10",
        lambda settings, folder: [(x[:, :: settings["rate"]], y) for x, y in parts],
    )
    data, model = recipes.load_data(recipe), recipes.build_model(recipe)
    slower, fewer = evaluation.zero_shot(recipe, model, data)
    assert slower.input_shape == (None, 8_000, 1)
    x, y = parts[2]
    scaled = (x[:, ::2, None] - data.mean) / data.std
    batch, _ = recipes.batches(fewer, "test", recipe)[0]
    np.testing.assert_allclose(batch, scaled, atol=1e-5)
    found = slower.predict(batch, verbose=0)

    # The same weights with steps twice as long, which a model of that length can have.
    longer = recipes.build_model(recipe, (8_000, 1))
    longer.set_weights(model.get_weights())
    for layer in analysis.ssm_layers(longer).values():
        layer.log_step.assign(layer.log_step + np.log(2.0))
    size = np.abs(found).max()
    assert np.abs(found - longer.predict(batch, verbose=0)).max() < 1e-4 * size
    unchanged = recipes.build_model(recipe, (8_000, 1))
    unchanged.set_weights(model.get_weights())
    assert np.abs(found - unchanged.predict(batch, verbose=0)).max() > 1e-3 * size

    result = evaluation.score(recipe, model, data)
    assert result["test_accuracy_8khz"] == np.mean(np.argmax(found, axis=-1) == y)
    full = model.predict((ops.convert_to_numpy(x)[..., None] - data.mean) / data.std, verbose=0)
    assert result["test_accuracy"] == np.mean(np.argmax(full, axis=-1) == y)
    assert set(result) == {"test_accuracy", "test_correct", "test_count", "test_accuracy_8khz"}


@pytest.mark.backend_free
def test_every_epoch_of_every_seed_has_random_numbers_of_its_own():
    from keras_ssm.callbacks import SeededEpochs

    drawn = {}
    for seed in (0, 1):
        callback = SeededEpochs(seed)
        for epoch in (0, 1, 0):
            callback.on_epoch_begin(epoch)
            drawn.setdefault((seed, epoch), []).append(np.random.rand())
    assert all(values[0] == values[-1] for values in drawn.values())
    assert len({values[0] for values in drawn.values()}) == 4


@pytest.mark.backend_free
def test_batches_are_even_where_they_can_be():
    for count in (1, 7, 97, 100, 2000, 10_007):
        size = even_batch_size(count, 64)
        assert size <= 64
        assert count % size == 0 or (size == 64 and all(count % n for n in range(33, 65)))


@pytest.mark.backend_free
def test_training_batches_are_shuffled_whole_and_scaled():
    recipe = recipes.get("smnist", "s5", "small")
    x = np.random.default_rng(0).integers(0, 256, (101, 9)).astype("uint8")
    data = recipes.Data((x, np.arange(101)), (x, np.arange(101)), (x, np.arange(101)), 0.0, 255.0)
    train = recipes.batches(data, "train", recipe, training=True, seed=1)
    samples = np.concatenate([y for _, y in train])
    assert len(train) == 2
    assert len(set(samples)) == 100
    assert (np.diff(samples) < 0).any()
    test = recipes.batches(data, "test", recipe)
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
