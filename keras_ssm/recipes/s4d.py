"""S4D as the code of S4 trains it (state-spaces/s4 e757cef).

The repository has no configuration of S4D for the Long Range Arena: these are
those of S4 from the time of the S4D paper, with the layer replaced
(`model/layer=s4d`). They name the initialization "legs", so that the models are
S4D-LegS there; the layer's default, "lin", makes the other two S4D-Lin.
"inv" gives S4D-Inv. A and B have a rate of their own, and so do the
step sizes, both without decay.

Different here: the layer norm of the Image and CIFAR-10 models has a scale and
a shift for every feature, where the code has one of each for all.
"""

from typing import Any

from keras_ssm.recipes.common import POSTNORM, PRENORM, S4_MODEL, TOKENS, cosine, rates

_MODEL = {
    **S4_MODEL,
    "bidirectional": True,
    "state_size": 64,
    "gating": "glu",
}
_LEGS = {"initialization": "legs", "n_ssm": None}

RECIPES: dict[str, dict[str, Any]] = {
    "lra-listops": {
        "source": "experiment/lra/old/v3-s4-listops.yaml",
        "model": {
            **_MODEL, **POSTNORM, **TOKENS, **_LEGS, "vocabulary_size": 18, "depth": 8,
            "width": 128,
        },
        "optimizer": rates(0.01, ssm=0.001, step=0.01, weight_decay=0.05),
        "schedule": cosine(80_000, warmup_steps=1_000),
        "training": {"epochs": 40, "batch_size": 50},
    },
    "lra-text": {
        "source": "experiment/lra/old/v3-s4-imdb.yaml",
        "model": {
            **_MODEL, **PRENORM, **TOKENS, **_LEGS, "vocabulary_size": 135, "depth": 6,
            "width": 256,
        },
        "optimizer": rates(0.01, ssm=0.001, step=0.01, weight_decay=0.05),
        "schedule": cosine(50_000, warmup_steps=1_000),
        "training": {"epochs": 32, "batch_size": 16},
    },
    "lra-retrieval": {
        "source": "experiment/lra/old/v3-s4-aan.yaml",
        "builder": "retrieval",
        "model": {
            **_MODEL, **PRENORM, **TOKENS, **_LEGS, "vocabulary_size": 98, "depth": 6,
            "width": 256,
        },
        "optimizer": rates(0.01, ssm=0.001, step=0.01, weight_decay=0.05),
        "schedule": cosine(50_000, warmup_steps=2_500),
        "training": {"epochs": 20, "batch_size": 64},
    },
    "lra-image": {
        "source": "experiment/lra/old/v3-s4-cifar.yaml",
        "model": {
            **_MODEL, **POSTNORM, **_LEGS, "n_ssm": 2, "norm": "layer", "depth": 6,
            "width": 512, "dropout": 0.1,
        },
        "optimizer": rates(0.01, ssm=0.001, step=0.01, weight_decay=0.05),
        "schedule": cosine(180_000, warmup_steps=900),
        "training": {"epochs": 200, "batch_size": 50},
    },
    "lra-pathfinder": {
        "source": "experiment/lra/old/v3-s4-pathfinder.yaml",
        "model": {
            **_MODEL, **PRENORM, **_LEGS, "depth": 6, "width": 256, "pooling": "last",
        },
        "optimizer": rates(0.004, ssm=0.001, step=0.001, weight_decay=0.03),
        "schedule": cosine(500_000, warmup_steps=2_500),
        "training": {"epochs": 200, "batch_size": 64},
        # Pixels in [0, 1], where the code of DSS and S5 has [-1, 1].
        "data": {"mean": 0.0, "std": 255.0},
    },
    "lra-pathx": {
        "source": "experiment/lra/old/v3-s4-pathx.yaml",
        "model": {
            **_MODEL, **PRENORM, **_LEGS, "depth": 6, "width": 256, "step_min": 0.0001,
        },
        # The file says that the papers had a rate of 0.0005 and 10,000 steps of warm-up.
        "optimizer": rates(0.001, ssm=0.0005, step=0.0005, weight_decay=0.05),
        "schedule": cosine(500_000, warmup_steps=50_000),
        "training": {"epochs": 50, "batch_size": 16},
        "data": {"mean": 0.0, "std": 255.0},
    },
    "sc35": {
        "source": "experiment/sc/s4-sc.yaml",
        "model": {
            **_MODEL, **PRENORM, "initialization": "lin", "n_ssm": 2, "depth": 6, "width": 128,
        },
        "optimizer": rates(0.01, ssm=0.001, step=0.001, weight_decay=0.05),
        "schedule": cosine(200_000, warmup_steps=1_000),
        "training": {"epochs": 40, "batch_size": 16},
    },
    "scifar": {
        "source": "experiment/cifar/s4-cifar.yaml",
        "model": {
            **_MODEL, **POSTNORM, "initialization": "lin", "n_ssm": 2, "norm": "layer",
            "depth": 6, "width": 512, "dropout": 0.1,
        },
        "optimizer": rates(0.01, ssm=0.001, step=0.001, weight_decay=0.05),
        "schedule": cosine(180_000, warmup_steps=900),
        "training": {"epochs": 200, "batch_size": 50},
    },
}  # fmt: skip
SOURCE = "state-spaces/s4 configs/"
