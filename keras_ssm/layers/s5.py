"""S5: one diagonal state space for all channels, computed by a scan."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssm import initializers
from keras_ssm.backend import fused, matmul, project, project_in, project_out
from keras_ssm.layers.arguments import check_choice, serialized_initialization
from keras_ssm.layers.ssm import SSM, Recurrence, Span, join_state, split_state
from keras_ssm.ops.complex import Pair, Tensor, expm1, multiply, powers, scale
from keras_ssm.ops.discretization import DISCRETIZATIONS
from keras_ssm.ops.scan import from_chunks, scan, to_chunks
from keras_ssm.ops.varying_scan import varying_scan

_PAPER_C = ("trunc_standard_normal", "lecun_normal", "complex_normal")
_MAX_REAL = -1e-4


@keras.saving.register_keras_serializable(package="keras_ssm")
class S5(SSM):
    """S5 layer (Smith et al., 2023): one state space with all channels in and out.

        x_k = lam x_(k-1) + gamma B u_k,   y_k = 2 Re(C x_k) + D u_k

    with diagonal lam (zero-order hold: lam = exp(dt Lambda), gamma =
    (lam - 1) / Lambda), computed by a parallel scan. B and C mix the channels.

    `state_size` is P of the paper, the size of the real state. With
    `conjugate_symmetry`, P/2 complex modes are stored, one of every pair,
    whence the factor 2; without, P modes are stored and the factor is 1.

    Bidirectional, a second C reads the states of a backward scan; both
    directions see the present sample, unlike in DSS and S4D.

    Args:
        state_size: P.
        blocks: number J of equal HiPPO blocks on the initial diagonal; with
            conjugate symmetry, P / J must be even.
        initialization: eigenvalues, `"hippo"` or any Keras initializer of shape
            (modes, 2).
        discretization: `"zoh"` or `"bilinear"`.
        conjugate_symmetry: store one of every conjugate pair.
        clip_eigenvalues: keep Re Lambda below -1e-4 while training.
        B_initializer: None for the paper's, the lecun-normal matrix of the real
            state rotated into the eigenbasis; or any Keras initializer of shape
            (modes, features, 2).
        B_regularizer: regularizer of B.
        B_constraint: constraint of B.
        C_initializer: the paper's `"trunc_standard_normal"`, `"lecun_normal"`
            (both rotated into the eigenbasis) or `"complex_normal"`, or any
            Keras initializer object of shape (features, modes, 2).
        C_regularizer: regularizer of C.
        C_constraint: constraint of C.
        **kwargs: `step_min`, `step_max`, `rate`, `bidirectional`, `D_*`,
            `return_sequences`, `return_state`, `go_backwards`, `stateful`,
            `zero_output_for_mask` of the base class; `name`, `dtype`,
            `trainable` of `keras.layers.Layer`. `rate`
            is `step_rescale` of the official code.

    Call arguments:
        inputs: tensor (batch, length, features).
        mask: boolean (batch, length). A masked step leaves the state as it is,
            and its output repeats the one before it (see
            `zero_output_for_mask`).
        initial_state: tensor (batch, 2 * modes), or None for zero.
        time_steps: positive numbers (batch, length), the duration of each step
            in learned steps, for irregular sampling; None for ones. A NumPy
            array is checked. In a tensor, 0 leaves the state as it is, a
            negative number runs time backwards, and NaN spreads to all that
            follows.
        rate: factor on all step sizes of this call; None takes the layer's.

    Input shape:
        (batch, length, features)

    Output shape:
        (batch, length, features)

    Raises:
        ValueError: for sizes that are not positive or do not divide, an unknown
            name, or `step_min >= step_max`.

    Example:

    >>> layer = keras_ssm.layers.S5(state_size=16, blocks=2)
    >>> tuple(layer(np.ones((2, 100, 8), "float32")).shape)
    (2, 100, 8)

    References:
        Smith, Warrington, Linderman: Simplified State Space Layers for Sequence
        Modeling, ICLR 2023. Computed as lindermanlab/S5 `s5/ssm.py`, `S5SSM`.
    """

    def __init__(
        self,
        state_size: int = 64,
        blocks: int = 1,
        initialization: Any = "hippo",
        discretization: str = "zoh",
        conjugate_symmetry: bool = True,
        clip_eigenvalues: bool = False,
        B_initializer: Any = None,
        B_regularizer: Any = None,
        B_constraint: Any = None,
        C_initializer: Any = "trunc_standard_normal",
        C_regularizer: Any = None,
        C_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(state_size, **kwargs)
        check_choice("discretization", discretization, DISCRETIZATIONS)
        unit = 2 if conjugate_symmetry else 1
        if not isinstance(blocks, int) or blocks <= 0 or state_size % (unit * blocks):
            raise ValueError(
                "`state_size` must be a multiple of `blocks`"
                + (" and every block even, for conjugate symmetry" if conjugate_symmetry else "")
                + f". Received: state_size={state_size}, blocks={blocks!r}"
            )
        if isinstance(initialization, str):
            check_choice("initialization", initialization, ("hippo",))
        if isinstance(C_initializer, str):
            check_choice("C_initializer", C_initializer, _PAPER_C)
        self.blocks = blocks
        self.initialization = initialization
        self.discretization = discretization
        self.conjugate_symmetry = conjugate_symmetry
        self.clip_eigenvalues = clip_eigenvalues
        structure: dict[str, Any] = {"blocks": blocks, "conjugate_symmetry": conjugate_symmetry}
        self._eigenvalues = (
            initializers.S5Eigenvalues(**structure)
            if initialization == "hippo"
            else keras.initializers.get(initialization)
        )
        if B_initializer is None:
            B_initializer = initializers.S5Input(**structure)
        if C_initializer in ("trunc_standard_normal", "lecun_normal"):
            C_initializer = initializers.S5Output(C_initializer, **structure)
        self.B_initializer = initializers.get(B_initializer)
        self.B_regularizer = keras.regularizers.get(B_regularizer)
        self.B_constraint = keras.constraints.get(B_constraint)
        self.C_initializer = initializers.get(C_initializer)
        self.C_regularizer = keras.regularizers.get(C_regularizer)
        self.C_constraint = keras.constraints.get(C_constraint)

    @property
    def modes(self) -> int:
        """Complex modes stored."""
        return self.state_size // 2 if self.conjugate_symmetry else self.state_size

    def _state_width(self, width: int) -> int:
        return 2 * self.modes

    def _unpack_state(self, state: Tensor) -> Pair:
        return split_state(state, (self.modes,))

    def _pack_state(self, state: Pair) -> Tensor:
        return join_state(state)

    def build(self, input_shape: Sequence[Any]) -> None:
        super().build(input_shape)
        H, P = self.width, self.modes
        part = initializers.Part
        self.Lambda_re = self.add_parameter("Lambda_re", (P,), part(self._eigenvalues, 0))
        self.Lambda_im = self.add_parameter("Lambda_im", (P,), part(self._eigenvalues, 1))
        self.B = self.add_parameter("B", (P, H, 2), self.B_initializer)
        self.C = self.add_parameter("C", (H, P, 2), self.C_initializer)
        if self.bidirectional:
            self.C_backward = self.add_parameter(
                "C_backward", (H, P, 2), self._second(self.C_initializer)
            )
        self.D = self.add_parameter("D", (H,), self.D_initializer)
        self.log_step = self.add_parameter(
            "log_step", (P,), initializers.LogStep(self.step_min, self.step_max)
        )

    @staticmethod
    def _second(initializer: Any) -> Any:
        """The same initializer with another draw: a Keras initializer repeats its values."""
        config = initializer.get_config()
        if isinstance(config.get("seed"), int):
            config["seed"] += 1
        return type(initializer).from_config(config)

    def continuous(self, rate: Any = None) -> tuple[Pair, Tensor]:
        """Eigenvalues Lambda, a pair of (modes,), and step sizes dt, (modes,)."""
        re = ops.convert_to_tensor(self.Lambda_re)
        if self.clip_eigenvalues:
            re = ops.clip(re, -math.inf, _MAX_REAL)
        dt = (self.rate if rate is None else rate) * ops.exp(ops.convert_to_tensor(self.log_step))
        return (re, ops.convert_to_tensor(self.Lambda_im)), dt

    def recurrence(self, rate: Any = None) -> Recurrence:
        """The discretised system, the factor 2 of the conjugate pairs included in C.

        Args:
            rate: factor on all step sizes; None takes the layer's.

        Returns:
            `log_lam`, a pair of (modes,), `B`, a pair of (modes, features), and
            `C`, a pair of (features, modes).
        """
        log_lam, gamma = self._discretized(rate, None)
        B = multiply((gamma[0][:, None], gamma[1][:, None]), self._B())
        return Recurrence(log_lam, B, self._output(self.C))

    def _discretized(self, rate: Any, time_steps: Tensor | None) -> tuple[Pair, Pair]:
        """log lam and gamma, pairs of (modes,) or of the shape that `time_steps` gives."""
        Lambda, dt = self.continuous(rate)
        dt = dt if time_steps is None else dt * time_steps
        return DISCRETIZATIONS[self.discretization](Lambda, dt)

    def _B(self) -> Pair:
        B = ops.convert_to_tensor(self.B)
        return B[..., 0], B[..., 1]

    def _output(self, weight: Any) -> Pair:
        C = ops.convert_to_tensor(weight)
        return scale((C[..., 0], C[..., 1]), 2.0 if self.conjugate_symmetry else 1.0)

    def impulse_response(self, length: Tensor, rate: Any = None) -> Tensor:
        """The impulse response without the skip: (features out, features in, length).

        Of the forward direction, for a bidirectional layer.
        """
        log_lam, B, C = self.recurrence(rate)
        lam = powers(log_lam, length)  # (P, L)
        x = multiply((B[0][..., None], B[1][..., None]), (lam[0][:, None], lam[1][:, None]))
        x = ops.reshape(ops.concatenate(x, axis=0), (2 * self.modes, -1))
        return ops.reshape(matmul(_real_form(C), x), (self.width, self.width, length))

    def _sequence(self, u: Tensor, span: Span, return_state: bool) -> tuple[Tensor, Any]:
        if span.time_steps is not None:
            return self._varying_sequence(u, span, span.time_steps)
        length = ops.shape(u)[1]
        log_lam, B, _ = self.recurrence(span.rate)
        Bu = _project(B, to_chunks(u))
        x0 = None if span.state is None else ops.transpose(ops.stack(span.state), (2, 0, 1))
        x = scan(log_lam, Bu, x0)
        y = _read_chunks(x, self._output(self.C))
        if self.bidirectional:
            x_backward = scan(log_lam, Bu, reverse=True)
            y = y + _read_chunks(x_backward, self._output(self.C_backward))
        y = from_chunks(y, length) + self._skip(u)
        return y, self._last(_in_time(x, length), span) if return_state else None

    def _varying_sequence(self, u: Tensor, span: Span, time_steps: Tensor) -> tuple[Tensor, Any]:
        log_lam, gamma = self._discretized(span.rate, time_steps[..., None])
        Bu = multiply(gamma, _drive(u, self._B()))
        x = varying_scan(log_lam, Bu, span.state)
        y = _read(x, self._output(self.C))
        if self.bidirectional:
            x_backward = _reverse(varying_scan(_reverse(log_lam), _reverse(Bu)))
            y = y + _read(x_backward, self._output(self.C_backward))
        return y + self._skip(u), (x[0][:, -1], x[1][:, -1])

    def _last(self, x: Tensor, span: Span) -> Pair:
        """The state after the last valid step of every row of x (B, L, 2 P)."""
        if span.where is None:
            return split_state(x[:, -1], (self.modes,))
        start = ops.zeros_like(x[:, 0]) if span.state is None else join_state(span.state)
        index = ops.reshape(span.where.counts, (-1, 1, 1))
        with_start = ops.concatenate([start[:, None], x], axis=1)
        last = ops.take_along_axis(with_start, index, axis=1)[:, 0]
        return split_state(last, (self.modes,))

    def _system(self, rate: Any) -> Any:
        log_lam, B, C = self.recurrence(rate)
        return _real_change(log_lam), ops.concatenate(B, axis=0), _real_form(C)

    def _step(self, u: Tensor, state: Tensor, system: Any) -> tuple[Tensor, Tensor]:
        change, into, out = system
        return self._advance(u, state, change, project(u, into, transpose_b=True), out)

    def _varying_step(
        self, u: Tensor, state: Tensor, time_steps: Tensor, rate: Any
    ) -> tuple[Tensor, Tensor]:
        log_lam, gamma = self._discretized(rate, time_steps)
        Bu = join_state(multiply(gamma, _drive(u, self._B())))
        out = _real_form(self._output(self.C))
        return self._advance(u, state, _real_change(log_lam), Bu, out)

    def _advance(
        self, u: Tensor, state: Tensor, change: Any, Bu: Tensor, out: Tensor
    ) -> tuple[Tensor, Tensor]:
        """x + ((lam - 1) x + B u) and its output; the increment is rounded, not lam itself.

        Slow modes keep their length in that way. Real and imaginary part go
        through each operation together: run one by one, those are what it costs.
        """
        re, im = change
        x = ops.reshape(state, (-1, 2, self.modes))
        moved = re * x + im * ops.flip(x, axis=1)
        state = state + (ops.reshape(moved, (-1, 2 * self.modes)) + Bu)
        return project(state, out, transpose_b=True) + self._skip(u), state

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "blocks": self.blocks,
            "initialization": serialized_initialization(self.initialization),
            "discretization": self.discretization,
            "conjugate_symmetry": self.conjugate_symmetry,
            "clip_eigenvalues": self.clip_eigenvalues,
            **self._weight_options("B", "C"),
        }


def _drive(u: Tensor, B: Pair) -> Pair:
    """B u for u (..., H) and B (P, H)."""
    return tuple(ops.split(project(u, ops.concatenate(B, axis=0), transpose_b=True), 2, axis=-1))


def _read(x: Pair, C: Pair) -> Tensor:
    """Re(C x) for states (..., P) and C (H, P)."""
    return project(ops.concatenate(x, axis=-1), _real_form(C), transpose_b=True)


def _real_form(C: Pair) -> Tensor:
    """[Re C, -Im C], which reads Re(C x) from [Re x; Im x]."""
    return ops.concatenate([C[0], -C[1]], axis=-1)


def _real_change(log_lam: Pair) -> Pair:
    """The parts of lam - 1 as they act on a state (B, 2, P), the second on its swapped parts."""
    re, im = expm1(log_lam)
    return re[..., None, :], ops.stack([-im, im], axis=-2)


@fused()
def _project(B: Pair, u: Tensor) -> Tensor:
    """B u for B (P, H) and u (B, M, Q, H), in the layout of the scan."""
    P, H = B[0].shape
    projected = project_in(u, ops.reshape(ops.stack(B, axis=1), (2 * P, H)))
    return ops.reshape(projected, (P, 2, *ops.shape(projected)[1:]))


@fused()
def _read_chunks(x: Tensor, C: Pair) -> Tensor:
    """Re(C x) as (B, M, Q, H) for states in the layout of the scan and C (H, P)."""
    P, _, Q, batch, M = ops.shape(x)
    # Modes first, as the gradient reads it: XLA is slow where both factors are transposed.
    parts = [ops.transpose(C[0]), -ops.transpose(C[1])]
    matrix = ops.reshape(ops.stack(parts, axis=1), (2 * P, -1))
    return project_out(ops.reshape(x, (2 * P, Q, batch, M)), matrix)


@fused("length")
def _in_time(x: Tensor, length: Tensor) -> Tensor:
    """States in the layout of the scan as (B, L, 2 P), real parts first."""
    P, _, Q, batch, M = ops.shape(x)
    x = ops.reshape(ops.transpose(x, (3, 4, 2, 1, 0)), (batch, M, Q, 2 * P))
    return from_chunks(x, length)


def _reverse(z: Pair) -> Pair:
    return ops.flip(z[0], axis=1), ops.flip(z[1], axis=1)
