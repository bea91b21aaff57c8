"""Recipes of problems of the UEA and UCR archives, from small files with known content."""

import json

import numpy as np
import pytest
from keras import ops

import keras_ssm_cli
from keras_ssm import recipes
from keras_ssm.layers.names import LAYERS
from keras_ssm.recipes import series

TINY = ("depth=1", "width=4", "state_size=4", "epochs=1", "batch_size=16")


def row(label, values, length):
    return " ".join(map(str, [label, *values, *["NaN"] * (length - len(values))]))


@pytest.fixture
def waves(tmp_path):
    """Twenty slow and twenty fast ones to train on, of unequal lengths, and as many to test."""
    random = np.random.RandomState(0)
    for part in ("TRAIN", "TEST"):
        rows = []
        for label, rate in ((3, 0.2), (7, 1.5)):
            for _ in range(20):
                steps = np.arange(random.randint(15, 31))
                rows.append(row(label, np.sin(rate * steps + random.rand()).round(4), 30))
        (tmp_path / f"Waves_{part}.tsv").write_text("\n".join(rows) + "\n")
    return str(tmp_path)


def written(folder, train, test=None):
    for part, rows in (("TRAIN", train), ("TEST", test or train)):
        (folder / f"Mine_{part}.tsv").write_text("\n".join(rows) + "\n")
    return str(folder)


@pytest.mark.backend_free
def test_a_recipe_goes_by_the_files(waves):
    assert series.facts("uea:Waves", waves) == (30, 1, 2, 40, 20, True)
    recipe = recipes.get("uea:Waves", "s5", "small", waves)
    assert recipe["data"]["input_shape"] == [30, 2]
    assert (recipe["model"]["step_min"], recipe["model"]["step_max"]) == (1 / 30, 1.0)
    assert recipe["training"] == {"epochs": 187, "batch_size": 4}
    assert json.loads(json.dumps(recipe)) == recipe
    recipes.check(recipe)


@pytest.mark.backend_free
def test_a_feature_says_which_steps_are_there(waves):
    recipe = recipes.get("uea:Waves", "s5", "small", waves)
    data = recipes.load_data(recipe, waves)
    x, _, lengths = data.train
    assert [len(part[1]) for part in (data.train, data.validation, data.test)] == [32, 8, 40]
    assert sorted(np.bincount(data.validation[1])) == [4, 4]
    np.testing.assert_array_equal(x[..., 1], np.arange(30) < lengths[:, None])
    (batch, _), *_ = recipes.batches(data, "test", recipe)
    assert batch.shape[1:] == (30, 2)
    # What is trained on decides the scale.
    values = np.concatenate([one[:length, 0] for one, length in zip(x, lengths, strict=True)])
    np.testing.assert_allclose([values.mean(), values.std()], [0, 1], atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_padding_changes_nothing(waves, layer):
    recipe = recipes.get("uea:Waves", layer, "small", waves)
    recipe["model"] |= {"depth": 1, "width": 4, "state_size": 4}
    if layer == "dss":
        # The other one, a softmax over the steps, depends on their number.
        recipe["model"]["kernel"] = "exp"
    model = recipes.build_model(recipe)
    x, _, lengths = recipes.load_data(recipe, waves).test
    short = int(lengths.argmin())
    alone = recipes.build_model(recipe, input_shape=(int(lengths[short]), 2))
    alone.set_weights(model.get_weights())
    expected = ops.convert_to_numpy(alone(x[short : short + 1, : lengths[short]]))
    found = ops.convert_to_numpy(model(x[short : short + 1]))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.training
@pytest.mark.usefixtures("step_by_step")
def test_the_command_trains_and_tests(waves, tmp_path, capsys):
    run = str(tmp_path / "run")
    where = ["--data-dir", waves]
    command = ["train", "uea:Waves", "--layer", "lru", "--set", *TINY, "--out", run, *where]
    assert keras_ssm_cli.main(command) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["test_count"] == 40
    assert keras_ssm_cli.main(["evaluate", run, *where]) == 0
    assert f"({result['test_correct']} of 40)" in capsys.readouterr().out.splitlines()[-1]
    assert keras_ssm_cli.main(["data", "uea:Waves", *where]) == 0
    assert "train       float32 32x30x2; 15 to 30 steps" in capsys.readouterr().out
    # Changed files no longer fit the recipe of the run.
    written_length = (tmp_path / "Waves_TEST.tsv").read_text() + row(3, range(31), 31) + "\n"
    for part in ("TRAIN", "TEST"):
        rows = [line + " NaN" for line in written_length.splitlines()[:-1]]
        text = "\n".join([*rows, written_length.splitlines()[-1]]) + "\n"
        (tmp_path / f"Waves_{part}.tsv").write_text(text)
    assert keras_ssm_cli.main(["evaluate", run, *where]) == 2
    assert "expected series of shape [30, 2] in 2 classes" in capsys.readouterr().err
    assert keras_ssm_cli.main(["train", "uea:Nowhere", "--layer", "s5", *where]) == 2
    assert "timeseriesclassification" in capsys.readouterr().err


@pytest.mark.backend_free
def test_few_series_of_a_class(tmp_path):
    folder = written(tmp_path, [f"{label} 1 {label} {k}" for label in (1, 2) for k in (3, 4)])
    recipe = recipes.get("uea:Mine", "dss", "small", folder)
    assert recipe["data"]["validation_fraction"] == 0.5
    data = recipes.load_data(recipe, folder)
    assert [len(part[1]) for part in (data.train, data.validation)] == [2, 2]
    written(tmp_path, ["1 1 2 3", "2 1 2 3", "2 1 2 4"])
    with pytest.raises(ValueError, match=r"two series or more of every class.*found 1"):
        recipes.get("uea:Mine", "dss", "small", folder)


@pytest.mark.backend_free
def test_what_cannot_be_found(tmp_path):
    with pytest.raises(ValueError, match=r"timeseriesclassification.*Dataset=Nowhere"):
        recipes.get("uea:Nowhere", "s5", "small", tmp_path)
    for task, scale in (("uea:", "small"), ("uea:Nowhere", "full"), ("eua:Mine", "small")):
        with pytest.raises(ValueError, match="Received: "):
            recipes.get(task, "s5", scale, tmp_path)
    recipe = recipes.get("digits", "s5", "small")
    with pytest.raises(ValueError, match=r"or uea:NAME for another problem.*task='mnist'"):
        recipes.check({**recipe, "task": "mnist"})


@pytest.mark.backend_free
def test_wrong_settings_of_data_are_named(waves):
    recipe = recipes.get("uea:Waves", "s5", "small", waves)
    for wrong in (
        {"scale": "all"}, {"missing": "guess"}, {"validation_fraction": 1.0}, {"mixed": 1},
        {"time": "yes"}, {"input_shape": [30]}, {"num_classes": 0}, {"rate": 2},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"Received: data.{next(iter(wrong))}="):
            recipes.check({**recipe, "data": {**recipe["data"], **wrong}})


@pytest.mark.backend_free
def test_published_runs_mix_the_parts(tmp_path):
    folder = written(
        tmp_path,
        [f"{k % 2} {k} {k} {k} {k}" for k in range(60)],
        [f"{k % 2} {k} {k} {k} {k}" for k in range(50, 100)],
    )
    settings = {"input_shape": [4, 2], "num_classes": 2, "mixed": True, "time": True}
    parts = series.load("Mine", settings, tmp_path)
    assert [len(y) for _, y in parts] == [70, 15, 15]
    values = np.concatenate([x[:, 0, 1] for x, _ in parts])
    # Ten that stand in both parts of the archive are there once.
    np.testing.assert_array_equal(np.sort(values), np.arange(100))
    for x, y in parts:
        np.testing.assert_array_equal(x[:, 0, 1] % 2, y)
        np.testing.assert_array_equal(x[..., 0], np.tile([0, 0.25, 0.5, 0.75], (len(x), 1)))
    again = series.load("Mine", settings, tmp_path)
    np.testing.assert_array_equal(again[0][0], parts[0][0])
    with pytest.raises(ValueError, match=r"expected series of shape \[4, 3\].*found \[4, 2\]"):
        series.load("Mine", {**settings, "input_shape": [4, 3]}, folder)
