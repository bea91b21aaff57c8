"""Several processes train to the numbers of one, or say in one line why they do not."""

import csv
import json
import os
import pathlib
import sys
import time

import numpy as np
import pytest
import trained_together
from trained_together import SMALL

import keras_ssm_cli
from keras_ssm import datasets, distribution
from keras_ssm.distribution.shared_batches import SharedBatches

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "benchmarks"))
import processes

BACKEND = os.environ["KERAS_BACKEND"]
WORKER = str(pathlib.Path(__file__).with_name("trained_together.py"))

pytestmark = pytest.mark.training


def rows(folder):
    with open(folder / "history.csv", newline="") as file:
        return [[float(v) for v in row.values()] for row in csv.DictReader(file)]


def run_together(*commands, killed="nobody"):
    """Exit codes and standard errors of the processes of one command each."""
    commands = [[WORKER, killed, *map(str, each), "--data-parallel"] for each in commands]
    started = processes.start(BACKEND, commands, stdout=-1, stderr=-1)
    outputs = [process.communicate(timeout=240) for process in started]
    return [p.returncode for p in started], [error for _, error in outputs]


def test_a_run_goes_on_without_a_process_that_was_killed(tmp_path, step_by_step, monkeypatch):
    """Two processes, one of which ends in the second epoch; resumed on one: as if on one always."""
    together, alone = tmp_path / "together", tmp_path / "alone"
    began = time.monotonic()
    command = [*SMALL, "--out", together]
    codes, errors = run_together(command, command, killed="1")
    assert codes == [1, -9], errors
    assert time.monotonic() - began < 120
    line = errors[0].strip().splitlines()[-1]
    assert line.startswith("keras-ssm: another of the 2 processes has ended")
    assert line.endswith("--resume goes on")
    assert {"config.json", "model.keras", "best.keras"} <= {p.name for p in together.iterdir()}
    assert len(rows(together)) == 1

    trained_together.shrink(monkeypatch.setattr)
    assert keras_ssm_cli.main([*SMALL, "--out", str(together), "--resume"]) == 0
    assert keras_ssm_cli.main([*SMALL, "--out", str(alone)]) == 0
    np.testing.assert_allclose(rows(together), rows(alone), rtol=1e-5)
    from keras_ssm.cli import run_folder

    for name in ("model.keras", "best.keras"):
        a, b = (run_folder.read_model(folder / name) for folder in (together, alone))
        for one, other in zip(a.get_weights(), b.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    one, other = (json.loads((f / "result.json").read_text()) for f in (together, alone))
    assert one["test_correct"] == other["test_correct"]
    assert one["test_count"] == other["test_count"] == 11
    assert not list(together.glob(".*"))


@pytest.mark.skipif(BACKEND != "torch", reason="one backend is enough for what no backend does")
def test_processes_with_other_settings_are_refused_by_all(tmp_path):
    command = [*SMALL, "--out", tmp_path / "run"]
    codes, errors = run_together([*command, "--seed", 3], [*command, "--seed", 4])
    assert codes == [2, 2], errors
    for error in errors:
        line = error.strip().splitlines()[-1]
        assert line.startswith("keras-ssm: expected the same settings in all 2 processes.")
        assert line.endswith("Received: seed=4 in process 1 where process 0 has 3")
    assert not (tmp_path / "run").exists()


MISSING = {
    "torch": ({}, "processes that torchrun starts", "without RANK, WORLD_SIZE"),
    "jax": (
        {"KERAS_DISTRIBUTION_NUM_PROCESSES": "2"},
        "need KERAS_DISTRIBUTION_JOB_ADDRESSES",
        "Received: KERAS_DISTRIBUTION_NUM_PROCESSES alone",
    ),
    "tensorflow": (
        {"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}'},
        "TF_CONFIG must be JSON with a `cluster`",
        '"index": 1}}',
    ),
}


def test_an_engine_that_is_not_there_is_refused(tmp_path, monkeypatch, capsys):
    variables, expected, received = MISSING[BACKEND]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert keras_ssm_cli.main([*SMALL, "--data-parallel", "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert expected in line
    assert received in line
    assert not (tmp_path / "run").exists()


# What each process reads.


def shared(count, size, copies, world, training=False, **options):
    x = np.arange(count)[:, None]
    batches = datasets.SequenceBatches(x, np.arange(count), size, **options)
    return [SharedBatches(batches, rank, world, copies, training) for rank in range(world)]


def test_batches_that_all_share_equally_are_those_of_a_shard():
    for rank, process in enumerate(shared(12, 4, 2, 2, shuffle=True, seed=5)):
        x = np.arange(12)[:, None]
        options = {"shuffle": True, "seed": 5, "shard": (rank, 2)}
        expected = datasets.SequenceBatches(x, np.arange(12), 4, **options)
        for batch, wanted in zip(process, expected, strict=True):
            np.testing.assert_array_equal(batch[0], wanted[0])
            np.testing.assert_array_equal(batch[1], wanted[1])
            assert len(batch) == 2


@pytest.mark.parametrize(("copies", "world"), [(4, 1), (4, 2), (4, 4), (2, 2)])
@pytest.mark.parametrize("count", [21, 22, 25, 27])
def test_every_sequence_counts_once_in_the_mean_of_an_epoch(count, copies, world):
    """Of a value that a sequence has, as an epoch's metric and as its loss."""
    values = np.random.default_rng(0).normal(size=count)
    weighted = total = loss = sizes = 0.0
    for parts in zip(*shared(count, 8, copies, world), strict=True):
        y = np.concatenate([part[1] for part in parts])
        w = np.concatenate([np.ones(len(part[1])) if len(part) == 2 else part[2] for part in parts])
        assert {len(part[1]) for part in parts} == {len(y) // world}
        assert len(y) % copies == 0
        weighted, total = weighted + np.sum(w * values[y]), total + np.sum(w)
        # Keras: the mean over all rows, and over batches by their rows.
        loss, sizes = loss + len(y) * np.mean(w * values[y]), sizes + len(y)
    assert weighted / total == pytest.approx(values.mean(), rel=1e-6)
    assert loss / sizes == pytest.approx(values.mean(), rel=1e-6)


def test_a_batch_of_training_has_the_mean_of_its_sequences():
    values = np.random.default_rng(0).normal(size=21)
    whole = datasets.SequenceBatches(np.zeros((21, 1)), np.arange(21), 8)
    for parts, (_, y) in zip(zip(*shared(21, 8, 4, 2, True), strict=True), whole, strict=True):
        means = [np.mean(part[2] * values[part[1]]) for part in parts]
        assert np.mean(means) == pytest.approx(values[y].mean(), rel=1e-6)


def test_a_batch_size_that_devices_cannot_share_is_refused():
    with pytest.raises(ValueError, match=r"multiple of the 4 devices.*Received: batch_size=6"):
        shared(12, 6, 4, 2)


def test_one_copy_is_a_model_as_it_is():
    assert distribution.Replicas().gather("é") == ["é"]
    with pytest.raises(ZeroDivisionError):
        distribution.Replicas().together(lambda: 1 // 0)
