"""Data parallelism, with the engine of the running framework."""

import contextlib
import importlib
from collections.abc import Iterator

import keras

from keras_ssm.distribution.replicas import Replicas

_ENGINES = ("jax", "tensorflow", "torch")
_worlds = [1]


def several_processes() -> bool:
    """Whether this process has trained together with others.

    Example:

    >>> keras_ssm.distribution.several_processes()
    False
    """
    return max(_worlds) > 1


@contextlib.contextmanager
def data_parallel() -> Iterator[Replicas]:
    """Train a copy of the model on every device, each with a part of every batch.

    - JAX: all devices, with `keras.distribution.DataParallel`; in several
      processes if the variables `KERAS_DISTRIBUTION_JOB_ADDRESSES`,
      `..._NUM_PROCESSES` and `..._PROCESS_ID` of `keras.distribution.initialize`
      are set.
    - TensorFlow: all devices, with `tf.distribute.MirroredStrategy`; in several
      processes, with `MultiWorkerMirroredStrategy`, if `TF_CONFIG` is set.
    - PyTorch: one device in each process that `torchrun` has started, with
      `DistributedDataParallel`.

    Returns:
        A context manager. It gives `Replicas`. Everything is done inside; the
        model is made and compiled in their `scope`.

    Raises:
        ValueError: for a backend without an engine, or where processes were
            not started as it requires.
        LostProcessError: if another process ends while this one trains.

    Example:

    >>> from keras_ssm import datasets, distribution
    >>> batches = datasets.SequenceBatches(np.zeros((8, 16, 1)), np.arange(8) % 2, batch_size=4)
    >>> with distribution.data_parallel() as replicas:  # doctest: +SKIP
    ...     with replicas.scope():
    ...         model = keras_ssm.models.classifier(2, (16, 1), depth=1, width=4)
    ...         model.compile("adam", "sparse_categorical_crossentropy")
    ...     history = replicas.fit(model, batches, epochs=2)
    """
    backend = keras.backend.backend()
    if backend not in _ENGINES:
        raise ValueError(
            f"training on several devices needs one of the backends {', '.join(_ENGINES)}. "
            f"Received: backend {backend}"
        )
    engine = importlib.import_module(f"keras_ssm.distribution.{backend}")
    with engine.data_parallel() as replicas, replicas._telling_of_lost_processes():
        _worlds.append(replicas.world)
        yield replicas
