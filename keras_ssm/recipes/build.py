"""From a recipe to a compiled model."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_ssm import models, optimizers
from keras_ssm.layers.arguments import check_choice
from keras_ssm.recipes.catalogue import Recipe
from keras_ssm.schedules import ReduceOnPlateau, S5Schedule

_BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "classifier": models.classifier,
    "retrieval": models.retrieval,
}
_SCHEDULES = {"cosine": optimizers.warmup_cosine, "s5": S5Schedule}


def build_model(
    recipe: Recipe,
    input_shape: Sequence[int | None] | None = None,
    num_classes: int | None = None,
) -> keras.Model:
    """The model of a recipe, with new weights.

    Args:
        recipe: of `get`, perhaps changed.
        input_shape: without the batch, with None for unknown lengths; by default
            that of the recipe.
        num_classes: number of logits; by default that of the recipe.

    Returns:
        A `keras.Model` that gives logits.

    Raises:
        ValueError: for settings that a model cannot have.

    Example:

    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> keras_ssm.recipes.build_model(recipe).output_shape
    (None, 10)
    """
    check_choice("builder", recipe["builder"], _BUILDERS)
    return _BUILDERS[recipe["builder"]](
        num_classes or recipe["data"]["num_classes"],
        tuple(recipe["data"]["input_shape"] if input_shape is None else input_shape),
        layer=recipe["layer"],
        **recipe["model"],
    )


def compile_model(model: keras.Model, recipe: Recipe, steps_per_epoch: int) -> None:
    """Give a model the optimizer of a recipe, cross-entropy of logits, and accuracy.

    Args:
        model: of `build_model`.
        recipe: the same recipe.
        steps_per_epoch: batches in an epoch. Schedules whose source counts in
            steps do not depend on it.

    Raises:
        ValueError: for settings that an optimizer cannot have.

    Example:

    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> model = keras_ssm.recipes.build_model(recipe)
    >>> keras_ssm.recipes.compile_model(model, recipe, steps_per_epoch=39)
    """
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer(recipe, steps_per_epoch), loss, metrics=["accuracy"])


def optimizer(recipe: Recipe, steps_per_epoch: int) -> optimizers.GroupedAdamW:
    """The optimizer of a recipe: groups, learning rates, decay and their schedule.

    Args:
        recipe: of `get`, perhaps changed.
        steps_per_epoch: batches in an epoch.

    Returns:
        What `optimizers.adamw` returns.

    Raises:
        ValueError: for settings that an optimizer cannot have.

    Example:

    >>> recipe = keras_ssm.recipes.get("sc35", "s5")
    >>> len(keras_ssm.recipes.optimizer(recipe, steps_per_epoch=5302).optimizers)
    2
    """
    arguments, schedule = dict(recipe["optimizer"]), recipe["schedule"]
    if schedule["name"] == "plateau":
        return optimizers.adamw(**arguments)
    check_choice("schedule", schedule["name"], _SCHEDULES)
    if "total_steps" in schedule:
        total, warmup = schedule["total_steps"], schedule["warmup_steps"]
    else:
        total = steps_per_epoch * recipe["training"]["epochs"]
        # In a training of very few epochs, at most half of it.
        warmup = min(steps_per_epoch * schedule["warmup_epochs"], total // 2)
    for name in ("learning_rate", "ssm_learning_rate", "step_learning_rate"):
        if arguments.get(name) is not None:
            arguments[name] = _SCHEDULES[schedule["name"]](arguments[name], total, warmup)
    return optimizers.adamw(**arguments)


def training_callbacks(
    recipe: Recipe, history: Sequence[float] = ()
) -> list[keras.callbacks.Callback]:
    """What the schedule of a recipe needs beside the optimizer.

    Args:
        recipe: of `get`, perhaps changed.
        history: `val_accuracy` of the epochs before a training that goes on.

    Returns:
        A list of callbacks for `fit`: one for `"plateau"`, none for the others.

    Example:

    >>> keras_ssm.recipes.training_callbacks(keras_ssm.recipes.get("lra-image", "s5"))
    []
    """
    schedule: dict[str, Any] = recipe["schedule"]
    if schedule["name"] != "plateau":
        return []
    return [ReduceOnPlateau(schedule["factor"], schedule["patience"], history=history)]
