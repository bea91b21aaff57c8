"""What DSS and S4D share: sequences and steps of one diagonal system per channel."""

from typing import Any

from keras import ops

from keras_ssm.layers.arguments import check_size
from keras_ssm.layers.ssm import SSM, Span, join_state, split_state
from keras_ssm.ops import channelwise, dss, masking
from keras_ssm.ops.complex import Pair, Tensor, multiply
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
        raise NotImplementedError

    @property
    def modes(self) -> int:
        """Modes stored per channel."""
        raise NotImplementedError

    def recurrence(self, rate: Any = None, time_steps: Tensor | None = None) -> Any:
        raise NotImplementedError

    def _softmax(self, rate: Any, length: Tensor) -> dss.Softmax:
        raise NotImplementedError

    @property
    def output_channels(self) -> int:
        return self.channels

    def _state_width(self, width: int) -> int:
        return 2 * width * self.modes + (1 if self.uses_softmax else 0)

    def _check_channels_and_length(self, channels: Any, length: Any) -> None:
        check_size("channels", channels)
        if length is None:
            return
        check_size("length", length)
        if not self.uses_softmax:
            raise ValueError(
                "`length` normalises a softmax kernel; this kernel does not depend on the length. "
                f"Received: length={length}"
            )

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
        kernel = self.impulse_response(length, span.rate)
        y = channelwise.convolution(u, kernel, self.bidirectional)
        if span.state is None and not return_state:
            return y, None
        log_lam, B, C = self.recurrence(span.rate)
        if span.state is not None:
            y = y + channelwise.initial_state_response(span.state, log_lam, C, length)
        if not return_state:
            return y, None
        if span.where is not None:
            u, length = masking.align_right(u, span.where), span.where.counts
        return y, channelwise.final_state(u, log_lam, B, span.state, length)

    def _varying_sequence(self, u: Tensor, span: Span, time_steps: Tensor) -> tuple[Tensor, Any]:
        log_lam, B, C = self.recurrence(span.rate, time_steps[..., None, None])
        C, C_backward = self._directions(C)
        x = channelwise.varying_states(u, log_lam, B, span.state)
        y = channelwise.read(x, C)
        if self.bidirectional:
            x_backward = channelwise.varying_states(
                ops.flip(u, axis=1), _reverse(log_lam), _reverse(B), None
            )
            y = y + _from_the_next(channelwise.read(x_backward, C_backward))
        return y, (x[0][:, -1], x[1][:, -1])

    def _softmax_sequence(self, u: Tensor, span: Span, return_state: bool) -> tuple[Tensor, Any]:
        length = ops.shape(u)[1]
        if self.length is None and (span.state is not None or return_state):
            raise ValueError(self._needs_length())
        system = self._softmax(span.rate, self._total(length))
        if span.time_steps is None:
            return dss.softmax_sequence(
                system, u, span.state, span.where, return_state, self.bidirectional
            )
        W, W_backward = self._directions(system.W)
        y, state = dss.softmax_varying(system._replace(W=W), u, span.time_steps, span.state)
        if self.bidirectional:
            u, time_steps = ops.flip(u, axis=1), ops.flip(span.time_steps, axis=1)
            y_backward, _ = dss.softmax_varying(system._replace(W=W_backward), u, time_steps, None)
            y = y + _from_the_next(y_backward)
        return y, state

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

    def _directions(self, C: Pair) -> tuple[Pair, Pair]:
        """C of the forward and, for a bidirectional layer, of the backward direction."""
        forward = C[0][: self.channels], C[1][: self.channels]
        return forward, (C[0][self.channels :], C[1][self.channels :])

    def _step(
        self, u: Tensor, state: Any, time_steps: Tensor | None, rate: Any
    ) -> tuple[Tensor, Any]:
        if self.uses_softmax:
            if self.length is None:
                raise ValueError(self._needs_length())
            return dss.softmax_step(self._softmax(rate, self.length), u, time_steps, state)
        steps = None if time_steps is None else time_steps[..., None]
        log_lam, B, C = self.recurrence(rate, steps)
        state = channelwise.step(u, log_lam, B, state)
        return channelwise.read(state, C), state

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
