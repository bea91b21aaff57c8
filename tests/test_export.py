"""Files for other runtimes: right in their runtimes, whole or not there, and read without Keras.

`tests/files/step.onnx` and `.tflite` are one step of an S5 classifier, with what it gave for a
sequence in `step.npz`; `python tests/test_export.py` writes them anew.
"""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from artefacts import classifier, sequences

import keras_ssm_cli
import keras_ssm_runner
from keras_ssm import export, layers, models
from keras_ssm.export.formats import FORMATS, chosen

BACKEND = keras.backend.backend()
FILES = pathlib.Path(__file__).parent / "streams"
STORED = {".onnx": "onnxruntime", ".tflite": "ai_edge_litert"}
MINE = [name for name, form in FORMATS.items() if BACKEND in form.backends]
ALL = ("S5", "S4D", "S4", "DSS", "LRU")


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


def stored(suffix, folder=FILES):
    needed = STORED[suffix]
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"needs {needed}")
    return folder / f"step{suffix}"


# The runner, on files that are stored.


@pytest.mark.backend_free
@pytest.mark.parametrize("suffix", STORED)
def test_a_stored_file_streams_without_keras_or_a_framework(suffix):
    code = (
        "import sys, numpy as np, keras_ssm_runner\n"
        "stream = keras_ssm_runner.load(sys.argv[1]); data = np.load(sys.argv[2])\n"
        "stream.reset(2)\n"
        "y = [stream.step(data['x'][:, k]) for k in range(data['x'].shape[1])]\n"
        "print(np.abs(y[-1] - data['y']).max() / np.abs(data['y']).max())\n"
        "print(sorted({'keras', 'keras_ssm', 'jax', 'tensorflow', 'torch'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", code, stored(suffix), FILES / "step.npz"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=FILES.parents[2], check=False)
    assert run.returncode == 0, run.stderr
    error, imported = run.stdout.splitlines()
    assert float(error) < 1e-5
    assert imported == "[]"


@pytest.mark.backend_free
@pytest.mark.parametrize("suffix", STORED)
def test_a_stream_goes_on_from_states_that_were_read(suffix):
    data, stream = np.load(FILES / "step.npz"), export.load(stored(suffix))
    stream.reset(2)
    for k in range(5):
        stream.step(data["x"][:, k])
    states = stream.states
    first = stream.step(data["x"][:, 5])
    stream.reset(7)
    stream.states = states
    assert relative(stream.step(data["x"][:, 5]), first) == 0
    stream.states = {name: state[:1] for name, state in states.items()}
    assert relative(stream.step(data["x"][:1, 5]), first[:1]) < 1e-6


@pytest.mark.backend_free
def test_ten_thousand_steps():
    """The sum of all outputs so far is the mean that the pooling gives."""
    stream = export.load(stored(".onnx"))
    rng, state = np.random.default_rng(0), None
    a, b = (export.load(stored(suffix)) for suffix in STORED)
    a.reset(1)
    b.reset(1)
    for _ in range(10_000):
        x = rng.standard_normal((1, 2)).astype("float32")
        found, state = a.step(x), b.step(x)
    assert relative(found, state) < 1e-5
    assert stream.metadata["chunk"] is None


@pytest.mark.backend_free
def test_what_a_file_says_of_itself():
    metadata = export.load(stored(".onnx")).metadata
    assert metadata["kind"] == "step"
    assert metadata["format"] == "onnx"
    assert metadata["sampling_rate"] == 50.0
    assert metadata["pooled"] == [True]
    assert {"keras_ssm", "keras", "numpy"} <= set(metadata["versions"])
    names = [state["name"] for state in metadata["states"]]
    assert names[0] == "ssm_block_state"
    assert metadata["states"][0] == {
        **metadata["states"][0], "shape": [4], "dtype": "float32", "initial": 0.0
    }  # fmt: skip


@pytest.mark.backend_free
@pytest.mark.parametrize("suffix", STORED)
def test_bad_input_of_a_stream(suffix):
    stream = export.load(stored(suffix))
    with pytest.raises(ValueError, match=r"`reset\(batch_size\)` must be called before"):
        stream.step(np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"positive integer. Received: batch_size=0"):
        stream.reset(0)
    stream.reset(2)
    for x in (np.ones((2, 3)), np.ones((3, 2)), np.ones(2), [[1.0], [2.0, 3.0]]):
        with pytest.raises(ValueError, match=r"must have shape \(2, 2\)|expected numbers"):
            stream.step(x)
    states = stream.states
    name = next(iter(states))
    with pytest.raises(ValueError, match=rf"{name}.*must have shape \(batch, 4\).*\(2, 5\)"):
        stream.states = {**states, name: np.zeros((2, 5), "float32")}
    with pytest.raises(ValueError, match=r"float32. Received: shape \(2, 4\), dtype int"):
        stream.states = {**states, name: np.zeros((2, 4), int)}
    with pytest.raises(ValueError, match=r"must be a dict with the keys"):
        stream.states = {"other": states[name]}
    with pytest.raises(ValueError, match=r"one number of sequences. Received: \[1, 2\]"):
        stream.states = {**states, name: states[name][:1]}


@pytest.mark.backend_free
@pytest.mark.parametrize("suffix", STORED)
def test_files_that_are_not_whole_or_not_ours(suffix, tmp_path):
    content = stored(suffix).read_bytes()
    for size in (0, 100, len(content) // 2, len(content) - 1):
        (tmp_path / f"cut{suffix}").write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"cut short, or not a file that `keras_ssm.export`"):
            export.load(tmp_path / f"cut{suffix}")
    with pytest.raises(ValueError, match=r"absent"):
        export.load(tmp_path / f"absent{suffix}")
    (tmp_path / "model.h5").write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected a folder or a file with a suffix of .onnx"):
        export.load(tmp_path / "model.h5")


@pytest.mark.backend_free
def test_a_missing_runtime_is_named(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(keras_ssm_runner.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"runs in onnxruntime.*`pip install onnxruntime`"):
        export.load(FILES / "step.onnx")


# What is refused before anything is written.


def causal():
    inputs = keras.Input((None, 3))
    return keras.Model(inputs, layers.S5(4)(inputs))


def test_bad_arguments(tmp_path):
    model, path = causal(), tmp_path / "model.onnx"
    with pytest.raises(ValueError, match=r"suffix of .onnx, .tflite, .xml, .pt2, or a `format`"):
        export.model(model, tmp_path / "model")
    with pytest.raises(ValueError, match=r"a file with the suffix .onnx. Received: .*model.tflite"):
        export.model(model, tmp_path / "model.tflite", "onnx")
    with pytest.raises(ValueError, match=r"`format` must be one of"):
        export.model(model, path, "h5")
    with pytest.raises(ValueError, match=r"int8 is for the formats onnx, litert"):
        export.model(model, tmp_path / "m.pt2", int8=True)
    with pytest.raises(ValueError, match=r"`sampling_rate` must be a positive number"):
        export.step(model, path, sampling_rate=-1)
    assert chosen(tmp_path / "folder", "saved_model") == "saved_model"
    assert not list(tmp_path.iterdir())


def test_what_cannot_stream_names_the_layer_and_leaves_nothing(tmp_path):
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, layers.S5(4, bidirectional=True, name="both")(inputs))
    with pytest.raises(ValueError, match=r"'both'.*cannot stream: it reads the sequence backwards"):
        export.step(model, tmp_path / "step.onnx")
    with pytest.raises(ValueError, match=r"functional Keras model"):
        export.model(keras.Sequential([layers.S5(4)]), tmp_path / "model.onnx")
    with pytest.raises(ValueError, match=r"takes sequences of 70 steps. Received: length=9"):
        export.model(classifier(("S5",)), tmp_path / "model.onnx", length=9)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_others_is_not_replaced(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"expected a new folder, or one that"):
        export.model(causal(), tmp_path / "precious", "saved_model")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ValueError, match=r"a folder"):
        export.model(causal(), tmp_path / "folder.onnx")
    assert (tmp_path / "precious" / "file").read_text() == "mine"


def test_the_command_knows_the_formats():
    assert {name: form.backends for name, form in FORMATS.items()} == keras_ssm_cli.FORMATS


@pytest.mark.skipif(BACKEND != "torch", reason="any backend that writes ONNX")
def test_a_wrong_file_is_an_error_and_does_not_stay(tmp_path, monkeypatch):
    from keras_ssm.export import artefacts

    path = tmp_path / "step.onnx"
    path.write_text("old")

    def writes_something_else(path, program, metadata, int8):
        shutil.copy(FILES / "step.onnx", path)

    monkeypatch.setattr(artefacts, "writer", lambda *_: writes_something_else)
    monkeypatch.setattr(artefacts, "_check_packages", lambda name: None)
    model = classifier(("S5",), length=None)
    model.set_weights([1.5 * w for w in model.get_weights()])
    with pytest.raises(ValueError, match=r"does not give the numbers of the model.*not kept"):
        export.step(model, path)
    monkeypatch.setattr(artefacts, "writer", lambda *_: lambda *_: 1 / 0)
    with pytest.raises(ValueError, match=r"ONNX cannot hold this model under torch: ZeroDivision"):
        export.step(model, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step.onnx"]
    assert path.read_text() == "old"


@pytest.mark.skipif(BACKEND != "jax", reason="one backend that writes none")
def test_a_missing_framework_is_named(tmp_path, monkeypatch):
    from keras_ssm.export import elsewhere

    monkeypatch.setattr(elsewhere.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=r"is written with torch: `pip install \"keras-ssm\[torch"
    ):
        export.step(causal(), tmp_path / "step.pt2")


# Every format, from the backends that write it: `make test-export`.


@pytest.mark.artefact
@pytest.mark.parametrize("name", MINE)
def test_every_layer_as_a_whole(name, tmp_path):
    model = classifier(ALL, length=70)
    artefact = export.model(model, tmp_path / f"model{FORMATS[name].suffix}", name)
    assert artefact.error < 1e-5
    assert bool(artefact.notes) == (not FORMATS[name].has_fft)
    x = sequences(5, 70, seed=1)
    assert relative(export.load(artefact.path)(x), model.predict(x, verbose=0)) < 1e-5


@pytest.mark.artefact
@pytest.mark.parametrize("name", MINE)
def test_a_free_length_with_and_without_a_rest(name, tmp_path):
    """Chunks of 16 steps that a length fills, and does not."""
    model = classifier(("S5", "S4D"), length=None)
    artefact = export.model(model, tmp_path / f"model{FORMATS[name].suffix}", name)
    run = export.load(artefact.path)
    for length in (16, 37, 64):
        x = sequences(3, length)
        assert relative(run(x), model.predict(x, verbose=0)) < 1e-5


@pytest.mark.artefact
@pytest.mark.parametrize("chunk", [None, 7])
@pytest.mark.parametrize("name", MINE)
def test_every_layer_as_a_stream(name, chunk, tmp_path):
    model = classifier(ALL, length=None)
    path = tmp_path / f"step{FORMATS[name].suffix}"
    artefact = export.step(model, path, name, chunk, sampling_rate=50)
    assert artefact.error < 1e-5
    stream, x = export.load(path), sequences(2, 70)
    stream.reset(2)
    for k in range(0, 70, chunk or 1):
        y = stream.step(x[:, k] if chunk is None else x[:, k : k + chunk])
    assert relative(y, model.predict(x, verbose=0)) < 1e-5


@pytest.mark.artefact
@pytest.mark.parametrize("name", MINE)
def test_recurrent_layers_of_keras_stream_in_chunks(name, tmp_path):
    x = inputs = keras.Input((None, 2))
    for layer in (keras.layers.GRU, keras.layers.LSTM, keras.layers.SimpleRNN):
        x = layer(4, return_sequences=True)(x)
    model = keras.Model(inputs, x)
    export.step(model, path := tmp_path / f"step{FORMATS[name].suffix}", name, chunk=5)
    stream, x = export.load(path), sequences(3, 10)
    stream.reset(3)
    found = np.concatenate([stream.step(x[:, :5]), stream.step(x[:, 5:])], axis=1)
    assert relative(found, model.predict(x, verbose=0)) < 1e-5


@pytest.mark.artefact
@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("name", [n for n in MINE if FORMATS[n].int8])
def test_int8_keeps_the_recurrence(name, chunk, tmp_path):
    model = models.classifier(3, (None, 2), layer="s5", depth=1, width=64, state_size=64)
    path = tmp_path / f"step{FORMATS[name].suffix}"
    whole, small = (export.step(model, path, chunk=chunk, int8=b) for b in (False, True))
    # A chunk has tables of the recurrence besides, which stay float.
    assert small.size < (0.6 if chunk is None else 0.9) * whole.size
    assert 1e-5 < small.error < 0.05


@pytest.mark.artefact
@pytest.mark.parametrize("name", [n for n in MINE if FORMATS[n].int8])
def test_int8_hears_a_soft_sequence_next_to_a_loud_one(name, tmp_path):
    model = classifier(("S5",), length=None)
    path = tmp_path / f"step{FORMATS[name].suffix}"
    export.step(model, path, chunk=7, int8=True)
    together, alone = sequences(2, 7) * np.float32([[[1000]], [[1]]]), sequences(2, 7)[1:]
    outputs = []
    for x in (together, alone):
        stream = export.load(path)
        stream.reset(len(x))
        outputs.append(stream.step(x)[-1])
    assert relative(*outputs) < 1e-5


@pytest.mark.artefact
@pytest.mark.skipif(BACKEND != "jax", reason="the others write ONNX themselves")
def test_another_backend_writes_what_this_one_cannot(tmp_path):
    model = causal()
    artefact = export.step(model, tmp_path / "step.onnx")
    assert artefact.error < 1e-5
    stream = export.load(artefact.path)
    stream.reset(1)
    x = np.ones((1, 3), "float32")
    y = [stream.step(x) for _ in range(4)]
    expected = model.predict(np.ones((1, 4, 3), "float32"), verbose=0)
    assert relative(y[-1], expected[:, -1]) < 1e-5


@pytest.mark.artefact
@pytest.mark.skipif(BACKEND != "torch", reason="one backend is enough for the command")
def test_the_command(tmp_path, capsys):
    causal().save(tmp_path / "mine.keras")
    command = ["export", str(tmp_path / "mine.keras"), "--format", "onnx"]
    assert keras_ssm_cli.main([*command, "--step", "--chunk", "4", "--sampling-rate", "50"]) == 0
    assert "differs from predict by" in capsys.readouterr().out
    assert export.load(tmp_path / "step.onnx").metadata["chunk"] == 4
    assert keras_ssm_cli.main([*command, "--chunk", "4"]) == 2
    assert keras_ssm_cli.main([*command, "--step", "--length", "4"]) == 2
    assert keras_ssm_cli.main(["export", str(tmp_path), "--format", "onnx"]) == 2


def write() -> None:
    """Write the stored files anew, under TensorFlow."""
    FILES.mkdir(exist_ok=True)
    inputs = keras.Input((None, 2))
    x = layers.SSMBlock(layers.S5(4), name="ssm_block")(keras.layers.Dense(4)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(layers.SequencePooling(name="pooling")(x)))
    for suffix in STORED:
        export.step(model, FILES / f"step{suffix}", sampling_rate=50.0)
    x = sequences(2, 20)
    np.savez(FILES / "step.npz", x=x, y=model.predict(x, verbose=0))
    print(json.dumps({name: os.path.getsize(FILES / name) for name in os.listdir(FILES)}))


if __name__ == "__main__":
    write()
