"""Find layers by name, and make them from whatever a user gives for one."""

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import keras

from keras_ssm.layers.base import SSM
from keras_ssm.layers.dss import DSS
from keras_ssm.layers.lru import LRU
from keras_ssm.layers.s4 import S4
from keras_ssm.layers.s4d import S4D
from keras_ssm.layers.s5 import S5

LAYERS: dict[str, type[SSM]] = {"dss": DSS, "lru": LRU, "s4": S4, "s4d": S4D, "s5": S5}

# A name, a class, a layer to copy, or a function without arguments that makes a layer.
LayerLike: TypeAlias = str | type[SSM] | SSM | Callable[[], SSM]


def layer_class(identifier: str | type[SSM]) -> type[SSM]:
    """Find the class of a layer by its name.

    Args:
        identifier: a name in `LAYERS`, the name under which a class of your own
            is registered in Keras, such as `"my_package>MyLayer"`, or a class.

    Raises:
        ValueError: for anything else.

    Example:

    >>> from keras_ssm.layers import names
    >>> names.layer_class("s5").__name__
    'S5'
    """
    found: Any = identifier
    if isinstance(identifier, str):
        found = LAYERS.get(identifier) or keras.saving.get_registered_object(identifier)
    if isinstance(found, type) and issubclass(found, SSM):
        return found
    raise ValueError(
        f"expected a layer: one of {sorted(LAYERS)}, the registered name of a subclass of SSM, or "
        f"such a class. Received: layer={identifier!r}"
    )


def layer_name(identifier: str | type[SSM]) -> str:
    """The name under which `layer_class` finds a class, for a config.

    Example:

    >>> from keras_ssm.layers import names
    >>> names.layer_name(keras_ssm.layers.S5)
    's5'
    """
    found = layer_class(identifier)
    known = {cls: name for name, cls in LAYERS.items()}
    return known.get(found) or keras.saving.get_registered_name(found)


def takes(layer: str | type[SSM], argument: str) -> bool:
    """Whether a layer names an argument, such as `"step_min"`, which the LRU does not have.

    Example:

    >>> from keras_ssm.layers import names
    >>> names.takes("s5", "step_min"), names.takes("lru", "step_min")
    (True, False)
    """
    return argument in inspect.signature(layer_class(layer)).parameters


def make_layer(layer: Any, state_size: int | None = None, **options: Any) -> SSM:
    """Make a new layer from a name, a class, another layer or a function.

    Args:
        layer: a `LayerLike`: a name or class, see `layer_class`; a layer, of which a copy with
            weights of its own is made; or a function without arguments that
            makes a layer.
        state_size: state size of the layer; None takes the layer's default.
        **options: further arguments of a named layer or class.

    Raises:
        ValueError: for anything else, or for arguments given with a layer that
            has its own.

    Example:

    >>> from keras_ssm.layers import names
    >>> names.make_layer("s4d", 16, bidirectional=True).state_size
    16
    """
    if state_size is not None:
        options["state_size"] = state_size
    if isinstance(layer, str) or (isinstance(layer, type) and issubclass(layer, SSM)):
        cls = layer_class(layer)
        return cls(**{"name": cls.__name__.lower(), **options})
    if options:
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise ValueError(
            "A layer, or a function that makes one, has its arguments already. "
            f"Received: {given} beside layer={layer!r}"
        )
    if isinstance(layer, SSM):
        config = layer.get_config()
        return type(layer).from_config({**config, "name": type(layer).__name__.lower()})
    made = layer() if callable(layer) else layer
    if not isinstance(made, SSM):
        raise ValueError(
            f"expected a layer: one of {sorted(LAYERS)}, a subclass of SSM, a layer, or a function "
            f"without arguments that makes one. Received: layer={layer!r}"
        )
    return made
