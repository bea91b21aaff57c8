"""The abstract base of all state space layers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_ssm import initializers
from keras_ssm.layers.arguments import check_size
from keras_ssm.ops import masking
from keras_ssm.ops.complex import Pair, Tensor


class Recurrence(NamedTuple):
    """A discretised system, x_k = lam x_(k-1) + B u_k and y_k = Re(C x_k), in complex pairs."""

    log_lam: Pair
    B: Pair
    C: Pair


class Span(NamedTuple):
    """One call's stretch of time, as a leaf sees it.

    Attributes:
        state: what came before, as the leaf unpacks it, or None for nothing.
        time_steps: (B, L) multiples of the learned step, or None for ones.
        rate: factor on all steps.
        where: the compaction of a mask, or None; inputs are compacted already.
    """

    state: Any
    time_steps: Tensor | None
    rate: Any
    where: masking.Compaction | None


class SSM(keras.layers.Layer):
    """Base of `DSS`, `S4D` and `S5`: casts, direction, masks, state in and out, the skip D.

    The layer is a Keras recurrent layer in everything but speed: the same
    weights and the same numbers as a whole sequence, as chunks with the state
    carried over, and step by step. A leaf creates its weights in `build` with
    `add_parameter` and implements

    - `_state_width(width)`, the size of one sequence's flat state, and
      `_unpack_state`, `_pack_state`;
    - `_sequence(u, span, return_state)`, from (B, L, H) to (B, L, F) and the
      final state;
    - `_step(u, state, system)`, the same for one step of what `_system(rate)`
      makes of the weights, and `_varying_step(u, state, time_steps, rate)`.

    Parameters are real and float32 whatever the dtype policy (float64 under a
    float64 policy), and so is everything between input and output: an
    exponential raised to the power of the length leaves no room for half
    precision.

    Args:
        state_size: N of the layer's paper; see the leaf for what is stored.
        step_min: smallest initial step size, in sampling periods.
        step_max: largest initial step size.
        rate: factor on all step sizes. A model trained at 16 kHz runs on the
            same sound at 8 kHz with `rate=2`.
        bidirectional: add a second system that reads the sequence backwards.
        D_initializer: initializer of the skip weight, N(0, 1) by default.
        D_regularizer: regularizer of the skip weight.
        D_constraint: constraint of the skip weight.
        return_sequences: return the output at every step (the default, since
            these layers are stacked) or at the last one only.
        return_state: return the final state as well, a tensor
            (batch, state_width).
        go_backwards: read the sequence backwards and return it in that order.
        stateful: start every batch in the final state of the one before, until
            `reset_state()`. Needs a fixed batch size.
        zero_output_for_mask: output zeros at masked steps; otherwise (the
            default, as in Keras) a masked step repeats the output before it.
    """

    def __init__(
        self,
        state_size: int,
        step_min: float = 1e-3,
        step_max: float = 1e-1,
        rate: float = 1.0,
        bidirectional: bool = False,
        D_initializer: Any = "standard_normal",
        D_regularizer: Any = None,
        D_constraint: Any = None,
        return_sequences: bool = True,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        check_size("state_size", state_size)
        if not 0 < step_min < step_max:
            raise ValueError(
                "`step_min` and `step_max` must satisfy 0 < step_min < step_max. "
                f"Received: step_min={step_min!r}, step_max={step_max!r}"
            )
        if not rate > 0:
            raise ValueError(f"`rate` must be positive. Received: rate={rate!r}")
        if bidirectional and (return_state or stateful):
            raise ValueError(
                "A bidirectional layer has no final state: its backward half starts at the end. "
                "Use `keras.layers.Bidirectional` around a layer of one direction. Received: "
                f"bidirectional={bidirectional}, return_state={return_state}, stateful={stateful}"
            )
        self.state_size = state_size
        self.step_min = step_min
        self.step_max = step_max
        self.rate = rate
        self.bidirectional = bidirectional
        self.D_initializer = initializers.get(D_initializer)
        self.D_regularizer = keras.regularizers.get(D_regularizer)
        self.D_constraint = keras.constraints.get(D_constraint)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.zero_output_for_mask = zero_output_for_mask
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self._state: Any = None

    # What a leaf provides.

    def _state_width(self, width: int) -> int:
        """Size of the flat state of one sequence of `width` features."""
        raise NotImplementedError  # a leaf has it

    @property
    def output_channels(self) -> int:
        """Outputs per input channel."""
        return 1

    def _sequence(self, u: Tensor, span: Span, return_state: bool) -> tuple[Tensor, Any]:
        """Output (B, L, F) and final state, or None for it, of u (B, L, H)."""
        raise NotImplementedError  # a leaf has it

    def _system(self, rate: Any) -> Any:
        """The discretised weights as `_step` takes them."""
        raise NotImplementedError  # a leaf has it

    def _step(self, u: Tensor, state: Tensor, system: Any) -> tuple[Tensor, Tensor]:
        """Output and next flat state for one step of u (B, H)."""
        raise NotImplementedError  # a leaf has it

    def _varying_step(
        self, u: Tensor, state: Tensor, time_steps: Tensor, rate: Any
    ) -> tuple[Tensor, Tensor]:
        """The same for a step of another duration, (B, 1), in each sequence."""
        raise NotImplementedError  # a leaf has it

    def _unpack_state(self, state: Tensor) -> Any:
        """The flat state (B, state_width) as the leaf computes with it."""
        raise NotImplementedError  # a leaf has it

    def _pack_state(self, state: Any) -> Tensor:
        """The inverse of `_unpack_state`."""
        raise NotImplementedError  # a leaf has it

    @property
    def state_width(self) -> int:
        """Size of the flat state of one sequence: all real parts, then all imaginary parts."""
        return self._state_width(self.width)

    # Weights.

    @property
    def parameter_dtype(self) -> str:
        """float64 under a float64 policy, float32 under any other."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    def add_parameter(
        self, name: str, shape: tuple[int, ...], initializer: Any, trainable: bool = True
    ) -> Any:
        """A weight that keeps its precision, with `<name>_regularizer` and `<name>_constraint`."""
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            regularizer=getattr(self, f"{name}_regularizer", None),
            constraint=getattr(self, f"{name}_constraint", None),
            dtype=self.parameter_dtype,
            autocast=False,
            trainable=trainable,
        )

    def build(self, input_shape: Sequence[Any]) -> None:
        batch, _, width = input_shape
        if width is None:
            raise ValueError(
                f"{type(self).__name__} needs a known number of channels on the last axis. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={-1: width})
        self.width = width
        if self.stateful:
            if batch is None:
                raise ValueError(
                    "A stateful layer needs a fixed batch size, e.g. "
                    "`keras.Input(batch_shape=(8, None, 1))`. "
                    f"Received: input_shape={tuple(input_shape)}"
                )
            self._state = self.add_parameter("state", (batch, self.state_width), "zeros", False)
        self.built = True

    # A whole sequence.

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        time_steps = kwargs.get("time_steps")
        if isinstance(time_steps, (np.ndarray, list, tuple)) and not np.all(
            np.asarray(time_steps, "float64") > 0
        ):
            raise ValueError(
                "`time_steps` must be positive multiples of the learned step; mask steps that are "
                f"not there. Received: time_steps with minimum {np.min(time_steps)}"
            )
        return super().__call__(inputs, *args, **kwargs)

    def call(
        self,
        inputs: Tensor,
        mask: Tensor | None = None,
        initial_state: Any = None,
        time_steps: Tensor | None = None,
        rate: Any = None,
        training: bool | None = None,
    ) -> Any:
        gives_state = self.return_state or self.stateful
        y, state = self._run(inputs, mask, initial_state, time_steps, rate, gives_state)
        if self.stateful:
            self._state.assign(self._pack_state(state))
        if not self.return_sequences:
            y = y[:, -1]
        y = ops.cast(y, self.compute_dtype)
        return (y, self._pack_state(state)) if self.return_state else y

    def _run(
        self,
        inputs: Tensor,
        mask: Tensor | None,
        initial_state: Any,
        time_steps: Tensor | None,
        rate: Any,
        gives_state: bool,
    ) -> tuple[Tensor, Any]:
        """Output (B, L, F) and the final state as the leaf computes with it, or None for it."""
        u = ops.cast(inputs, self.parameter_dtype)
        mask = None if mask is None else ops.cast(self._steps_like("mask", mask, u), "bool")
        if time_steps is not None:
            time_steps = self._steps_like("time_steps", time_steps, u)
            time_steps = ops.cast(time_steps, self.parameter_dtype)
        if self.go_backwards:
            u, mask, time_steps = (
                None if x is None else ops.flip(x, axis=1) for x in (u, mask, time_steps)
            )
        where = None
        if mask is not None:
            where = masking.compaction(mask)
            u = masking.compact(u, where)
            time_steps = None if time_steps is None else masking.compact(time_steps, where)
        state = self._starting_state(initial_state, ops.shape(u)[0])
        span = Span(state, time_steps, self.rate if rate is None else rate, where)
        y, state = self._sequence(u, span, gives_state)
        if where is not None:
            y = masking.expand(y, where, mask, self.zero_output_for_mask)
        return y, state

    def advance(
        self, inputs: Tensor, state: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What a loop of `step` gives, computed as a whole sequence.

        Args:
            inputs: tensor (batch, length, features).
            state: tensor (batch, state_width), see `step`.
            mask: boolean (batch, length), or None. A masked step leaves the
                state as it is.

        Returns:
            The outputs (batch, length, output features) and the state after
            the last valid step, whatever `return_sequences`, `return_state` and
            `stateful` are.

        Raises:
            ValueError: for a bidirectional layer, or a wrong shape.

        Example:

        >>> layer = keras_ssm.layers.S5(8)
        >>> layer.build((None, None, 3))
        >>> y, state = layer.advance(np.ones((2, 5, 3), "float32"), layer.get_initial_state(2))
        >>> tuple(y.shape), tuple(state.shape)
        ((2, 5, 3), (2, 8))
        """
        y, state = self._run(inputs, mask, state, None, None, True)
        return ops.cast(y, self.compute_dtype), self._pack_state(state)

    def _skip(self, u: Tensor) -> Tensor:
        """D u for u (..., H): (..., C H)."""
        if self.output_channels == 1:
            return u * ops.reshape(self.D, (self.width,))
        D = ops.reshape(self.D, (-1, self.width))
        return ops.reshape(u[..., None, :] * D, (*ops.shape(u)[:-1], D.shape[0] * self.width))

    def _steps_like(self, name: str, value: Tensor, u: Tensor) -> Tensor:
        """Check that `value` has one entry for every step."""
        known = zip(value.shape, u.shape[:2], strict=False)
        if len(value.shape) != 2 or any(a != b for a, b in known if None not in (a, b)):
            raise ValueError(
                f"`{name}` must have shape (batch, length) = {tuple(u.shape[:2])}. "
                f"Received: {name} of shape {tuple(value.shape)}"
            )
        return value

    # One step.

    def system(self, rate: Any = None) -> Any:
        """The discretised weights as `step` uses them, to be made once for many steps.

        Args:
            rate: factor on all step sizes; None takes the layer's.

        Returns:
            A nest of tensors, for the argument `system` of `step`. It does not
            follow later changes of the weights.
        """
        return self._system(self.rate if rate is None else rate)

    def step(
        self,
        inputs: Tensor,
        state: Tensor,
        time_steps: Tensor | None = None,
        rate: Any = None,
        system: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """One step of the recurrence, in real arithmetic.

        Args:
            inputs: tensor (batch, features).
            state: tensor (batch, state_width) from `get_initial_state`, from an
                earlier step or from a call with `return_state=True`.
            time_steps: tensor (batch,), or None for ones.
            rate: factor on all step sizes; None takes the layer's.
            system: what `system()` gave, which saves half of the work or more;
                it holds a rate, and has one step size.

        Returns:
            The output (batch, output features) and the next state.

        Raises:
            ValueError: for a bidirectional layer, or a wrong shape.

        Example:

        >>> layer = keras_ssm.layers.S5(8)
        >>> layer.build((None, None, 3))
        >>> y, state = layer.step(np.ones((2, 3), "float32"), layer.get_initial_state(2))
        >>> tuple(y.shape), tuple(state.shape)
        ((2, 3), (2, 8))
        """
        if self.bidirectional:
            raise ValueError(
                f"A bidirectional {type(self).__name__} cannot step: its backward half needs the "
                "end of the sequence first. Received: bidirectional=True"
            )
        if not self.built:
            self.build((None, None, inputs.shape[-1]))
        if len(inputs.shape) != 2 or inputs.shape[-1] != self.width:
            raise ValueError(
                f"`inputs` of a step must have shape (batch, {self.width}). "
                f"Received: inputs of shape {tuple(inputs.shape)}"
            )
        if system is not None and not (time_steps is None and rate is None):
            raise ValueError(
                "A `system` holds its rate and steps of one size. "
                f"Received: system with time_steps={time_steps} and rate={rate}"
            )
        u = ops.cast(inputs, self.parameter_dtype)
        state = self._checked_state(state)
        if time_steps is None:
            system = self.system(rate) if system is None else system
            y, state = self._step(u, state, system)
        else:
            time_steps = ops.reshape(ops.cast(time_steps, self.parameter_dtype), (-1, 1))
            rate = self.rate if rate is None else rate
            y, state = self._varying_step(u, state, time_steps, rate)
        return ops.cast(y, self.compute_dtype), state

    # State.

    def get_initial_state(self, batch_size: Any) -> Tensor:
        """The zero state of `batch_size` sequences, (batch_size, state_width)."""
        return ops.zeros((batch_size, self.state_width), dtype=self.parameter_dtype)

    def reset_state(self) -> None:
        """Return a stateful layer to the zero state."""
        if self._state is not None:
            self._state.assign(ops.zeros_like(ops.convert_to_tensor(self._state)))

    @property
    def states(self) -> list[Any]:
        """The stored state of a stateful layer, as Keras' recurrent layers name it."""
        return [self._state]

    def _starting_state(self, initial_state: Any, batch: Any) -> Any:
        if isinstance(initial_state, (list, tuple)):
            (initial_state,) = initial_state
        if initial_state is None and self.stateful:
            if isinstance(batch, int) and batch != self._state.shape[0]:
                raise ValueError(
                    "The batch size of a stateful layer cannot change. "
                    f"Expected: {self._state.shape[0]}. Received: {batch}"
                )
            initial_state = ops.convert_to_tensor(self._state)
        if initial_state is None:
            return None
        return self._unpack_state(self._checked_state(initial_state))

    def _checked_state(self, state: Tensor) -> Tensor:
        if self.bidirectional:
            raise ValueError(
                f"A bidirectional {type(self).__name__} takes no `initial_state`: its backward "
                f"half starts at the end. Received: a state of shape {tuple(state.shape)}"
            )
        if len(state.shape) != 2 or state.shape[-1] != self.state_width:
            raise ValueError(
                f"A state must have shape (batch, {self.state_width}). "
                f"Received: a state of shape {tuple(state.shape)}"
            )
        if "float" not in keras.backend.standardize_dtype(state.dtype):
            raise ValueError(f"A state must be of a float dtype. Received: dtype={state.dtype}")
        return ops.cast(state, self.parameter_dtype)

    # Shapes, masks and configuration.

    def compute_output_shape(self, input_shape: Sequence[Any]) -> Any:
        batch, length, width = input_shape
        features = width * self.output_channels
        shape = (batch, length, features) if self.return_sequences else (batch, features)
        return (shape, (batch, self._state_width(width))) if self.return_state else shape

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Any:
        mask = mask if self.return_sequences else None
        return (mask, None) if self.return_state else mask

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "state_size": self.state_size,
            "step_min": self.step_min,
            "step_max": self.step_max,
            "rate": self.rate,
            "bidirectional": self.bidirectional,
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "zero_output_for_mask": self.zero_output_for_mask,
            **self._weight_options("D"),
        }

    def _weight_options(self, *names: str) -> dict[str, Any]:
        """Serialised initializer, regularizer and constraint of the named weights."""
        return {
            f"{name}_{kind}": keras.saving.serialize_keras_object(getattr(self, f"{name}_{kind}"))
            for name in names
            for kind in ("initializer", "regularizer", "constraint")
        }


def split_state(state: Tensor, shape: tuple[int, ...]) -> Pair:
    """A flat state (B, 2 modes) as a complex pair of (B, *shape)."""
    re, im = ops.split(state, 2, axis=-1)
    return ops.reshape(re, (-1, *shape)), ops.reshape(im, (-1, *shape))


def join_state(state: Pair) -> Tensor:
    """The inverse of `split_state`."""
    size = int(np.prod(state[0].shape[1:]))
    return ops.concatenate([ops.reshape(z, (-1, size)) for z in state], axis=-1)
