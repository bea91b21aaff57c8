"""DSS-softmax as its code trains it (ag1988/dss 777084e).

The commands of the README, on the configurations of S4 in that repository.
Lambda, W and the step sizes train without decay; learning rates fall when the
validation accuracy stops growing.
"""

from typing import Any

from keras_ssm.recipes.common import POSTNORM, PRENORM, S4_MODEL, TOKENS, plateau, rates

_MODEL = {
    **S4_MODEL,
    "state_size": 64,
    "kernel": "softmax",
    "separate_steps": True,
    "bidirectional": False,
    "gating": "dense",
}

RECIPES: dict[str, dict[str, Any]] = {
    "lra-listops": {
        "source": "s4-lra-listops",
        "model": {
            **_MODEL, **POSTNORM, **TOKENS, "vocabulary_size": 18, "depth": 6, "width": 128,
        },
        "optimizer": rates(0.01, ssm=0.001, step=0.02, weight_decay=0.01),
        "schedule": plateau(patience=5),
        "training": {"epochs": 50, "batch_size": 50},
    },
    "lra-text": {
        "source": "s4-lra-imdb",
        "model": {
            **_MODEL, **PRENORM, **TOKENS, "pooling": "last", "vocabulary_size": 135,
            "depth": 4, "width": 128,
        },
        "optimizer": rates(0.01, ssm=0.001, step=0.02, weight_decay=0.0),
        "schedule": plateau(patience=10),
        "training": {"epochs": 40, "batch_size": 50},
        "data": {"input_shape": [2048]},
    },
    "lra-retrieval": {
        "source": "s4-lra-aan",
        "builder": "retrieval",
        "model": {
            **_MODEL, **PRENORM, **TOKENS, "vocabulary_size": 98, "depth": 6, "width": 256,
        },
        "optimizer": rates(0.002, ssm=0.001, step=0.001, weight_decay=0.0),
        "schedule": plateau(patience=20),
        "training": {"epochs": 25, "batch_size": 64},
    },
    "lra-image": {
        "source": "s4-lra-cifar",
        "model": {**_MODEL, **POSTNORM, "depth": 6, "width": 512, "dropout": 0.2},
        "optimizer": rates(0.004, ssm=0.001, step=0.001, weight_decay=0.01),
        "schedule": plateau(patience=10),
        "training": {"epochs": 200, "batch_size": 50},
    },
    "lra-pathfinder": {
        "source": "s4-lra-pathfinder",
        "model": {
            **_MODEL, **PRENORM, "depth": 6, "width": 256, "dropout": 0.1, "pooling": "last",
        },
        "optimizer": rates(0.004, ssm=0.001, step=0.001, weight_decay=0.0),
        "schedule": plateau(patience=13),
        "training": {"epochs": 200, "batch_size": 100},
    },
    "lra-pathx": {
        "source": "s4-lra-pathx",
        "model": {
            **_MODEL, **PRENORM, "depth": 6, "width": 256, "step_min": 0.0001, "step_max": 0.01,
        },
        "optimizer": rates(0.0005, ssm=0.001, step=0.0001, weight_decay=0.0),
        "schedule": plateau(patience=40),
        "training": {"epochs": 35, "batch_size": 16},
    },
    "sc10": {
        "source": "s4-sc",
        "model": {**_MODEL, **PRENORM, "depth": 6, "width": 128, "dropout": 0.1},
        "optimizer": rates(0.01, ssm=0.001, step=0.001, weight_decay=0.0),
        "schedule": plateau(patience=20),
        "training": {"epochs": 200, "batch_size": 20},
    },
}  # fmt: skip
SOURCE = "ag1988/dss README.md, experiment="
