"""Weights of the layers over devices, for `keras.distribution.ModelParallel`."""

import keras

# By the name that a layer has by default, its weights and the axis of each that is split.
_SHARED = r"(s5|lru)(_\d+)?"
_CHANNELS = r"(s4d|s4|dss)(_\d+)?"
_RULES: dict[str, tuple[int, int]] = {
    # Modes, where all channels share a state: (axis, rank).
    rf"{_SHARED}/(Lambda_re|Lambda_im|log_step|nu_log|theta_log|gamma_log)": (0, 1),
    rf"{_SHARED}/B": (0, 3),
    rf"{_SHARED}/(C|C_backward)": (1, 3),
    # Channels, where each has a state.
    r"(s4d|s4)(_\d+)?/(Lambda_re|Lambda_im)": (0, 2),
    rf"{_CHANNELS}/log_step": (0, 2),
    r"(s4d|s4)(_\d+)?/B": (0, 3),
    rf"{_CHANNELS}/(C|P|W)": (1, 4),
    rf"{_CHANNELS}/D": (1, 2),
    # What is made of features, by its units; and what is made of them in the end, by its inputs.
    r"(encoder|feature_projection|out1|out2)/kernel": (1, 2),
    r"(encoder|feature_projection|out1|out2)/bias": (0, 1),
    r"(encoder|token_embedding)/embeddings": (1, 2),
    r"(head|logits)/kernel": (0, 2),
}


def layout_map(mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """Layout of state space models over devices, for `keras.distribution.ModelParallel`.

    Split along the last axis of the mesh are

    - the modes of S5 and LRU, which share a state over the channels: all of
      `Lambda`, `log_step`, the rows of `B` and the columns of `C`;
    - the channels of S4D, S4 and DSS; of DSS, whose channels share their
      eigenvalues, the other weights;
    - the dense layers of blocks and encoders, and embeddings, by their units,
      and the head by its inputs.

    Other weights, such as those of norms, are whole on every device. So are
    those of layers with a name of your own: rules go by the names that layers
    have by default, and others can be added to what is returned. The numbers of
    modes, channels and units must be multiples of the number of devices.

    Args:
        mesh: devices; the last axis is for the weights, the first for the batch.

    Returns:
        A `keras.distribution.LayoutMap`.

    Raises:
        ValueError: unless `mesh` is a `keras.distribution.DeviceMesh`.

    Example:

    >>> mesh = keras.distribution.DeviceMesh((1, 1), ["batch", "model"], ["cpu:0"])
    >>> layouts = keras_ssm.distribution.layout_map(mesh)
    >>> layouts["block_0/s5/B"].axes
    ('model', None, None)
    >>> distribution = keras.distribution.ModelParallel(layout_map=layouts)
    """
    if not isinstance(mesh, keras.distribution.DeviceMesh):
        raise ValueError(
            f"`mesh` must be a `keras.distribution.DeviceMesh`. Received: mesh={mesh!r}"
        )
    layouts = keras.distribution.LayoutMap(mesh)
    for pattern, (axis, rank) in _RULES.items():
        spec: list[str | None] = [None] * rank
        spec[axis] = mesh.axis_names[-1]
        layouts[f"(.*/)?{pattern}"] = tuple(spec)
    return layouts
