"""Files of earlier versions, written under any backend, load and give the same numbers."""

import json

import keras
import numpy as np
import pytest
from versioned_files import FOLDER, LAYERS, X, backbone_output, numpy, train

import keras_ssm

SOURCES = [
    pytest.param(folder, id=f"{folder.parent.name}-{folder.name}")
    for folder in sorted(FOLDER.glob("*/*"))
    if folder.is_dir()
]


def test_every_version_has_files_of_three_backends():
    for version in FOLDER.iterdir():
        assert {"jax", "tensorflow", "torch"} <= {folder.name for folder in version.iterdir()}
    assert (FOLDER / "0.2.0").is_dir()


@pytest.mark.parametrize("folder", SOURCES)
@pytest.mark.parametrize("name", LAYERS)
def test_a_model_gives_the_numbers_it_gave(folder, name):
    with np.load(folder / "numbers.npz") as numbers:
        expected = numbers[name]
    model = keras.models.load_model(folder / f"{name}.keras")
    # Backends round in another order: a few units in the last place of the largest number.
    np.testing.assert_allclose(numpy(model(X)), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.training
@pytest.mark.parametrize("folder", SOURCES)
def test_a_stopped_training_run_goes_on_to_the_same_losses(folder):
    with np.load(folder / "numbers.npz") as numbers:
        expected = numbers["trained"]
    model = keras.models.load_model(folder / "trained.keras")
    model.compile(model.optimizer, model.loss, run_eagerly=True)
    np.testing.assert_allclose(train(model), expected, rtol=2e-5)


@pytest.mark.parametrize("folder", SOURCES)
def test_a_preset_gives_the_numbers_it_gave(folder):
    pytest.importorskip("keras_hub", reason="presets need keras-hub")
    from keras_ssm import hub

    with np.load(folder / "numbers.npz") as numbers:
        expected = numbers["preset"]
    model = hub.SSMBackbone.from_preset(str(folder / "preset"))
    np.testing.assert_allclose(backbone_output(model), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("folder", SOURCES)
def test_a_run_is_read_and_evaluated(folder, capsys):
    pytest.importorskip("sklearn", reason="digits are in scikit-learn")
    import keras_ssm_cli

    backend = keras.backend.backend()
    if backend == "numpy":
        model = keras.models.load_model(folder / "run" / "best.keras", compile=False)
        assert model.output_shape == (None, 10)
        return
    assert keras_ssm_cli.main(["evaluate", str(folder / "run"), "--backend", backend]) == 0
    accuracy = json.loads((folder / "run" / "result.json").read_text())["test_accuracy"]
    assert f"{accuracy:.4f}" in capsys.readouterr().out


def test_a_newer_file_is_refused_by_name(tmp_path):
    """What a later version calls its layers, this one does not know."""
    import zipfile

    old = FOLDER / "0.2.0" / "jax" / "s5.keras"
    new = tmp_path / "new.keras"
    with zipfile.ZipFile(old) as source, zipfile.ZipFile(new, "w") as target:
        for item in source.namelist():
            data = source.read(item)
            if item == "config.json":
                data = data.replace(b'"state_size"', b'"state_width_of_the_future"')
            target.writestr(item, data)
    with pytest.raises((ValueError, TypeError), match="state_width_of_the_future"):
        keras.models.load_model(new)
    assert keras_ssm.__version__ >= "0.2.0"
