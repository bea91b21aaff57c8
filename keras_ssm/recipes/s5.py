"""S5 as its code trains it (lindermanlab/S5 3c18fdb), `bin/run_experiments`.

What a script does not say is the default of `run_train.py`. There are no
scripts for sequential MNIST and CIFAR-10.
"""

from typing import Any

# A batch norm of flax, epsilon 1e-5; its momentum means the same in Keras.
_MODEL = {
    "bidirectional": True,
    "norm": "batch",
    "norm_epsilon": 1e-5,
    "norm_momentum": 0.95,
    "prenorm": True,
    "gating": "half_glu1",
    "dropout": 0.0,
    "pooling": "mean",
    "step_min": 0.001,
    "step_max": 0.1,
    "encoder_initializer": "lecun_normal",
}
_TOKENS = {"one_hot": True, "masked": "pooling", "pooling": "mean"}
_WARMUP = {"name": "s5", "warmup_epochs": 1}

RECIPES: dict[str, dict[str, Any]] = {
    "lra-listops": {
        "source": "run_lra_listops.sh",
        "model": {
            **_MODEL, **_TOKENS, "vocabulary_size": 20, "depth": 8, "width": 128,
            "state_size": 16, "blocks": 8, "gating": "half_glu2", "C_initializer": "lecun_normal",
        },
        "optimizer": {
            "learning_rate": 0.003, "ssm_learning_rate": 0.001, "weight_decay": 0.04,
            "variant": "BfastandCdecay",
        },
        "schedule": _WARMUP,
        "training": {"epochs": 40, "batch_size": 50},
    },
    "lra-text": {
        "source": "run_lra_imdb.sh",
        "model": {
            **_MODEL, **_TOKENS, "vocabulary_size": 135, "depth": 6, "width": 256,
            "state_size": 192, "blocks": 12, "gating": "half_glu2",
            "C_initializer": "lecun_normal", "dropout": 0.1,
        },
        "optimizer": {
            "learning_rate": 0.004, "ssm_learning_rate": 0.001, "weight_decay": 0.07,
            "variant": "standard", "dt_global": True,
        },
        "schedule": {"name": "s5", "warmup_epochs": 0},
        "training": {"epochs": 35, "batch_size": 50},
    },
    "lra-retrieval": {
        "source": "run_lra_aan.sh",
        "builder": "retrieval",
        "model": {
            **_MODEL, **_TOKENS, "vocabulary_size": 98, "depth": 6, "width": 128,
            "state_size": 256, "blocks": 16, "C_initializer": "trunc_standard_normal",
        },
        "optimizer": {
            "learning_rate": 0.002, "ssm_learning_rate": 0.001, "weight_decay": 0.05,
            "variant": "standard", "dt_global": True,
        },
        "schedule": _WARMUP,
        "training": {"epochs": 20, "batch_size": 32},
    },
    "lra-image": {
        "source": "run_lra_cifar.sh",
        "model": {
            **_MODEL, "depth": 6, "width": 512, "state_size": 384, "blocks": 3,
            "C_initializer": "lecun_normal", "dropout": 0.1, "clip_eigenvalues": True,
        },
        "optimizer": {
            "learning_rate": 0.0045, "ssm_learning_rate": 0.001, "weight_decay": 0.07,
            "variant": "BfastandCdecay",
        },
        "schedule": _WARMUP,
        "training": {"epochs": 250, "batch_size": 50},
    },
    "lra-pathfinder": {
        "source": "run_lra_pathfinder.sh",
        "model": {
            **_MODEL, "depth": 6, "width": 192, "state_size": 256, "blocks": 8,
            "C_initializer": "trunc_standard_normal", "dropout": 0.05, "norm_momentum": 0.9,
        },
        "optimizer": {
            "learning_rate": 0.0045, "ssm_learning_rate": 0.0009, "weight_decay": 0.03,
            "variant": "standard",
        },
        "schedule": _WARMUP,
        "training": {"epochs": 200, "batch_size": 64},
    },
    "lra-pathx": {
        "source": "run_lra_pathx.sh",
        "model": {
            **_MODEL, "depth": 6, "width": 128, "state_size": 256, "blocks": 16,
            "C_initializer": "complex_normal", "norm_momentum": 0.9, "step_min": 0.0001,
        },
        "optimizer": {
            "learning_rate": 0.0018, "ssm_learning_rate": 0.0006, "weight_decay": 0.06,
            "variant": "BandCdecay",
        },
        "schedule": _WARMUP,
        "training": {"epochs": 75, "batch_size": 32},
    },
    "sc35": {
        "source": "run_speech35.sh",
        "model": {
            **_MODEL, "depth": 6, "width": 96, "state_size": 128, "blocks": 16,
            "C_initializer": "lecun_normal", "dropout": 0.1,
        },
        "optimizer": {
            "learning_rate": 0.008, "ssm_learning_rate": 0.002, "weight_decay": 0.04,
            "variant": "noBCdecay",
        },
        "schedule": _WARMUP,
        "training": {"epochs": 40, "batch_size": 16},
    },
}  # fmt: skip
SOURCE = "lindermanlab/S5 bin/run_experiments/"
