"""Custom gradients in TensorFlow that are themselves differentiable."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.eager.forwardprop_util import pack_tangents


def custom_gradient(
    plain: Callable[..., Any],
    gradient: Callable[..., Any],
    forward: Callable[..., Any] | None = None,
    shared: Callable[[], bool] | None = None,
    keeps_output: bool = True,
) -> Callable[..., tf.Tensor]:
    """`plain` with a gradient of its own, see `keras_ssm.backend`.

    The gradient of that gradient is TensorFlow's, of the plain function.
    """

    def compute(*inputs: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return forward(*inputs) if forward else (plain(*inputs), ())

    def differentiate(inputs: Any, y: tf.Tensor, g: tf.Tensor, kept: Any) -> tuple[tf.Tensor, ...]:
        return tuple(gradient(inputs, y, g, *kept))

    compute_in_graph = _traced_once(compute, shared) if shared else compute
    differentiate_in_graph = _traced_once(differentiate, shared) if shared else differentiate

    @tf.custom_gradient
    def run(*inputs: tf.Tensor) -> Any:
        y, kept = compute_in_graph(*inputs)
        # As constants: a tape would hold what they were computed from.
        y_kept, *kept = (tf.stop_gradient(x) for x in (y, *kept))

        @tf.custom_gradient
        def gradients(g: tf.Tensor, *inputs: tf.Tensor) -> Any:
            def second(*upstream: tf.Tensor) -> Any:
                return _second(plain, g, inputs, upstream)

            return differentiate_in_graph(inputs, y_kept, g, kept), second

        return y, lambda g: gradients(g, *inputs)

    # A variable among the inputs would have to be declared.
    return lambda *inputs: run(*map(tf.convert_to_tensor, inputs))


def _traced_once(function: Callable[..., Any], shared: Callable[[], bool]) -> Callable[..., Any]:
    """In a graph, one function of constants for all callers; eagerly, the function itself."""
    in_graph = tf.function(function, autograph=False)

    def call(*arguments: Any) -> Any:
        # Forward mode goes through the operations themselves.
        forward_mode = pack_tangents(tf.nest.flatten(arguments)).indices
        if tf.executing_eagerly() or forward_mode or not shared():
            return function(*arguments)
        return in_graph(*tf.nest.map_structure(tf.stop_gradient, arguments))

    return call


def _second(plain: Callable[..., Any], g: tf.Tensor, inputs: Any, upstream: Any) -> Any:
    """The gradients by g and the inputs of <upstream, the gradients of `plain` for g>."""
    with tf.GradientTape() as outer:
        outer.watch((g, inputs))
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            y = plain(*inputs)
        first = inner.gradient(y, inputs, g, unconnected_gradients="zero")
    return tf.nest.flatten(
        outer.gradient(first, (g, inputs), list(upstream), unconnected_gradients="zero")
    )
