"""Gradients of a function of Keras variables and inputs, on every backend that has them."""

import keras
import numpy as np
from keras import ops


def value_and_gradients(function, variables, inputs):
    """A function's scalar value and its gradients, as NumPy.

    Args:
        function: maps the input tensors to a scalar tensor; may read `variables`.
        variables: list of Keras variables.
        inputs: list of NumPy arrays.

    Returns:
        The value, the gradients of the variables, the gradients of the inputs.
    """
    backend = keras.backend.backend()
    tensors = [ops.convert_to_tensor(x) for x in inputs]
    if backend == "jax":
        import jax

        def stateless(values, tensors):
            scope = keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True)))
            with scope:
                return function(*tensors)

        # One compiled function takes less time than its hundreds of operations one by one.
        differentiated = jax.jit(jax.value_and_grad(stateless, argnums=(0, 1)))
        value, (dv, dx) = differentiated([v.value for v in variables], tensors)
    elif backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
        dv, dx = tape.gradient(
            value, ([v.value for v in variables], tensors), unconnected_gradients="zero"
        )
    elif backend == "torch":
        import torch

        tensors = [t.detach().clone().requires_grad_() for t in tensors]
        value = function(*tensors)
        leaves = [v.value for v in variables] + tensors
        grads = torch.autograd.grad(value, leaves, allow_unused=True)
        grads = [
            torch.zeros_like(x) if g is None else g for g, x in zip(grads, leaves, strict=True)
        ]
        dv, dx = grads[: len(variables)], grads[len(variables) :]
    else:
        raise ValueError(f"no gradients on the {backend} backend")
    to_numpy = ops.convert_to_numpy
    return float(to_numpy(value)), [to_numpy(g) for g in dv], [to_numpy(g) for g in dx]


def relative_error(value, reference):
    """Largest deviation, relative to the largest magnitude of the reference."""
    value, reference = np.asarray(value), np.asarray(reference)
    assert value.shape == reference.shape, f"{value.shape} against {reference.shape}"
    return float(np.max(np.abs(value - reference)) / max(np.max(np.abs(reference)), 1e-300))
