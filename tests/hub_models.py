"""The models of the keras-hub tests, and greedy generation by full forward passes.

Importing it skips a test module where these models do not run.
"""

import os

import numpy as np
import pytest
from keras import ops

BACKEND = os.environ["KERAS_BACKEND"]
if BACKEND == "numpy":
    pytest.skip("models of keras-hub train, which NumPy does not", allow_module_level=True)
pytest.importorskip("keras_hub", reason="the extra `hub` is not installed")

from equivalences import compiled  # noqa: E402

from keras_ssm import hub  # noqa: E402

VOCABULARY = 7
SIZES = {"depth": 1, "width": 8, "state_size": 8}


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x))


def random_weights(model, seed=0):
    """Weights large enough that the best token leads by more than rounding."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.path.endswith("embeddings"):
            weight.assign(0.5 * rng.normal(size=weight.shape))
        elif weight.name in ("gamma", "beta", "bias"):
            weight.assign(numpy(weight) + 0.3 * rng.normal(size=weight.shape))
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


def greedy(forward, rows, length):
    """Every row continued to `length` tokens: one full forward pass for each token."""
    rows = [list(row) for row in rows]
    while min(map(len, rows)) < length:
        logits = forward(padded(rows, length))
        for i, row in enumerate(rows):
            if len(row) < length:
                second, first = np.sort(logits[i, len(row) - 1])[-2:]
                assert first - second > 1e-3, "rounding could decide"
                row.append(int(np.argmax(logits[i, len(row) - 1])))
    return np.array(rows)
