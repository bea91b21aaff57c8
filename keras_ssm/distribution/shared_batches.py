"""Batches that several copies of a model share equally, whatever their size."""

from typing import Any

import keras
import numpy as np

from keras_ssm.datasets import SequenceBatches


class SharedBatches(keras.utils.PyDataset):
    """One process's part of all batches, with the same number of rows in every copy.

    Engines take equal parts only. A batch of n rows that the copies cannot
    share equally is filled up to P rows, with copies of its first sequence that
    have weight 0. All batches then have weights:

    - in an evaluation, whose mean over an epoch counts rows, c = sum P / sum n
      for every real row, so that added rows are not counted;
    - in training, P / n, so that the loss of the batch, and its gradient, is the
      mean over its n sequences.

    Batches that all copies share equally have no weights.

    Args:
        batches: of all processes together.
        rank: number of the process.
        world: number of processes.
        count: copies in all processes.
        training: which weights.

    Returns:
        Batches `(x, y)`, or `(x, y, weights)`.

    Raises:
        ValueError: for a batch size that is not a multiple of `count`.

    Example:

    >>> from keras_ssm.distribution.shared_batches import SharedBatches
    >>> batches = keras_ssm.datasets.SequenceBatches(np.zeros((5, 4)), np.arange(5), 4)
    >>> [(y.tolist(), w.tolist()) for x, y, w in SharedBatches(batches, 1, 2, 2, False)]
    [([2, 3], [1.2..., 1.2...]), ([4], [0.0])]
    """

    def __init__(
        self, batches: SequenceBatches, rank: int, world: int, count: int, training: bool
    ) -> None:
        super().__init__()
        if batches.batch_size % count:
            raise ValueError(
                f"the batch size must be a multiple of the {count} devices that share a batch. "
                f"Received: batch_size={batches.batch_size}"
            )
        self.batches = batches
        self._part = rank, world, count
        self._training = training
        sizes = [len(batches.samples(index)) for index in range(len(batches))]
        filled = [size + -size % count for size in sizes]
        self._share = sum(filled) / sum(sizes)
        self._weighted = filled != sizes

    def __len__(self) -> int:
        return len(self.batches)

    def on_epoch_end(self) -> None:
        """Go on to the next epoch."""
        self.batches.on_epoch_end()

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        rank, world, count = self._part
        samples = self.batches.samples(index)
        size = len(samples)
        filled = size + -size % count
        samples = np.append(samples, np.repeat(samples[:1], filled - size))
        rows = slice(rank * filled // world, (rank + 1) * filled // world)
        x, y = self.batches.read(samples[rows], index)
        if not self._weighted:
            return x, y
        weight = filled / size if self._training else self._share
        weights = np.where(np.arange(filled) < size, weight, 0.0).astype("float32")
        return x, y, weights[rows]
