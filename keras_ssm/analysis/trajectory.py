"""The state of a layer while it reads a sequence."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_ssm.analysis.layers import modal_system, unwrap
from keras_ssm.analysis.named import named
from keras_ssm.layers.base import SSM


def states(layer: Any, inputs: Any, backward: bool = False) -> np.ndarray:
    """States x_k = lam x_(k-1) + B u_k of a layer after every step of one sequence, from zero.

    Args:
        layer: a built state space layer, or a block or cell around one. Of a
            block, the inputs are those of its layer, behind the norm.
        inputs: (length, features).
        backward: the states of a scan from the end, as a bidirectional layer
            makes beside the forward ones.

    Returns:
        complex128 (length, features, modes) for DSS, S4D and S4, (length, modes) for
        S5 and LRU.

    Raises:
        ValueError: for inputs of another shape.

    Example:

    >>> layer = keras_ssm.layers.S5(8)
    >>> layer.build((None, None, 3))
    >>> keras_ssm.analysis.states(layer, np.ones((100, 3))).shape
    (100, 4)
    """
    ssm = unwrap(layer)
    u = np.asarray(inputs, "float64")
    if u.ndim != 2 or u.shape[1] != ssm.width or len(u) == 0:
        raise ValueError(
            f"`inputs` must have shape (length, {ssm.width}). Received: inputs of shape {u.shape}"
        )
    u = u[::-1] if backward else u
    system = modal_system(layer, len(u))
    x = system.states(u)
    x = x[::-1] if backward else x
    return x[:, 0] if system.shared else x


def layer_inputs(model: keras.Model, inputs: Any) -> dict[str, np.ndarray]:
    """Inputs of every state space layer of a model while the model reads one input.

    Args:
        model: a built model.
        inputs: of the model, without the batch axis.

    Returns:
        Arrays (length, features) by the path of the layer.

    Raises:
        ValueError: for a layer that does not read the sequence as a whole.
    """
    layers = named(model)
    seen: dict[str, Any] = {}
    batch = keras.tree.map_structure(lambda array: np.asarray(array)[None], inputs)
    with contextlib.ExitStack() as stack:
        for path, layer in layers.items():
            stack.enter_context(_recording(layer, functools.partial(seen.setdefault, path)))
        model(batch, training=False)
    if missing := layers.keys() - seen.keys():
        raise ValueError(
            f"expected a model whose layers read whole sequences. Received: {model.name!r}, which "
            f"does not call {', '.join(sorted(missing))}"
        )
    return {path: keras.ops.convert_to_numpy(seen[path])[0] for path in layers}


@contextlib.contextmanager
def _recording(layer: SSM, record: Callable[[Any], Any]) -> Iterator[None]:
    """Hand on the inputs of every call of a layer inside the block."""
    call = layer.call

    def recorded(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        record(inputs)
        return call(inputs, *args, **kwargs)

    # Past Keras, which keeps track of what is assigned to a layer.
    object.__setattr__(layer, "call", recorded)
    try:
        yield
    finally:
        object.__delattr__(layer, "call")
