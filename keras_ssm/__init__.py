"""State space sequence layers (DSS, S4D, S5) for Keras 3."""

from keras_ssm import (
    analysis,
    callbacks,
    converters,
    datasets,
    initializers,
    layers,
    models,
    ops,
    optimizers,
    recipes,
    schedules,
    visualization,
)
from keras_ssm._version import __version__

__all__ = [
    "__version__",
    "analysis",
    "callbacks",
    "converters",
    "datasets",
    "initializers",
    "layers",
    "models",
    "ops",
    "optimizers",
    "recipes",
    "schedules",
    "visualization",
]
