"""The recipe that the arguments of `keras-ssm train` ask for."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from keras_ssm import recipes
from keras_ssm.cli import run_folder
from keras_ssm.recipes import Recipe


def chosen(
    task: str,
    layer: str | None,
    scale: str | None,
    seed: int | None,
    data_dir: str | os.PathLike | None = None,
) -> tuple[Recipe, int]:
    """Find recipe and seed, by name or in a file.

    Args:
        task: task of a recipe, or the path of the `config.json` of a run.
        layer: layer of a recipe; None with a file.
        scale: scale of a recipe; None takes `"full"` if there is one.
        seed: None takes 0, or that of the file.
        data_dir: where the files of `uea:NAME` are.

    Returns:
        The recipe and the seed.

    Raises:
        ValueError: if there is no such recipe, or a file is given a layer or scale.

    Example:

    >>> from keras_ssm.cli import settings
    >>> recipe, seed = settings.chosen("digits", "s5", None, None)
    >>> recipe["scale"], seed
    ('small', 0)
    """
    path = pathlib.Path(task)
    if path.suffix == ".json":
        if layer or scale:
            raise ValueError(
                f"{path} says the layer and the scale. Received: --layer={layer}, --scale={scale}"
            )
        config = run_folder.read_config(path.parent, path.name)
        return config["recipe"], config["seed"] if seed is None else seed
    if layer is None:
        layers = dict.fromkeys(name[1] for name in recipes.names() if name[0] == task)
        known = ", ".join(layers or dict.fromkeys(name[1] for name in recipes.names()))
        raise ValueError(f"--layer is needed: one of {known}. Received: {task} without a layer")
    if scale is None:
        scale = "full" if (task, layer, "full") in recipes.names() else "small"
    return recipes.get(task, layer, scale, data_dir), seed or 0


def changed(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Change some settings of a recipe.

    Args:
        recipe: what `recipes.get` returned.
        settings: such as `"training.epochs=3"`, or `"epochs=3"` where only
            one part of the recipe has the name. Values are JSON, or else text.

    Returns:
        A new recipe.

    Raises:
        ValueError: for a setting that the recipe does not have (new ones are
            possible for `model` and `optimizer`), and for wrong values.

    Example:

    >>> from keras_ssm.cli import settings
    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> settings.changed(recipe, ["epochs=3"])["training"]["epochs"]
    3
    """
    recipe = json.loads(json.dumps(recipe))
    parts = {name: part for name, part in recipe.items() if isinstance(part, dict)}
    for setting in settings:
        name, equals, text = setting.partition("=")
        part, dot, key = name.rpartition(".")
        homes = [part] if dot else [p for p, values in parts.items() if name in values]
        known = homes and homes[0] in parts
        if (
            not equals
            or not known
            or not (key in parts[homes[0]] or homes[0] in ("model", "optimizer"))
        ):
            existing = (f"{p}.{key}" for p, values in parts.items() for key in values)
            raise ValueError(
                f"expected NAME=VALUE for one of {', '.join(existing)}, or a new argument as "
                f"model.NAME or optimizer.NAME. Received: --set {setting}"
            )
        if len(homes) > 1:
            raise ValueError(
                f"expected {' or '.join(f'{home}.{key}' for home in homes)}. "
                f"Received: --set {setting}"
            )
        parts[homes[0]][key] = _value(text)
    recipes.check(recipe)
    return recipe


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
