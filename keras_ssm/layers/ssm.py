"""The abstract base of all state space layers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_ssm import initializers
from keras_ssm.ops.complex import Pair, Tensor


class Recurrence(NamedTuple):
    """A discretised system, x_k = lam x_(k-1) + B u_k and y_k = Re(C x_k), in complex pairs."""

    log_lam: Pair
    B: Pair
    C: Pair


class SSM(keras.layers.Layer):
    """Base of `DSS`, `S4D` and `S5`: casts, direction, state in and out, the skip D.

    A leaf creates its weights in `build` with `add_parameter` and implements

    - `state_shape`, the shape of the complex state of one sequence;
    - `_sequence(u, state, return_state)`, which maps (B, L, H) to (B, L, F)
      and a final state, without the skip.

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
            (batch, 2 * modes): all real parts, then all imaginary parts.
        go_backwards: read the sequence backwards and return it in that order.
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
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        if not isinstance(state_size, int) or state_size <= 0:
            raise ValueError(
                f"`state_size` must be a positive integer. Received: state_size={state_size!r}"
            )
        if not 0 < step_min < step_max:
            raise ValueError(
                "`step_min` and `step_max` must satisfy 0 < step_min < step_max. "
                f"Received: step_min={step_min!r}, step_max={step_max!r}"
            )
        if not rate > 0:
            raise ValueError(f"`rate` must be positive. Received: rate={rate!r}")
        if bidirectional and return_state:
            raise ValueError(
                "A bidirectional layer has no final state: its backward half starts at the end. "
                "Use `keras.layers.Bidirectional` around a layer with `return_state=True`. "
                f"Received: bidirectional={bidirectional!r}, return_state={return_state!r}"
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
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(ndim=3)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of the complex state of one sequence."""
        raise NotImplementedError

    @property
    def output_channels(self) -> int:
        """Outputs per input channel."""
        return 1

    def _sequence(self, u: Tensor, state: Pair | None, return_state: bool) -> tuple[Tensor, Any]:
        raise NotImplementedError

    @property
    def parameter_dtype(self) -> str:
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
        if input_shape[-1] is None:
            raise ValueError(
                f"{type(self).__name__} needs a known number of channels on the last axis. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={-1: input_shape[-1]})
        self.width = input_shape[-1]
        self.built = True

    def call(
        self,
        inputs: Tensor,
        mask: Tensor | None = None,
        initial_state: Tensor | None = None,
        training: bool | None = None,
    ) -> Any:
        u = ops.cast(inputs, self.parameter_dtype)
        if self.go_backwards:
            u = ops.flip(u, axis=1)
        state = None if initial_state is None else self._unpack_state(initial_state)
        y, state = self._sequence(u, state, self.return_state)
        y = y + ops.reshape(u[:, :, None] * self._skip(), ops.shape(y))
        if not self.return_sequences:
            y = y[:, -1]
        y = ops.cast(y, self.compute_dtype)
        return (y, self._pack_state(state)) if self.return_state else y

    def _skip(self) -> Tensor:
        """D as (C, H)."""
        return ops.reshape(self.D, (-1, self.width))

    def get_initial_state(self, batch_size: Any) -> Tensor:
        """The zero state of `batch_size` sequences."""
        return ops.zeros((batch_size, 2 * self._modes), dtype=self.parameter_dtype)

    @property
    def _modes(self) -> int:
        modes = 1
        for size in self.state_shape:
            modes *= size
        return modes

    def _unpack_state(self, state: Any) -> Pair:
        if isinstance(state, (list, tuple)):
            (state,) = state
        if self.bidirectional:
            raise ValueError(
                f"A bidirectional {type(self).__name__} takes no `initial_state`: its backward "
                f"half starts at the end. Received: initial_state of shape {tuple(state.shape)}"
            )
        if len(state.shape) != 2 or state.shape[-1] != 2 * self._modes:
            raise ValueError(
                f"`initial_state` must have shape (batch, {2 * self._modes}). "
                f"Received: initial_state of shape {tuple(state.shape)}"
            )
        re, im = ops.split(ops.cast(state, self.parameter_dtype), 2, axis=-1)
        shape = (-1, *self.state_shape)
        return ops.reshape(re, shape), ops.reshape(im, shape)

    def _pack_state(self, state: Pair) -> Tensor:
        flat = [ops.reshape(z, (-1, self._modes)) for z in state]
        return ops.concatenate(flat, axis=-1)

    def compute_output_shape(self, input_shape: Sequence[Any], *_: Any) -> Any:
        batch, length, width = input_shape
        features = width * self.output_channels
        shape = (batch, length, features) if self.return_sequences else (batch, features)
        return (shape, (batch, 2 * self._modes)) if self.return_state else shape

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
            **self._weight_options("D"),
        }

    def _weight_options(self, *names: str) -> dict[str, Any]:
        """Serialised initializer, regularizer and constraint of the named weights."""
        return {
            f"{name}_{kind}": keras.saving.serialize_keras_object(getattr(self, f"{name}_{kind}"))
            for name in names
            for kind in ("initializer", "regularizer", "constraint")
        }


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {sorted(choices)}. Received: {name}={value!r}")
