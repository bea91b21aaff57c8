"""Checks of properties that a model of state space layers should have."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_ssm.models.graph import Kind, is_functional
from keras_ssm.models.machine import input_kinds
from keras_ssm.models.stream import streaming


class StreamingReport(NamedTuple):
    """Largest differences that `check_streaming` found, relative to the largest output.

    Attributes:
        causality: in outputs before a step whose inputs were changed; None for a
            model whose outputs have no time axis.
        steps: between a loop of `step` and the whole sequence.
        chunks: between two calls of `advance` and the whole sequence.
    """

    causality: float | None
    steps: float
    chunks: float


def check_streaming(
    model: keras.Model, x: Any = None, length: int = 13, tolerance: float = 1e-4
) -> StreamingReport:
    """Check that a model is causal and gives step by step what it gives for a sequence.

    The model runs in inference mode. Causality: the inputs from some step on are
    replaced, for steps at the beginning, in the middle and at the end, and all
    earlier outputs must stay the same. Steps and chunks: `models.streaming(model)` must
    give the model's outputs.

    Args:
        model: a Keras model that takes sequences (batch, length, ...).
        x: sequences to check with, at least two steps long and without padding,
            as the model takes them. None draws normal numbers, and tokens for
            integer inputs.
        length: length of the drawn sequences, where the model does not fix it.
        tolerance: largest difference allowed, relative to the largest output.

    Returns:
        A `StreamingReport` of the differences.

    Raises:
        AssertionError: with the numbers, if one is above `tolerance`.
        ValueError: naming what in the model cannot stream, if it is causal.

    Example:

    >>> from keras_ssm.testing import check_streaming
    >>> inputs = keras.Input((None, 3))
    >>> h = keras_ssm.layers.S5(8)(inputs)
    >>> report = check_streaming(keras.Model(inputs, keras.layers.Dense(2)(h) + 1.0))
    >>> report.steps < 1e-4
    True
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a Keras model. Received: model={model!r}")
    inputs = _drawn(model, length) if x is None else [np.asarray(t) for t in keras.tree.flatten(x)]
    structure = getattr(model, "input", None) if x is None else x
    in_time = _in_time(model, inputs)
    lengths = {x.shape[1] for x, is_sequence in zip(inputs, in_time, strict=True) if is_sequence}
    if len(lengths) != 1 or min(lengths) < 2:
        raise ValueError(
            "`x` must be sequences (batch, length, ...) of at least two steps. "
            f"Received: x of shape {', '.join(str(x.shape) for x in inputs)}"
        )

    def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
        packed = keras.tree.pack_sequence_as(structure, arrays) if len(arrays) > 1 else arrays[0]
        return [np.asarray(y) for y in _numpy(model(packed, training=False))]

    causality = _causality(run, inputs, in_time)
    if causality is not None and not causality <= tolerance:
        raise AssertionError(
            f"{model.name!r} is not causal: a change of later inputs changes earlier outputs by "
            f"{causality:.1e} of the largest output. Expected: at most {tolerance:.1e}"
        )
    report = StreamingReport(causality, *_streamed(model, run, inputs, structure, in_time))
    for name, value in (("step", report.steps), ("advance", report.chunks)):
        if not value <= tolerance:
            raise AssertionError(
                f"{model.name!r} gives different numbers by `{name}` than for a whole sequence, by "
                f"{value:.1e} of the largest output. Expected: at most {tolerance:.1e}"
            )
    return report


def _numpy(outputs: Any) -> list[np.ndarray]:
    return [np.asarray(ops.convert_to_numpy(y)) for y in keras.tree.flatten(outputs)]


def _drawn(model: Any, length: int) -> list[np.ndarray]:
    """Two sequences for every input of a model."""
    if not getattr(model, "inputs", None):
        raise ValueError(
            "The model does not say what it takes: give sequences as `x`. Received: x=None for "
            f"{type(model).__name__} {model.name!r}"
        )
    sizes = [layer.input_dim for layer in model._flatten_layers() if hasattr(layer, "input_dim")]
    rng = np.random.default_rng(0)
    drawn = []
    for x in model.inputs:
        if None in x.shape[2:]:
            raise ValueError(f"give sequences as `x`. Received: an input of shape {x.shape}")
        shape = (2, *(length if size is None else size for size in x.shape[1:]))
        if "int" in x.dtype:
            tokens = min(sizes, default=2)
            # 0 may be padding.
            drawn.append(rng.integers(int(tokens > 2), tokens, shape).astype(x.dtype))
        else:
            drawn.append(rng.standard_normal(shape).astype("float32"))
    return drawn


def _difference(a: np.ndarray, b: np.ndarray, scale: float) -> float:
    """The largest difference in units of `scale`; infinite where only one is NaN."""
    a, b = a.astype("float64"), b.astype("float64")
    gap = np.where(np.isnan(a) & np.isnan(b), 0.0, np.abs(a - b))
    return float(np.max(np.nan_to_num(gap, nan=np.inf), initial=0.0)) / scale


def _scale(y: np.ndarray) -> float:
    finite = np.abs(y[np.isfinite(y)].astype("float64"))
    return float(np.max(finite, initial=0.0)) or 1.0


def _in_time(model: Any, inputs: list[np.ndarray]) -> list[bool]:
    """Which inputs have a time axis: for a subclassed model, those as long as the first."""
    if is_functional(model):
        kinds = input_kinds(model)
        if len(kinds) != len(inputs) or any(x.ndim < 2 for x in inputs if len(kinds) == 1):
            raise ValueError(
                f"`x` must be {len(kinds)} array(s) as the model takes them. Received: arrays of "
                f"shape {', '.join(str(x.shape) for x in inputs)}"
            )
        return [kind is Kind.SEQUENCE for kind in kinds]
    return [x.ndim > 1 and x.shape[:2] == inputs[0].shape[:2] for x in inputs]


def _causality(run: Any, inputs: list[np.ndarray], in_time: list[bool]) -> float | None:
    """The largest change of an output before a change of inputs, or None without such outputs."""
    length = inputs[in_time.index(True)].shape[1]
    outputs = run(inputs)
    sequences = [k for k, y in enumerate(outputs) if y.ndim > 1 and y.shape[1] == length]
    if not sequences:
        return None
    largest = 0.0
    for step in sorted({1, length // 2, length - 1}):
        changed = [_changed(x, step) if now else x for x, now in zip(inputs, in_time, strict=True)]
        for k, y in enumerate(run(changed)):
            if k in sequences:
                now, before = y[:, :step], outputs[k][:, :step]
                largest = max(largest, _difference(now, before, _scale(outputs[k])))
    return largest


def _changed(x: np.ndarray, step: int) -> np.ndarray:
    """Other values from a step on; between the smallest and the largest, as tokens need it."""
    x = x.copy()
    x[:, step:] = x.min() + x.max() - x[:, step:]
    return x


def _streamed(
    model: Any, run: Any, inputs: list[np.ndarray], structure: Any, in_time: list[bool]
) -> tuple[float, float]:
    """How far a loop of `step` and two chunks are from the whole sequence."""
    machine = streaming(model)
    batch, length = inputs[in_time.index(True)].shape[:2]
    expected = run(inputs)

    def part(index: Any) -> Any:
        """The inputs of one step, or of a chunk."""
        arrays = [x[:, index] if now else x for x, now in zip(inputs, in_time, strict=True)]
        return keras.tree.pack_sequence_as(structure, arrays) if len(arrays) > 1 else arrays[0]

    machine.reset(batch)
    steps = [_numpy(machine.step(part(k))) for k in range(length)]
    machine.reset(batch)
    halves = slice(0, length // 2), slice(length // 2, length)
    chunks = [_numpy(machine.advance(part(half))) for half in halves]
    by_steps = by_chunks = 0.0
    for k, y in enumerate(expected):
        # A step of a sequence has one axis fewer than the sequence.
        sequence = steps[0][k].ndim < y.ndim
        stepped = np.stack([s[k] for s in steps], axis=1) if sequence else steps[-1][k]
        chunked = np.concatenate([c[k] for c in chunks], axis=1) if sequence else chunks[-1][k]
        by_steps = max(by_steps, _difference(stepped, y, _scale(y)))
        by_chunks = max(by_chunks, _difference(chunked, y, _scale(y)))
    return by_steps, by_chunks
