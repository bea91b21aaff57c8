"""The state of a layer while it reads a sequence."""

from typing import Any

import numpy as np

from keras_ssm.analysis.diagonal import diagonal, unwrap
from keras_ssm.layers.s5 import S5


def states(layer: Any, inputs: Any, backward: bool = False) -> np.ndarray:
    """The states x_k = lam x_(k-1) + B u_k after every step of one sequence, from zero.

    Args:
        layer: a built DSS, S4D or S5 layer, or a block or cell around one. Of a
            block, the inputs are those of its layer, behind the norm.
        inputs: (length, features).
        backward: the states of a scan from the end, as a bidirectional layer
            makes beside the forward ones.

    Returns:
        complex128 (length, features, modes) for DSS and S4D, (length, modes) for
        S5.

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
    system = diagonal(layer, len(u))
    if isinstance(ssm, S5):
        Bu = np.einsum("gni,li->lgn", system.B, u)
    else:
        Bu = system.B[None, :, :, 0] * u[:, :, None]  # (L, G, N)
    x = np.empty_like(Bu)
    lam = np.where(system.origin > 0, 0, np.exp(system.log_lam))
    state = np.zeros(lam.shape, complex)
    for now, driven in zip(x, Bu, strict=True):
        now[...] = state = lam * state + driven
    g, n = np.nonzero(system.origin)
    if len(g):
        # A growing mode overflows as a recurrence, and is a sum read with a growing factor.
        k = np.arange(len(u))[:, None]
        log_lam, origin = system.log_lam[g, n], system.origin[g, n]
        summed = np.cumsum(np.exp(-log_lam * k) * Bu[:, g, n], axis=0)
        x[:, g, n] = np.exp(log_lam * (k - origin)) * summed
    x = x[::-1] if backward else x
    return x[:, 0] if isinstance(ssm, S5) else x
