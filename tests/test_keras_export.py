"""`Model.export` of Keras, without anything of ours, for models with our layers."""

import keras
import numpy as np
import pytest
from artefacts import classifier, run, sequences
from gradients import relative_error

BACKEND = keras.backend.backend()
SUFFIX = {"onnx": ".onnx", "litert": ".tflite", "torch": ".pt2", "tf_saved_model": ""}
FORMATS = {
    "tensorflow": ["tf_saved_model", "onnx", "litert"],
    "torch": ["onnx", "torch"],
    "jax": ["tf_saved_model"],
}.get(BACKEND, [])
ALL = ("S5", "S4D", "S4", "DSS", "LRU")
# TorchScript knows no convolution by a kernel that is computed. What costs a test many seconds is
# done with fewer layers.
LAYERS = {
    ("torch", "onnx"): ("S5", "S4D", "S4", "LRU"),
    ("torch", "torch"): ("S5", "DSS"),
    ("jax", "tf_saved_model"): ("S5", "S4D"),
}
FREE = {
    ("tensorflow", "tf_saved_model"): ALL,
    ("tensorflow", "onnx"): ("S5", "S4D"),
    ("torch", "onnx"): ("S5", "S4D", "S4", "LRU"),
    ("jax", "tf_saved_model"): ("S5",),
}


def exported(model, format, folder):
    path = str(folder / f"model{SUFFIX[format]}")
    model(sequences(2, 30 if model.inputs[0].shape[1] is None else 70))
    options = {}
    if format == "torch":
        import torch

        options = {"dynamic_shapes": {0: torch.export.Dim("batch", min=1)}}
    model.export(path, format=format, verbose=False, **options)
    return path


@pytest.mark.artefact
@pytest.mark.parametrize("format", FORMATS)
def test_every_layer_with_any_batch(format, tmp_path):
    """By default: convolutions without an FFT where the format has none."""
    model = classifier(LAYERS.get((BACKEND, format), ALL))
    path = exported(model, format, tmp_path)
    for batch in (1, 3):
        x = sequences(batch, 70)
        assert relative_error(run(path, format, x), model.predict(x, verbose=0)) < 1e-5


@pytest.mark.artefact
@pytest.mark.parametrize("format", [f for f in FORMATS if (BACKEND, f) in FREE])
def test_a_free_length(format, tmp_path):
    model = classifier(FREE[BACKEND, format], length=None)
    path = exported(model, format, tmp_path)
    for batch, length in ((1, 5), (3, 150)):
        x = sequences(batch, length)
        assert relative_error(run(path, format, x), model.predict(x, verbose=0)) < 1e-5


@pytest.mark.artefact
@pytest.mark.skipif(BACKEND != "torch", reason="one exporter is enough for a second direction")
def test_both_directions(tmp_path):
    model = classifier(("S5", "S4D", "S4"), bidirectional=True)
    path = exported(model, "onnx", tmp_path)
    x = sequences(3, 70)
    assert relative_error(run(path, "onnx", x), model.predict(x, verbose=0)) < 1e-5


def test_nothing_outside_of_an_export_is_restricted(tmp_path):
    from keras_ssm.ops import exporting

    assert not exporting.restricted()
    with exporting.restrict():
        assert exporting.restricted()
    assert not exporting.restricted()


def test_the_error_function_of_a_savedmodel(monkeypatch):
    from scipy.special import erf

    from keras_ssm.ops import exporting

    monkeypatch.setattr(exporting, "_on_the_stack", lambda modules: True)
    x = np.linspace(-6, 6, 10_001).astype("float32")
    found = keras.ops.convert_to_numpy(exporting.erf(keras.ops.convert_to_tensor(x)))
    assert np.max(np.abs(found - erf(x.astype("float64")))) < 4e-7
