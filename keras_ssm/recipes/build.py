"""From a recipe to a compiled model."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_ssm import optimizers, schedules
from keras_ssm.callbacks import ReduceOnPlateau
from keras_ssm.models.classification import BLOCK_OPTIONS
from keras_ssm.recipes.rules import BUILDERS, check
from keras_ssm.recipes.task import Recipe

_SCHEDULES: dict[str, Callable[..., Any]] = {
    "cosine": schedules.warmup_cosine,
    "s5": schedules.S5Schedule,
}


def build_model(
    recipe: Recipe,
    input_shape: Sequence[int | None] | None = None,
    num_classes: int | None = None,
) -> keras.Model:
    """Build the model of a recipe, with new weights.

    Args:
        recipe: what `get` returned, perhaps changed.
        input_shape: shape of a sequence, without the batch, with None for unknown
            lengths; by default that of the recipe.
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
    check(recipe)
    classes = num_classes or recipe["data"]["num_classes"]
    shape = tuple(recipe["data"]["input_shape"] if input_shape is None else input_shape)
    settings = dict(recipe["model"])
    block = {name: settings.pop(name) for name in BLOCK_OPTIONS if name in settings}
    try:
        model = BUILDERS[recipe["builder"]](
            classes, shape, layer=recipe["layer"], block=block, **settings
        )
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        # About what Keras takes in many forms, an initializer for instance, and does not name.
        if isinstance(error, ValueError) and "Received: " in str(error):
            raise
        raise ValueError(
            f"expected settings that a model can have ({error}). Received: model={recipe['model']}"
        ) from error
    if model.output_shape != (None, classes):
        raise ValueError(
            f"expected a model that gives {classes} logits for a sequence. Received: output of "
            f"shape {model.output_shape} by model={recipe['model']}"
        )
    return model


def compile_model(model: keras.Model, recipe: Recipe, steps_per_epoch: int) -> None:
    """Compile a model with the optimizer of a recipe, cross-entropy of logits, and accuracy.

    Args:
        model: what `build_model` returned.
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
    # Weighted, for the rows of weight 0 that fill up a batch which devices share.
    model.compile(optimizer(recipe, steps_per_epoch), loss, weighted_metrics=["accuracy"])


def optimizer(recipe: Recipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Make the optimizer of a recipe: groups, learning rates, decay and their schedule.

    Args:
        recipe: what `get` returned, perhaps changed.
        steps_per_epoch: batches in an epoch.

    Returns:
        What `optimizers.adamw` returns.

    Raises:
        ValueError: for settings that an optimizer cannot have.

    Example:

    >>> recipe = keras_ssm.recipes.get("sc35", "s5")
    >>> optimizer = keras_ssm.recipes.optimizer(recipe, steps_per_epoch=5302)
    >>> int(optimizer.iterations)
    0
    """
    check(recipe)
    arguments, schedule = dict(recipe["optimizer"]), recipe["schedule"]
    if schedule["name"] in ("constant", "plateau"):
        return optimizers.adamw(**arguments)
    if "total_steps" in schedule:
        total, warmup = schedule["total_steps"], schedule["warmup_steps"]
    else:
        total = steps_per_epoch * recipe["training"]["epochs"]
        # With very few epochs, at most half of the steps.
        warmup = min(steps_per_epoch * schedule["warmup_epochs"], total // 2)
    for name in ("learning_rate", "ssm_learning_rate", "step_learning_rate"):
        if arguments.get(name) is not None:
            arguments[name] = _SCHEDULES[schedule["name"]](arguments[name], total, warmup)
    return optimizers.adamw(**arguments)


def training_callbacks(
    recipe: Recipe, history: Sequence[float] = ()
) -> list[keras.callbacks.Callback]:
    """Make the callbacks that the schedule of a recipe needs besides the optimizer.

    Args:
        recipe: what `get` returned, perhaps changed.
        history: `val_accuracy` of the epochs before, when a training run is resumed.

    Returns:
        A list of callbacks for `fit`: one for `"plateau"`, none for the others.

    Example:

    >>> keras_ssm.recipes.training_callbacks(keras_ssm.recipes.get("lra-image", "s5"))
    []
    """
    check(recipe)
    schedule: dict[str, Any] = recipe["schedule"]
    if schedule["name"] != "plateau":
        return []
    return [ReduceOnPlateau(schedule["factor"], schedule["patience"], history=history)]
