"""Published training runs as data, small ones for a CPU, and what they train: model and data."""

from keras_ssm.recipes.build import build_model, compile_model, optimizer, training_callbacks
from keras_ssm.recipes.catalogue import get, names, table
from keras_ssm.recipes.data import Data, batches, download, generate, load_data
from keras_ssm.recipes.published import RESULTS, Result
from keras_ssm.recipes.rules import check
from keras_ssm.recipes.task import TASKS, Recipe, Task

__all__ = [
    "RESULTS",
    "TASKS",
    "Data",
    "Recipe",
    "Result",
    "Task",
    "batches",
    "build_model",
    "check",
    "compile_model",
    "download",
    "generate",
    "get",
    "load_data",
    "names",
    "optimizer",
    "table",
    "training_callbacks",
]
