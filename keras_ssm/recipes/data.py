"""The data of a recipe, as its model reads them."""

import os
import pathlib
from typing import Any, NamedTuple

from keras_ssm import datasets
from keras_ssm.datasets.cache import data_folder, prepared
from keras_ssm.recipes.rules import check
from keras_ssm.recipes.task import TASKS, Recipe, Split, Task, find

# Training batches in an evaluation batch: nothing is kept for a gradient.
_EVALUATION_BATCHES = 4


class Data(NamedTuple):
    """Training, validation and test parts, each `(x, y)` or `(x, y, lengths)`, and their scale.

    Example:

    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> data = keras_ssm.recipes.load_data(recipe)
    >>> [len(y) for x, y in (data.train, data.validation, data.test)]
    [1259, 179, 359]
    """

    train: Split
    validation: Split
    test: Split
    mean: Any = None
    std: Any = None


def load_data(recipe: Recipe, data_dir: str | os.PathLike | None = None, rate: int = 1) -> Data:
    """Load the data of a recipe's task.

    Args:
        recipe: what `get` returned, perhaps changed.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.
        rate: for speech, keep every `rate`-th sample of what the recipe asks for.

    Returns:
        A `Data`. Validation and test are whole; of the training part, the first
        `train_size` sequences if the recipe has it. The scale is the recipe's,
        or that of the training part where the task has none of its own.

    Raises:
        ValueError: if data are missing or damaged: says what was expected where.
        OSError: if a download fails.

    Example:

    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> keras_ssm.recipes.load_data(recipe).train[0].shape
    (1259, 64, 1)
    """
    check(recipe)
    task, settings, folder = find(recipe["task"]), recipe["data"], _folder(recipe, data_dir)
    if "generate" in settings and not folder.exists():
        generate(recipe, data_dir)
    if "rate" in task.options:
        settings = {**settings, "rate": rate * settings.get("rate", 1)}
    parts = task.load(settings, folder)
    data = Data(*parts, *_scale(task, settings, parts[0]))
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
    """Batches of one part of the data, as a recipe's model reads them.

    Args:
        data: what `load_data` returned.
        part: `"train"`, `"validation"` or `"test"`.
        recipe: recipe that the data were loaded by.
        training: shuffled batches of the recipe's size, a smaller last one left
            out; otherwise larger ones in order, nothing left out.
        seed: seed of the shuffling.
        devices: number of devices that share a batch, of a size that they can share
            equally.

    Returns:
        `SequenceBatches`.

    Raises:
        ValueError: for a batch size that cannot be shared equally.

    Example:

    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> data = keras_ssm.recipes.load_data(recipe)
    >>> len(keras_ssm.recipes.batches(data, "train", recipe, training=True))
    39
    """
    size = recipe["training"]["batch_size"]
    if size % devices:
        raise ValueError(
            f"the batch size must be a multiple of the {devices} devices. "
            f"Received: batch_size={size}"
        )
    x, y, *lengths = getattr(data, part)
    if training:
        size = min(size, len(x))
    else:
        size = even_batch_size(len(x), _EVALUATION_BATCHES * size, devices)
    return datasets.SequenceBatches(
        x,
        y,
        size,
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
        count: number of sequences.
        limit: largest size.
        multiple: what `limit` and the size are multiples of.

    Returns:
        A size of at least half of `limit`, or of all sequences if they are fewer.

    Example:

    >>> from keras_ssm.recipes.data import even_batch_size
    >>> even_batch_size(2000, 128)
    125
    """
    if count <= limit:
        return count + -count % multiple
    return next((n for n in range(limit, limit // 2, -multiple) if count % n == 0), limit)


def generate(recipe: Recipe, data_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """Make the data of a task that has a generator, where `load_data` finds them.

    Args:
        recipe: recipe of a ListOps, Pathfinder or speech task.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        The folder that was made.

    Raises:
        ValueError: for a task without a generator, or if its folder exists.
        ImportError: for speech without espeak-ng, for images without Pillow.

    Example:

    >>> recipe = keras_ssm.recipes.get("lra-listops", "s5", "small")
    >>> recipe["data"]["generate"]["counts"] = [20, 10, 10]
    >>> keras_ssm.recipes.generate(recipe, "data").name
    'listops-1000'
    """
    check(recipe)
    task = find(recipe["task"])
    if task.generate is None:
        having = ", ".join(name for name, other in TASKS.items() if other.generate)
        raise ValueError(
            f"expected a task whose data can be made: {having}. Received: task={recipe['task']!r}"
        )
    return task.generate(_folder(recipe, data_dir), **recipe["data"].get("generate", {}))


def download(recipe: Recipe, data_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """Fetch the official archive of a task, if need be, and unpack it where `load_data` finds it.

    It is fetched only on demand, since archives are up to 8 GB; the files of MNIST and
    Fashion-MNIST are small, and `load_data` fetches them by itself.

    Args:
        recipe: recipe of a task with an archive, at full scale where the data of
            the small scale are made.
        data_dir: see `keras_ssm.datasets.cache.data_folder`.

    Returns:
        The folder of the data.

    Raises:
        ValueError: for a task without an archive, or a wrong checksum.
        OSError: if the address cannot be reached.

    Example:

    >>> recipe = keras_ssm.recipes.get("digits", "s5", "small")
    >>> keras_ssm.recipes.download(recipe)
    Traceback (most recent call last):
    ...
    ValueError: expected a task with an archive: lra-listops, ... Received: task='digits'
    """
    check(recipe)
    source = find(recipe["task"]).source
    if source is None:
        having = ", ".join(name for name, task in TASKS.items() if task.source)
        raise ValueError(
            f"expected a task with an archive: {having}. Received: task={recipe['task']!r}"
        )
    if "generate" in recipe["data"]:
        raise ValueError(
            "expected a recipe of the official data. Received: the small scale of "
            f"{recipe['task']}, whose data are made (--generate)"
        )
    return source.download(data_dir)


def _scale(task: Task, settings: dict[str, Any], train: Split) -> tuple[Any, Any]:
    """Mean and standard deviation: the recipe's, or else those of the training part."""
    own = settings.get("mean"), settings.get("std")
    return task.scale(train[0]) if own == (None, None) and callable(task.scale) else own


def _folder(recipe: Recipe, data_dir: str | os.PathLike | None) -> pathlib.Path:
    """The data folder, or one inside it where the recipe's data are not the official ones."""
    made = recipe["data"].get("generate")
    if made is None:
        return data_folder(data_dir)
    return prepared(data_dir, f"generated-{recipe['task']}", made, "all").parent
