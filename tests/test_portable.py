"""Backends of Keras without a module of their own, and ours without theirs."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from artefacts import sequences

HERE = pathlib.Path(__file__).parent
BACKEND = keras.backend.backend()
pytestmark = pytest.mark.artefact


def predictions(folder, **environment):
    from portable_process import models

    x = sequences(3, 70)
    given, expected = {"x": x}, {}
    for name, model in models():
        given.update((f"{name} {k}", w) for k, w in enumerate(model.get_weights()))
        expected[name] = model.predict(x[:, : model.inputs[0].shape[1]], verbose=0)
    np.savez(folder / "given.npz", **given)
    command = [sys.executable, HERE / "portable_process.py", folder / "given.npz", folder / "y.npz"]
    paths = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    found = dict(np.load(folder / "y.npz"))
    errors = {k: np.abs(found[k] - y).max() / np.abs(y).max() for k, y in expected.items()}
    return found, errors


@pytest.mark.skipif(BACKEND != "numpy", reason="what is compared with is NumPy")
def test_openvino_predicts_with_every_layer_as_numpy_does(tmp_path):
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("needs openvino")
    found, errors = predictions(tmp_path, KERAS_BACKEND="openvino")
    assert str(found["backend"]) == "openvino"
    assert len(found["told"]) == 1
    import openvino

    # Keras leaves the precision to OpenVINO, which takes bfloat16 where the processor has it: of
    # its 8 bits, a few roundings one after the other leave two digits.
    hint = openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT")
    rounds = hint == openvino.Type.bf16
    assert max(errors.values()) < (2e-2 if rounds else 2e-5), errors


@pytest.mark.skipif(BACKEND != "numpy", reason="what is compared with is NumPy")
def test_the_portable_module_under_a_backend_with_its_own(tmp_path):
    found, errors = predictions(tmp_path, KERAS_BACKEND="torch", KERAS_SSM_BACKEND="keras")
    assert not len(found["told"])
    assert max(errors.values()) < 2e-5, errors
