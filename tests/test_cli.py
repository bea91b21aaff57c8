import csv
import importlib.util
import json
import os
import pathlib
import re
import shlex
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
    return re.search(r"Test accuracy ([\d.]+ \(\d+ of \d+\))", output).group(1)


# The launcher, before a framework is imported.


def test_help_and_wrong_arguments_import_no_framework():
    code = (
        "import sys, keras_ssm_cli\n"
        "try: keras_ssm_cli.main(sys.argv[1:])\n"
        "except SystemExit as error: print('exit', error.code)\n"
        "print('imported', sorted({'keras', 'numpy', 'keras_ssm'} & set(sys.modules)))"
    )
    for arguments, status in ((["train", "--help"], 0), (["train"], 2)):
        result = run_python(code, *arguments)
        assert result.stdout.endswith(f"exit {status}\nimported []\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "digits", "--scale", "tiny"],
        ["train", "digits", "--overwrite", "--resume"],
        ["plot", "run", "--sampling-rate", "nan"],
        ["evaluate"],
        ["lstm"],
    ],
)
def test_wrong_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        keras_ssm_cli.main(arguments)
    assert error.value.code == 2
    assert "keras-ssm" in capsys.readouterr().err


def test_the_command_alone_shows_what_people_do(capsys):
    assert keras_ssm_cli.main([]) == 0
    shown = capsys.readouterr().out
    lines = re.findall(r"^  keras-ssm (.*?)  ", shown, re.M)
    parsed = [keras_ssm_cli.parser().parse_args(shlex.split(line)) for line in lines]
    assert [arguments.command for arguments in parsed] == ["train", "evaluate", "plot", "export"]


def test_the_help_of_every_command_has_an_example_that_it_accepts(capsys):
    with pytest.raises(SystemExit):
        keras_ssm_cli.main(["--help"])
    commands = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.M)
    assert {"train", "evaluate", "data", "recipes", "plot", "export", "summary"} <= set(commands)
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            keras_ssm_cli.main([command, "--help"])
        assert stop.value.code == 0
        examples = re.findall(r"^  keras-ssm (\w+.*)$", capsys.readouterr().out, re.M)
        lines = [shlex.split(example.partition("|")[0]) for example in examples]
        assert command in [keras_ssm_cli.parser().parse_args(line).command for line in lines]


def test_the_version_is_that_of_the_package(capsys):
    from keras_ssm import __version__

    with pytest.raises(SystemExit) as stop:
        keras_ssm_cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"keras-ssm {__version__}\n"


@pytest.mark.backend_free
def test_an_interrupt_while_frameworks_are_imported_is_one_line(tmp_path):
    # A framework whose import takes long, and is interrupted.
    (tmp_path / "keras.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    )
    code = (
        f"import signal, sys, keras_ssm_cli; sys.path.insert(0, {str(tmp_path)!r})\n"
        # What a shell starts in the background ignores an interrupt, and so would its children.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.exit(keras_ssm_cli.main(['recipes', '--backend', sys.argv[1]]))"
    )
    installed = next(name for name in BACKENDS if importlib.util.find_spec(name))
    result = run_python(code, installed)
    assert (result.returncode, result.stderr) == (130, "\nkeras-ssm: interrupted\n")


@pytest.mark.backend_free
def test_the_library_does_not_import_the_application():
    package = pathlib.Path(keras_ssm_cli.__file__).parent / "keras_ssm"
    found = [
        path
        for path in package.rglob("*.py")
        if "cli" not in path.relative_to(package).parts
        and re.search(r"keras_ssm(\.|_| import )cli\b", path.read_text("utf-8"))
    ]
    assert not found


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


# Settings.


# `training`: the command runs on the backends that train.
def refused(capsys, *arguments):
    assert keras_ssm_cli.main([*map(str, arguments)]) == 2
    return one_line(capsys)


@pytest.mark.training
def test_wrong_settings_are_named(tmp_path, capsys):
    line = refused(capsys, "train", "letters", "--layer", "s5")
    assert "lra-listops" in line
    assert "Received: task='letters', layer='s5'" in line
    assert "--layer is needed: one of dss, lru, s4, s4d, s5" in refused(capsys, "train", "digits")
    line = refused(capsys, "train", "digits", "--layer", "lstm")
    assert "Received: task='digits', layer='lstm'" in line
    line = refused(capsys, "train", "digits", "--layer", "s5", "--scale", "full")
    assert "Received: task='digits', layer='s5', scale='full'" in line

    train = ("train", "digits", "--layer", "s4d", "--out", tmp_path / "run", "--set")
    for setting in ("epoch=3", "training.epoch=3", "depth", "other.depth=3"):
        line = refused(capsys, *train, setting)
        assert "training.epochs" in line
        assert line.endswith(f"Received: --set {setting}")
    assert "Received: state_size=7" in refused(capsys, *train, "state_size=7")
    assert "depht" in refused(capsys, *train, "model.depht=7")
    assert not (tmp_path / "run").exists()


@pytest.mark.training
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("epochs=abc", "`training.epochs` must be an integer. Received: training.epochs='abc'"),
        ("epochs=0", "`training.epochs` must be positive"),
        ("batch_size=1.5", "`training.batch_size` must be an integer"),
        ("dropout=abc", "`model.dropout` must be a finite number"),
        ("dropout=1", "`model.dropout` must be at least 0 and less than 1"),
        ("learning_rate=-1", "`optimizer.learning_rate` must be positive"),
        ("learning_rate=NaN", "`optimizer.learning_rate` must be a finite number"),
        ("bidirectional=abc", "`model.bidirectional` must be true or false"),
        ("optimizer.foo=1", "Received: optimizer.foo=1"),
        ("num_classes=3", "`data.num_classes` must be 10"),
        ("input_shape=[65,1]", "`data.input_shape` must be [64, 1]"),
        ("step_min=2", "Received: step_min=2, step_max=1.0"),
        ("model.gating=abc", "Received: gating='abc'"),
        ("schedule.name=linear", "`schedule.name` must be one of constant, cosine, s5, plateau"),
    ],
)
def test_a_wrong_value_is_said_in_one_line_and_leaves_nothing(setting, said, tmp_path, capsys):
    train = ("train", "digits", "--layer", "s5", "--out", tmp_path / "run", "--set")
    assert said in refused(capsys, *train, setting)
    assert not (tmp_path / "run").exists()


@pytest.mark.training
@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_generator_takes(seed, capsys):
    line = refused(capsys, "train", "digits", "--layer", "s5", "--seed", seed)
    assert line.endswith(f"the seed must be an integer from 0 to 4294967295. Received: seed={seed}")


@pytest.mark.training
def test_settings_are_changed_by_name():
    from keras_ssm import recipes
    from keras_ssm.cli import settings

    recipe = recipes.get("digits", "s5", "small")
    new = settings.changed(recipe, ["epochs=3", "model.rate=2.5", "model.norm=batch", "dropout=0"])
    assert new["training"]["epochs"] == 3
    assert [new["model"][name] for name in ("rate", "norm", "dropout")] == [2.5, "batch", 0]
    assert recipe == recipes.get("digits", "s5", "small")


@pytest.mark.training
def test_recipes_are_listed_beside_published_results(capsys):
    assert keras_ssm_cli.main(["recipes"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    listops = next(row for row in rows if row[:3] == ["lra-listops", "s5", "full"])
    assert {"188,490", "62.15"} <= set(listops)


@pytest.mark.training
def test_data_are_described_or_their_place_is(tmp_path, capsys):
    assert keras_ssm_cli.main(["data", "digits"]) == 0
    assert "train       float32 1259x64x1" in capsys.readouterr().out
    assert "listops-1000" in refused(capsys, "data", "lra-listops", "--data-dir", tmp_path)
    for option in ("--generate", "--download"):
        assert "Received: task='digits'" in refused(capsys, "data", "digits", option)
    small = ("data", "sc10", "--scale", "small", "--download")
    assert "whose data are made" in refused(capsys, *small)


# Training and evaluating.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short training of the real command, of a model small enough to compile everywhere."""
    import keras

    folder = tmp_path_factory.mktemp("runs") / "short"
    arguments = ["train", "digits", "--layer", "s4d", "--set", f"epochs={EPOCHS}", *SIZES]
    backend = keras.backend.backend()
    assert keras_ssm_cli.main([*arguments, "--out", str(folder), "--backend", backend]) == 0
    return folder


@pytest.fixture
def damaged(run, tmp_path):
    """A copy of the run, to be broken."""
    return shutil.copytree(run, tmp_path / "damaged")


EPOCHS = 4
SIZES = ["depth=1", "width=32", "state_size=32"]


@pytest.mark.training
def test_a_short_training_learns(run, backend):
    result = json.loads((run / "result.json").read_text())
    # By luck it would be 0.1.
    assert result["test_accuracy"] == result["test_correct"] / result["test_count"] > 0.6
    config = json.loads((run / "config.json").read_text())
    assert config["recipe"]["training"] == {"epochs": EPOCHS, "batch_size": 32}
    assert (config["recipe"]["layer"], config["seed"]) == ("s4d", 0)
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
    line = refused(capsys, "train", "digits", "--layer", "s5", "--out", damaged)
    assert "--overwrite" in line
    assert str(damaged) in line
    assert (damaged / "model.keras").read_bytes() == before

    from keras_ssm.cli import run_folder

    (damaged / "notes.txt").write_text("mine")
    run_folder.create(damaged, {"recipe": {}, "seed": 0}, overwrite=True)
    assert sorted(path.name for path in damaged.iterdir()) == ["config.json", "notes.txt"]


@pytest.mark.training
@pytest.mark.parametrize("name", ["best.keras", "config.json"])
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
        ('{"recipe": {"task": "digits"}, "seed": 0, "versions": {}}', "one without 'layer'"),
    ],
)
def test_settings_of_something_else(damaged, config, found, capsys):
    (damaged / "config.json").write_text(config)
    assert keras_ssm_cli.main(["evaluate", str(damaged)]) == 2
    line = one_line(capsys)
    assert found in line
    assert str(damaged / "config.json") in line


@pytest.mark.training
def test_missing_files(damaged, tmp_path, capsys):
    assert keras_ssm_cli.main(["evaluate", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in one_line(capsys)
    (damaged / "best.keras").unlink()
    assert keras_ssm_cli.main(["evaluate", str(damaged)]) == 2
    line = one_line(capsys)
    assert "expected a run folder with config.json and best.keras" in line
    assert "found config.json, history.csv" in line


SMALL = ["train", "digits", "--layer", "s5", "--set", "epochs=1", "batch_size=8"]


def shrink(monkeypatch):
    """The command sees 32 images of every part and a model that compiles at once."""
    import keras

    from keras_ssm import recipes
    from keras_ssm.datasets import digits
    from keras_ssm.layers import S5

    def build(recipe):
        layers = [
            keras.Input((64, 1)),
            S5(2),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(10, name="head"),
        ]
        return keras.Sequential(layers, name="small")

    parts = [(x[:32].copy(), y[:32]) for x, y in digits.load_data()]
    monkeypatch.setattr(digits, "load_data", lambda: parts)
    monkeypatch.setattr(recipes, "build_model", build)
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


# Accidents: a second process, a full disk, a killed process, numbers that are not finite.


@pytest.mark.training
def test_two_training_runs_do_not_share_a_folder(small, tmp_path, capsys):
    from keras_ssm.cli.lock import locked

    folder = tmp_path / "run"
    with locked(folder):
        line = refused(capsys, *SMALL, "--out", folder, "--overwrite")
        assert line.endswith(f"Received: {folder}, where process {os.getpid()} is training")
    assert not folder.exists()
    # What a killed run left: a lock that nobody holds, and halves of files.
    folder.mkdir()
    for name in (".lock", ".model.0123456789ab.partial.keras", ".notes.partial"):
        (folder / name).write_text("1")
    assert keras_ssm_cli.main([*SMALL, "--out", str(folder)]) == 0
    assert [path.name for path in folder.glob(".*")] == [".notes.partial"]


@pytest.mark.backend_free
def test_a_lock_is_not_written_through_a_link(tmp_path):
    from keras_ssm.cli.lock import locked

    (tmp_path / "precious").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"\.lock"), locked(tmp_path / "run"):
        pass
    assert (tmp_path / "precious").read_text() == "kept"
    with (
        pytest.raises(ValueError, match=r"expected a folder .*precious, a file"),
        locked(tmp_path / "precious"),
    ):
        pass


@pytest.mark.training
def test_a_full_disk_is_named_with_the_folder(small, tmp_path, full_disk, capsys):
    full_disk.room = 4096
    with full_disk:
        status = keras_ssm_cli.main([*SMALL, "--out", str(tmp_path / "run")])
    line = one_line(capsys)
    assert status == 2
    assert str(tmp_path / "run") in line
    assert "File too large" in line or "write" in line


def stop_in_second_save(monkeypatch, stop):
    """Half of the second checkpoint is written when `stop` is called."""
    import keras

    save, epochs = keras.Model.save, []

    def stopped(self, path, **options):
        save(self, path, **options)
        if "model" in os.path.basename(path):
            epochs.append(path)
            if len(epochs) == 2:
                with open(path, "rb+") as file:
                    file.truncate(os.path.getsize(path) // 2)
                stop()

    monkeypatch.setattr(keras.Model, "save", stopped)


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
import keras_ssm_cli, pytest, test_cli
patch = pytest.MonkeyPatch()
test_cli.shrink(patch)
test_cli.stop_in_second_save(patch, lambda: os.kill(os.getpid(), signal.SIGKILL))
sys.exit(keras_ssm_cli.main([*test_cli.SMALL, "epochs=3", "--out", sys.argv[1]]))
"""


@pytest.mark.training
def test_a_stopped_run_is_resumed_to_the_numbers_of_one_that_was_not(
    small, tmp_path, backend, capsys
):
    import keras

    from keras_ssm.cli import run_folder

    whole, killed, three = tmp_path / "whole", tmp_path / "killed", [*SMALL, "epochs=3"]
    if backend == "torch":  # whose interpreter starts fastest: a process that is killed
        process = run_python(KILLED, killed, pathlib.Path(__file__).parent)
        assert process.returncode == -9, process.stderr
        assert list(killed.glob(".model.*.partial.keras"))
        assert (killed / ".lock").exists()
    else:

        def interrupt():
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            stop_in_second_save(patch, interrupt)
            assert keras_ssm_cli.main([*three, "--out", str(killed)]) == 130
        assert one_line(capsys) == "keras-ssm: interrupted; --resume goes on"
    assert not (killed / "result.json").exists()

    line = refused(capsys, *three, "dropout=0.5", "--out", killed, "--resume")
    assert "recipe.model.dropout=0.5 where the run has 0.1" in line
    assert keras_ssm_cli.main([*three, "--out", str(killed), "--resume"]) == 0
    assert not list(killed.glob(".*"))
    assert keras_ssm_cli.main([*three, "--out", str(whole)]) == 0
    for name in ("model.keras", "best.keras"):
        a, b = (run_folder.read_model(folder / name) for folder in (whole, killed))
        for one, other in zip(a.get_weights(), b.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    assert (whole / "history.csv").read_text() == (killed / "history.csv").read_text()
    capsys.readouterr()
    line = refused(capsys, *three, "--out", killed, "--resume")
    assert line.endswith("which has result.json")
    keras.utils.clear_session()


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
    line = one_line(capsys)
    assert "expected finite weights, found NaN or infinity in small/s5/Lambda_re" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json"]


@pytest.mark.training
def test_checkpoint_needs_the_ending_of_keras():
    from keras_ssm.callbacks import Checkpoint

    with pytest.raises(ValueError, match=r"Received: path='model.h5'"):
        Checkpoint("model.h5")
