"""State space sequence layers (DSS, S4, S4D, S5, LRU) for Keras 3."""

from keras_ssm import (
    analysis,
    callbacks,
    converters,
    datasets,
    distribution,
    export,
    files,
    initializers,
    layers,
    models,
    ops,
    optimizers,
    recipes,
    schedules,
    testing,
    visualization,
)
from keras_ssm._version import __version__
from keras_ssm.analysis import summary
from keras_ssm.visualization import plot

__all__ = [
    "__version__",
    "analysis",
    "callbacks",
    "converters",
    "datasets",
    "distribution",
    "export",
    "files",
    "initializers",
    "layers",
    "models",
    "ops",
    "optimizers",
    "plot",
    "recipes",
    "schedules",
    "summary",
    "testing",
    "visualization",
]
