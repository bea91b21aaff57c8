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


def serialized_initialization(initialization: Any) -> Any:
    """An `initialization` argument for a config: a name stays, an initializer is serialised."""
    if isinstance(initialization, keras.initializers.Initializer):
        return keras.saving.serialize_keras_object(initialization)
    return initialization
