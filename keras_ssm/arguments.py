"""Checks of constructor arguments, and how an `initialization` is saved."""

from typing import Any

import keras


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {sorted(choices)}. Received: {name}={value!r}")


def check_size(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}")


def check_steps(step_min: Any, step_max: Any) -> None:
    """Raise ValueError unless 0 < step_min < step_max."""
    if not 0 < step_min < step_max:
        raise ValueError(
            "`step_min` and `step_max` must satisfy 0 < step_min < step_max. "
            f"Received: step_min={step_min!r}, step_max={step_max!r}"
        )


def check_convolution(channels: Any, length: Any, method: Any, softmax: bool) -> None:
    """Raise ValueError for options of a convolution that do not go together."""
    check_size("channels", channels)
    check_choice("method", method, ("auto", "fft", "chunk"))
    if length is not None:
        check_size("length", length)
        if not softmax:
            raise ValueError(
                "`length` normalizes a softmax kernel; this kernel does not depend on the "
                f"length. Received: length={length}"
            )
    if method == "chunk" and softmax:
        raise ValueError(
            "method='chunk' goes from chunk to chunk by a recurrence, and a softmax kernel has "
            "none that does not depend on the length. Received: method='chunk'"
        )


def serialized_part(layer: keras.layers.Layer) -> dict[str, Any]:
    """A layer inside another one for its config: the outer one builds it, so that paths stay."""
    part = keras.saving.serialize_keras_object(layer)
    part.pop("build_config", None)
    return part


def serialized_initialization(initialization: Any) -> Any:
    """An `initialization` argument for a config: a name stays, an initializer is serialized."""
    if isinstance(initialization, keras.initializers.Initializer):
        return keras.saving.serialize_keras_object(initialization)
    return initialization
