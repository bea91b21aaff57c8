"""What DSS and S4D share: sequences and steps of one diagonal system per channel."""

from typing import Any

from keras import ops

from keras_ssm.layers.arguments import check_choice, check_size
from keras_ssm.layers.method import METHODS, resolve
from keras_ssm.layers.ssm import SSM, Span, join_state, split_state
from keras_ssm.ops import channelwise, chunked, dss, masking
from keras_ssm.ops.complex import Pair, Tensor, multiply
from keras_ssm.ops.convolution import convolve
from keras_ssm.ops.vandermonde import vandermonde


class ChannelwiseSSM(SSM):
    """Base of DSS and S4D. A leaf has `channels`, `length`, `uses_softmax` and gives its systems.

    - `recurrence(rate, time_steps)`: the discretised system, (H, N) or, for
      `time_steps` of shape (B, L, 1, 1), (B, L, H, N);
    - `_softmax(rate, length)`: the softmax system, where `uses_softmax`.
    """

    channels: int
    length: int | None

    @property
    def uses_softmax(self) -> bool:
        """Whether the kernel is normalised over a length."""
        raise NotImplementedError  # a leaf has it

    @property
    def modes(self) -> int:
        """Modes stored per channel."""
        raise NotImplementedError  # a leaf has it

    def recurrence(self, rate: Any = None, time_steps: Tensor | None = None) -> Any:
        """The discretised system of a kernel that is no softmax."""
        raise NotImplementedError  # a leaf has it

    def _softmax(self, rate: Any, length: Tensor) -> dss.Softmax:
        """The softmax system, normalised over `length`."""
        raise NotImplementedError  # a leaf has it

    @property
    def output_channels(self) -> int:
        return self.channels

    def _state_width(self, width: int) -> int:
        return 2 * width * self.modes + (1 if self.uses_softmax else 0)

    def _set_options(self, channels: Any, length: Any, method: Any) -> None:
        check_size("channels", channels)
        check_choice("method", method, ("auto", *METHODS))
        if length is not None:
            check_size("length", length)
            if not self.uses_softmax:
                raise ValueError(
                    "`length` normalises a softmax kernel; this kernel does not depend on the "
                    f"length. Received: length={length}"
                )
        if method == "chunk" and self.uses_softmax:
            raise ValueError(
                "method='chunk' goes from chunk to chunk by a recurrence, and a softmax kernel has "
                "none that is free of the length. Received: method='chunk'"
            )
        self.channels, self.length, self.method = channels, length, method

    def impulse_response(self, length: Tensor, rate: Any = None) -> Tensor:
        """The convolution kernel, without the skip: (channels, features, length).

        A bidirectional layer has twice the channels, the second half for the
        backward direction.
        """
        rate = self.rate if rate is None else rate
        if self.uses_softmax:
            return dss.softmax_kernel(self._softmax(rate, self._total(length)), length)
        log_lam, B, C = self.recurrence(rate)
        return vandermonde(multiply(C, B), log_lam, length)

    def _sequence(self, u: Tensor, span: Span, return_state: bool) -> tuple[Tensor, Any]:
        if self.uses_softmax:
            return self._softmax_sequence(u, span, return_state)
        if span.time_steps is not None:
            return self._varying_sequence(u, span, span.time_steps)
        length = ops.shape(u)[1]
        log_lam, B, C = self.recurrence(span.rate)
        if resolve(self.method) == "chunk":
            head = vandermonde(multiply(C, B), log_lam, chunked.chunk_size(length))
            heads, Cs = self._with_skip(head), self._directions(C)
            y = chunked.convolve(u, heads, log_lam, B, Cs, span.state)
        else:
            kernel = vandermonde(multiply(C, B), log_lam, length)
            y = convolve(u, *self._with_skip(kernel))
            if span.state is not None:
                y = y + channelwise.initial_state_response(span.state, log_lam, C, length)
        if not return_state:
            return y, None
        if span.where is not None:
            u, length = masking.align_right(u, span.where), span.where.counts
        return y, channelwise.final_state(u, log_lam, B, span.state, length)

    def _with_skip(self, kernels: Tensor) -> list[Tensor]:
        """The kernels of each direction; the skip is a weight at lag 0 of the first."""
        D = ops.reshape(self.D, (self.channels, self.width, 1))
        forward, *backward = self._directions(kernels)
        first = forward[..., :1] + D
        return [ops.concatenate([first, forward[..., 1:]], axis=-1), *backward]

    def _varying_sequence(self, u: Tensor, span: Span, time_steps: Tensor) -> tuple[Tensor, Any]:
        log_lam, B, C = self.recurrence(span.rate, time_steps[..., None, None])
        C, *C_backward = self._directions(C)
        x = channelwise.varying_states(u, log_lam, B, span.state)
        y = channelwise.read(x, C) + self._skip(u)
        if self.bidirectional:
            x_backward = channelwise.varying_states(
                ops.flip(u, axis=1), _reverse(log_lam), _reverse(B), None
            )
            y = y + _from_the_next(channelwise.read(x_backward, C_backward[0]))
        return y, (x[0][:, -1], x[1][:, -1])

    def _softmax_sequence(self, u: Tensor, span: Span, return_state: bool) -> tuple[Tensor, Any]:
        length = ops.shape(u)[1]
        if self.length is None and (span.state is not None or return_state):
            raise ValueError(self._needs_length())
        system = self._softmax(span.rate, self._total(length))
        if span.time_steps is None:
            kernels = self._with_skip(dss.softmax_kernel(system, length))
            y = convolve(u, *kernels)
            if span.state is not None:
                y = y + dss.softmax_response(system, span.state, length)
            if not return_state:
                return y, None
            return y, dss.softmax_final_state(system, u, span.state, span.where)
        W, *W_backward = self._directions(system.W)
        y, state = dss.softmax_varying(system._replace(W=W), u, span.time_steps, span.state)
        if self.bidirectional:
            system = system._replace(W=W_backward[0])
            u_reversed, time_steps = ops.flip(u, axis=1), ops.flip(span.time_steps, axis=1)
            y_backward, _ = dss.softmax_varying(system, u_reversed, time_steps, None)
            y = y + _from_the_next(y_backward)
        return y + self._skip(u), state

    def _total(self, length: Tensor) -> Tensor:
        """The length a softmax is normalised over, for an input of `length` steps."""
        if self.length is None:
            return length
        if isinstance(length, int) and length > self.length:
            raise ValueError(
                "The kernel is normalised over `length` steps and not defined beyond them. "
                f"Expected at most {self.length} steps. Received: {length} steps"
            )
        return self.length

    def _directions(self, z: Any) -> list[Any]:
        """The forward part of a tensor or pair (channels, ...) and, if there is one, the other."""
        if isinstance(z, tuple):
            return list(zip(*(self._directions(part) for part in z), strict=True))
        return ops.split(z, 2, axis=0) if self.bidirectional else [z]

    def _system(self, rate: Any) -> Any:
        if self.uses_softmax:
            if self.length is None:
                raise ValueError(self._needs_length())
            return self._softmax(rate, self.length)
        log_lam, B, C = self.recurrence(rate)
        return channelwise.step_system(log_lam, B, C)

    def _step(self, u: Tensor, state: Tensor, system: Any) -> tuple[Tensor, Tensor]:
        if self.uses_softmax:
            return self._softmax_step(u, state, None, system)
        y, state = channelwise.step(u, state, system)
        return y + self._skip(u), state

    def _varying_step(
        self, u: Tensor, state: Tensor, time_steps: Tensor, rate: Any
    ) -> tuple[Tensor, Tensor]:
        if self.uses_softmax:
            return self._softmax_step(u, state, time_steps, self._system(rate))
        log_lam, B, C = self.recurrence(rate, time_steps[..., None])
        return self._step(u, state, channelwise.step_system(log_lam, B, C))

    def _softmax_step(
        self, u: Tensor, state: Tensor, time_steps: Tensor | None, system: Any
    ) -> tuple[Tensor, Tensor]:
        y, unpacked = dss.softmax_step(system, u, time_steps, self._unpack_state(state))
        return y + self._skip(u), self._pack_state(unpacked)

    def _needs_length(self) -> str:
        return (
            "A softmax kernel is normalised over a length, so that it has a state only when that "
            f"length is an argument: {type(self).__name__}(..., length=...). Received: length=None"
        )

    def _unpack_state(self, state: Tensor) -> Any:
        shape = (self.width, self.modes)
        if not self.uses_softmax:
            return split_state(state, shape)
        return dss.SoftmaxState(split_state(state[:, :-1], shape), state[:, -1:])

    def _pack_state(self, state: Any) -> Tensor:
        if not self.uses_softmax:
            return join_state(state)
        return ops.concatenate([join_state(state.x), state.elapsed], axis=-1)


def _from_the_next(y: Tensor) -> Tensor:
    """Outputs of a backward pass, in reversed order, as seen one step earlier in time."""
    y = ops.flip(y, axis=1)
    return ops.concatenate([y[:, 1:], ops.zeros_like(y[:, :1])], axis=1)


def _reverse(z: Pair) -> Pair:
    return ops.flip(z[0], axis=1), ops.flip(z[1], axis=1)
