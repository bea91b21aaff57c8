"""S5: one diagonal state space for all channels, computed by a scan."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssm import initializers
from keras_ssm.arguments import check_choice, check_steps, serialized_initialization
from keras_ssm.layers.base import SSM
from keras_ssm.ops.complex import directions, pair, scale
from keras_ssm.ops.discretization import DISCRETIZATIONS
from keras_ssm.ops.systems import SharedState
from keras_ssm.types import Pair, Tensor

_PAPER_C = ("trunc_standard_normal", "lecun_normal", "complex_normal")
_MAX_REAL = -1e-4


@keras.saving.register_keras_serializable(package="keras_ssm")
class S5(SSM):
    """S5 layer (Smith et al., 2023): one state space with all channels in and out.

        x_k = lam x_(k-1) + gamma B u_k,   y_k = 2 Re(C x_k) + D u_k

    with diagonal lam (zero-order hold: lam = exp(dt Lambda), gamma =
    (lam - 1) / Lambda), computed by a parallel scan. B and C mix the channels.

    `state_size` is P of the paper, the size of the real state. With
    `conjugate_symmetry`, P/2 complex modes are stored, one of each conjugate
    pair, and the factor 2 accounts for the other; without it, P modes are stored
    and the factor is 1.

    If bidirectional, a second C reads the states of a backward scan; both
    directions see the present sample, unlike in DSS and S4D.

    Args:
        state_size: P.
        blocks: number J of equal HiPPO blocks on the initial diagonal; with
            conjugate symmetry, P / J must be even.
        initialization: initial eigenvalues, `"hippo"` or any Keras initializer
            for the shape (modes, 2).
        discretization: `"zoh"` or `"bilinear"`.
        step_min: smallest initial step size, in sampling periods.
        step_max: largest initial step size.
        bidirectional: add a second C that reads a backward scan.
        rate: factor on all step sizes, `step_rescale` of the official code: a
            model trained at 16 kHz runs on the same sound at 8 kHz with `rate=2`.
        conjugate_symmetry: store one of every conjugate pair.
        clip_eigenvalues: take Re Lambda above -1e-4 as -1e-4, so that every mode decays.
        return_sequences: return the output at every step, or at the last one only.
        return_state: return the final state as well, (batch, 2 * modes).
        C_initializer: the paper's `"trunc_standard_normal"`, `"lecun_normal"`
            (both rotated into the eigenbasis) or `"complex_normal"`, or any
            Keras initializer object for the shape (features, modes, 2).
        **kwargs: `go_backwards`, `stateful`, `zero_output_for_mask` of `SSM`;
            `<weight>_initializer`, `<weight>_regularizer` and
            `<weight>_constraint` of the weights `B`, of shape (modes, features,
            2), by default the lecun-normal matrix of the real state rotated
            into the eigenbasis, `C` and `D`; `name`, `dtype`, `trainable` of
            `keras.layers.Layer`.

    Call arguments:
        inputs: tensor (batch, length, features).
        mask: boolean (batch, length). A masked step leaves the state as it is,
            and its output repeats the one before it (see
            `zero_output_for_mask`).
        initial_state: tensor (batch, 2 * modes), or None for zero.
        time_steps: positive numbers (batch, length), the duration of each step
            in units of the learned step, for irregular sampling; None for ones.
            A NumPy array is checked. In a tensor, 0 leaves the state as it is,
            a negative number runs time backwards, and NaN spreads to everything
            that follows.
        rate: factor on all step sizes of this call; None takes the layer's.
        resets: boolean (batch, length), where the state starts anew, for documents
            packed into one sequence.

    Input shape:
        (batch, length, features)

    Output shape:
        (batch, length, features)

    Raises:
        ValueError: for sizes that are not positive or do not divide evenly, an
            unknown name, or `step_min >= step_max`.

    Example:

    >>> layer = keras_ssm.layers.S5(state_size=16, blocks=2)
    >>> tuple(layer(np.ones((2, 100, 8), "float32")).shape)
    (2, 100, 8)

    References:
        Smith, Warrington, Linderman: Simplified State Space Layers for Sequence
        Modeling, ICLR 2023. Computed as in lindermanlab/S5 `s5/ssm.py`,
        `S5SSM`.
    """

    system_class = SharedState
    weight_names = ("B", "C", "D")
    default_gating = "half_glu1"

    def __init__(
        self,
        state_size: int = 64,
        blocks: int = 1,
        initialization: Any = "hippo",
        discretization: str = "zoh",
        step_min: float = 1e-3,
        step_max: float = 1e-1,
        bidirectional: bool = False,
        rate: float = 1.0,
        conjugate_symmetry: bool = True,
        clip_eigenvalues: bool = False,
        return_sequences: bool = True,
        return_state: bool = False,
        C_initializer: Any = "trunc_standard_normal",
        **kwargs: Any,
    ) -> None:
        structure: dict[str, Any] = {"blocks": blocks, "conjugate_symmetry": conjugate_symmetry}
        if isinstance(C_initializer, str):
            check_choice("C_initializer", C_initializer, _PAPER_C)
        if C_initializer in ("trunc_standard_normal", "lecun_normal"):
            C_initializer = initializers.S5Output(C_initializer, **structure)
        super().__init__(
            state_size,
            rate=rate,
            bidirectional=bidirectional,
            return_sequences=return_sequences,
            return_state=return_state,
            C_initializer=C_initializer,
            **kwargs,
        )
        check_steps(step_min, step_max)
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
        self.blocks = blocks
        self.initialization = initialization
        self.discretization = discretization
        self.step_min = step_min
        self.step_max = step_max
        self.conjugate_symmetry = conjugate_symmetry
        self.clip_eigenvalues = clip_eigenvalues
        self._eigenvalues = (
            initializers.S5Eigenvalues(**structure)
            if initialization == "hippo"
            else keras.initializers.get(initialization)
        )
        self._input = initializers.S5Input(**structure)

    @property
    def modes(self) -> int:
        """Number of complex modes stored: P/2 with conjugate symmetry, else P."""
        return self.state_size // 2 if self.conjugate_symmetry else self.state_size

    def build(self, input_shape: Sequence[Any]) -> None:
        super().build(input_shape)
        H, P = self.width, self.modes
        part, add = initializers.Part, self.add_parameter
        self.Lambda_re = add("Lambda_re", (P,), part(self._eigenvalues, 0), "eigenvalues")
        self.Lambda_im = add("Lambda_im", (P,), part(self._eigenvalues, 1), "eigenvalues")
        self.B = add("B", (P, H, 2), self._input, "input")
        self.C = add("C", (H, P, 2), None, "output")
        if self.bidirectional:
            self.C_backward = add("C_backward", (H, P, 2), None, "output")
        self.D = add("D", (H,), "standard_normal", "output")
        log_step = initializers.LogStep(self.step_min, self.step_max)
        self.log_step = add("log_step", (P,), log_step, "step")

    def continuous(self, rate: Any = None) -> tuple[Pair, Pair]:
        """Eigenvalues Lambda and step sizes dt, pairs of (modes,)."""
        re = ops.convert_to_tensor(self.Lambda_re)
        if self.clip_eigenvalues:
            re = ops.clip(re, -math.inf, _MAX_REAL)
        dt = (self.rate if rate is None else rate) * ops.exp(ops.convert_to_tensor(self.log_step))
        return (re, ops.convert_to_tensor(self.Lambda_im)), (dt, dt)

    def system(self, rate: Any = None, time_steps: Tensor | None = None) -> SharedState:
        """The discretized system, with the factor 2 of the conjugate pairs in C."""
        Lambda, (dt, _) = self.continuous(rate)
        if time_steps is not None:
            dt = dt * time_steps[..., None]
        log_lam, gamma = DISCRETIZATIONS[self.discretization](Lambda, dt)
        weights = [self.C, self.C_backward] if self.bidirectional else [self.C]
        C = scale(directions(*weights), 2.0 if self.conjugate_symmetry else 1.0)
        return SharedState(log_lam, gamma, pair(self.B), C, ops.convert_to_tensor(self.D))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "blocks": self.blocks,
            "initialization": serialized_initialization(self.initialization),
            "discretization": self.discretization,
            "step_min": self.step_min,
            "step_max": self.step_max,
            "conjugate_symmetry": self.conjugate_symmetry,
            "clip_eigenvalues": self.clip_eigenvalues,
        }
