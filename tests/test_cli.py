import csv
import importlib.util
import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import keras_ssm_cli

BACKENDS = keras_ssm_cli.BACKENDS


def run_python(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def one_line(capsys):
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def accuracy(output):
    return re.search(r"Test accuracy ([\d.]+ \(\d+ of \d+ images\))", output).group(1)


# The launcher, before a framework is imported.


def test_help_and_wrong_arguments_import_no_framework():
    code = (
        "import sys, keras_ssm_cli\n"
        "try: keras_ssm_cli.main(sys.argv[1:])\n"
        "except SystemExit as error: print('exit', error.code)\n"
        "print('imported', sorted({'keras', 'numpy', 'keras_ssm'} & set(sys.modules)))"
    )
    for arguments, status in ((["train", "--help"], 0), (["train", "digits"], 2)):
        result = run_python(code, *arguments)
        assert result.stdout.endswith(f"exit {status}\nimported []\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "digits", "--layer", "lstm"],
        ["train", "letters", "--layer", "s5"],
        ["train", "digits", "--layer", "s5", "--epochs", "0"],
        ["train", "digits", "--layer", "s5", "--learning-rate", "nan"],
        ["train", "digits", "--layer", "s5", "--width", "8.5"],
        ["evaluate"],
        [],
    ],
)
def test_wrong_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        keras_ssm_cli.main(arguments)
    assert error.value.code == 2
    assert "keras-ssm" in capsys.readouterr().err


def test_an_unknown_backend_is_named(capsys, monkeypatch):
    assert keras_ssm_cli.main(["evaluate", "run", "--backend", "theano"]) == 2
    line = one_line(capsys)
    assert "jax, tensorflow, torch" in line
    assert "Received: --backend=theano" in line
    assert 'pip install "keras-ssm[torch]"' in line
    monkeypatch.setenv("KERAS_BACKEND", "mxnet")
    assert keras_ssm_cli.main(["evaluate", "run"]) == 2
    assert "Received: KERAS_BACKEND=mxnet" in one_line(capsys)


def test_a_backend_that_is_not_installed_is_named(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert keras_ssm_cli.main(["evaluate", "run", "--backend", "torch"]) == 2
    line = one_line(capsys)
    assert 'pip install "keras-ssm[torch]"' in line
    assert "Received: --backend=torch, which is not installed" in line
    monkeypatch.delenv("KERAS_BACKEND")
    assert keras_ssm_cli.main(["evaluate", "run"]) == 2
    assert 'pip install "keras-ssm[jax]"' in one_line(capsys)


def test_the_backend_asked_for_comes_before_the_environment(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name != "jax" or None)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert keras_ssm_cli.choose_backend("tensorflow") == "tensorflow"
    assert keras_ssm_cli.choose_backend(None) == "torch"
    monkeypatch.delenv("KERAS_BACKEND")
    assert keras_ssm_cli.choose_backend(None) == "tensorflow"


# Training and evaluating.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short training of the real command."""
    import keras

    folder = tmp_path_factory.mktemp("runs") / "short"
    arguments = ["train", "digits", "--layer", "s4d", "--epochs", str(EPOCHS), "--out", str(folder)]
    assert keras_ssm_cli.main([*arguments, "--backend", keras.backend.backend()]) == 0
    return folder


@pytest.fixture
def damaged(run, tmp_path):
    """A copy of the run, to be broken."""
    return shutil.copytree(run, tmp_path / "damaged")


EPOCHS = 4


@pytest.mark.training
def test_a_short_training_learns(run, backend):
    result = json.loads((run / "result.json").read_text())
    assert result["test_accuracy"] == result["test_correct"] / result["test_images"] > 0.85
    config = json.loads((run / "config.json").read_text())
    assert config["training"] == {"epochs": EPOCHS, "batch_size": 32, "seed": 0}
    assert config["model"]["layer"] == "s4d"
    assert {backend, "keras", "numpy", "python"} <= set(config["versions"])
    with open(run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert (run / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
    assert not list(run.glob(".*"))


@pytest.mark.training
def test_another_backend_evaluates_to_the_same_accuracy(run, backend, capsys):
    assert keras_ssm_cli.main(["evaluate", str(run)]) == 0
    here = accuracy(capsys.readouterr().out)
    result = json.loads((run / "result.json").read_text())
    assert here.startswith(f"{result['test_accuracy']:.4f}")
    other = BACKENDS[(BACKENDS.index(backend) + 1) % len(BACKENDS)]
    if importlib.util.find_spec(other) is None:
        pytest.skip(f"{other} is not installed")
    code = "import sys, keras_ssm_cli; sys.exit(keras_ssm_cli.main(sys.argv[1:]))"
    there = run_python(code, "evaluate", run, "--backend", other)
    assert there.returncode == 0, there.stderr
    assert accuracy(there.stdout) == here


@pytest.mark.training
def test_a_run_is_replaced_only_on_request(damaged, capsys):
    before = (damaged / "model.keras").read_bytes()
    arguments = ["train", "digits", "--layer", "s5", "--out", str(damaged)]
    assert keras_ssm_cli.main(arguments) == 2
    line = one_line(capsys)
    assert "--overwrite" in line
    assert str(damaged) in line
    assert (damaged / "model.keras").read_bytes() == before

    from keras_ssm import runs

    (damaged / "notes.txt").write_text("mine")
    runs.create(damaged, {"dataset": "digits", "split": {}}, overwrite=True)
    assert sorted(path.name for path in damaged.iterdir()) == ["config.json", "notes.txt"]


@pytest.mark.training
@pytest.mark.parametrize("name", ["model.keras", "config.json"])
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_file_that_was_cut_short(damaged, name, share, capsys):
    content = (damaged / name).read_bytes()
    (damaged / name).write_bytes(content[: int(share * len(content))])
    assert keras_ssm_cli.main(["evaluate", str(damaged)]) == 2
    line = one_line(capsys)
    assert f"in {damaged / name}, found {int(share * len(content))} bytes" in line


@pytest.mark.training
@pytest.mark.parametrize(
    ("config", "found"),
    [
        ("[]", "a list"),
        ("{}", "no settings"),
        ('{"dataset": "digits", "split": {"part": 1}, "versions": {}}', "split={'part': 1}"),
    ],
)
def test_settings_of_something_else(damaged, config, found, capsys):
    (damaged / "config.json").write_text(config)
    assert keras_ssm_cli.main(["evaluate", str(damaged)]) == 2
    assert found in one_line(capsys)


@pytest.mark.training
def test_missing_files(damaged, tmp_path, capsys):
    assert keras_ssm_cli.main(["evaluate", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in one_line(capsys)
    (damaged / "model.keras").unlink()
    assert keras_ssm_cli.main(["evaluate", str(damaged)]) == 2
    line = one_line(capsys)
    assert "expected a run folder with config.json and model.keras" in line
    assert "found config.json, history.csv" in line


@pytest.mark.training
def test_settings_a_layer_cannot_have_leave_no_folder(tmp_path, capsys):
    arguments = ["train", "digits", "--layer", "s4d", "--state-size", "7"]
    assert keras_ssm_cli.main([*arguments, "--out", str(tmp_path / "run")]) == 2
    assert "Received: state_size=7" in one_line(capsys)
    assert not (tmp_path / "run").exists()


SMALL = ["train", "digits", "--layer", "s5", "--epochs", "1"]


def shrink(monkeypatch):
    """The command sees 32 images of every part and a model that compiles at once."""
    import keras

    from keras_ssm import cli
    from keras_ssm.datasets import digits

    def build(config, shape):
        layers = [
            keras.Input(shape[1:]),
            keras.layers.Flatten(),
            keras.layers.Dense(10, name="head"),
        ]
        model = keras.Sequential(layers, name="small")
        cli.compile_classifier(model)
        return model

    parts = [(x[:32].copy(), y[:32]) for x, y in digits.load_data()]
    monkeypatch.setattr(digits, "load_data", lambda **options: parts)
    monkeypatch.setattr(cli, "build", build)
    return parts


@pytest.fixture
def small(monkeypatch):
    return shrink(monkeypatch)


@pytest.mark.training
def test_a_run_without_matplotlib_has_no_curve(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert keras_ssm_cli.main([*SMALL, "--out", str(tmp_path)]) == 0
    assert 'pip install "keras-ssm[plot]"' in one_line(capsys)
    assert not (tmp_path / "learning-curve.png").exists()
    assert (tmp_path / "result.json").exists()


# Accidents: a killed process, numbers that are not finite.

KILLED_IN_ITS_SECOND_SAVE = """
import os, signal, sys
os.environ["KERAS_BACKEND"] = sys.argv[1]
sys.path.insert(0, sys.argv[3])
import keras, keras_ssm_cli, pytest, test_cli
test_cli.shrink(pytest.MonkeyPatch())
save, saves = keras.Model.save, []
def killed_in_the_middle(self, path, **options):
    save(self, path, **options)
    saves.append(path)
    if len(saves) == 2:
        with open(path, "rb+") as file:
            file.truncate(os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
keras.Model.save = killed_in_the_middle
sys.exit(keras_ssm_cli.main([*test_cli.SMALL, "--epochs", "3", "--out", sys.argv[2]]))
"""


@pytest.mark.training
def test_a_killed_training_leaves_its_last_complete_checkpoint(tmp_path, backend, capsys):
    folder = tmp_path / "run"
    killed = run_python(KILLED_IN_ITS_SECOND_SAVE, backend, folder, pathlib.Path(__file__).parent)
    assert killed.returncode == -9, killed.stderr
    assert (folder / ".model.partial.keras").exists()
    assert not (folder / "result.json").exists()
    assert len((folder / "history.csv").read_text().splitlines()) == 2
    assert keras_ssm_cli.main(["evaluate", str(folder)]) == 0
    assert accuracy(capsys.readouterr().out)


@pytest.mark.training
def test_nan_stops_the_training_and_leaves_the_checkpoint(tmp_path):
    import keras

    from keras_ssm.callbacks import Checkpoint

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    model.compile("sgd", "mse")
    checkpoint = Checkpoint(tmp_path / "model.keras")
    x, y = np.ones((8, 3), "float32"), np.ones((8, 2), "float32")
    model.fit(x, y, verbose=0, callbacks=[checkpoint])
    before = (tmp_path / "model.keras").read_bytes()
    with pytest.raises(FloatingPointError, match=r"dense/kernel at the end of epoch 1"):
        model.fit(np.nan * x, y, epochs=3, verbose=0, callbacks=[checkpoint])
    assert (tmp_path / "model.keras").read_bytes() == before
    for weight in keras.models.load_model(tmp_path / "model.keras", compile=False).get_weights():
        assert np.isfinite(weight).all()


@pytest.mark.training
def test_nan_in_the_data_exits_with_1(small, tmp_path, capsys):
    small[0][0][5] = np.nan
    assert keras_ssm_cli.main([*SMALL, "--out", str(tmp_path)]) == 1
    assert "expected finite weights, found NaN or infinity in small/head/kernel" in one_line(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json"]


@pytest.mark.training
def test_checkpoint_needs_the_ending_of_keras():
    from keras_ssm.callbacks import Checkpoint

    with pytest.raises(ValueError, match=r"Received: path='model.h5'"):
        Checkpoint("model.h5")
