"""Recipes by name, and the table of all of them beside what was published."""

import copy
from typing import Any, TypeAlias

from keras_ssm.recipes import dss, s4d, s5, small
from keras_ssm.recipes.published import PARAMETERS, RESULTS, Result
from keras_ssm.recipes.tasks import TASKS

Recipe: TypeAlias = dict[str, Any]

_FULL = {"dss": dss, "s4d": s4d, "s5": s5}


def get(task: str, layer: str, scale: str = "full") -> Recipe:
    """The settings of a training, as plain data of your own to change.

    Args:
        task: name of the task, such as `"lra-listops"`.
        layer: `"dss"`, `"s4d"` or `"s5"`.
        scale: `"full"`, the published settings, or `"small"`, ours for two CPU
            cores and a few minutes.

    Returns:
        A nested dict that JSON can hold, with

        - `task`, `layer`, `scale`, and `source`, where the settings are from;
        - `builder`, the function of `keras_ssm.models`, and `model`, its
          arguments;
        - `optimizer`, arguments of `optimizers.adamw`;
        - `schedule`: `name` `"cosine"` or `"s5"` with `warmup_epochs`, or with
          `total_steps` and `warmup_steps` where the source counts in steps; or
          `"plateau"` with `factor` and `patience`;
        - `training`: `epochs` and `batch_size`; a smaller last batch is left out;
        - `data`: `input_shape` without the batch, `num_classes`, `train_size`,
          None for all, and, where the source has them, `mean` and `std` of raw
          pixels, `rate` of the sound, arguments `generate` of the generator.

    Raises:
        ValueError: if there is no such recipe; it lists those there are.

    Example:

    >>> recipe = keras_ssm.recipes.get("lra-listops", "s5")
    >>> recipe["model"]["width"], recipe["training"]
    (128, {'epochs': 40, 'batch_size': 50})
    """
    if (task, layer, scale) not in names():
        raise ValueError(
            f"expected a recipe that exists: {_existing()}. "
            f"Received: task={task!r}, layer={layer!r}, scale={scale!r}"
        )
    if scale == "full":
        recipe = _FULL[layer].RECIPES[task]
        source = _FULL[layer].SOURCE + recipe["source"]
    else:
        recipe = small.RECIPES[layer][task]
        source = recipe["source"]
    return copy.deepcopy(
        {
            "task": task,
            "layer": layer,
            "scale": scale,
            "source": source,
            "builder": recipe.get("builder", "classifier"),
            **{part: recipe[part] for part in ("model", "optimizer", "schedule", "training")},
            "data": {"train_size": None, **TASKS[task], **recipe.get("data", {})},
        }
    )


def names() -> list[tuple[str, str, str]]:
    """Task, layer and scale of every recipe, tasks in the order of the papers.

    Returns:
        A list of triples for `get`.

    Example:

    >>> keras_ssm.recipes.names()[0]
    ('lra-listops', 'dss', 'full')
    """
    return [
        (task, layer, scale)
        for task in TASKS
        for layer in _FULL
        for scale, recipes in (("full", _FULL[layer].RECIPES), ("small", small.RECIPES[layer]))
        if task in recipes
    ]


def table() -> str:
    """All recipes, one a line, with their parameters and what the papers report.

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
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = {3, 4, 5}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _existing() -> str:
    tasks: dict[str, dict[str, list[str]]] = {}
    for task, layer, scale in names():
        tasks.setdefault(task, {}).setdefault(scale, []).append(layer)
    return "; ".join(
        f"{task} "
        + ", ".join(f"({scale}: {', '.join(layers)})" for scale, layers in scales.items())
        for task, scales in tasks.items()
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
