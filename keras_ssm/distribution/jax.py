"""JAX: `keras.distribution.DataParallel` over all devices, of one process or of several."""

import contextlib
import os
from collections.abc import Iterator

import jax
import keras
import numpy as np

from keras_ssm.distribution.replicas import Replicas

_VARIABLES = tuple(
    f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
)


class JaxReplicas(Replicas):
    """One program over all devices, which sums over whole batches by itself."""

    def __init__(self) -> None:
        self.rank, self.world = jax.process_index(), jax.process_count()
        self.count = jax.device_count()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        # New arrays would be made on the devices of all processes, and compared over them.
        distribution = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(distribution)

    def _gather(self, row: np.ndarray) -> np.ndarray:
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(row)).reshape(self.world, -1)

    def _is_loss(self, error: BaseException) -> bool:
        # Of the CPU's collectives, a ValueError.
        lost = isinstance(error, jax.errors.JaxRuntimeError) or "gloo" in str(error).lower()
        return lost and "RESOURCE_EXHAUSTED" not in str(error)


@contextlib.contextmanager
def data_parallel() -> Iterator[JaxReplicas]:
    """See `keras_ssm.distribution.data_parallel`."""
    started = _start()
    distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
    with distribution.scope():
        yield JaxReplicas()
    if started:
        # All are here. After an error, when they may not be, this would wait for them.
        jax.distributed.shutdown()


def _start() -> bool:
    """Join the other processes if the environment names some; whether it was done here."""
    given = [name for name in _VARIABLES if name in os.environ]
    if not given or jax.distributed.is_initialized():
        return False
    if len(given) < len(_VARIABLES):
        raise ValueError(
            f"processes that train together need {', '.join(_VARIABLES)} in the environment of "
            f"each. Received: {', '.join(given)} alone"
        )
    try:
        keras.distribution.initialize()
    except (RuntimeError, ValueError) as error:
        received = ", ".join(f"{name}={os.environ[name]}" for name in _VARIABLES)
        raise ValueError(
            f"expected processes that can be reached ({error}). Received: {received}"
        ) from error
    return True
