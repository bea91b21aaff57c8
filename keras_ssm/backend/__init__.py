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
arctan2 = _module.arctan2
compiled = _module.compiled
matmul = _module.matmul

__all__ = ["arctan2", "compiled", "matmul"]
