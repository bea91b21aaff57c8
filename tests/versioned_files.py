"""Files that every later version must load: models, a stopped optimizer, a preset, a run folder.

`KERAS_BACKEND=jax python tests/versioned_files.py` writes those of this version
and backend into `tests/files/<version>/<backend>`, with the numbers that they
must give. They are written once for each version and never again.
"""

import json
import pathlib

import conftest  # noqa: F401  (its settings of the backend belong to the numbers)
import keras
import numpy as np
from keras import ops

import keras_ssm
from keras_ssm import models, optimizers

FOLDER = pathlib.Path(__file__).parent / "files"
LAYERS = {
    "dss": {"kernel": "exp"},
    "lru": {},
    "s4": {"state_size": 4},
    "s4d": {"bidirectional": True},
    "s5": {"blocks": 2},
}
RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 12, 3)).astype("float32")
Y = np.array([0, 1, 1, 0])
TOKENS = RNG.integers(1, 9, (2, 7)).astype("int32")
STEPS = 3
RUN = ("config.json", "best.keras", "model.keras", "history.csv", "result.json")


def numpy(x):
    return np.asarray(ops.convert_to_numpy(ops.stop_gradient(ops.convert_to_tensor(x))))


def classifier(name):
    options = {"depth": 1, "width": 4, "state_size": 8, **LAYERS[name]}
    return models.classifier(2, (None, 3), layer=name, final_norm=True, **options)


def compiled(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = optimizers.adamw(1e-2, 5e-3, weight_decay=0.05, step_learning_rate=2e-3)
    model.compile(optimizer, loss, run_eagerly=keras.backend.backend() == "tensorflow")
    return model


def train(model):
    """The losses of some steps."""
    return [float(model.train_on_batch(X, Y)) for _ in range(STEPS)]


def backbone():
    from keras_ssm import hub

    return hub.SSMBackbone(9, layer="s5", depth=1, width=4, state_size=8)


def backbone_output(model):
    return numpy(model({"token_ids": TOKENS, "padding_mask": np.ones_like(TOKENS)}))


def write():
    folder = FOLDER / keras_ssm.__version__ / keras.backend.backend()
    folder.mkdir(parents=True, exist_ok=False)
    numbers = {}
    for name in LAYERS:
        keras.utils.set_random_seed(0)
        model = classifier(name)
        model.save(folder / f"{name}.keras")
        numbers[name] = numpy(model(X))
    keras.utils.set_random_seed(0)
    model = compiled(classifier("s5"))
    train(model)
    model.save(folder / "trained.keras")
    numbers["trained"] = np.array(train(model))
    preset = backbone()
    preset.save_to_preset(str(folder / "preset"))
    numbers["preset"] = backbone_output(preset)
    run(folder / "run")
    np.savez_compressed(folder / "numbers.npz", **numbers)


def run(folder):
    """A run folder of one epoch."""
    import keras_ssm_cli

    settings = ["epochs=1", "depth=1", "width=4", "state_size=4", "train_size=64"]
    keras_ssm_cli.main(
        ["train", "digits", "--layer", "s5", "--backend", keras.backend.backend(), "--out",
         str(folder), "--set", *settings]
    )  # fmt: skip
    for path in folder.iterdir():
        if path.name not in (
            "config.json",
            "best.keras",
            "model.keras",
            "history.csv",
            "result.json",
        ):
            path.unlink()
    json.loads((folder / "result.json").read_text())


if __name__ == "__main__":
    write()
