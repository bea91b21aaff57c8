"""Recipes by name, and the table of all of them with the published results."""

import copy
import os
from typing import Any

from keras_ssm.layers.names import LAYERS
from keras_ssm.recipes import dss, s4, s4d, s5, series, small, uea
from keras_ssm.recipes.published import PARAMETERS, RESULTS, Result
from keras_ssm.recipes.task import TASKS, Recipe, Task, find

# By layer, where its paper or code has settings.
_PUBLISHED = {"dss": dss, "s4": s4, "s4d": s4d, "s5": s5}


def get(
    task: str, layer: str, scale: str = "full", data_dir: str | os.PathLike | None = None
) -> Recipe:
    """Get the settings of a training run, as a copy to change as you like.

    Args:
        task: name of the task, such as `"lra-listops"`; or `"uea:NAME"` for a problem
            of the UEA and UCR archives, see `keras_ssm.datasets.series`. Their small
            recipes depend on the lengths and numbers in the problem's files.
        layer: name of the layer, such as `"s5"`.
        scale: `"full"`, the published settings, or `"small"`, ours for two CPU
            cores and a few minutes.
        data_dir: where the files of a problem are, see
            `keras_ssm.datasets.cache.data_folder`.

    Returns:
        A nested dict that JSON can hold, with

        - `task`, `layer`, `scale`, and `source`, where the settings are from;
        - `builder`, the function of `keras_ssm.models`, and `model`, its
          arguments;
        - `optimizer`, arguments of `optimizers.adamw`;
        - `schedule`: `name` `"constant"`; `"cosine"` or `"s5"` with `warmup_epochs`, or with
          `total_steps` and `warmup_steps` where the source counts in steps; or
          `"plateau"` with `factor` and `patience`;
        - `training`: `epochs` and `batch_size`; a smaller last batch is left out;
        - `data`: `input_shape` without the batch, `num_classes`, `train_size`,
          None for all, and, where the task has them, `mean` and `std` of raw
          pixels, `images` where they have several sources, `rate` of the sound,
          arguments `generate` of the generator, and for series `validation_fraction`,
          `scale`, `missing`, `mixed`, `time` and `presence` (see `keras_ssm.recipes.series.load`).

    Raises:
        ValueError: if there is no such recipe; it lists those there are; for files
            of a problem that are missing or damaged.

    Example:

    >>> recipe = keras_ssm.recipes.get("lra-listops", "s5")
    >>> recipe["model"]["width"], recipe["training"]
    (128, {'epochs': 40, 'batch_size': 50})
    """
    of_series = scale == "small" and str(task).startswith(series.PREFIX) and layer in LAYERS
    if (task, layer, scale) not in names() and not of_series:
        raise ValueError(
            f"expected a recipe that exists: {_existing()}. "
            f"Received: task={task!r}, layer={layer!r}, scale={scale!r}"
        )
    if of_series:
        recipe = small.of_series(layer, series.facts(task, data_dir))
    elif scale == "full":
        recipe = _published(layer)[task]
    else:
        recipe = small.recipe(task, layer)
    return copy.deepcopy(
        {
            "task": task,
            "layer": layer,
            "scale": scale,
            "source": recipe["source"],
            "builder": recipe.get("builder", "classifier"),
            **{part: recipe[part] for part in ("model", "optimizer", "schedule", "training")},
            "data": {**_data(find(task)), **recipe.get("data", {})},
        }
    )


def names() -> list[tuple[str, str, str]]:
    """List task, layer and scale of every recipe, tasks in the order of the papers.

    Returns:
        A list of triples for `get`.

    Example:

    >>> keras_ssm.recipes.names()[0]
    ('lra-listops', 'dss', 'full')
    """
    return [
        (task, layer, scale)
        for task in TASKS
        for layer in LAYERS
        for scale, tasks in (("full", _published(layer)), ("small", small.TASKS))
        if task in tasks
    ]


def table() -> str:
    """Format all recipes as a table, with their parameters and what the papers report.

    A published number stands beside the published settings only. Several models
    of one paper that differ in a setting have a line each, and so have numbers
    for which no settings were published.

    Returns:
        Lines of aligned columns.

    Example:

    >>> print(keras_ssm.recipes.table())
    task  layer  scale  parameters  epochs  batch  published %  source
    ...
    lra-image  s5  full  ...
    """
    rows: list[tuple[str, ...]] = [
        ("task", "layer", "scale", "parameters", "epochs", "batch", "published %", "source")
    ]
    for task, layer, scale in names():
        recipe = get(task, layer, scale)
        results = _results(task, layer) if scale == "full" else []
        parameters = f"{PARAMETERS[task, layer]:,}" if scale == "full" else "-"
        training = (str(recipe["training"][name]) for name in ("epochs", "batch_size"))
        first = (task, layer, scale, parameters, *training)
        if not results:
            rows.append((*first, "-", recipe["source"]))
        for index, result in enumerate(results):
            start = first if index == 0 else ("",) * len(first)
            rows.append((*start, _accuracy(result), f"{result.model}, {result.origin}"))
    for result in RESULTS:
        if (result.task, result.layer, "full") not in names():
            start = (result.task, result.layer, *4 * ("-",))
            origin = f"{result.model}, {result.origin}; settings not published"
            rows.append((*start, _accuracy(result), origin))
    origin = "any problem of the UEA and UCR archives whose files are there"
    rows.append((f"{series.PREFIX}NAME", "each", "small", *4 * ("-",), origin))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = {3, 4, 5}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _published(layer: str) -> dict[str, Any]:
    found = uea.recipes(layer)
    if layer in _PUBLISHED:
        module = _PUBLISHED[layer]
        for task, recipe in module.RECIPES.items():
            found[task] = {**recipe, "source": module.SOURCE + recipe["source"]}
    return found


def _data(task: Task) -> dict[str, Any]:
    """What the recipes of a task share, as data that JSON can hold."""
    data: dict[str, Any] = {
        "train_size": None,
        "input_shape": list(task.input_shape or ()),
        "num_classes": task.num_classes,
    }
    if isinstance(task.scale, tuple):
        for name, values in zip(("mean", "std"), task.scale, strict=True):
            data[name] = values if isinstance(values, float) else list(values)
    return data


def _existing() -> str:
    tasks: dict[str, dict[str, list[str]]] = {}
    for task, layer, scale in names():
        tasks.setdefault(task, {}).setdefault(scale, []).append(layer)
    return "; ".join(
        f"{task} "
        + ", ".join(f"({scale}: {', '.join(layers)})" for scale, layers in scales.items())
        for task, scales in {**tasks, f"{series.PREFIX}NAME": {"small": list(LAYERS)}}.items()
    )


def _results(task: str, layer: str) -> list[Result]:
    return [result for result in RESULTS if (result.task, result.layer) == (task, layer)]


def _accuracy(result: Result) -> str:
    if result.accuracy is None:
        return "chance"
    given = [x for x in (result.accuracy, result.std, result.zero_shot) if x is not None]
    digits = 1 if all(round(x, 1) == x for x in given) else 2
    spread = "" if result.std is None else f" ({result.std:.{digits}f})"
    zero_shot = "" if result.zero_shot is None else f", 8 kHz {result.zero_shot:.{digits}f}"
    return f"{result.accuracy:.{digits}f}{spread}{zero_shot}"
