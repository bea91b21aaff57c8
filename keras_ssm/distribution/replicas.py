"""What a process knows of the others that train the same model."""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import keras
import numpy as np

from keras_ssm.datasets import FollowEpochs, SequenceBatches
from keras_ssm.distribution.shared_batches import SharedBatches

T = TypeVar("T")


class LostProcessError(ConnectionError):
    """Another process of the training run ended, so this one cannot go on.

    Example:

    >>> raise keras_ssm.distribution.LostProcessError("process 1 is gone")
    Traceback (most recent call last):
    keras_ssm.distribution.replicas.LostProcessError: process 1 is gone
    """


class Replicas:
    """Copies of a model, on one device each, that train on parts of the same batches.

    `data_parallel` makes it, with the engine of the framework; by itself it is
    one copy in one process.

    Attributes:
        rank: number of this process, from 0. Process 0 writes files.
        world: number of processes.
        count: copies, in all processes together.
        stream: what sets the random numbers of this process apart from those of
            others, where each draws its own, as for dropout on PyTorch.

    Example:

    >>> replicas = keras_ssm.distribution.Replicas()
    >>> replicas.rank, replicas.world, replicas.count
    (0, 1, 1)
    """

    rank, world, count, stream = 0, 1, 1, 0

    def scope(self) -> Any:
        """Open the context in which the model is made or loaded, and compiled.

        Returns:
            A context manager.

        Example:

        >>> with keras_ssm.distribution.Replicas().scope():
        ...     model = keras_ssm.models.classifier(2, (16, 1), depth=1, width=4)
        """
        return contextlib.nullcontext()

    def fit(
        self,
        model: keras.Model,
        batches: SequenceBatches,
        validation: SequenceBatches | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **options: Any,
    ) -> Any:
        """Train a model on its part of every batch, as one device would train on all of it.

        Gradients, the statistics of batch norm and metrics are those of whole
        batches. A batch that the copies cannot share equally is filled up with
        rows of weight 0, see `SharedBatches`; metrics that weights count for
        are the model's `weighted_metrics`.

        Args:
            model: made and compiled in the `scope`, with `jit_compile` left to
                Keras.
            batches: of all processes together, the same in each.
            validation: batches like them, to validate on.
            callbacks: of `model.fit`; batches follow its epochs.
            **options: other arguments of `model.fit`, such as `epochs`.

        Returns:
            The history of `model.fit`.

        Raises:
            ValueError: for a batch size that the copies cannot share equally.

        Example:

        >>> x, y = np.zeros((6, 8, 1), "float32"), np.zeros(6)
        >>> model = keras_ssm.models.classifier(2, (8, 1), depth=1, width=4)
        >>> model.compile("sgd", "sparse_categorical_crossentropy")
        >>> batches = keras_ssm.datasets.SequenceBatches(x, y, 4)
        >>> history = keras_ssm.distribution.Replicas().fit(model, batches, epochs=2, verbose=0)
        >>> len(history.history["loss"])
        2
        """
        self._replicate(model)
        options.setdefault("verbose", "auto" if self.rank == 0 else 0)
        if validation is not None:
            options["validation_data"] = self._share(validation, training=False)
            options |= self._steps("validation_steps", validation)
        return model.fit(
            self._share(batches, training=True),
            shuffle=False,
            callbacks=[FollowEpochs(batches), *callbacks],
            **self._steps("steps_per_epoch", batches),
            **options,
        )

    def evaluate(self, model: keras.Model, batches: SequenceBatches, **options: Any) -> Any:
        """Evaluate a model on its part of every batch.

        Args:
            model: as for `fit`.
            batches: of all processes together, the same in each.
            **options: other arguments of `model.evaluate`.

        Returns:
            What `model.evaluate` gives for all of them.

        Example:

        >>> x, y = np.zeros((6, 8, 1), "float32"), np.zeros(6)
        >>> model = keras_ssm.models.classifier(2, (8, 1), depth=1, width=4)
        >>> model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> batches = keras_ssm.datasets.SequenceBatches(x, y, 4)
        >>> loss = keras_ssm.distribution.Replicas().evaluate(model, batches, verbose=0)
        """
        self._replicate(model)
        options.setdefault("verbose", "auto" if self.rank == 0 else 0)
        options |= self._steps("steps", batches)
        return model.evaluate(self._share(batches, training=False), **options)

    def gather(self, text: str) -> list[str]:
        """Collect a text from every process, in their order; each must call this.

        Args:
            text: of this process.

        Returns:
            One text for each process.

        Example:

        >>> keras_ssm.distribution.Replicas().gather("ready")
        ['ready']
        """
        if self.world == 1:
            return [text]
        data = np.frombuffer(text.encode(), "uint8").astype("int32")
        size = int(self._gather(np.array([len(data)], "int32")).max())
        padded = np.full(size + 1, -1, "int32")
        padded[: len(data)] = data
        return [bytes(row[row >= 0].astype("uint8")).decode() for row in self._gather(padded)]

    def together(self, action: Callable[[], T]) -> T:
        """Run an action in every process, and fail in all if it fails in one.

        Args:
            action: called without arguments.

        Returns:
            What the action gave in this process.

        Raises:
            ValueError: if it raised in another process.

        Example:

        >>> keras_ssm.distribution.Replicas().together(lambda: 3)
        3
        """
        problem = ""
        try:
            return action()
        except (ValueError, ImportError, OSError) as error:
            problem = str(error) or type(error).__name__
            raise
        finally:
            problems = self.gather(problem)
            rank = next((rank for rank, text in enumerate(problems) if text), None)
            if rank is not None and not problem:
                raise ValueError(f"{problems[rank]} (in process {rank} of {self.world})")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Open the context for what this process does by itself, such as saving the model.

        Returns:
            A context manager.

        Example:

        >>> with keras_ssm.distribution.Replicas().alone():
        ...     pass
        """
        yield

    def _replicate(self, model: keras.Model) -> None:
        """Make a model train as one with the copies of the other processes."""

    def _share(self, batches: SequenceBatches, training: bool) -> Any:
        """What `fit` and `evaluate` of this process take for some batches."""
        return SharedBatches(batches, self.rank, self.world, self.count, training)

    def _steps(self, name: str, batches: SequenceBatches) -> dict[str, int]:
        """The number of batches, as an argument where `fit` needs it."""
        return {}

    def _gather(self, row: np.ndarray) -> np.ndarray:
        """Rows (n,) of int32 of every process as (processes, n)."""
        return row[None]

    def _is_loss(self, error: BaseException) -> bool:
        """Whether an error says that another process is gone."""
        return False

    @contextlib.contextmanager
    def _telling_of_lost_processes(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if self.world == 1 or not self._is_loss(error):
                raise
            raise LostProcessError(
                f"another of the {self.world} processes has ended, and process {self.rank} cannot "
                f"go on without it ({_cause(error)})"
            ) from error


def _cause(error: BaseException) -> str:
    """What broke, out of the pages that frameworks write about it."""
    text = " ".join(str(error).split())
    found = re.search(r"(connection|socket|heartbeat|unavailable|aborted).{0,60}", text, re.I)
    return found.group() if found else text[:100]
