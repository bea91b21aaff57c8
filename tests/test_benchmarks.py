"""The benchmarks at toy sizes: every case runs, and the peers compute what our layers do."""

import json
import pathlib
import sys

import keras
import numpy as np
import pytest
from gradients import relative_error
from keras import ops

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "benchmarks"))

import catalogue
import deployment
import gpu
import page
import steps_of_training
import tables
import workers

BACKEND = keras.backend.backend()
TOY = catalogue.Training(2, 20, 1, 4, 4)


@pytest.mark.training
@pytest.mark.parametrize("case", [*catalogue.TRAINED, "s5-textbook", "s4d-textbook", "attention"])
def test_every_classifier_takes_a_step(case):
    import training_process

    model = training_process.build(case, TOY)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(TOY.B, TOY.L, 1)).astype("float32"), rng.integers(0, 10, TOY.B)
    losses = [float(model.train_on_batch(x, y)) for _ in range(2)]
    assert np.isfinite(losses).all()
    assert losses[0] != losses[1]


@pytest.mark.training
@pytest.mark.parametrize("case", catalogue.TRAINED)
def test_every_part_of_a_step_runs(case):
    import parts_process

    calls = parts_process.calls(case, TOY)
    assert set(calls) == set(tables.PARTS)
    for call in calls.values():
        call()


@pytest.mark.training
@pytest.mark.parametrize("case", ["s4", "s4-chunk", "s4-cauchy", "s5-textbook", "s5-scan"])
def test_a_case_gives_a_loss_and_all_gradients(case):
    import cases
    import compiled

    made = cases.build(case, catalogue.Shape(2, 4, 4, 16))
    loss, gradients = compiled.compiled(made)[1]()
    assert np.isfinite(float(loss))
    shapes = [tuple(g.shape) for g in keras.tree.flatten(gradients)]
    expected = [tuple(z.shape) for z in (made.x, *made.weights)]
    assert sorted(shapes) == sorted(expected)


@pytest.mark.training
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_runs_on_a_gpu_runs_here(dtype):
    import gpu_process

    shape, before = catalogue.Shape(2, 4, 4, 16), keras.config.dtype_policy()
    try:
        found = gpu_process.record("s5", dtype, shape, 2)
    finally:
        keras.config.set_dtype_policy(before)
    assert len(found["times_s"]) == 2
    key = {"case": "s5", "backend": BACKEND, "dtype": dtype, "shape": shape}
    row = gpu.table([{**key, **found}]).splitlines()[-1]
    assert row.startswith(f"| s5 | {BACKEND} | {found['device']} | {dtype} | 2x4x4x16 | ")


def test_a_gpu_begins_with_what_is_short_and_ours_alone_run_in_bfloat16():
    shapes = [catalogue.Shape(64, 768, 64, 1024), catalogue.Shape(8, 128, 64, 1024)]
    todo = gpu.plan(["jax"], ["s5", "s5-textbook", "s5-pytorch"], ["float32", "bfloat16"], shapes)
    expected = [("s5", "float32"), ("s5", "bfloat16"), ("s5-textbook", "float32")]
    assert [(case, dtype) for _, case, dtype, _ in todo] == 2 * expected
    assert todo[0][3] == shapes[1]


@pytest.mark.training
def test_every_name_of_the_catalogue_has_a_case():
    import cases

    assert set(cases._CASES) == set(catalogue.NAMES)


@pytest.mark.training
def test_the_textbook_s5_is_ours_in_both_directions():
    from peers import blocks

    from keras_ssm.layers import S5

    layer = S5(8, bidirectional=True)
    u = np.random.default_rng(0).standard_normal((2, 20, 3)).astype("float32")
    y = ops.convert_to_numpy(layer(u))
    names = ("Lambda_re", "Lambda_im", "B", "D", "log_step", "C", "C_backward")
    arrays = [ops.convert_to_numpy(getattr(layer, name)) for name in names]
    peer = blocks.Textbook("s5", lambda H: arrays)
    assert relative_error(ops.convert_to_numpy(peer(u)), y) < 1e-5


def test_groups_take_turns_with_all_that_they_are_compared_with():
    size = catalogue.Training(8, 2048, 4, 128, 64)
    cases = (*catalogue.TRAINED, *catalogue.TRAINED_PEERS)
    first, second, *others = steps_of_training.groups(["jax", "torch"], cases, size)
    assert first == [(b, c) for c in ("s5", "s5-textbook") for b in ("jax", "torch")]
    assert {c for _, c in second} == {"s4d", "s4d-textbook"}
    assert others[0] == [("jax", c) for c in ("s5", "gru", "lstm", "attention")]
    longer = steps_of_training.groups(["jax"], cases, size._replace(L=16384))
    assert {c for group in longer for _, c in group}.isdisjoint({"gru", "lstm", "attention"})


DOCS = pathlib.Path(__file__).parents[1] / "docs"


@pytest.mark.backend_free
def test_the_page_is_that_of_the_numbers():
    numbers = json.loads((DOCS / "speed.json").read_text("utf-8"))
    assert page.page(numbers) == (DOCS / "speed.md").read_text("utf-8"), (
        "run `python benchmarks/report.py`"
    )


@pytest.mark.backend_free
def test_the_page_of_files_is_that_of_the_numbers():
    numbers = json.loads((DOCS / "deployment.json").read_text("utf-8"))
    assert deployment.page(numbers) == (DOCS / "deployment.md").read_text("utf-8"), (
        "run `python benchmarks/deployment.py --page`"
    )


@pytest.mark.backend_free
def test_the_page_shows_medians_and_their_ratios_within_a_group():
    def record(case, times, group="g"):
        machine = {"cores": 2, "cpu": "x", "system": "Linux", "python": "3", "packages": {}}
        key = {"script": "training", "backend": "jax", "case": case, "size": list(TOY)}
        measured = {"times_s": times, "first_s": 1.5, "peak_mib": 7.0}
        return {**key, "group": group, **measured, "machine": machine}

    text = page.page(
        [
            record("s5", [0.1, 0.2, 0.9]),
            record("s5-textbook", [0.5, 0.6, 0.7]),
            record("s5", [9.0], "h"),
        ]
    )
    assert "| s5-textbook | jax | 1 blocks of 4, 2 x 20 | 600 | 3.00 | 1.5 | 7 |  |" in text


@pytest.mark.backend_free
def test_a_worker_steps_when_asked_and_says_why_it_ends():
    worker = workers.Worker("training_process.py", ["s5", *TOY], "torch", 100)
    try:
        assert worker.ready["first_s"] > 0
        assert worker.ask("step")["seconds"] > 0
        assert "peak_mib" in worker.ask("done")
    finally:
        worker.close()
    worker = workers.Worker("training_process.py", ["s5", *TOY[:2], 1, 4, 0], "torch", 100)
    try:
        assert "state_size" in worker.ready["skipped"]
    finally:
        worker.close()
