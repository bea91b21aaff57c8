"""Sequence parallelism: the length of the sequences is split across devices."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras


class SequenceParallel(keras.distribution.DataParallel):
    """A distribution of `keras.distribution` that `sequence_parallel` makes."""

    def __init__(self, mesh: keras.distribution.DeviceMesh, axis: str) -> None:
        rest = [name for name in mesh.axis_names if name != axis]
        with warnings.catch_warnings():
            # Of a mesh with several axes, of which Keras would use the first.
            warnings.simplefilter("ignore")
            super().__init__(device_mesh=mesh, auto_shard_dataset=False)
        self.sequence_axis = axis
        self._sizes = dict(zip(mesh.axis_names, mesh.shape, strict=True))
        self._rest = tuple(rest)

    @property
    def num_model_replicas(self) -> int:
        """Devices that have the same piece of other sequences."""
        return math.prod(self._sizes[name] for name in self._rest)

    def get_data_layout(self, data_shape: Sequence[int]) -> Any:
        """Length, and batch, over the devices where they divide."""
        spec: list[Any] = [None] * len(data_shape)
        if self._rest and data_shape[0] % self.num_model_replicas == 0:
            spec[0] = self._rest if len(self._rest) > 1 else self._rest[0]
        if len(data_shape) > 1 and data_shape[1] % self._sizes[self.sequence_axis] == 0:
            spec[1] = self.sequence_axis
        return keras.distribution.TensorLayout(spec, self.device_mesh)


def sequence_parallel(mesh: keras.distribution.DeviceMesh, axis: str) -> SequenceParallel:
    """Split long sequences across devices: each runs its piece, and only states travel.

    The state space layers of a model that is made and trained in its scope run
    their piece of the length on each device, and exchange the states between
    the pieces, of the size (devices, batch, state_width) for each direction;
    with a mask the last outputs too. Work and memory of a device fall with the
    number of devices. Layers that act on every step by itself need nothing, and
    sums over the length, such as those of a pooling or a batch norm, are summed
    over the devices by JAX.

    Outputs, states and gradients are those of one device, up to rounding. S4D,
    S4 and DSS run in chunks of time, whatever their `method`. `go_backwards`
    reverses the sequence first, for which all of it travels.

    Args:
        mesh: devices. Axes other than `axis` share the batch.
        axis: name of the mesh axis along which the length is split.

    Returns:
        A distribution for `keras.distribution.set_distribution`, or to be used
        as `with sequence_parallel(mesh, axis).scope():`.

    Raises:
        ValueError: on a backend other than JAX, or for an axis that the mesh
            does not have. When a layer runs: for a length that is not a
            multiple of the number of devices, and for steps of varying size or
            resets of S4, or resets of a softmax kernel, which can only run one
            step at a time.

    Example:

    >>> from keras_ssm import distribution
    >>> devices = keras.distribution.list_devices()  # doctest: +SKIP
    >>> mesh = keras.distribution.DeviceMesh((len(devices),), ["time"])  # doctest: +SKIP
    >>> with distribution.sequence_parallel(mesh, "time").scope():  # doctest: +SKIP
    ...     model = keras_ssm.models.classifier(10, (16000, 1))
    ...     model.compile("adam", "sparse_categorical_crossentropy")
    ...     model.fit(x, y)
    """
    if keras.backend.backend() != "jax":
        raise ValueError(
            "sequences are split across devices on the JAX backend, by `jax.shard_map`. "
            f"Received: backend {keras.backend.backend()}"
        )
    if not isinstance(mesh, keras.distribution.DeviceMesh) or axis not in mesh.axis_names:
        raise ValueError(
            "expected a `keras.distribution.DeviceMesh` and the name of one of its axes. "
            f"Received: mesh={mesh!r}, axis={axis!r}"
        )
    return SequenceParallel(mesh, axis)
