"""The models of the keras-hub tests, and generation by full forward passes.

Importing it skips a test module where these models do not run.
"""

import os

import numpy as np
import pytest
from keras import ops

BACKEND = os.environ["KERAS_BACKEND"]
if BACKEND == "numpy":
    pytest.skip("models of keras-hub train, which NumPy does not", allow_module_level=True)
keras_hub = pytest.importorskip("keras_hub", reason="the extra `hub` is not installed")

from equivalences import compiled  # noqa: E402

from keras_ssm import hub  # noqa: E402

VOCABULARY = 7
SIZES = {"depth": 1, "width": 8, "state_size": 8}


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x))


def random_weights(model, seed=0):
    """Weights that are the same under every backend, and with which a state counts."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = numpy(weight)
        if weight.name in ("B", "C", "W", "D", "kernel"):
            value = 0.7 * rng.normal(size=weight.shape)
        elif weight.name == "log_step":
            value = rng.uniform(np.log(0.05), np.log(0.5), size=weight.shape)
        elif weight.name == "embeddings":
            value = 0.5 * rng.normal(size=weight.shape)
        elif weight.name in ("gamma", "beta", "bias"):
            value = value + 0.3 * rng.normal(size=weight.shape)
        weight.assign(value)
    return model


def language_model(layer="s5", vocabulary_size=VOCABULARY, preprocessor=None, **options):
    backbone = hub.SSMBackbone(vocabulary_size, layer=layer, **{**SIZES, **options})
    return random_weights(hub.SSMCausalLM(backbone, preprocessor))


def byte_preprocessor(**options):
    return hub.SSMCausalLMPreprocessor(hub.SSMByteTokenizer(), **options)


def run(function):
    """Compiled where that takes less time: TensorFlow is slow to trace."""
    return function if BACKEND == "tensorflow" else compiled(function)


def padded(rows, length, side="right"):
    """Token ids and padding mask of rows of different lengths; padding holds other tokens."""
    ids = np.full((len(rows), length), 3, "int32")
    mask = np.zeros((len(rows), length), "bool")
    for i, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(length - len(row), length)
        ids[i, place] = row
        mask[i, place] = True
    return {"token_ids": ids, "padding_mask": mask}


def continued(forward, rows, length, choose):
    """Every row continued to `length` tokens: one full forward pass for each token."""
    rows = [list(row) for row in rows]
    while min(map(len, rows)) < length:
        logits = forward(padded(rows, length))
        for i, row in enumerate(rows):
            if len(row) < length:
                row.append(choose(logits[i, len(row) - 1]))
    return np.array(rows)


def greedy(logits):
    """The best token."""
    second, first = np.sort(logits)[-2:]
    assert first - second > 1e-3, "rounding could decide"
    return int(np.argmax(logits))


def digits(logits):
    """A token that hangs on the logits' third digits, and so on all that came before."""
    p = np.exp(logits.astype("float64"))
    scaled = 50 * (p * np.arange(len(p))).sum() / p.sum()
    assert 1e-3 < scaled % 1 < 1 - 1e-3, "rounding could decide"
    return int(scaled) % len(p)


class Digits(keras_hub.samplers.Sampler):
    """`digits` as keras-hub runs it."""

    def get_next_token(self, probabilities):
        tokens = ops.shape(probabilities)[-1]
        scaled = 50 * ops.sum(probabilities * ops.arange(tokens, dtype="float32"), axis=-1)
        return ops.cast(scaled, "int32") % tokens
