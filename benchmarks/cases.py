"""Every case of the benchmarks by its name: our layers and their pieces, peers, ceilings.

A shape is (B, H, N, L): batch, features, state, length. Of one N,
- S4D has `state_size` N, stored as N/2 conjugate pairs for each feature;
- S4 has `state_size` N, stored as N/2 conjugate pairs for each feature;
- DSS has `state_size` N/2, so that it stores as many complex modes as S4D;
- S5 has `state_size` 2N, stored as N conjugate pairs for all features.
"""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import keras
import numpy as np
import pieces
from catalogue import Shape
from peers import ceilings, keras_layers, weights

import keras_ssm


class Case(NamedTuple):
    """One computation.

    Attributes:
        function: from (weights, x, **extra) to the output.
        weights: list of the framework's tensors, all trainable.
        x: the input, for which there is a gradient as well.
        extra: further inputs, without gradients.
        shape: of the output; None for that of x.
    """

    function: Callable[..., Any]
    weights: list[Any]
    x: Any
    extra: dict[str, Any]
    shape: tuple[int, ...] | None = None


def build(name: str, shape: Shape) -> Case:
    """The case `name` on the running Keras backend."""
    return _CASES[name](Shape(*shape))


def noise(*shape: int) -> Any:
    """A fixed random tensor."""
    values = np.random.default_rng(1).normal(size=shape).astype("float32")
    return keras.ops.convert_to_tensor(values)


def keras_case(layer: keras.Layer, shape: Shape, **extra: Any) -> Case:
    """A Keras layer on (B, L, H)."""
    if not layer.built:
        layer.build((shape.B, shape.L, shape.H))
    fixed = [v.value for v in layer.non_trainable_variables]

    def function(weights: list[Any], x: Any, **extra: Any) -> Any:
        if keras.backend.backend() == "jax":
            return layer.stateless_call(weights, fixed, x, **extra)[0]
        return layer(x, **extra)

    return Case(
        function,
        [v.value for v in layer.trainable_variables],
        noise(shape.B, shape.L, shape.H),
        extra,
        layer.compute_output_shape((shape.B, shape.L, shape.H)),
    )


def _ours(layer: Callable[[Shape], keras.Layer]) -> Callable[[Shape], Case]:
    return lambda shape: keras_case(layer(shape), shape)


def _keras(model: Callable[[int, int], keras.Model]) -> Callable[[Shape], Case]:
    return lambda shape: keras_case(model(shape.H, shape.L), shape)


def _irregular_s5(shape: Shape) -> Case:
    steps = np.random.default_rng(2).uniform(0.5, 1.5, (shape.B, shape.L)).astype("float32")
    layer = keras_ssm.layers.S5(2 * shape.N)
    return keras_case(layer, shape, time_steps=keras.ops.convert_to_tensor(steps))


def _plain(function: Callable[..., Any], arrays: list[np.ndarray], *size: int) -> Case:
    variables = [keras.Variable(a).value for a in arrays]
    return Case(function, variables, noise(*size), {})


def _textbook(
    name: str, arrays: Callable[[int, int], list[np.ndarray]], module: str = "textbook"
) -> Callable[[Shape], Case]:
    def case(shape: Shape) -> Case:
        function = getattr(_peer(module), name)
        return _plain(function, arrays(shape.H, shape.N), shape.B, shape.L, shape.H)

    return case


def _peer(module: str) -> ModuleType:
    return importlib.import_module(f"peers.{module}_{keras.backend.backend()}")


def _s5_pytorch(shape: Shape) -> Case:
    module = importlib.import_module("peers.s5_pytorch").module(shape.H, shape.N)
    x = noise(shape.B, shape.L, shape.H)
    return Case(lambda weights, x: module(x), list(module.parameters()), x, {})


def _fft(shape: Shape) -> Case:
    kernel = weights.kernel(shape.H, shape.L)
    function = ceilings.fft(_peer("textbook").convolution)
    return _plain(function, kernel, shape.B, shape.H, shape.L)


def _dense(shape: Shape) -> Case:
    matrices = weights.projections(shape.H, shape.N)
    return _plain(ceilings.dense, matrices, shape.B, shape.L, shape.H)


def _piece(make: Callable[[Shape], pieces.Piece]) -> Callable[[Shape], Case]:
    def case(shape: Shape) -> Case:
        piece = make(shape)
        return _plain(piece.function, piece.arrays, *piece.size)

    return case


_CASES: dict[str, Callable[[Shape], Case]] = {
    "s4d": _ours(lambda shape: keras_ssm.layers.S4D(shape.N)),
    "s4d-chunk": _ours(lambda shape: keras_ssm.layers.S4D(shape.N, method="chunk")),
    "dss": _ours(lambda shape: keras_ssm.layers.DSS(shape.N // 2, kernel="exp")),
    "dss-softmax": _ours(lambda shape: keras_ssm.layers.DSS(shape.N // 2)),
    "s4": _ours(lambda shape: keras_ssm.layers.S4(shape.N)),
    "s4-chunk": _ours(lambda shape: keras_ssm.layers.S4(shape.N, method="chunk")),
    "s5": _ours(lambda shape: keras_ssm.layers.S5(2 * shape.N)),
    "s5-time-steps": _irregular_s5,
    "s4d-textbook": _textbook("s4d", weights.s4d),
    "s4-cauchy": _textbook("s4", weights.s4, "cauchy"),
    "s5-textbook": _textbook("s5", weights.s5),
    "s5-pytorch": _s5_pytorch,
    "gru": _keras(keras_layers.gru),
    "lstm": _keras(keras_layers.lstm),
    "conv": _keras(keras_layers.convolutions),
    "attention": _keras(keras_layers.attention),
    "ceiling-fft": _fft,
    "ceiling-dense": _dense,
    "s4d-kernel": _piece(pieces.s4d_kernel),
    "s4d-convolution": _piece(pieces.s4d_convolution),
    "s5-projections": _piece(pieces.s5_projections),
    "s5-scan": _piece(pieces.s5_scan),
}
