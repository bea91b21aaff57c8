"""Published trainings as data, small ones for a CPU, and the models they make."""

from keras_ssm.recipes.build import build_model, compile_model, optimizer, training_callbacks
from keras_ssm.recipes.catalogue import Recipe, get, names, table
from keras_ssm.recipes.published import RESULTS, Result

__all__ = [
    "RESULTS",
    "Recipe",
    "Result",
    "build_model",
    "compile_model",
    "get",
    "names",
    "optimizer",
    "table",
    "training_callbacks",
]
