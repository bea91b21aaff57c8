"""Whether a computation is on its way into a file format that has few operations.

ONNX, LiteRT and OpenVINO have no FFT, and not all of them exp(x) - 1 or the lists
that Keras' recurrent layers keep in a loop. Where one is written, or runs under
Keras, the mathematics takes another way to the same numbers.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from keras import ops

from keras_ssm.backend import has_fft, is_traced
from keras_ssm.types import Tensor

# How many `restrict` are open.
_open = [0]
# The functions of Keras that write such formats, by their modules.
_EXPORTERS = frozenset(f"keras.src.export.{name}" for name in ("onnx", "litert", "openvino"))
# Writes what TensorFlow then reads, which may be older than JAX.
_BETWEEN_VERSIONS = frozenset({"keras.src.backend.jax.export"})


def restricted() -> bool:
    """Whether to do without an FFT, without exp(x) - 1 and without lists in loops."""
    return bool(_open[0]) or not has_fft or _on_the_stack(_EXPORTERS)


def is_symbol(size: Tensor) -> bool:
    """Whether a size is an expression, as in a model written for any size: no FFT takes one."""
    return not isinstance(size, int) and not ops.is_tensor(size)


def lacks_erf() -> bool:
    """Whether to do without the operation for the error function."""
    return _on_the_stack(_BETWEEN_VERSIONS)


def erf(x: Tensor) -> Tensor:
    """The error function; where JAX writes a SavedModel, by a quotient that is right to 3e-7.

    It is XLA's own (`EmitErfF32`); the operation itself is too new for TensorFlow to read.
    """
    if not lacks_erf():
        return ops.erf(x)
    x = ops.clip(x, -3.832506856900711, 3.832506856900711)
    return x * _horner(_ERF_ABOVE, x * x) / _horner(_ERF_BELOW, x * x)


_ERF_ABOVE = (
    *(0.00022905065861350646, 0.0034082910107109506, 0.050955695062380861),
    *(0.18520832239976145, 1.128379143519084),
)
_ERF_BELOW = (
    *(-1.1791602954361697e-7, 0.000023547966471313185, 0.0010179625278914885),
    *(0.014070470171167667, 0.11098505178285362, 0.49746925110067538, 1.0),
)


def _horner(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    value: Any = 0.0
    for coefficient in coefficients:
        value = value * x + coefficient
    return value


@contextlib.contextmanager
def restrict(wanted: bool = True) -> Iterator[None]:
    """A context in which `restricted()` holds, if it is wanted."""
    _open[0] += wanted
    try:
        yield
    finally:
        _open[0] -= wanted


def _on_the_stack(modules: frozenset[str]) -> bool:
    """Whether `Model.export` of Keras is under way, by one of these modules.

    It does not tell a layer, but it is on the stack while it traces one.
    """
    frame: Any = sys._getframe() if is_traced() else None
    while frame is not None:
        if frame.f_globals.get("__name__") in modules:
            return True
        frame = frame.f_back
    return False
