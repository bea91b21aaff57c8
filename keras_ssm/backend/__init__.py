"""The one place that names a framework: picks its module once, for the running Keras backend.

`custom_gradient(plain, gradient, forward)` is the function `plain` with a
gradient that keeps less or takes less time than the framework's own:
`gradient(inputs, output, upstream, *kept)` gives the gradients of all inputs.
`forward(*inputs)`, if there is one, computes the output and a tuple of tensors
to keep for it. Second derivatives, forward mode, vectorized maps and compilers,
which may not accept a custom gradient, get those of `plain`. Inputs are tensors,
and the output is one. Where `shared()` holds, TensorFlow traces it once for all
layers of a shape; its functions must not hold tensors. Without `keeps_output`, the
output may be gone when the gradient is computed.

`traced_once(function)` is a pure function of tuples of tensors, and of whatever
else compares by value, that is traced once for every kind of arguments, however
many layers of a model call it.
"""

import importlib
import os
import warnings

import keras

# Backends with a module of their own. Any other one has `keras_ssm.backend.keras`, and so has each
# of these where the environment variable below is set to "keras".
_OWN = ("jax", "tensorflow", "torch", "numpy")
_FORCED = "KERAS_SSM_BACKEND"


def _module_name() -> str:
    """The module for the running Keras backend."""
    backend, forced = keras.backend.backend(), os.environ.get(_FORCED)
    if forced not in (None, "", "keras"):
        raise ValueError(f'{_FORCED} must be "keras" or not set. Received: {_FORCED}={forced!r}')
    if forced:
        return "keras"
    if backend not in _OWN:
        warnings.warn(
            f"keras_ssm has no fast paths for the Keras backend {backend!r}, as it has for "
            f"{', '.join(_OWN)}, and computes with keras.ops alone",
            stacklevel=2,
        )
        return "keras"
    return backend


# Others are not known to transform a batch of any size; OpenVINO does not.
has_fft = keras.backend.backend() in _OWN

_module = importlib.import_module(f"keras_ssm.backend.{_module_name()}")
accumulate = _module.accumulate
adam_update = _module.adam_update
arctan2 = _module.arctan2
at_most = _module.at_most
compiled = _module.compiled
convolve = _module.convolve
cos_sin = _module.cos_sin
custom_gradient = _module.custom_gradient
dense_matmul = _module.dense_matmul
gelu = _module.gelu
glu = _module.glu
inner_product = _module.inner_product
is_traced = _module.is_traced
jit = _module.jit
lagged_inner_product = _module.lagged_inner_product
layer_norm = _module.layer_norm
lifted = _module.lifted
# Where sequences can be split across devices: see `jax_pieces`.
pieces = getattr(_module, "pieces", lambda: None)
precise_matmul = _module.precise_matmul
project_in = _module.project_in
project_onto = _module.project_onto
project_out = _module.project_out
take = _module.take
# Whether `keras.layers.RNN` is a loop in Python anyway, which a loop of cells can replace.
rnn_is_a_loop = getattr(_module, "rnn_is_a_loop", False)
project_outer = _module.project_outer
traced_once = _module.traced_once
with_rows = _module.with_rows

__all__ = [
    "accumulate",
    "adam_update",
    "arctan2",
    "at_most",
    "compiled",
    "convolve",
    "cos_sin",
    "custom_gradient",
    "dense_matmul",
    "gelu",
    "glu",
    "has_fft",
    "inner_product",
    "is_traced",
    "jit",
    "lagged_inner_product",
    "layer_norm",
    "lifted",
    "pieces",
    "precise_matmul",
    "project_in",
    "project_onto",
    "project_out",
    "rnn_is_a_loop",
    "take",
    "project_outer",
    "traced_once",
    "with_rows",
]
