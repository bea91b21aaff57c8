"""The one place that names a framework: picks its module once, for the running Keras backend."""

import importlib

import keras

_SUPPORTED = ("jax", "tensorflow", "torch", "numpy")

if keras.backend.backend() not in _SUPPORTED:
    raise ValueError(
        f"keras_ssm runs on the Keras backends {', '.join(_SUPPORTED)}. "
        f"Received: KERAS_BACKEND={keras.backend.backend()!r}"
    )

_module = importlib.import_module(f"keras_ssm.backend.{keras.backend.backend()}")
accumulate = _module.accumulate
arctan2 = _module.arctan2
at_most = _module.at_most
compiled = _module.compiled
convolve = _module.convolve
cos_sin = _module.cos_sin
fused = _module.fused
inner_product = _module.inner_product
lagged_inner_product = _module.lagged_inner_product
matmul = _module.matmul
project = _module.project
project_in = _module.project_in
project_out = _module.project_out

__all__ = [
    "accumulate",
    "arctan2",
    "at_most",
    "compiled",
    "convolve",
    "cos_sin",
    "fused",
    "inner_product",
    "lagged_inner_product",
    "matmul",
    "project",
    "project_in",
    "project_out",
]
