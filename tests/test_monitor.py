"""The monitor of state space layers, in real trainings."""

import csv
import os

import keras
import numpy as np
import pytest

from keras_ssm import analysis
from keras_ssm.callbacks import SSMMonitor
from keras_ssm.layers import DSS, S5, SequencePooling

pytestmark = pytest.mark.training
NAMES = ("step_min", "step_median", "step_max", "max_abs_lambda", "unstable")


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((8, 2))
    x = S5(4, name="s5")(inputs)
    x = DSS(2, initialization="random", name="dss")(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(SequencePooling()(x)))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


@pytest.fixture(autouse=True)
def weights(model):
    """Every test starts from the same weights."""
    start = getattr(model, "start", None) or model.get_weights()
    model.start = start
    model.set_weights(start)


DATA = np.ones((4, 8, 2), "float32"), np.ones((4, 1), "float32")


def test_csv_and_history_get_the_numbers_of_every_epoch(model, tmp_path):
    seen = []

    class Expected(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            s5, dss = self.model.get_layer("s5"), self.model.get_layer("dss")
            seen.append([analysis.step_sizes(s5).max(), np.abs(analysis.modes(dss).lam).max()])

    callbacks = [SSMMonitor(), keras.callbacks.CSVLogger(tmp_path / "log.csv"), Expected()]
    history = model.fit(*DATA, epochs=2, verbose=0, callbacks=callbacks).history
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {f"{layer}/{name}" for layer in ("s5", "dss") for name in NAMES} < set(rows[0])
    for row, expected in zip(rows, seen, strict=True):
        found = float(row["s5/step_max"]), float(row["dss/max_abs_lambda"])
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert history["s5/step_max"] == [float(row["s5/step_max"]) for row in rows]
    assert rows[0]["s5/step_max"] != rows[1]["s5/step_max"]
    # Half of a random DSS grows, which its softmax bounds.
    assert history["dss/unstable"] == [0.0, 0.0]


def test_an_unstable_mode_is_counted(model):
    s5 = model.get_layer("s5")
    s5.Lambda_re.assign([0.5, -0.5])
    history = model.fit(*DATA, verbose=0, callbacks=[SSMMonitor()]).history
    assert history["s5/unstable"] == [0.5]
    assert history["s5/max_abs_lambda"][0] > 1


def test_nan_stops_the_training_and_names_the_weights(model):
    with pytest.raises(FloatingPointError) as error:
        model.fit(np.nan * DATA[0], DATA[1], verbose=0, callbacks=[SSMMonitor()])
    message = str(error.value)
    assert "found NaN or infinity in s5/Lambda_re, s5/Lambda_im, s5/B and" in message
    assert "at the end of epoch 1; before it: s5/step_min 0.0" in message


def test_a_model_without_layers_to_watch_is_named():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)], name="dense_only")
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="Received: 'dense_only', which has none"):
        model.fit(np.ones((2, 3)), np.ones((2, 1)), verbose=0, callbacks=[SSMMonitor()])


@pytest.mark.skipif(
    os.environ["KERAS_BACKEND"] != "tensorflow", reason="TensorBoard's files are TensorFlow's"
)
def test_tensorboard_gets_the_numbers(model, tmp_path):
    pytest.importorskip("tensorboard", reason="event files are written by tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = keras.callbacks.TensorBoard(tmp_path, write_graph=False)
    history = model.fit(*DATA, epochs=2, verbose=0, callbacks=[SSMMonitor(), board]).history
    events = EventAccumulator(str(tmp_path / "train"))
    events.Reload()
    for name in NAMES:
        tag = f"epoch_s5/{name}"
        tensors = events.Tensors(tag)
        found = [
            np.frombuffer(e.tensor_proto.tensor_content, "<f4")[0]
            if e.tensor_proto.tensor_content
            else e.tensor_proto.float_val[0]
            for e in tensors
        ]
        np.testing.assert_allclose(found, history[f"s5/{name}"], rtol=1e-6)
