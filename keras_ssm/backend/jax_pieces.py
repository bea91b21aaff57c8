"""Sequences that are split across devices: each runs its piece, in JAX.

`keras_ssm.distribution.sequence_parallel` says how; `keras_ssm.ops.pieces` is what runs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import keras
from jax.sharding import PartitionSpec


class Pieces(NamedTuple):
    """How the axes (batch, length) of sequences lie on the devices.

    Attributes:
        mesh: the mesh of JAX.
        axis: name of the mesh axis over which the length is cut.
        batch_axes: names of the axes over which the batch is cut.
    """

    mesh: Any
    axis: str
    batch_axes: tuple[str, ...]

    @property
    def total(self) -> int:
        """Pieces of a sequence."""
        return self.mesh.shape[self.axis]

    def run(
        self, function: Callable[..., Any], in_time: Any, of_batch: Any, of_all: Any
    ) -> tuple[jax.Array, jax.Array]:
        """Call a function on every device, with its piece of the sequences.

        Args:
            function: of three trees of tensors; gives a tensor (batch, length,
                ...) of the piece, and one (batch, ...) that is the same for all
                pieces.
            in_time: tensors (batch, length, ...).
            of_batch: tensors (batch, ...).
            of_all: tensors without these axes.

        Returns:
            Both for the whole sequences.
        """
        batch = jax.tree.leaves(in_time)[0].shape[0]
        shares = 1
        for name in self.batch_axes:
            shares *= self.mesh.shape[name]
        # A batch that does not divide evenly is run whole by all devices.
        rows = (self.batch_axes or None) if batch % shares == 0 else None
        time, row = PartitionSpec(rows, self.axis), PartitionSpec(rows)
        # Without the check of what is the same on all devices: JAX has no rule for custom gradients
        # like ours.
        mapped = jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=(time, row, PartitionSpec()),
            out_specs=(time, row),
            check_vma=False,
        )
        return mapped(in_time, of_batch, of_all)

    def gather(self, x: jax.Array) -> jax.Array:
        """A tensor of every piece, in their order, on a new first axis; inside `run`."""
        return jax.lax.all_gather(x, self.axis)

    def number(self) -> jax.Array:
        """The number of this piece, inside `run`."""
        return jax.lax.axis_index(self.axis)


def pieces() -> Pieces | None:
    """How sequences are cut by the distribution that is set, or None if they are not."""
    distribution = keras.distribution.distribution()
    axis = getattr(distribution, "sequence_axis", None)
    if axis is None:
        return None
    mesh = distribution.device_mesh.backend_mesh
    return Pieces(mesh, axis, tuple(name for name in mesh.axis_names if name != axis))
