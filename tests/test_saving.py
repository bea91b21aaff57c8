"""Files: weights and configuration of every layer there and back, and from backend to backend."""

import inspect
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from equivalences import compiled
from keras import ops

from keras_ssm.layers import DSS, S4D, S5
from keras_ssm.models import classifier
from keras_ssm.optimizers import adamw

BACKEND = os.environ["KERAS_BACKEND"]
WIDTH = 4

COMMON = {
    "step_min": 1e-2, "step_max": 0.5, "rate": 2.0, "D_initializer": "ones",
    "D_regularizer": "l2", "D_constraint": "non_neg",
}  # fmt: skip
BACKWARDS = {
    "go_backwards": True, "return_sequences": False, "return_state": True, "stateful": True,
    "zero_output_for_mask": True,
}  # fmt: skip
WEIGHT = {"initializer": keras.initializers.RandomUniform(seed=3), "regularizer": "l1"}


def weight_options(*names):
    options = {**WEIGHT, "constraint": "unit_norm"}
    return {f"{name}_{kind}": value for name in names for kind, value in options.items()}


class Negative(keras.initializers.Initializer):
    """Eigenvalues as a user may give them."""

    def __call__(self, shape, dtype=None):
        return -ops.ones(shape, dtype=dtype)


# No layer takes all of its options at once.
LAYERS = {
    "dss-bidirectional": DSS(
        6, kernel="clip", initialization="random", separate_steps=False, channels=2, max_real=-0.1,
        bidirectional=True, **weight_options("W"), **COMMON,
    ),
    "dss-length": DSS(6, length=16),
    "dss-backwards": DSS(6, kernel="exp", method="chunk", **BACKWARDS),
    "s4d-bidirectional": S4D(
        6, initialization=["inv", "lin"], discretization="bilinear", n_ssm=2, channels=2,
        parametrization={
            "real": "softplus", "imag": "softplus", "step": "softplus", "tie_step": False,
            "train_B": False,
        },
        bidirectional=True, **weight_options("B", "C"), **COMMON,
    ),
    "s4d-length": S4D(6, discretization="softmax", length=16),
    "s4d-backwards": S4D(
        5, initialization="real", parametrization={"real_valued": True}, method="fft", **BACKWARDS
    ),
    "s5-bidirectional": S5(
        6, blocks=2, initialization=Negative(), discretization="bilinear", bidirectional=True,
        conjugate_symmetry=False, clip_eigenvalues=True, **weight_options("B", "C"), **COMMON,
    ),
    "s5-backwards": S5(6, C_initializer="lecun_normal", **BACKWARDS),
}  # fmt: skip


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x), "float64")


def data(length=11):
    return np.random.default_rng(0).normal(size=(3, length, WIDTH)).astype("float32")


@pytest.mark.parametrize("kind", [DSS, S4D, S5])
def test_the_layers_below_change_every_option(kind):
    default = kind(8).get_config()
    arguments = {name for c in kind.__mro__[:2] for name in inspect.signature(c).parameters}
    assert arguments - {"kwargs"} <= set(default)
    configs = [layer.get_config() for layer in LAYERS.values() if type(layer) is kind]
    unchanged = {key for key in default if all(c[key] == default[key] for c in configs)}
    assert unchanged <= {"trainable", "dtype"}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_from_its_config_and_weights_file_equals_the_layer(name, tmp_path):
    def model_of(layer):
        inputs = keras.Input(batch_shape=(3, None, WIDTH))
        return keras.Model(inputs, layer(inputs))

    kind, config = type(LAYERS[name]), LAYERS[name].get_config()
    with keras.saving.custom_object_scope({"Negative": Negative}):
        copies = [kind.from_config(json.loads(json.dumps(config))) for _ in range(2)]
    assert copies[0].get_config() == config
    model, other = (model_of(layer) for layer in copies)
    for index, weight in enumerate(model.weights):
        noise = 0.1 * np.random.default_rng(index).normal(size=weight.shape)
        weight.assign(numpy(weight) + noise)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    for a, b in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(numpy(a), numpy(b), err_msg=a.path)
        assert a.trainable == b.trainable
    # A stateful layer assigns its state, which a compiled function of JAX cannot.
    run = (lambda call: call) if copies[0].stateful else compiled
    expected, outputs = run(model.__call__)(data()), run(other.__call__)(data())
    if copies[0].return_state:
        np.testing.assert_array_equal(numpy(outputs[1]), numpy(expected[1]))
        expected, outputs = expected[0], outputs[0]
    np.testing.assert_array_equal(numpy(outputs), numpy(expected))
    assert np.abs(numpy(outputs)).max() > 1e-3
    assert [float(numpy(loss)) for loss in model.losses] == pytest.approx(
        [float(numpy(loss)) for loss in other.losses]
    )
    assert bool(model.losses) == ("bidirectional" in name)


CLASSIFIERS = {
    "dss": {"bidirectional": True, "block": {"norm": "batch"}, "pooling": "last"},
    "s4d": {"initialization": "legs", "n_ssm": 2, "block": {"prenorm": False}},
    "s5": {"blocks": 2, "bidirectional": True, "block": {"gating": "half_glu2"}, "masked": True},
}

# Run by another backend: outputs of all models, and two more training steps of the one that has
# an optimizer. A file keeps the choice of `jit_compile`, which JAX makes otherwise than the others.
READER = """
import pathlib, sys
import keras, numpy as np
import keras_ssm
folder = pathlib.Path(sys.argv[1])
x, y = np.load(folder / "x.npy"), np.load(folder / "y.npy")
backend = keras.backend.backend()
results = {"backend": backend}
for path in folder.glob("*.keras"):
    train = path.stem == "training" and backend != "numpy"
    model = keras.saving.load_model(path, compile=train)
    model.jit_compile = backend == "jax"
    results[path.stem] = model.predict(x, verbose=0)
    if train:
        results["losses"] = [float(model.train_on_batch(x, y)) for _ in range(2)]
np.savez(sys.argv[2], **results)
"""


def readable():
    """All of the three that train; what reads them on NumPy is the same for all."""
    others = ["jax", "tensorflow", "torch"] if BACKEND != "numpy" else []
    return [name for name in others if name != BACKEND] + ["numpy"] * (BACKEND == "jax")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of saved models and what they give under this backend."""
    keras.utils.set_random_seed(1)
    folder = tmp_path_factory.mktemp("models")
    x, y = data(20), np.array([0, 2, 1])
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    expected = {}
    for layer, options in CLASSIFIERS.items():
        model = classifier(3, (None, WIDTH), layer, 1, width=4, state_size=8, **options)
        for index, weight in enumerate(model.weights):
            weight.assign(numpy(weight) + 0.1 * np.random.default_rng(index).random(weight.shape))
        model.save(folder / f"{layer}.keras")
        expected[layer] = numpy(model(x, training=False))
    model = keras.Sequential([keras.Input((None, WIDTH)), keras.layers.GlobalMaxPooling1D()])
    model.add(keras.layers.Dense(3))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(adamw(0.1, total_steps=20, warmup_steps=2), loss)
    if BACKEND != "numpy":
        for _ in range(3):
            model.train_on_batch(x, y)
    model.save(folder / "training.keras")
    expected["training"] = numpy(model(x, training=False))
    if BACKEND != "numpy":
        model.reset_metrics()
        expected["losses"] = [float(model.train_on_batch(x, y)) for _ in range(2)]
    return folder, expected


@pytest.mark.parametrize("reader", readable())
def test_a_model_saved_here_gives_the_same_and_trains_on_under_another_backend(files, reader):
    pytest.importorskip(reader)
    folder, expected = files
    out = folder / f"{reader}.npz"
    environment = {**os.environ, "KERAS_BACKEND": reader}
    command = [sys.executable, "-c", READER, str(folder), str(out)]
    root = pathlib.Path(__file__).parents[1]
    run = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    results = np.load(out)
    assert str(results["backend"]) == reader
    if "numpy" in (reader, BACKEND):  # which cannot train
        expected = {name: value for name, value in expected.items() if name != "losses"}
    for name, value in expected.items():
        np.testing.assert_allclose(results[name], value, atol=1e-5, err_msg=name)
