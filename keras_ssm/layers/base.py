"""The abstract base class of all state space layers, including your own."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_ssm import initializers
from keras_ssm.arguments import check_size
from keras_ssm.backend import pieces, traced_once, with_rows
from keras_ssm.ops import masking
from keras_ssm.ops import pieces as in_pieces
from keras_ssm.ops import resets as restarts
from keras_ssm.ops.exporting import restricted
from keras_ssm.ops.systems.modal import as_complex
from keras_ssm.types import Pair, Tensor


class SSM(keras.layers.Layer):
    """Abstract base class of the state space layers: everything but the weights and their meaning.

    A layer of this family is a parametrization: it owns weights and turns them
    into a discretized system (see `keras_ssm.ops.systems`), which is what runs.
    The base does the rest as Keras' recurrent layers do: whole sequences, single
    steps, chunks with the state carried over, masks, both directions, states in
    and out, irregular time, mixed precision.

    A subclass has

    - `system_class`, the kind of system it returns (an attribute or property);
    - `modes`, how many complex modes it stores, per channel where each channel
      has a state of its own;
    - `build(input_shape)`, which calls `super().build(input_shape)` and then
      creates the weights with `add_parameter`;
    - `system(rate, time_steps)`, the discretized system;
    - `get_config()` with its own arguments;

    and, where they apply, `weight_names`, for which `<name>_initializer`,
    `<name>_regularizer` and `<name>_constraint` become arguments;
    `continuous(rate)`; `channels`, outputs per input channel. An argument that
    a subclass does not name is refused, and so is `bidirectional=True` where
    its system has one direction.

    Parameters are real and float32 whatever the dtype policy (float64 under a
    float64 policy), and so is everything between input and output: an
    exponential raised to the power of the length leaves no room for half
    precision.

    Args:
        state_size: N of the layer's paper; see the subclass for what is stored.
        rate: factor on all step sizes. A model trained at 16 kHz runs on the
            same sound at 8 kHz with `rate=2`. It cannot be set on a built
            layer: `keras_ssm.models.with_rate` makes a model with another one.
        bidirectional: add a second system that reads the sequence backwards.
        return_sequences: return the output at every step (the default, since
            these layers are stacked) or at the last one only.
        return_state: return the final state as well, a tensor
            (batch, state_width).
        go_backwards: read the sequence backwards and return it in that order.
        stateful: start every batch in the final state of the one before, until
            `reset_state()`. Needs a fixed batch size.
        zero_output_for_mask: output zeros at masked steps; otherwise (the
            default, as in Keras) a masked step repeats the output before it.

    Example:

    >>> from keras_ssm.ops.systems import SharedState
    >>> class Decay(keras_ssm.layers.SSM):
    ...     system_class = SharedState
    ...
    ...     @property
    ...     def modes(self):
    ...         return self.state_size
    ...
    ...     def build(self, input_shape):
    ...         super().build(input_shape)
    ...         P, H = self.state_size, self.width
    ...         self.rates = self.add_parameter("rates", (P,), "ones", group="eigenvalues")
    ...         self.B = self.add_parameter("B", (P, H), "glorot_uniform", group="input")
    ...
    ...     def system(self, rate=None, time_steps=None):
    ...         log_lam = -ops.exp(self.rates) * self.durations(rate, time_steps, axes=1)
    ...         real = lambda z: (z, ops.zeros_like(z))
    ...         B, C = ops.convert_to_tensor(self.B), ops.transpose(self.B)[None]
    ...         ones = ops.ones_like(log_lam)
    ...         return SharedState(real(log_lam), real(ones), real(B), real(C), D=None)
    >>> tuple(Decay(4)(np.ones((2, 10, 3), "float32")).shape)
    (2, 10, 3)
    """

    system_class: Any = None
    weight_names: ClassVar[tuple[str, ...]] = ()
    # Outputs for each input channel, and how sequences are computed: where a subclass has a choice.
    channels: int = 1
    method: str = "auto"
    # What follows the layer in a block, as its own paper has it: see `Gating`.
    default_gating: str = "glu"
    # Arguments with which the layer has a state, and ignores padding, at any length.
    any_length: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        state_size: int,
        rate: float = 1.0,
        bidirectional: bool = False,
        return_sequences: bool = True,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        missing = [n for n in ("modes", "system") if getattr(type(self), n) is getattr(SSM, n)]
        if missing:
            raise ValueError(
                "expected a subclass of SSM with a property `modes` and a method "
                f"`system(rate, time_steps)`. Received: {type(self).__name__}, which has no "
                f"{' and no '.join(missing)}"
            )
        getters: Mapping[str, Any] = {
            "initializer": initializers.get,
            "regularizer": keras.regularizers.get,
            "constraint": keras.constraints.get,
        }
        weight_options = {
            f"{name}_{kind}": get(kwargs.pop(f"{name}_{kind}", None))
            for name in self.weight_names
            for kind, get in getters.items()
        }
        super().__init__(autocast=False, **kwargs)
        check_size("state_size", state_size)
        _check_rate(rate)
        if bidirectional and (return_state or stateful):
            raise ValueError(
                "A bidirectional layer has no final state: its backward half starts at the end. "
                "Use `keras.layers.Bidirectional` around a layer of one direction. Received: "
                f"bidirectional={bidirectional}, return_state={return_state}, stateful={stateful}"
            )
        for name, option in weight_options.items():
            setattr(self, name, option)
        self.state_size = state_size
        self._rate = rate
        self.bidirectional = bidirectional
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.zero_output_for_mask = zero_output_for_mask
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self._state: Any = None

    # What a subclass provides.

    @property
    def modes(self) -> int:
        """Number of complex modes stored, per channel where each has a state of its own."""
        raise NotImplementedError  # the constructor refuses a subclass without it

    def system(self, rate: Any = None, time_steps: Tensor | None = None) -> Any:
        """The weights as a discretized system, which `step` and `analysis` take.

        Args:
            rate: factor on all step sizes; None takes the layer's.
            time_steps: multiples of the learned step, (batch, length) for a
                sequence or (batch,) for one step; None for ones.

        Returns:
            A NamedTuple of `keras_ssm.ops.systems`. It does not follow later
            changes of the weights.
        """
        raise NotImplementedError  # the constructor refuses a subclass without it

    def continuous(self, rate: Any = None) -> tuple[Pair, Pair]:
        """Eigenvalues Lambda in continuous time, and the step sizes dt.

        Args:
            rate: factor on all step sizes; None takes the layer's.

        Returns:
            Two complex pairs that broadcast against each other: Lambda, and the
            step size of its real and of its imaginary part, which differ only
            in `DSS`. A layer without step sizes has Lambda = log lam at
            `rate=1` and steps of `rate`.
        """
        log_lam = self.checked_system(1.0).log_lam
        dt = (self.rate if rate is None else rate) * ops.ones_like(log_lam[0])
        return log_lam, (dt, dt)

    def eigenvalues(self) -> tuple[np.ndarray, np.ndarray, bool]:
        """Lambda and log lam of the stored modes in complex128, and whether growth is bounded.

        This is what `analysis.modes` shows. A mode with |lam| > 1 is bounded in a
        softmax kernel, which has an end.
        """
        system = self.checked_system()
        log_lam = system.exponents()
        Lambda = np.broadcast_to(as_complex(self.continuous()[0]), log_lam.shape)
        return Lambda, log_lam, system.bounded

    # Weights.

    @property
    def parameter_dtype(self) -> str:
        """float64 under a float64 policy, float32 under any other."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    @property
    def rate(self) -> float:
        """Factor on all step sizes."""
        return self._rate

    @rate.setter
    def rate(self, value: float) -> None:
        _check_rate(value)
        if self.built and value != self._rate:
            raise ValueError(
                "`rate` of a built layer cannot be set: functions that are compiled already would "
                "keep the old one. `keras_ssm.models.with_rate(model, rate)` gives a model with "
                f"the same weights and another rate. Received: rate={value!r} for a layer with "
                f"rate={self._rate!r}"
            )
        self._rate = value

    def add_parameter(
        self,
        name: str,
        shape: tuple[int, ...],
        initializer: Any = None,
        group: str | None = None,
        trainable: bool = True,
    ) -> Any:
        """Add a weight that keeps its precision under any dtype policy.

        Args:
            name: name of the weight. `<name>_initializer`, `<name>_regularizer`
                and `<name>_constraint` of the layer apply to it, those of `C`
                to `C_backward` as well.
            shape: shape of the weight.
            initializer: used where the layer was given none; an initializer or
                a name that `keras_ssm.initializers.get` knows.
            group: what `optimizers.adamw` chooses its learning rate by:
                `"eigenvalues"`, `"input"`, `"output"`, `"step"` or a name of
                your own; None for the rest of the model.
            trainable: False for a constant.

        Returns:
            The `keras.Variable`.
        """
        options = name.removesuffix("_backward")
        initializer = getattr(self, f"{options}_initializer", None) or initializers.get(initializer)
        if name != options:
            initializer = initializers.another_draw(initializer)
        weight = self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            regularizer=getattr(self, f"{options}_regularizer", None),
            constraint=getattr(self, f"{options}_constraint", None),
            dtype=self.parameter_dtype,
            autocast=False,
            trainable=trainable,
        )
        weight.ssm_group = group
        return weight

    def durations(self, rate: Any, time_steps: Tensor | None, axes: int) -> Any:
        """The factor on the step sizes: the rate times the duration of each step.

        Args:
            rate: see `system`.
            time_steps: see `system`.
            axes: number of axes of the step sizes; the result has as many axes
                of length 1 after those of `time_steps`.

        Returns:
            A number if `time_steps` is None, else a tensor (batch, length, 1, ...)
            or (batch, 1, ...).
        """
        rate = self.rate if rate is None else rate
        if time_steps is None:
            return rate
        for _ in range(axes):
            time_steps = time_steps[..., None]
        return time_steps * rate

    def build(self, input_shape: Sequence[Any]) -> None:
        batch, _, width = input_shape
        if width is None:
            raise ValueError(
                f"{type(self).__name__} needs a known number of channels on the last axis. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        self.state_width_of(width)  # a layer without `system_class` ends here
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={-1: width})
        self.width = width
        if self.stateful:
            if batch is None:
                raise ValueError(
                    "A stateful layer needs a fixed batch size, e.g. "
                    "`keras.Input(batch_shape=(8, None, 1))`. "
                    f"Received: input_shape={tuple(input_shape)}"
                )
            self._state = self.add_parameter(
                "state", (batch, self.state_width), "zeros", trainable=False
            )
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
        resets: Tensor | None = None,
        training: bool | None = None,
    ) -> Any:
        gives_state = self.return_state or self.stateful
        y, state = self._run(inputs, mask, initial_state, time_steps, rate, resets, gives_state)
        if self.stateful:
            self._state.assign(ops.stop_gradient(state))
        if not self.return_sequences:
            y = y[:, -1]
        y = ops.cast(y, self.compute_dtype)
        return (y, state) if self.return_state else y

    def _run(
        self,
        inputs: Tensor,
        mask: Tensor | None,
        initial_state: Any,
        time_steps: Tensor | None,
        rate: Any,
        resets: Tensor | None,
        gives_state: bool,
    ) -> tuple[Tensor, Any]:
        """Output (B, L, F) and the final state, or None for it."""
        cut = pieces()
        if cut is not None:
            given = inputs, mask, initial_state, time_steps, rate, resets, gives_state
            return self._run_in_pieces(cut, *given)
        u, mask, time_steps, all_resets, where = self._prepared(inputs, mask, time_steps, resets)
        state = self._starting_state(initial_state, ops.shape(u)[0])
        system = self.checked_system(rate, time_steps)
        if u.shape[0] == 0:
            features = self.width * self.channels
            return ops.zeros((0, u.shape[1], features), u.dtype), self.get_initial_state(0)
        resets = all_resets
        if resets is not None and where is not None:
            resets = restarts.compact(resets, where)
        y, state = _run_system(
            restricted(), system, u, state, where, gives_state, self.method, resets
        )
        if where is not None:
            y = masking.expand(y, where, mask, self.zero_output_for_mask and self.return_sequences)
            if all_resets is not None and state is not None:
                gone = restarts.after_the_last(all_resets, where)
                state = ops.where(gone, ops.zeros_like(state), state)
        return y, state

    def _run_in_pieces(
        self,
        cut: Any,
        inputs: Tensor,
        mask: Tensor | None,
        initial_state: Any,
        time_steps: Tensor | None,
        rate: Any,
        resets: Tensor | None,
        gives_state: bool,
    ) -> tuple[Tensor, Tensor]:
        """`_run`, each device with its piece of the sequences."""
        if mask is not None:
            mask = ops.cast(self._steps_like("mask", mask, inputs), "bool")
            # What masked steps hold, NaN for instance, must not spread.
            inputs = ops.convert_to_tensor(inputs)
            inputs = ops.where(mask[..., None], inputs, ops.zeros_like(inputs))
            if time_steps is not None:
                time_steps = ops.convert_to_tensor(self._steps_like("time_steps", time_steps, mask))
                time_steps = ops.where(mask, time_steps, ops.ones_like(time_steps))
        u, _, time_steps, resets, _ = self._prepared(inputs, None, time_steps, resets)
        if mask is not None and self.go_backwards:
            mask = ops.flip(mask, axis=1)
        state = self._starting_state(initial_state, u.shape[0])
        system = self.checked_system(rate, time_steps)
        zero_output = self.zero_output_for_mask and self.return_sequences
        return in_pieces.run(cut, system, u, state, mask, resets, zero_output, gives_state)

    def _prepared(
        self,
        inputs: Tensor,
        mask: Tensor | None,
        time_steps: Tensor | None,
        resets: Tensor | None,
    ) -> tuple[Tensor, Any, Any, Any, masking.Compaction | None]:
        """What is given for every step, in the order of the recurrence, and which are valid."""
        u = ops.cast(ops.convert_to_tensor(inputs), self.parameter_dtype)
        if u.shape[1] == 0:
            raise ValueError(
                f"{type(self).__name__} needs a length of at least one step. "
                f"Received: inputs of shape {tuple(u.shape)}"
            )
        mask = None if mask is None else ops.cast(self._steps_like("mask", mask, u), "bool")
        if time_steps is not None:
            time_steps = self._steps_like("time_steps", time_steps, u)
            time_steps = ops.cast(time_steps, self.parameter_dtype)
        if resets is not None:
            resets = ops.cast(self._steps_like("resets", resets, u), "bool")
        if self.go_backwards:
            u, mask, time_steps = (
                None if x is None else ops.flip(x, axis=1) for x in (u, mask, time_steps)
            )
            resets = None if resets is None else restarts.backwards(resets)
        if mask is None:
            return u, None, time_steps, resets, None
        where = masking.compaction(mask)
        u = masking.compact(u, where)
        time_steps = None if time_steps is None else masking.compact(time_steps, where)
        return u, mask, time_steps, resets, where

    def checked_system(self, rate: Any = None, time_steps: Tensor | None = None) -> Any:
        """`system(rate, time_steps)`, or ValueError if it is not what the layer promises."""
        system = self.system(rate, time_steps)
        if not isinstance(system, self.system_class):
            raise ValueError(
                f"{type(self).__name__}.system must give a {self.system_class.__name__}, the "
                f"layer's `system_class`. Received: {type(system).__name__}"
            )
        system.check(self.width)
        if system.directions != (2 if self.bidirectional else 1):
            raise ValueError(
                f"{type(self).__name__} offers {system.directions} direction(s). "
                f"Received: bidirectional={self.bidirectional}"
            )
        return system

    def advance(
        self,
        inputs: Tensor,
        state: Tensor,
        mask: Tensor | None = None,
        time_steps: Tensor | None = None,
        rate: Any = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run a sequence from a given state: the result of a loop of `step`, computed at once.

        Args:
            inputs: tensor (batch, length, features).
            state: tensor (batch, state_width), see `step`.
            mask: boolean (batch, length), or None. A masked step leaves the
                state as it is.
            time_steps: durations of the steps (batch, length), or None for ones.
            rate: factor on all step sizes; None takes the layer's.
            resets: boolean (batch, length), where the state starts anew.

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
        y, state = self._run(inputs, mask, state, time_steps, rate, resets, True)
        return ops.cast(y, self.compute_dtype), state

    def state_sequence(
        self,
        inputs: Tensor,
        initial_state: Tensor | None = None,
        time_steps: Tensor | None = None,
        rate: Any = None,
        resets: Tensor | None = None,
    ) -> Tensor:
        """The state after every step of a batch of sequences, as one differentiable tensor.

        Args:
            inputs: tensor (batch, length, features).
            initial_state: tensor (batch, state_width), or None for zero.
            time_steps: tensor (batch, length), or None for ones.
            rate: factor on all step sizes; None takes the layer's.
            resets: boolean (batch, length), where the state starts anew.

        Returns:
            Tensor (batch, length, state_width), all real parts before all
            imaginary parts.

        Raises:
            ValueError: for a wrong shape.

        Example:

        >>> layer = keras_ssm.layers.S5(8)
        >>> layer.build((None, None, 3))
        >>> tuple(layer.state_sequence(np.ones((2, 5, 3), "float32")).shape)
        (2, 5, 8)
        """
        u, _, time_steps, resets, _ = self._prepared(inputs, None, time_steps, resets)
        batch = u.shape[0]
        state = None if initial_state is None else self._checked_state(initial_state, batch)
        return self.checked_system(rate, time_steps).state_sequence(u, state, resets)

    def impulse_response(self, length: Tensor, rate: Any = None, backward: bool = False) -> Tensor:
        """The convolution kernel of one direction, without the skip.

        Args:
            length: number of steps.
            rate: factor on all step sizes; None takes the layer's.
            backward: return the kernel of the backward direction of a
                bidirectional layer.

        Returns:
            Tensor (channels, features, length) where each channel has a state of
            its own; (features out, features in, length) where all share one.

        Raises:
            ValueError: for `backward` of a layer with one direction.
        """
        if backward and not self.bidirectional:
            raise ValueError(
                f"expected a bidirectional layer. Received: backward=True for {self.name!r}"
            )
        return self.checked_system(rate).impulse_response(length, backward)

    def _steps_like(self, name: str, value: Tensor, u: Tensor) -> Tensor:
        """Check that `value` has one entry for every step."""
        shape = tuple(np.shape(value)) if isinstance(value, (list, tuple)) else tuple(value.shape)
        known = zip(shape, u.shape[:2], strict=False)
        if len(shape) != 2 or any(a != b for a, b in known if None not in (a, b)):
            raise ValueError(
                f"`{name}` must have shape (batch, length) = {tuple(u.shape[:2])}. "
                f"Received: {name} of shape {shape}"
            )
        return value

    def _of_each_sequence(self, name: str, value: Any, u: Tensor) -> Tensor:
        """A value with one entry per sequence of a step, (batch,) or (batch, 1), as (batch,)."""
        value = ops.convert_to_tensor(value)
        shape, batch = tuple(value.shape), u.shape[0]
        fits = None in (batch, shape[0]) or shape[0] == batch if shape else False
        if not fits or shape[1:] not in ((), (1,)):
            raise ValueError(
                f"`{name}` of a step must have shape (batch,) = ({batch},). "
                f"Received: {name} of shape {shape}"
            )
        return ops.reshape(value, (-1,))

    # One step.

    def step(
        self,
        inputs: Tensor,
        state: Tensor,
        time_steps: Tensor | None = None,
        rate: Any = None,
        resets: Tensor | None = None,
        system: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """One step of the recurrence, in real arithmetic.

        Args:
            inputs: tensor (batch, features).
            state: tensor (batch, state_width) from `get_initial_state`, from an
                earlier step or from a call with `return_state=True`.
            time_steps: tensor (batch,), or None for ones.
            rate: factor on all step sizes; None takes the layer's.
            resets: boolean (batch,), the sequences whose state starts anew
                before this step.
            system: the result of `system()`, or better its `stepper()`, which
                saves half of the work or more over many steps; it holds a rate
                and the sizes of the steps.

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
                "A `system` holds its rate and the sizes of its steps. "
                f"Received: system with time_steps={time_steps} and rate={rate}"
            )
        u = ops.cast(inputs, self.parameter_dtype)
        state = self._checked_state(state, u.shape[0])
        if system is None:
            if time_steps is not None:
                time_steps = self._of_each_sequence("time_steps", time_steps, u)
                time_steps = ops.cast(time_steps, self.parameter_dtype)
            system = self.checked_system(rate, time_steps)
        if resets is not None:
            resets = ops.cast(self._of_each_sequence("resets", resets, u), "bool")
            state = ops.where(resets[:, None], ops.zeros_like(state), state)
        stepper = system.stepper() if hasattr(system, "stepper") else system
        y, state = stepper.step(u, state)
        return ops.cast(y, self.compute_dtype), state

    # State.

    @property
    def state_width(self) -> int:
        """Size of the flat state of one sequence: all real parts, then all imaginary parts."""
        return self.state_width_of(self.width)

    def state_width_of(self, features: int) -> int:
        """`state_width` for a number of input features, before the layer is built."""
        if self.system_class is None:
            raise ValueError(
                f"expected {type(self).__name__} to have a `system_class`, one of those of "
                "`keras_ssm.ops.systems`. Received: None"
            )
        return self.system_class.state_width(features, self.modes)

    def get_initial_state(self, batch_size: Any) -> Tensor:
        """The zero state of `batch_size` sequences, (batch_size, state_width)."""
        return ops.zeros((batch_size, self.state_width), dtype=self.parameter_dtype)

    def reset_state(self) -> None:
        """Return a stateful layer to the zero state."""
        if self._state is not None:
            self._state.assign(ops.zeros_like(ops.convert_to_tensor(self._state)))

    @property
    def states(self) -> list[Any] | None:
        """The stored state of a stateful layer, as Keras' recurrent layers name it, or None."""
        return None if self._state is None else [self._state]

    def _starting_state(self, initial_state: Any, batch: Any) -> Any:
        if isinstance(initial_state, (list, tuple)):
            if len(initial_state) != 1:
                raise ValueError(
                    "`initial_state` must be a tensor (batch, state_width), or a list of one. "
                    f"Received: {len(initial_state)} tensors"
                )
            (initial_state,) = initial_state
        if initial_state is None and self.stateful:
            initial_state = self._stored_state(batch)
        return None if initial_state is None else self._checked_state(initial_state, batch)

    def _stored_state(self, batch: Any) -> Tensor:
        """The final state of the previous batch, if that was of the same size."""
        rows = self._state.shape[0]
        message = (
            f"The batch size of the stateful layer {self.name!r} cannot change. Expected: {rows}"
        )
        if isinstance(batch, int) and batch != rows:
            raise ValueError(f"{message}. Received: {batch}")
        # A copy: the state is assigned to before a gradient may need its old value.
        state = ops.copy(ops.convert_to_tensor(self._state))
        return state if isinstance(batch, int) else with_rows(state, batch, message)

    def _checked_state(self, state: Tensor, batch: Any) -> Tensor:
        """The state in the precision of the parameters, if it is one of `batch` sequences."""
        if self.bidirectional:
            raise ValueError(
                f"A bidirectional {type(self).__name__} takes no `initial_state`: its backward "
                f"half starts at the end. Received: a state of shape {tuple(state.shape)}"
            )
        rows, known = state.shape[0], isinstance(batch, int)
        wrong = known and isinstance(rows, int) and rows != batch
        if wrong or len(state.shape) != 2 or state.shape[-1] != self.state_width:
            raise ValueError(
                f"A state must have shape ({batch if known else 'batch'}, {self.state_width}). "
                f"Received: a state of shape {tuple(state.shape)}"
            )
        if "float" not in keras.backend.standardize_dtype(state.dtype):
            raise ValueError(f"A state must be of a float dtype. Received: dtype={state.dtype}")
        return ops.cast(state, self.parameter_dtype)

    # Shapes, masks and configuration.

    def compute_output_shape(self, input_shape: Sequence[Any], **kwargs: Any) -> Any:
        batch, length, width = input_shape
        features = width * self.channels
        shape = (batch, length, features) if self.return_sequences else (batch, features)
        return (shape, (batch, self.state_width_of(width))) if self.return_state else shape

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        shape = self.compute_output_shape(inputs.shape)
        if not self.return_state:
            return keras.KerasTensor(shape, dtype=self.compute_dtype)
        return (
            keras.KerasTensor(shape[0], dtype=self.compute_dtype),
            keras.KerasTensor(shape[1], dtype=self.parameter_dtype),
        )

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Any:
        mask = mask if self.return_sequences else None
        return (mask, None) if self.return_state else mask

    def get_config(self) -> dict[str, Any]:
        weight_options = {
            f"{name}_{kind}": keras.saving.serialize_keras_object(getattr(self, f"{name}_{kind}"))
            for name in self.weight_names
            for kind in ("initializer", "regularizer", "constraint")
        }
        return {
            **super().get_config(),
            "state_size": self.state_size,
            "rate": self.rate,
            "bidirectional": self.bidirectional,
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "zero_output_for_mask": self.zero_output_for_mask,
            **{name: option for name, option in weight_options.items() if option is not None},
        }


@traced_once
def _run_system(restricted: bool, system: Any, *arguments: Any) -> tuple[Tensor, Any]:
    """`system.run`, with one trace for all layers of a shape that take the same path."""
    return system.run(*arguments)


def _check_rate(rate: Any) -> None:
    number = isinstance(rate, numbers.Real) and not isinstance(rate, bool)
    if not number or not 0 < float(rate) < np.inf:
        raise ValueError(f"`rate` must be a positive number. Received: rate={rate!r}")
