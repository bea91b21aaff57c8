"""State space sequence layers (DSS, S4D, S5) for Keras 3."""

from keras_ssm import (
    analysis,
    datasets,
    initializers,
    layers,
    models,
    ops,
    optimizers,
    recipes,
    schedules,
)
from keras_ssm._version import __version__

__all__ = [
    "__version__",
    "analysis",
    "datasets",
    "initializers",
    "layers",
    "models",
    "ops",
    "optimizers",
    "recipes",
    "schedules",
]
