"""Masks for a recurrence: move the valid steps together, run, and put the outputs back.

A masked step leaves the state as it is, so that the sequence of valid steps
alone has the same states. Gathering it costs little compared to the layer, and the
fast forms for constant steps apply to any pattern of holes.
"""

from typing import NamedTuple

from keras import ops

from keras_ssm.types import Tensor


class Compaction(NamedTuple):
    """Where the valid steps of each row are.

    Example:

    >>> from keras_ssm.ops import masking
    >>> mask = ops.array([[True, False, True]])
    >>> where = masking.compaction(mask)
    >>> ops.convert_to_numpy(where.position).tolist(), ops.convert_to_numpy(where.counts).tolist()
    ([[0, 0, 1]], [2])
    """

    order: Tensor  # (B, L) integers: all valid steps in order, then the others
    valid: Tensor  # (B, L) booleans: which compacted steps are valid
    counts: Tensor  # (B,) integers: valid steps of a row
    position: Tensor  # (B, L) integers: valid steps before and at a step, minus 1


def compaction(mask: Tensor) -> Compaction:
    """The `Compaction` of a boolean mask (B, L).

    Example:

    >>> from keras_ssm.ops import masking
    >>> where = masking.compaction(ops.array([[True, False, True]]))
    >>> ops.convert_to_numpy(where.order).tolist()
    [[0, 2, 1]]
    """
    ones = ops.cast(mask, "int32")
    length = ops.shape(mask)[1]
    step = ops.arange(0, length, dtype="int32")
    # Distinct keys make any sort a stable one.
    order = ops.argsort(step + length * (1 - ones), axis=1)
    counts = ops.sum(ones, axis=1)
    return Compaction(order, step < counts[:, None], counts, ops.cumsum(ones, axis=1) - 1)


def compact(x: Tensor, where: Compaction) -> Tensor:
    """The valid steps of x (B, L, ...) first, and zeros after them.

    Example:

    >>> from keras_ssm.ops import masking
    >>> mask = ops.array([[True, False, True]])
    >>> where = masking.compaction(mask)
    >>> x = masking.compact(ops.array([[[1.0], [9.0], [2.0]]]), where)
    >>> ops.convert_to_numpy(x[0, :, 0]).tolist()
    [1.0, 2.0, 0.0]
    """
    shape = (*ops.shape(where.order), *[1] * (len(x.shape) - 2))
    gathered = ops.take_along_axis(x, ops.reshape(where.order, shape), axis=1)
    # `where` and not a product: a masked step may hold NaN.
    return ops.where(ops.reshape(where.valid, shape), gathered, ops.zeros_like(gathered))


def expand(y: Tensor, where: Compaction, mask: Tensor, zero_output: bool) -> Tensor:
    """Outputs (B, L, F) of compacted steps at their places.

    A masked step gets zeros, or repeats the output before it (zeros if there
    is none), as in Keras' recurrent layers.

    Example:

    >>> from keras_ssm.ops import masking
    >>> mask = ops.array([[True, False, True]])
    >>> where = masking.compaction(mask)
    >>> y = masking.expand(ops.array([[[1.0], [2.0], [0.0]]]), where, mask, zero_output=True)
    >>> ops.convert_to_numpy(y[0, :, 0]).tolist()
    [1.0, 0.0, 2.0]
    """
    y = ops.take_along_axis(y, ops.relu(where.position)[..., None], axis=1)
    kept = ops.cast(mask, "bool") if zero_output else where.position >= 0
    return ops.where(kept[..., None], y, ops.zeros_like(y))


def align_right(x: Tensor, where: Compaction) -> Tensor:
    """Move compacted steps x (B, L, ...) to the end, so that zeros come before them.

    Example:

    >>> from keras_ssm.ops import masking
    >>> mask = ops.array([[True, False, True]])
    >>> where = masking.compaction(mask)
    >>> x = masking.align_right(ops.array([[[1.0], [2.0], [0.0]]]), where)
    >>> ops.convert_to_numpy(x[0, :, 0]).tolist()
    [0.0, 1.0, 2.0]
    """
    length = ops.shape(x)[1]
    index = (ops.arange(0, length, dtype="int32") + where.counts[:, None]) % length
    shape = (*ops.shape(index), *[1] * (len(x.shape) - 2))
    return ops.take_along_axis(x, ops.reshape(index, shape), axis=1)
