"""PyTorch: `DistributedDataParallel` in processes that `torchrun` started."""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from keras_ssm.distribution.batch_norm import synchronized
from keras_ssm.distribution.replicas import Replicas

# What torchrun sets, and other launchers too.
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class TorchReplicas(Replicas):
    """One copy in every process."""

    def __init__(self) -> None:
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        self.count, self.stream = self.world, self.rank
        self._undo = contextlib.ExitStack()

    def _replicate(self, model: Any) -> None:
        if "train_step" in vars(model):
            return
        self._undo.enter_context(synchronized(model, _Sum.apply))
        # Weights of process 0 for all, and gradients that are averaged while they are computed.
        parallel = DistributedDataParallel(model)
        # Of the object and not of its class: the model is saved as the one it is.
        model.train_step = functools.partial(_train_step, model, parallel)
        model.get_metrics_result = functools.partial(_metrics, model)
        self._undo.callback(_restore, model)

    def _gather(self, row: np.ndarray) -> np.ndarray:
        found: list[Any] = [None] * self.world
        distributed.all_gather_object(found, row)
        return np.stack(found)

    def _is_loss(self, error: BaseException) -> bool:
        # gloo has no errors of its own.
        lost = isinstance(error, RuntimeError) and "gloo" in str(error)
        return lost or isinstance(error, distributed.DistError)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes, whose gradients are added up too."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.detach().clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return _Sum.apply(gradients[0])


def _restore(model: Any) -> None:
    del model.train_step, model.get_metrics_result
    model.train_function = model.test_function = None


@contextlib.contextmanager
def data_parallel() -> Iterator[TorchReplicas]:
    """See `keras_ssm.distribution.data_parallel`."""
    started = _start()
    replicas = TorchReplicas()
    with replicas._undo:
        yield replicas
    if started:
        # All are here. After an error, when they may not be, this would wait for them.
        distributed.destroy_process_group()


def _start() -> bool:
    """Join the other processes that the environment names; whether it was done here."""
    if not distributed.is_available():
        raise ValueError(
            "training on several devices needs a build of PyTorch with torch.distributed. "
            f"Received: torch {torch.__version__}"
        )
    if distributed.is_initialized():
        return False
    missing = [name for name in _VARIABLES if name not in os.environ]
    if missing:
        raise ValueError(
            "PyTorch trains on several devices in processes that torchrun starts, as in "
            "`torchrun --nproc-per-node 2 --no-python keras-ssm train ... --data-parallel`. "
            f"Received: an environment without {', '.join(missing)}"
        )
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    try:
        distributed.init_process_group("nccl" if gpu else "gloo")
    except (RuntimeError, ValueError) as error:
        received = ", ".join(f"{name}={os.environ[name]}" for name in _VARIABLES)
        raise ValueError(
            f"expected processes that can be reached ({error}). Received: {received}"
        ) from error
    return True


def _train_step(model: Any, parallel: Any, data: Any) -> dict[str, Any]:
    """Keras' own step, with the model called through what averages its gradients."""
    x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
    model.zero_grad()
    outputs = parallel(x, training=True)
    loss = model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=weights, training=True)
    rows = keras.tree.flatten(x)[0].shape[0]
    for metric in model.metrics:
        if metric.name == "loss":
            metric.update_state(loss.detach(), sample_weight=rows)
    model.optimizer.scale_loss(loss).backward()
    trainable = model.trainable_weights
    gradients = [weight.value.grad for weight in trainable]
    with torch.no_grad():
        model.optimizer.apply(gradients, trainable)
    return model.compute_metrics(x, y, outputs, sample_weight=weights)


def _metrics(model: Any) -> dict[str, Any]:
    """The metrics of all processes: their variables are sums, and are added."""
    variables = model.metrics_variables
    own = [variable.value.detach().clone() for variable in variables]
    if not own:
        return type(model).get_metrics_result(model)
    total = torch.cat([value.reshape(-1).double() for value in own])
    distributed.all_reduce(total)
    parts = torch.split(total, [value.numel() for value in own])
    try:
        for variable, part in zip(variables, parts, strict=True):
            variable.assign(part.reshape(tuple(variable.shape)))
        return type(model).get_metrics_result(model)
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)
