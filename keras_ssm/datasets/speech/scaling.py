"""By what Speech Commands is shifted and divided on its way into a model."""

import logging

import numpy as np

from keras_ssm.arguments import check_choice

_log = logging.getLogger(__name__)
_EPSILON = 1e-5
# Samples reach the official code's epsilon divided by 2**15 twice.
_TWICE = 2.0**30
_BLOCK = 256


def mean_and_std(x: np.ndarray, normalize: str = "global") -> tuple[np.ndarray, np.ndarray]:
    """Compute the `mean` and `std` that `SequenceBatches` scales every part with.

    Args:
        x: x of the training part, as `keras_ssm.datasets.speech_commands.load_data` gives
            it: int16 audio (count, length) or float32 features (count, frames,
            features). Read in blocks.
        normalize: `"global"`: one mean and one standard deviation, so that a model
            sees values of standard deviation 1. `"official"`, as in the code of S4 and S5: those
            of every time step of audio, or of every feature, over the training
            part, with 1e-5 added to the deviation. There, audio is divided by
            2^15 although it was loaded as numbers in [-1, 1], which makes 1e-5
            the larger term: a model sees numbers several times smaller. A
            log line says how much smaller. `"none"`: audio is divided by 2^15 alone, features
            stay as they are.

    Returns:
        mean and std in the units of `x`, float32: of shape () for `"global"` and
        `"none"`, (length,) for `"official"` audio, (features,) for `"official"` features.

    Raises:
        ValueError: for an unknown choice, or fewer than two sequences.

    Example:

    >>> x, y = np.array([[0, 200], [100, -100]], "int16"), np.array([0, 1])
    >>> mean, std = keras_ssm.datasets.speech_commands.mean_and_std(x)
    >>> batches = keras_ssm.datasets.SequenceBatches(x, y, 2, mean=mean, std=std)
    >>> float(np.mean(batches[0][0]).round(3)), float(np.std(batches[0][0]).round(3))
    (0.0, 1.0)

    References:
        Repository state-spaces/s4, src/dataloaders/datasets/sc.py, `normalize_all_data`.
    """
    check_choice("normalize", normalize, ("global", "none", "official"))
    audio = x.ndim == 2
    if normalize == "none":
        return np.zeros((), "float32"), np.full((), 2**15 if audio else 1, "float32")
    if len(x) < 2:
        raise ValueError(f"`x` must hold at least two sequences. Received: x of shape {x.shape}")
    count, mean, variance = _moments(x)
    if normalize == "global":
        spread = np.sqrt(np.mean(variance) + np.var(mean))
        return np.asarray(np.mean(mean), "float32"), np.asarray(spread, "float32")
    deviation = np.sqrt(variance * count / (count - 1))
    epsilon = _EPSILON * (_TWICE if audio else 1)
    seen = float(np.mean(deviation / (deviation + epsilon)))
    _log.info(
        "normalize='official': with the epsilon of the official code, a model sees values of "
        "standard deviation %.2f, where normalize='global' would give 1",
        seen,
    )
    return mean.astype("float32"), (deviation + epsilon).astype("float32")


def _moments(x: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Count, mean and variance of every time step of audio, or of every feature."""
    axes = tuple(range(x.ndim - 1))
    total, squares = np.zeros(x.shape[-1]), np.zeros(x.shape[-1])
    for start in range(0, len(x), _BLOCK):
        block = np.asarray(x[start : start + _BLOCK]).astype("float64")
        total += block.sum(axis=axes)
        squares += np.square(block, out=block).sum(axis=axes)
    count = x.size // x.shape[-1]
    mean = total / count
    return count, mean, np.maximum(squares / count - mean**2, 0)
