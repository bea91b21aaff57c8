"""S5 and LRU on the six long UEA problems, as Walker et al. trained them. Never run here.

Settings of Benjamin-Walker/log-neural-cdes: `experiment_configs/repeats` (527125e, 76e48ee,
6b2c19b, ee6a84d), and what their models have beyond them (`models/S5.py`, aab11ba;
`models/LRU.py`, 034ab0c). LinOSS compares with the same runs. Differences from that code:
- it looks at the validation part every 1,000 steps and stops after ten looks without a
  gain; a recipe looks at the end of every epoch and runs for all of the 100,000 steps;
- its batch norm has no scale and no offset, while ours has both;
- its dropout differs from step to step, while ours is shared over time;
- the outer radius of its LRU is 1, ours a little less.
"""

from typing import Any

from keras_ssm.recipes.common import TORCH_LINEAR
from keras_ssm.recipes.task import TASKS

# Different series in the archive's two parts, which decide how many epochs make 100,000 steps.
_COUNTS = {
    "EigenWorms": 236,
    "EthanolConcentration": 524,
    "Heartbeat": 409,
    "MotorImagery": 378,
    "SelfRegulationSCP1": 561,
    "SelfRegulationSCP2": 380,
}
_STEPS, _BATCH = 100_000, 32

# Learning rate, depth, width, state, blocks of the initial state matrix, time as a feature.
_S5 = {
    "EigenWorms": (1e-3, 2, 128, 256, 8, True),
    "EthanolConcentration": (1e-5, 2, 128, 16, 8, True),
    "Heartbeat": (1e-3, 4, 128, 16, 4, False),
    "MotorImagery": (1e-3, 6, 16, 64, 4, False),
    "SelfRegulationSCP1": (1e-3, 6, 128, 16, 8, False),
    "SelfRegulationSCP2": (1e-4, 2, 16, 64, 2, True),
}
# Learning rate, depth, width, state, time as a feature.
_LRU = {
    "EigenWorms": (1e-3, 6, 128, 16, True),
    "EthanolConcentration": (1e-4, 2, 128, 16, False),
    "Heartbeat": (1e-4, 6, 128, 256, False),
    "MotorImagery": (1e-3, 6, 64, 256, False),
    "SelfRegulationSCP1": (1e-3, 2, 64, 16, False),
    "SelfRegulationSCP2": (1e-3, 2, 64, 16, True),
}
_MODEL = {
    "gating": "glu",
    # A batch norm of equinox.
    "norm": "batch",
    "norm_epsilon": 1e-5,
    "norm_momentum": 0.99,
    "prenorm": True,
    "pooling": "mean",
    "encoder_initializer": TORCH_LINEAR,
}


def recipes(layer: str) -> dict[str, dict[str, Any]]:
    """The published recipes of a layer.

    Args:
        layer: a registered name.

    Returns:
        By task, the parts of a recipe that are not shared by all recipes of the task; empty
        for a layer that Walker et al. did not train.

    Example:

    >>> from keras_ssm.recipes import uea
    >>> uea.recipes("s5")["uea:EigenWorms"]["model"]["state_size"]
    256
    """
    found = {}
    if layer == "s5":
        for name, (rate, depth, width, state, blocks, time) in _S5.items():
            own = {
                "dropout": 0.05, "blocks": blocks, "C_initializer": "lecun_normal",
                "clip_eigenvalues": True, "step_min": 0.001, "step_max": 0.1,
            }  # fmt: skip
            found[f"uea:{name}"] = _recipe(name, "S5", rate, (depth, width, state), time, own)
    elif layer == "lru":
        for name, (rate, depth, width, state, time) in _LRU.items():
            own = {"dropout": 0.1, "r_min": 0.0, "r_max": 0.99999, "max_phase": 6.28}
            found[f"uea:{name}"] = _recipe(name, "lru", rate, (depth, width, state), time, own)
    return found


def _recipe(
    name: str, model: str, rate: float, sizes: tuple[int, int, int], time: bool, own: dict[str, Any]
) -> dict[str, Any]:
    length, features = TASKS[f"uea:{name}"].input_shape or ()
    batches = int(0.7 * _COUNTS[name]) // _BATCH
    return {
        "source": f"Benjamin-Walker/log-neural-cdes experiment_configs/repeats/{model}/{name}.json",
        "model": {
            **_MODEL, **dict(zip(("depth", "width", "state_size"), sizes, strict=True)), **own,
        },
        "optimizer": {"learning_rate": rate, "ssm_learning_rate": rate, "weight_decay": 0.0},
        "schedule": {"name": "constant"},
        "training": {"epochs": -(-_STEPS // batches), "batch_size": _BATCH},
        "data": {
            "input_shape": [length, features + time], "scale": "none", "mixed": True, "time": time,
        },
    }  # fmt: skip
