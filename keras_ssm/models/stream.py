"""Run a causal model one time step at a time."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ssm.backend import compiled
from keras_ssm.models.machine import Machine, Prepared, Runner
from keras_ssm.models.step_model import step_model
from keras_ssm.types import Tensor


class Streaming:
    """A machine that runs a functional model one time step at a time.

    Made by `streaming(model)`. It shares the model's weights, follows their
    changes, and always runs in inference mode; every step counts as valid,
    whatever masks the model makes.

    Attributes:
        model: the step as a Keras model from `[x, *states]` to `[y, *states]`,
            which can be saved or exported by itself. State inputs have the names
            in `states`, and outputs these names with `next_` before them.

    Example:

    >>> inputs = keras.Input((None, 3))
    >>> model = keras.Model(inputs, keras_ssm.layers.S5(8)(inputs))
    >>> machine = keras_ssm.models.streaming(model)
    >>> machine.reset(batch_size=2)
    >>> x = np.ones((2, 5, 3), "float32")
    >>> y = machine.advance(x[:, :3])  # a chunk at once
    >>> outputs = [machine.step(x[:, k]) for k in (3, 4)]
    >>> np.allclose(outputs[-1], model.predict(x, verbose=0)[:, -1], atol=1e-5)
    True
    """

    def __init__(self, model: keras.Model) -> None:
        self._source = model
        self._machine = Machine(model)
        self._step = compiled(Runner(self._machine, single=True))
        self._advance = compiled(Runner(self._machine, single=False))
        self._prepared = Prepared(self._machine)
        self._states: list[Tensor] | None = None
        self._batch: int | None = None

    @cached_property
    def model(self) -> keras.Model:
        return step_model(self._source)

    def reset(self, batch_size: int | None = None, rows: Any = None) -> None:
        """Start new sequences.

        Args:
            batch_size: number of sequences; every one starts anew.
            rows: in place of `batch_size`, which of the sequences start anew
                while the others go on: a list of indices, or booleans (batch,).

        Raises:
            ValueError: unless exactly one of the two is given, or for rows that are not there.
        """
        if (batch_size is None) == (rows is None):
            raise ValueError(
                "`reset` takes either `batch_size` or `rows`. "
                f"Received: batch_size={batch_size!r}, rows={rows!r}"
            )
        if rows is not None:
            self._reset_rows(rows)
            return
        whole = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
        if not whole or batch_size <= 0:  # type: ignore[operator]
            raise ValueError(
                f"`batch_size` must be a positive integer. Received: batch_size={batch_size!r}"
            )
        self._batch = int(batch_size)  # type: ignore[arg-type]
        self._states = self._machine.initial_states(self._batch)

    def _reset_rows(self, rows: Any) -> None:
        states, batch = self._started(), self._batch or 0
        mask = np.zeros(batch, bool)
        rows = np.asarray(rows)
        try:
            if rows.size:
                mask[rows] = True
        except IndexError:
            rows = None
        if rows is None or (rows.dtype == bool and rows.shape != mask.shape):
            raise ValueError(
                f"`rows` must be indices below {batch} or booleans ({batch},). "
                f"Received: rows={rows if rows is None else rows.tolist()}"
            )
        fresh = self._machine.initial_states(batch)
        self._states = [
            ops.where(np.reshape(mask, (-1, *(1 for _ in old.shape[1:]))), new, old)
            for new, old in zip(fresh, states, strict=True)
        ]

    @property
    def states(self) -> dict[str, np.ndarray]:
        """The states of all layers by name, as arrays (batch, ...) to read, to save and to set."""
        values = (ops.convert_to_numpy(state) for state in self._started())
        return dict(zip(self._machine.state_names, values, strict=True))

    @states.setter
    def states(self, states: Mapping[str, Any]) -> None:
        self._states, self._batch = self._machine.checked_states(states, self._batch)

    def step(
        self, x: Any, time_steps: Any = None, rate: float | None = None, resets: Any = None
    ) -> Any:
        """Run one more step and return the model's output after it.

        Args:
            x: the step's input, (batch, features), or (batch,) for tokens; for a
                model of several inputs, a list or dict of them as the model takes.
            time_steps: duration of the step in each sequence, (batch,), for all
                state space layers; None for ones.
            rate: factor on all step sizes of these layers; None takes their own.
            resets: booleans (batch,), the sequences in which a new document
                begins with this step; for models whose only states are those of
                state space layers. `reset(rows=...)` does the same for any model.

        Returns:
            What the model would give for the sequence so far: the output at
            this step or, for a model that pools over time, of the pooled rest.

        Raises:
            ValueError: before the first `reset`, or for a wrong shape.
        """
        return self._run(True, x, time_steps, rate, resets)

    def advance(
        self, x: Any, time_steps: Any = None, rate: float | None = None, resets: Any = None
    ) -> Any:
        """Run a chunk of steps in parallel and return what a loop of `step` would.

        Args:
            x: the chunk, (batch, length, features), or (batch, length) for tokens;
                for a model of several inputs, a list or dict as the model takes.
            time_steps: durations of the steps, (batch, length); None for ones.
            rate: see `step`.
            resets: booleans (batch, length), true where a document begins.

        Returns:
            What the model would give for the sequence so far: the outputs at
            the steps of the chunk (batch, length, ...) or, for a model that pools
            over time, of the pooled rest.

        Raises:
            ValueError: see `step`.
        """
        return self._run(False, x, time_steps, rate, resets)

    def _run(self, single: bool, x: Any, time_steps: Any, rate: Any, resets: Any) -> Any:
        states = self._started()
        inputs = self._machine.checked_inputs(x, single, self._batch)
        options = self._machine.checked_options(time_steps, rate, resets, inputs, single)
        run, prepared = (self._step, self._prepared()) if single else (self._advance, None)
        outputs, self._states = run(Runner.arguments(inputs, states, prepared, options))
        return keras.tree.pack_sequence_as(self._machine.outputs, list(outputs))

    def _started(self) -> list[Tensor]:
        if self._states is None:
            raise ValueError(
                "`reset(batch_size)` must be called before the first step, or `states` be set"
            )
        return self._states


def streaming(model: keras.Model) -> Streaming:
    """Turn a causal functional model into one that runs step by step, with the same weights.

    Args:
        model: a functional `keras.Model` or a built `keras.Sequential`, models
            within it included, that takes sequences (batch, length, features) or
            (batch, length). It may have

            - state space layers and blocks, GRU, LSTM, SimpleRNN and RNN, causal
              Conv1D, and layers of your own that `register_step` knows;
            - layers and `keras.ops` that treat every step by itself: those that
              are elementwise or act on the axes behind time;
            - the last step, `h[:, -1]`, and running values of `SequencePooling`,
              GlobalAveragePooling1D, GlobalMaxPooling1D, and of mean, sum, max and
              min over axis 1; and after them any layer.

            Of several inputs, those of unknown length are sequences, or those as
            long as the first; the others are given anew at every step.

    Returns:
        A `Streaming`, with `reset(batch_size)`, `step(x)`, `advance(chunk)` and
        `states`.

    Raises:
        ValueError: naming the layer or operation that cannot stream and why, e.g.
            because it is bidirectional.

    Example:

    >>> model = keras_ssm.models.classifier(10, (None, 1), layer="s5", depth=1, width=8)
    >>> machine = keras_ssm.models.streaming(model)
    >>> machine.reset(batch_size=2)
    >>> tuple(machine.step(np.ones((2, 1), "float32")).shape)
    (2, 10)
    """
    return Streaming(model)
