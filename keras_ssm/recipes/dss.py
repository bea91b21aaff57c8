"""DSS-softmax as its code trains it (ag1988/dss 777084e).

The commands of the README, on the configurations of S4 in that repository.
Lambda, W and the step sizes train without decay; learning rates fall when the
validation accuracy stops to grow.
"""

from typing import Any

# torch's batch norm: its momentum of 0.1 is the share of the new average.
_MODEL = {
    "state_size": 64,
    "kernel": "softmax",
    "separate_steps": True,
    "bidirectional": False,
    "norm": "batch",
    "norm_epsilon": 1e-5,
    "norm_momentum": 0.9,
    "gating": "dense",
    "dropout": 0.0,
    "pooling": "mean",
    "step_min": 0.001,
    "step_max": 0.1,
    # nn.Linear: uniform within the inverse square root of the number of inputs.
    "encoder_initializer": {
        "class_name": "VarianceScaling",
        "config": {"scale": 1 / 3, "mode": "fan_in", "distribution": "uniform"},
    },
}
_PRENORM = {"prenorm": True, "final_norm": True}
_POSTNORM = {"prenorm": False}
_TOKENS = {
    "masked": "pooling",
    "pooling": "masked_mean",
    "encoder_initializer": "standard_normal",
}

RECIPES: dict[str, dict[str, Any]] = {
    "lra-listops": {
        "source": "s4-lra-listops",
        "model": {
            **_MODEL, **_POSTNORM, **_TOKENS, "vocabulary_size": 18, "depth": 6, "width": 128,
        },
        "optimizer": {
            "learning_rate": 0.01, "ssm_learning_rate": 0.001, "step_learning_rate": 0.02,
            "weight_decay": 0.01,
        },
        "schedule": {"name": "plateau", "factor": 0.2, "patience": 5},
        "training": {"epochs": 50, "batch_size": 50},
    },
    "lra-text": {
        "source": "s4-lra-imdb",
        "model": {
            **_MODEL, **_PRENORM, **_TOKENS, "pooling": "last", "vocabulary_size": 135,
            "depth": 4, "width": 128,
        },
        "optimizer": {
            "learning_rate": 0.01, "ssm_learning_rate": 0.001, "step_learning_rate": 0.02,
            "weight_decay": 0.0,
        },
        "schedule": {"name": "plateau", "factor": 0.2, "patience": 10},
        "training": {"epochs": 40, "batch_size": 50},
        "data": {"input_shape": [2048]},
    },
    "lra-retrieval": {
        "source": "s4-lra-aan",
        "builder": "retrieval",
        "model": {
            **_MODEL, **_PRENORM, **_TOKENS, "vocabulary_size": 98, "depth": 6, "width": 256,
        },
        "optimizer": {
            "learning_rate": 0.002, "ssm_learning_rate": 0.001, "step_learning_rate": 0.001,
            "weight_decay": 0.0,
        },
        "schedule": {"name": "plateau", "factor": 0.2, "patience": 20},
        "training": {"epochs": 25, "batch_size": 64},
    },
    "lra-image": {
        "source": "s4-lra-cifar",
        "model": {**_MODEL, **_POSTNORM, "depth": 6, "width": 512, "dropout": 0.2},
        "optimizer": {
            "learning_rate": 0.004, "ssm_learning_rate": 0.001, "step_learning_rate": 0.001,
            "weight_decay": 0.01,
        },
        "schedule": {"name": "plateau", "factor": 0.2, "patience": 10},
        "training": {"epochs": 200, "batch_size": 50},
    },
    "lra-pathfinder": {
        "source": "s4-lra-pathfinder",
        "model": {
            **_MODEL, **_PRENORM, "depth": 6, "width": 256, "dropout": 0.1, "pooling": "last",
        },
        "optimizer": {
            "learning_rate": 0.004, "ssm_learning_rate": 0.001, "step_learning_rate": 0.001,
            "weight_decay": 0.0,
        },
        "schedule": {"name": "plateau", "factor": 0.2, "patience": 13},
        "training": {"epochs": 200, "batch_size": 100},
    },
    "lra-pathx": {
        "source": "s4-lra-pathx",
        "model": {
            **_MODEL, **_PRENORM, "depth": 6, "width": 256, "step_min": 0.0001, "step_max": 0.01,
        },
        "optimizer": {
            "learning_rate": 0.0005, "ssm_learning_rate": 0.001, "step_learning_rate": 0.0001,
            "weight_decay": 0.0,
        },
        "schedule": {"name": "plateau", "factor": 0.2, "patience": 40},
        "training": {"epochs": 35, "batch_size": 16},
    },
    "sc10": {
        "source": "s4-sc",
        "model": {**_MODEL, **_PRENORM, "depth": 6, "width": 128, "dropout": 0.1},
        "optimizer": {
            "learning_rate": 0.01, "ssm_learning_rate": 0.001, "step_learning_rate": 0.001,
            "weight_decay": 0.0,
        },
        "schedule": {"name": "plateau", "factor": 0.2, "patience": 20},
        "training": {"epochs": 200, "batch_size": 20},
    },
}  # fmt: skip
SOURCE = "ag1988/dss README.md, experiment="
