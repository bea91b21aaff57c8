"""How far the numbers of a file are from those of the Keras model, both run on the same inputs."""

import pathlib
from typing import Any

import keras
import numpy as np

from keras_ssm.export.program import Port, Program
from keras_ssm.models import streaming
from keras_ssm_runner import load

# Sequences and steps of a comparison.
_BATCH, _STEPS = 3, 32
# Of a free length: chunks that are whole, that are not, one of them and many.
_FREE = (16, _STEPS, 45, 150)


def error(program: Program, path: pathlib.Path) -> float:
    """The largest difference over the largest magnitude."""
    return _of_stream(program, path) if program.streams else _of_whole(program, path)


def samples(ports: list[Port], length: int, seed: int = 0) -> list[np.ndarray]:
    """Random inputs (batch, ...), of `length` steps where the length is free."""
    rng = np.random.default_rng(seed)
    found = []
    for port in ports:
        shape = (_BATCH, *(length if size is None else size for size in port.shape))
        if port.dtype == "bool":
            found.append(rng.random(shape) < 0.1)
        elif "int" in port.dtype:
            # Tokens that every vocabulary has, and none of them a mask.
            found.append(np.ones(shape, port.dtype))
        elif len(shape) < 3:
            # Durations, or constants.
            found.append(rng.uniform(0.5, 1.5, shape).astype(port.dtype))
        else:
            found.append(rng.standard_normal(shape).astype(port.dtype))
    return found


def _of_whole(program: Program, path: pathlib.Path) -> float:
    runner = load(path)
    free = any(None in port.shape for port in program.inputs)
    worst = 0.0
    for length in _FREE if free else (_STEPS,):
        x = samples(program.inputs, length)
        structure = keras.tree.pack_sequence_as(program.source.input, x)
        if isinstance(structure, (list, tuple)) and len(structure) == 1:
            (structure,) = structure
        expected = keras.tree.flatten(program.source.predict(structure, verbose=0))
        found = runner(x)
        worst = max(worst, difference(found, expected))
    return worst


def _of_stream(program: Program, path: pathlib.Path) -> float:
    """From call to call; what `streaming` gives is what `predict` does, as its own tests say."""
    runner = load(path)
    chunk = program.chunk or 1
    length = max(2, _STEPS // chunk) * chunk
    machine = streaming(program.source)
    machine.reset(_BATCH)
    runner.reset(_BATCH)
    worst = 0.0
    for k in range(length // chunk):
        x = samples(program.inputs, chunk, seed=k)
        structure = keras.tree.pack_sequence_as(program.source.input, x)
        if isinstance(structure, (list, tuple)) and len(structure) == 1:
            (structure,) = structure
        run = machine.step if program.chunk is None else machine.advance
        expected = [keras.ops.convert_to_numpy(y) for y in keras.tree.flatten(run(structure))]
        worst = max(worst, difference(runner.step(x), expected))
    return worst


def difference(found: Any, expected: list[np.ndarray]) -> float:
    """The largest over all outputs; infinity where shapes differ or numbers are missing."""
    found = [found] if isinstance(found, np.ndarray) else found
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
        if a.shape != b.shape or not np.all(np.isfinite(a) == np.isfinite(b)):
            return float("inf")
        finite = np.isfinite(b)
        scale = float(np.abs(b[finite]).max(initial=0.0)) or 1.0
        worst = max(worst, float(np.abs(a - b)[finite].max(initial=0.0)) / scale)
    return worst
