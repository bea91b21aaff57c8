"""A case as a user of each framework would run it: jax.jit, tf.function, or PyTorch as it comes.

The loss is sum(y g) with a fixed random g; its gradients are taken for the
input and all trainable weights.
"""

# ruff: noqa: TID251

from collections.abc import Callable
from typing import Any

import keras
from cases import Case, noise

import keras_ssm

Calls = tuple[Callable[[], Any], Callable[[], Any]]


def compiled(case: Case) -> Calls:
    """Forward, and forward with backward, as functions without arguments."""
    g = noise(*(case.shape or case.x.shape))
    return {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}[keras.backend.backend()](
        case, g
    )


def _jax(case: Case, g: Any) -> Calls:
    import jax

    forward = jax.jit(lambda weights, x, extra: case.function(weights, x, **extra))

    @jax.jit
    def both(weights: Any, x: Any, extra: Any, g: Any) -> Any:
        def loss(weights: Any, x: Any) -> Any:
            return (case.function(weights, x, **extra) * g).sum()

        return jax.value_and_grad(loss, (0, 1))(weights, x)

    return (
        lambda: forward(case.weights, case.x, case.extra),
        lambda: both(case.weights, case.x, case.extra, g),
    )


def _tensorflow(case: Case, g: Any) -> Calls:
    import tensorflow as tf

    forward = tf.function(lambda x, extra: case.function(case.weights, x, **extra))

    @tf.function
    def both(x: Any, extra: Any, g: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            # A layer may compute in half precision.
            loss = tf.reduce_sum(tf.cast(case.function(case.weights, x, **extra), g.dtype) * g)
        return loss, tape.gradient(loss, [x, *case.weights])

    return lambda: forward(case.x, case.extra), lambda: both(case.x, case.extra, g)


def _torch(case: Case, g: Any) -> Calls:
    import torch

    x = case.x.requires_grad_()

    def forward() -> Any:
        with torch.no_grad():
            return case.function(case.weights, x, **case.extra)

    def both() -> Any:
        loss = (case.function(case.weights, x, **case.extra) * g).sum()
        return loss, torch.autograd.grad(loss, [x, *case.weights])

    return forward, both


def compiled_update(model: Any) -> Callable[[], Any]:
    """The optimizer's step for all weights of a model, for given gradients."""
    optimizer, weights = keras_ssm.optimizers.adamw(1e-3), model.trainable_variables
    optimizer.build(weights)
    gradients = [noise(*weight.shape) for weight in weights]
    if keras.backend.backend() == "jax":
        import jax

        state = [v.value for v in optimizer.variables], gradients, [v.value for v in weights]
        update = jax.jit(
            lambda variables, gradients, weights: optimizer.stateless_apply(
                variables, gradients, weights
            )
        )
        return lambda: update(*state)

    def update() -> None:
        optimizer.apply(gradients, weights)

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        update = tf.function(update, autograph=False)

    def step() -> Any:
        update()
        return weights[0].value

    return step
