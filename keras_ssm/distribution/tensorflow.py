"""TensorFlow: `tf.distribute`, over the devices of one process or over several processes."""

import contextlib
import copy
import functools
import json
import os
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ssm.datasets import SequenceBatches
from keras_ssm.distribution.batch_norm import synchronized
from keras_ssm.distribution.replicas import Replicas
from keras_ssm.distribution.shared_batches import SharedBatches


class TensorFlowReplicas(Replicas):
    """The copies of a strategy."""

    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy
        self.count = strategy.num_replicas_in_sync
        resolver = strategy.cluster_resolver
        if resolver is not None:
            self.rank, self.world = resolver.task_id, _workers(json.loads(os.environ["TF_CONFIG"]))
        self._undo = contextlib.ExitStack()
        self._models: list[keras.Model] = []

    def scope(self) -> Any:
        return self.strategy.scope()

    def _replicate(self, model: Any) -> None:
        if any(model is known for known in self._models):
            return
        self._models.append(model)
        # XLA refuses the collectives.
        model.jit_compile = False
        self._undo.enter_context(synchronized(model, _sum))
        if self.world > 1:
            self._mend(model)

    def _mend(self, model: Any) -> None:
        """Replace what Keras does in ways that `tf.distribute` refuses with several processes."""
        kind, own = type(model), {}
        # To learn the shapes of a batch, Keras takes its mean over the processes.
        own["_maybe_symbolic_build"] = lambda **_: kind._maybe_symbolic_build(
            model, data_batch=self._example
        )
        # It averages what a step returns over the first axis, which numbers do not have.
        for name in ("train_step", "test_step"):
            own[name] = functools.partial(_with_axis, getattr(kind, name), model)
        for name, function in own.items():
            setattr(model, name, function)
            self._undo.callback(delattr, model, name)

    def _share(self, batches: SequenceBatches, training: bool) -> Any:
        shared = super()._share(batches, training)
        return shared if self.world == 1 else self._fed(shared)

    def _steps(self, name: str, batches: SequenceBatches) -> dict[str, int]:
        # Of a data set that ends, one more step would be made, on nothing.
        return {} if self.world == 1 else {name: len(batches)}

    def _fed(self, shared: SharedBatches) -> Any:
        """Batches of this process alone; by itself a strategy would have every process read all."""
        copies = self.count // self.world
        self._example = shared[0]
        signature = tuple(
            tf.TensorSpec((None,) * min(z.ndim, 2) + z.shape[2:], z.dtype) for z in self._example
        )

        def rows() -> Iterator[Any]:
            # A copy, which reads ahead into the next epoch.
            own = copy.copy(shared)
            own.batches = copy.copy(shared.batches)
            while True:
                for index in range(len(own)):
                    yield from zip(*(np.split(z, copies) for z in own[index]), strict=True)
                own.on_epoch_end()

        dataset = tf.data.Dataset.from_generator(rows, output_signature=signature)
        dataset = dataset.prefetch(2 * copies)
        return self.strategy.distribute_datasets_from_function(lambda context: dataset)

    def _gather(self, row: np.ndarray) -> np.ndarray:
        copies = self.count // self.world
        rows = np.zeros((self.world, len(row)), "int32")
        rows[self.rank] = row
        # Added up, with zeros in all copies of this process but the first.
        values = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                rows if context.replica_id_in_sync_group % copies == 0 else 0 * rows
            )
        )
        return self.strategy.reduce("SUM", values, axis=None).numpy()

    def _is_loss(self, error: BaseException) -> bool:
        return isinstance(error, tf.errors.OpError) and not isinstance(
            error, (tf.errors.ResourceExhaustedError, tf.errors.InvalidArgumentError)
        )


@contextlib.contextmanager
def data_parallel() -> Iterator[TensorFlowReplicas]:
    """See `keras_ssm.distribution.data_parallel`."""
    replicas = TensorFlowReplicas(_strategy())
    with replicas._undo:
        yield replicas


def _strategy() -> Any:
    given = os.environ.get("TF_CONFIG")
    if given is None:
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    try:
        config = json.loads(given)
        workers, task = _workers(config), config["task"]
        if not (task["type"] in ("chief", "worker") and 0 <= task["index"] < workers):
            raise ValueError("no such task")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            "TF_CONFIG must be JSON with a `cluster` of `worker` addresses and a `task` of type "
            f"and index ({error}). Received: TF_CONFIG={given}"
        ) from error
    return tf.distribute.MultiWorkerMirroredStrategy()


def _with_axis(step: Any, model: keras.Model, data: Any) -> Any:
    return {name: value[None] for name, value in step(model, data).items()}


def _workers(config: Any) -> int:
    cluster = config["cluster"]
    return len(cluster.get("chief", [])) + len(cluster["worker"])


def _sum(x: Any) -> Any:
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, x)
