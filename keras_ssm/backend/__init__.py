"""The one place that names a framework: picks its module once, for the running Keras backend."""

import keras

_SUPPORTED = ("jax", "tensorflow", "torch", "numpy")

if keras.backend.backend() == "jax":
    from keras_ssm.backend.jax import arctan2, compiled, matmul
elif keras.backend.backend() == "tensorflow":
    from keras_ssm.backend.tensorflow import arctan2, compiled, matmul
elif keras.backend.backend() == "torch":
    from keras_ssm.backend.torch import arctan2, compiled, matmul
elif keras.backend.backend() == "numpy":
    from keras_ssm.backend.numpy import arctan2, compiled, matmul
else:
    raise ValueError(
        f"keras_ssm runs on the Keras backends {', '.join(_SUPPORTED)}. "
        f"Received: KERAS_BACKEND={keras.backend.backend()!r}"
    )

__all__ = ["arctan2", "compiled", "matmul"]
