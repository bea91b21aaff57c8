"""What S4D and S5 are made of, each on its own: where the time of a layer goes.

The functions are those that the layers call, with inputs of the layers' sizes.
What is left of a layer is its skip and the discretisation of a few weights.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from catalogue import Shape
from peers import weights

import keras_ssm
from keras_ssm.ops import convolution, scan
from keras_ssm.ops.systems import shared


class Piece(NamedTuple):
    """A function of (weights, x), the arrays of its weights, and the size of x and its result."""

    function: Callable[..., Any]
    arrays: list[np.ndarray]
    size: tuple[int, ...]


def s4d_kernel(shape: Shape) -> Piece:
    """The kernel from the weights, times x."""
    layer = keras_ssm.layers.S4D(shape.N)
    layer.build((shape.B, shape.L, shape.H))
    variables = [v for v in layer.trainable_variables if v.name != "D"]
    fixed = [(v, v.value) for v in layer.variables if v.name == "D"]

    def kernel(values: Any, x: Any) -> Any:
        with keras.StatelessScope([*zip(variables, values, strict=True), *fixed]):
            return layer.impulse_response(shape.L) * x

    arrays = [keras.ops.convert_to_numpy(v) for v in variables]
    return Piece(kernel, arrays, (1, shape.H, shape.L))


def s4d_convolution(shape: Shape) -> Piece:
    """The convolution of x with a given kernel, changes of layout included."""
    (kernel,) = weights.kernel(shape.H, shape.L)
    return Piece(
        lambda values, u: convolution.convolve(u, values[0]),
        [kernel[None]],
        (shape.B, shape.L, shape.H),
    )


def s5_projections(shape: Shape) -> Piece:
    """Into the states and out of them, in chunks of time and back, without the recurrence."""
    B_re, B_im, C_re, C_im = (
        np.random.default_rng(3).normal(size=(4, shape.N, shape.H)).astype("float32")
    )

    def project(values: Any, u: Any) -> Any:
        Bu = shared._project(tuple(values[:2]), scan.to_chunks(u))
        return scan.from_chunks(shared._read_chunks(Bu, tuple(values[2:])), shape.L)

    return Piece(project, [B_re, B_im, C_re.T, C_im.T], (shape.B, shape.L, shape.H))


def s5_scan(shape: Shape) -> Piece:
    """The recurrence of states in chunks."""
    rng = np.random.default_rng(3)
    log_lam = [-rng.uniform(1e-3, 0.1, shape.N), rng.uniform(0, 3, shape.N)]
    return Piece(
        lambda values, b: scan.run_scan(tuple(values), b),
        [part.astype("float32") for part in log_lam],
        (shape.N, 2, scan.CHUNK, shape.B, shape.L // scan.CHUNK),
    )
