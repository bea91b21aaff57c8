"""The commands that look at a run: its pictures, and its layers in a table."""

import keras
import numpy as np
import pytest

import keras_ssm
import keras_ssm_cli
from keras_ssm import analysis, cli, recipes
from keras_ssm.cli import report, run_folder
from keras_ssm.layers import DSS, S4D

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.backend_free


def command(*arguments):
    """Exit code, on this process' backend."""
    return cli.main(keras_ssm_cli.parser().parse_args([str(argument) for argument in arguments]))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose training has not moved its weights."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    recipe = recipes.get("digits", "s5", "small")
    recipe["model"].update(depth=1, width=4, state_size=4)
    keras.utils.set_random_seed(3)
    model = recipes.build_model(recipe)
    run_folder.create(folder, {"recipe": recipe, "seed": 3})
    model.save(folder / run_folder.BEST)
    return folder


def test_all_pictures_of_a_run_are_written(run, capsys):
    assert command("plot", run, "--sampling-rate", "8000") == 0
    assert f"Wrote 8 pictures to {run / 'plots'}" in capsys.readouterr().out
    names = ("eigenvalues", "unit-disc", "time-scales", "kernels", "kernel-map",
             "frequency-response", "memory", "states")  # fmt: skip
    expected = sorted(f"block_0-s5-{name}.png" for name in names)
    assert sorted(path.name for path in (run / "plots").iterdir()) == expected
    for path in (run / "plots").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


def test_the_layer_before_training_is_that_of_the_seed(run):
    config, model = run_folder.read_config(run), run_folder.load_model(run)
    before = analysis.ssm_layers(report._untrained(config, model))
    for path, layer in analysis.ssm_layers(model).items():
        for mine, theirs in zip(layer.weights, before[path].weights, strict=True):
            np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (mine, theirs)))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A saved model that streams in part."""
    inputs = keras.Input((50, 3))
    x = S4D(8, name="s4d")(inputs)
    model = keras.Model(inputs, DSS(4, name="dss")(x), name="mixed")
    s4d = model.get_layer("s4d")
    s4d.log_step.assign(np.log(np.full((3, 1), 0.1)))
    path = tmp_path_factory.mktemp("models") / "mixed.keras"
    model.save(path)
    return path


def test_a_saved_model_is_drawn_beside_its_file(tmp_path):
    model = keras.Sequential([keras.Input((20, 2)), S4D(4, name="s4d")])
    model.save(tmp_path / "mine.keras")
    assert command("plot", tmp_path / "mine.keras") == 0
    assert len(list((tmp_path / "mine-plots").glob("s4d-*.png"))) == 8


def test_a_summary_in_python_is_that_of_the_command(mixed, capsys):
    assert command("summary", mixed) == 0
    printed = capsys.readouterr().out
    assert keras_ssm.summary(keras.models.load_model(mixed)) == printed.rstrip("\n")
    assert capsys.readouterr().out == printed
    layer = S4D(4, name="alone")
    layer.build((None, None, 2))
    assert keras_ssm.summary(layer).splitlines()[1].split()[:3] == ["alone", "S4D", "4"]
    with pytest.raises(ValueError, match="which has none"):
        keras_ssm.summary(keras.layers.Dense(1))


def test_a_summary_of_pairs_of_sequences_reads_their_length(capsys):
    model = keras_ssm.models.retrieval(
        2, (2, 40), layer="dss", depth=1, width=4, state_size=4, vocabulary_size=9
    )
    keras_ssm.summary(model)
    memory = capsys.readouterr().out.splitlines()[1].split("  ")
    longest = [cell for cell in memory if cell.count(" / ") == 2][1].split(" / ")[2]
    assert float(longest) > 2


def test_a_summary_tells_what_every_layer_is(mixed, run, capsys):
    assert command("summary", mixed) == 0
    _, s4d, dss = (line.split("  ") for line in capsys.readouterr().out.splitlines())
    s4d, dss = ([cell.strip() for cell in line if cell.strip()] for line in (s4d, dss))
    # 4 modes in each of 3 channels, a time scale of 1 / (0.1 * 0.5); 2 numbers a mode to stream.
    assert s4d[:4] == ["s4d", "S4D", "12", "20 / 20 / 20"]
    model = keras.models.load_model(mixed)
    assert s4d[5:] == [str(model.get_layer("s4d").count_params()), "24"]
    assert float(s4d[4].split(" / ")[2]) == np.max(analysis.memory_length(model.layers[1]))
    # A softmax kernel without a length of its own has no state.
    assert [dss[1], dss[2], dss[-1]] == ["DSS", "12", "-"]
    assert command("summary", run) == 0
    assert "block_0/s5  S5" in capsys.readouterr().out


def test_what_cannot_be_read_is_named(tmp_path, run, capsys):
    assert command("plot", tmp_path / "nowhere") == 2
    assert "no such folder" in capsys.readouterr().err
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)], name="dense_only")
    dense.save(tmp_path / "dense.keras")
    assert command("summary", tmp_path / "dense.keras") == 2
    assert "'dense_only', which has none" in capsys.readouterr().err
    (tmp_path / "cut.keras").write_bytes((run / "best.keras").read_bytes()[:1000])
    assert command("summary", tmp_path / "cut.keras") == 2
    assert "cut.keras, found 1000 bytes" in capsys.readouterr().err
