"""How good a trained model is on the test part of its task."""

import os
from typing import Any

import keras

from keras_ssm import recipes
from keras_ssm.cli import run_folder
from keras_ssm.recipes import Recipe
from keras_ssm.recipes.task import find


def evaluate(
    folder: str | os.PathLike, data_dir: str | os.PathLike | None = None
) -> dict[str, Any]:
    """Print and return the test accuracy of a run.

    Args:
        folder: run folder.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        See `score`.

    Raises:
        ValueError: if the folder is not a run that can be read, or its data are missing.

    Example:

    >>> from keras_ssm.cli import evaluation
    >>> result = evaluation.evaluate("runs/demo")  # doctest: +SKIP
    Test accuracy 0.9889 (355 of 359)
    """
    recipe = run_folder.read_config(folder)["recipe"]
    model = run_folder.load_model(folder)
    return score(recipe, model, recipes.load_data(recipe, data_dir), data_dir)


def score(
    recipe: Recipe,
    model: keras.Model,
    data: recipes.Data,
    data_dir: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Print and return the accuracy of a model on the test part.

    Speech at 16 kHz is tested at 8 kHz too: every other sample, and all step
    sizes doubled, without training.

    Args:
        recipe: recipe that the model was made from.
        model: the model.
        data: what `recipes.load_data` returned.
        data_dir: the folder that they were loaded from.

    Returns:
        `test_accuracy`, `test_correct` and `test_count`; for speech at 16 kHz
        `test_accuracy_8khz` as well.

    Example:

    >>> from keras_ssm.cli import evaluation, run_folder
    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> model = run_folder.load_model("runs/demo")  # doctest: +SKIP
    >>> data = keras_ssm.recipes.load_data(recipe)
    >>> result = evaluation.score(recipe, model, data)  # doctest: +SKIP
    Test accuracy 0.9889 (355 of 359)
    """
    correct, count = _score(model, recipe, data)
    print(f"Test accuracy {correct / count:.4f} ({correct} of {count})")
    result = {"test_accuracy": correct / count, "test_correct": correct, "test_count": count}
    rate = find(recipe["task"]).zero_shot_rate
    if rate is not None and recipe["data"].get("rate", 1) == 1:
        slower, fewer = zero_shot(recipe, model, data, data_dir)
        correct, count = _score(slower, recipe, fewer)
        print(f"Test accuracy at 8 kHz {correct / count:.4f} ({correct} of {count})")
        result["test_accuracy_8khz"] = correct / count
    return result


def zero_shot(
    recipe: Recipe,
    model: keras.Model,
    data: recipes.Data,
    data_dir: str | os.PathLike | None = None,
) -> tuple[keras.Model, recipes.Data]:
    """Make the model and the data of a test at a lower sampling rate, without training.

    Args:
        recipe: recipe that the model was made from, of a task with a `zero_shot_rate`.
        model: the model.
        data: what `recipes.load_data` returned, whose scale is kept.
        data_dir: the folder that they were loaded from.

    Returns:
        A model with the same weights and longer steps, and the data at the lower
        rate.

    Example:

    >>> from keras_ssm.cli import evaluation
    >>> recipe = keras_ssm.recipes.get("sc35", "s5")
    >>> data = keras_ssm.recipes.load_data(recipe)  # doctest: +SKIP
    >>> model = keras_ssm.recipes.build_model(recipe)  # doctest: +SKIP
    >>> slower, fewer = evaluation.zero_shot(recipe, model, data)  # doctest: +SKIP
    >>> slower.input_shape  # doctest: +SKIP
    (None, 8000, 1)
    """
    rate = find(recipe["task"]).zero_shot_rate or 1
    fewer = recipes.load_data(recipe, data_dir, rate=rate)._replace(mean=data.mean, std=data.std)
    settings = recipe["model"]
    slower = recipes.build_model(
        {**recipe, "model": {**settings, "rate": rate * settings.get("rate", 1.0)}},
        (*fewer.test[0].shape[1:], 1),
    )
    slower.set_weights(model.get_weights())
    return slower, fewer


def _score(model: keras.Model, recipe: Recipe, data: recipes.Data) -> tuple[int, int]:
    """Numbers of right answers and of sequences in the test part."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=["accuracy"])
    batches = recipes.batches(data, "test", recipe)
    accuracy = model.evaluate(batches, verbose=0, return_dict=True)["accuracy"]
    count = len(data.test[1])
    return round(accuracy * count), count
