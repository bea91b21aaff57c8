"""Batches of sequences for `fit`, on every backend."""

import operator
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_ssm.arguments import check_size
from keras_ssm.datasets.mapped import described, mapped
from keras_ssm.datasets.ragged import Ragged, bounds, gathered
from keras_ssm.datasets.splits import check_seed


class SequenceBatches(keras.utils.PyDataset):
    """Batches of sequences: shuffled by seed, padded, scaled, read from disk as they are needed.

    Epoch `e` has an order of its own that depends on `(seed, e)` alone. `epoch`
    says which one the batches are of; it goes up by one whenever Keras reports
    the end of an epoch, which `fit` does once before its first. Where the
    number matters, as for a training run that is resumed, give `fit` a
    `FollowEpochs(batches)` among its callbacks. Pass `shuffle=False` to `fit`:
    by default it shuffles the order of the batches once more, by a generator
    that is not seeded here.

    Args:
        x: sequences, of shape (count, L) or (count, L, features); pairs of
            sequences, of shape (count, 2, L), with `lengths` of shape (count,
            2). A memory map is read a batch at a time. Or a list of arrays of
            different lengths, each of shape (steps,) or (steps, features): then L
            is the longest length, and every sequence has its own in `lengths`.
        y: targets, of shape (count, ...); passed on as they are.
        batch_size: sequences in a batch.
        lengths: valid steps of every sequence, of shape (count,) or (count, 2).
            What follows them is 0 in every batch, whatever `x` holds there.
        length: steps of every batch: sequences are cropped to it, or padded
            with 0 on the right. None with `buckets=None` keeps L.
        buckets: increasing lengths, instead of `length`. A sequence goes to the first
            that holds all of it; every batch comes from one bucket and is
            as long as it says. JAX and TensorFlow compile once per bucket.
        shuffle: give every epoch an order of its own.
        seed: seed of the shuffling.
        mean: subtracted from `x`; broadcasts to one sequence, and is cropped with it if it
            has a value for each of its steps.
        std: divides what is left, like `mean`.
        drop_last: leave out the batches that are not full; with `shuffle`,
            different sequences in every epoch.
        shard: `(rank, world)`, for one of several processes that train
            together: process `rank`, from 0, reads its part of every batch and
            nothing else. Batches, their order and `batch_size` are those of all
            processes together, whatever their number, so that a run can go on
            with another number. A batch that is not full is shared as equally as
            possible, the first processes getting one sequence more.

    Returns:
        Batches `(x, y)`. x is int32 for integers without `mean` and `std`. Anything
        else is float32, with an axis for features where `x` has none: (batch, steps, 1).

    Raises:
        ValueError: if the arrays do not belong together; for integers that int32 cannot
            hold; if a sequence is longer than the last bucket; if `drop_last` leaves
            no batch; for a `batch_size` that `world` does not divide.

    Example:

    >>> x = np.array([[3, 1, 0, 0], [2, 2, 5, 4], [7, 0, 0, 0]], "uint8")
    >>> batches = keras_ssm.datasets.SequenceBatches(
    ...     x, np.arange(3), batch_size=2, lengths=[2, 4, 1], buckets=[2, 4])
    >>> [x.tolist() for x, y in batches]
    [[[3, 1], [7, 0]], [[2, 2, 5, 4]]]

    A list of sequences of different lengths:

    >>> batches = keras_ssm.datasets.SequenceBatches([[3, 1], [2, 2, 5, 4], [7]], np.arange(3), 3)
    >>> batches[0][0].tolist()
    [[3, 1, 0, 0], [2, 2, 5, 4], [7, 0, 0, 0]]

    What the second of two processes reads:

    >>> x = np.zeros((5, 4))
    >>> batches = keras_ssm.datasets.SequenceBatches(x, np.arange(5), 4, shard=(1, 2))
    >>> [y.tolist() for x, y in batches]
    [[2, 3], []]
    """

    def __init__(
        self,
        x: np.ndarray | Sequence[np.ndarray],
        y: np.ndarray | Sequence,
        batch_size: int,
        lengths: np.ndarray | Sequence[int] | None = None,
        length: int | None = None,
        buckets: Sequence[int] | None = None,
        shuffle: bool = False,
        seed: int = 0,
        mean: np.ndarray | float | None = None,
        std: np.ndarray | float | None = None,
        drop_last: bool = False,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__()
        check_size("batch_size", batch_size)
        check_seed(seed)
        self.shard = _shard(shard, batch_size)
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.drop_last = drop_last
        self._x, self._y = gathered(x), _targets(y)
        self._lengths = _lengths(self._x, lengths)
        self._axis = 1 if self._lengths is None else self._lengths.ndim
        _check_arrays(self._x, self._y, self._lengths)
        self._bounds, self._bucket = self._assigned(length, buckets)
        self._mean, self._std = self._scale("mean", mean), self._scale("std", std)
        if self._std is not None and not np.all(self._std > 0):
            raise ValueError(f"`std` must be positive. Received: a smallest of {self._std.min()}")
        integers = self._x.dtype.kind in "bui" and mean is None and std is None
        self._dtype = np.dtype("int32" if integers else "float32")
        if integers:
            _check_range("x", self._x)
        _check_range("y", self._y)
        self.epoch = 0
        if not self._plan:
            raise ValueError(
                "expected a full batch, which `drop_last` would keep. Received: "
                f"{len(self._x)} sequences in {len(self._bounds)} lengths, batch_size={batch_size}"
            )

    @property
    def epoch(self) -> int:
        """Number of the epoch whose batches are given, from 0."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._plan = self._planned()

    def on_epoch_end(self) -> None:
        """Go on to the next epoch."""
        self.epoch += 1

    def __len__(self) -> int:
        return len(self._plan)

    def samples(self, index: int) -> np.ndarray:
        """Indices of the sequences in batch `index` of this epoch, or in its part for `shard`.

        Args:
            index: index of the batch.

        Returns:
            Integers of shape (batch,), in increasing order.

        Example:

        >>> batches = keras_ssm.datasets.SequenceBatches(np.zeros((5, 4)), np.zeros(5), 2)
        >>> batches.samples(1)
        array([2, 3])
        """
        samples, (rank, world) = self._plan[index], self.shard
        return np.array_split(samples, world)[rank]

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        return self.read(self.samples(index), index)

    def read(self, samples: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Read sequences as they are in batch `index` of this epoch, with their targets.

        Args:
            samples: indices of sequences of the batch.
            index: index of the batch, whose length they get.

        Returns:
            `(x, y)`, with a row for each of them.

        Example:

        >>> batches = keras_ssm.datasets.SequenceBatches(np.zeros((5, 4)), np.arange(5), 2)
        >>> batches.read(np.array([3, 3]), 1)[1]
        array([3, 3])
        """
        length = self._bounds[self._bucket[self._plan[index][0]]]
        held = min(length, self._x.shape[self._axis])
        x = self._cropped(samples, held).astype(self._dtype, copy=False)
        if self._dtype == "float32" and x.ndim == self._axis + 1:
            x = x[..., None]
        for values, scale in ((self._mean, np.subtract), (self._std, np.divide)):
            if values is not None:
                scale(x, values[:held], out=x)
        if self._lengths is not None:
            x[np.arange(held) >= self._lengths[samples][..., None]] = 0
        if held < length:
            padding = [(0, 0)] * x.ndim
            padding[self._axis] = (0, length - held)
            x = np.pad(x, padding)
        return x, self._y[samples]

    def _cropped(self, samples: np.ndarray, held: int) -> np.ndarray:
        if isinstance(self._x, Ragged):
            return self._x.cropped(samples, held)
        # Cropped first, then picked: only what is needed is read.
        steps = (slice(None),) * (self._axis - 1)
        return self._x[(slice(None), *steps, slice(held))][samples]

    def _assigned(
        self, length: int | None, buckets: Sequence[int] | None
    ) -> tuple[list[int], np.ndarray]:
        """The lengths that batches can have, and the index of the one of every sequence."""
        everything = np.zeros(len(self._x), "int32")
        if buckets is None:
            if length is not None:
                check_size("length", length)
            return [length or self._x.shape[self._axis]], everything
        limits = list(buckets)
        if length is not None:
            raise ValueError(
                "`length` and `buckets` say the same thing twice. Received: "
                f"length={length!r}, buckets={limits}"
            )
        whole = all(isinstance(bound, int | np.integer) for bound in limits) and bool(limits)
        if not whole or any(low >= high for low, high in zip([0, *limits], limits, strict=False)):
            raise ValueError(f"`buckets` must be increasing lengths. Received: buckets={limits}")
        if self._lengths is None:
            longest = np.full(len(self._x), self._x.shape[self._axis])
        else:
            longest = self._lengths.reshape(len(self._x), -1).max(axis=1)
        if longest.max() > limits[-1]:
            raise ValueError(
                "the last of `buckets` must hold the longest sequence. Received: "
                f"buckets={limits}, sequence {longest.argmax()} of {longest.max()} steps"
            )
        return limits, np.searchsorted(limits, longest).astype("int32")

    def _scale(self, name: str, values: np.ndarray | float | None) -> np.ndarray | None:
        """`mean` or `std` as float32, with the axes of a sequence as it leaves in a batch."""
        if values is None:
            return None
        try:
            values = np.asarray(values, "float32")
        except (TypeError, ValueError) as error:
            raise ValueError(f"`{name}` must be numbers. Received: {name}={values!r}") from error
        if not np.isfinite(values).all():
            raise ValueError(f"`{name}` must be finite. Received: {name} with {values.max()}")
        sequence = self._x.shape[self._axis :]
        try:
            if np.broadcast_shapes(values.shape, sequence) != sequence:
                raise ValueError
        except ValueError as error:
            raise ValueError(
                f"`{name}` must broadcast to a sequence, of shape {sequence}. "
                f"Received: {name} of shape {values.shape}"
            ) from error
        values = values.reshape((1,) * (len(sequence) - values.ndim) + values.shape)
        return values[:, None] if len(sequence) == 1 else values

    def _planned(self) -> list[np.ndarray]:
        """The indices of the sequences in every batch of this epoch."""
        # RandomState, not default_rng: NumPy promises its stream never changes.
        random = np.random.RandomState([self.seed, self._epoch]) if self.shuffle else None
        plan = []
        for bucket in range(len(self._bounds)):
            members = np.flatnonzero(self._bucket == bucket)
            if random is not None:
                members = random.permutation(members)
            stop = len(members) - len(members) % self.batch_size if self.drop_last else len(members)
            # In increasing order, a batch is read from front to back of the file.
            plan += [
                np.sort(members[start : start + self.batch_size])
                for start in range(0, stop, self.batch_size)
            ]
        if random is not None:
            plan = [plan[index] for index in random.permutation(len(plan))]
        # Keras takes what can vary under TensorFlow from the first two batches.
        buckets = [self._bucket[samples[0]] for samples in plan]
        other = next((i for i, bucket in enumerate(buckets) if bucket != buckets[0]), 1)
        if other > 1:
            plan[1], plan[other] = plan[other], plan[1]
        return plan

    def __getstate__(self) -> dict[str, Any]:
        # Another process maps the file again instead of being sent its content.
        x = self._x if isinstance(self._x, Ragged) else described(self._x)
        return {**self.__dict__, "_x": x, "_y": described(self._y)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._x, self._y = mapped(self._x), mapped(self._y)


class FollowEpochs(keras.callbacks.Callback):
    """Gives `SequenceBatches` the order of the epoch that `fit` is in, by the number of the epoch.

    Args:
        batches: `SequenceBatches` that `fit` trains on.

    Example:

    >>> x = np.eye(4, dtype="float32")
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    >>> model.compile("sgd", "mse")
    >>> batches = keras_ssm.datasets.SequenceBatches(x, x, batch_size=2, shuffle=True)
    >>> follow = keras_ssm.datasets.FollowEpochs(batches)
    >>> history = model.fit(
    ...     batches, epochs=5, initial_epoch=4, shuffle=False, verbose=0, callbacks=[follow]
    ... )
    >>> batches.epoch  # the one that comes next
    5
    """

    def __init__(self, batches: SequenceBatches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.batches.epoch = epoch


def _shard(shard: Any, batch_size: int) -> tuple[int, int]:
    """Rank and number of processes, if they can share a batch."""
    try:
        rank, world = (operator.index(n) for n in shard)
    except (TypeError, ValueError):
        rank, world = -1, 0
    if not 0 <= rank < world:
        raise ValueError(
            "`shard` must be (rank, world), with ranks from 0 to below the number of processes. "
            f"Received: shard={shard!r}"
        )
    if batch_size % world:
        raise ValueError(
            f"`batch_size` must be a multiple of the {world} processes that share a batch. "
            f"Received: batch_size={batch_size}, shard={shard!r}"
        )
    return rank, world


def _targets(y: Any) -> np.ndarray:
    try:
        return np.asarray(y)
    except ValueError as error:
        raise ValueError(
            "`y` must be an array with one target, of the same shape, for every sequence. "
            f"Received: a {type(y).__name__} of other things ({error})"
        ) from error


def _lengths(x: np.ndarray | Ragged, lengths: Any) -> np.ndarray | None:
    if not isinstance(x, Ragged):
        return None if lengths is None else np.asarray(lengths)
    if lengths is not None and not np.array_equal(lengths, x.lengths):
        raise ValueError(
            "`lengths` of a list of arrays are those of the arrays, and need not be given. "
            f"Received: lengths={lengths!r}"
        )
    return x.lengths


def _check_range(name: str, values: np.ndarray | Ragged) -> None:
    """Refuse integers that int32 would change."""
    kind = np.iinfo("int32")
    if values.dtype.kind not in "ui" or np.can_cast(values.dtype, "int32"):
        return
    low, high = bounds(values)
    if low < kind.min or high > kind.max:
        raise ValueError(
            f"integers of `{name}` must be in {kind.min} to {kind.max}. Received: {low} to {high}"
        )


def _check_arrays(x: np.ndarray | Ragged, y: np.ndarray, lengths: np.ndarray | None) -> None:
    axis = 1 if lengths is None else lengths.ndim
    if not x.ndim or not len(x) or x.ndim not in (axis + 1, axis + 2) or x.dtype.kind not in "buif":
        raise ValueError(
            "`x` must be numbers of shape (count, length) or (count, length, features), or of "
            f"shape (count, 2, length) with `lengths` of shape (count, 2). Received: {x.dtype} x "
            f"of shape {x.shape}" + ("" if lengths is None else f", lengths of {lengths.shape}")
        )
    if y.shape[:1] != (len(x),):
        raise ValueError(
            "`x` and `y` must have the same number of samples. "
            f"Received: {len(x)} and y of shape {y.shape}"
        )
    if lengths is None:
        return
    if lengths.shape != x.shape[:axis] or lengths.dtype.kind not in "ui":
        raise ValueError(
            f"`lengths` must be integers of shape {x.shape[:axis]}. Received: {lengths.dtype} "
            f"lengths of shape {lengths.shape}"
        )
    if lengths.min() < 0 or lengths.max() > x.shape[axis]:
        raise ValueError(
            f"`lengths` must be in 0 to {x.shape[axis]}, the steps `x` has. Received: "
            f"{lengths.min()} to {lengths.max()}"
        )
