"""LRU: a linear recurrent unit, one diagonal state for all channels, without step sizes."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssm import initializers
from keras_ssm.layers.base import SSM
from keras_ssm.ops.complex import directions, expm1, pair, real_expm1, scale
from keras_ssm.ops.systems import SharedState
from keras_ssm.types import Tensor


@keras.saving.register_keras_serializable(package="keras_ssm")
class LRU(SSM):
    """Linear recurrent unit (Orvieto et al., 2023): a diagonal recurrence on a ring.

        x_k = lam x_(k-1) + gamma B u_k,   y_k = Re(C x_k) + D u_k

    with lam = exp(-exp(nu_log) + i exp(theta_log)), inside the unit circle
    whatever the weights, and gamma = exp(gamma_log), which starts at
    (1 - |lam|^2)^(1/2), so that the state has the size of the input. At the
    start, lam is uniform on the ring between the radii `r_min` and `r_max`.

    For a step of a different duration t (`time_steps`, `rate`), lam becomes lam^t,
    with t exp(theta_log) for its angle, and gamma grows as
    ((1 - |lam|^(2 t)) / (1 - |lam|^2))^(1/2), which keeps the size of the state.

    Args:
        state_size: N, the number of complex modes.
        r_min: smallest |lam| at the start.
        r_max: largest |lam| at the start; near 1 for a long memory.
        max_phase: largest angle of lam at the start, in radians. A tenth of a
            turn suits tasks that need a long memory.
        use_skip: learn D; False leaves D u out.
        bidirectional: add a second C that reads a backward scan; both
            directions see the present sample.
        rate: factor on the duration of all steps.
        return_sequences: return the output at every step, or at the last one only.
        return_state: return the final state as well, (batch, 2 * state_size).
        **kwargs: `go_backwards`, `stateful`, `zero_output_for_mask` of `SSM`;
            `<weight>_initializer`, `<weight>_regularizer` and
            `<weight>_constraint` of the weights `B` (N, features, 2), N(0, 1 / 2
            features) in each part, `C` (features, N, 2), N(0, 1 / N), and `D`;
            `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: tensor (batch, length, features).
        mask: boolean (batch, length). A masked step leaves the state as it is.
        initial_state: tensor (batch, 2 * state_size), or None for zero.
        time_steps: positive durations (batch, length) of the steps; None for ones.
        rate: factor on the duration of all steps of this call.
        resets: boolean (batch, length), where the state starts anew, for documents
            packed into one sequence.

    Raises:
        ValueError: unless 0 <= r_min < r_max < 1 and max_phase > 0.

    Example:

    >>> layer = keras_ssm.layers.LRU(state_size=16, r_min=0.9, r_max=0.999)
    >>> tuple(layer(np.ones((2, 100, 8), "float32")).shape)
    (2, 100, 8)

    References:
        Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu, De: Resurrecting
        Recurrent Neural Networks for Long Sequences, ICML 2023, section 3 and
        appendix A.
    """

    system_class = SharedState
    weight_names = ("B", "C", "D")
    default_gating = "full_glu"

    def __init__(
        self,
        state_size: int = 64,
        r_min: float = 0.0,
        r_max: float = 0.99,
        max_phase: float = 2 * math.pi,
        use_skip: bool = True,
        bidirectional: bool = False,
        rate: float = 1.0,
        return_sequences: bool = True,
        return_state: bool = False,
        **kwargs: Any,
    ) -> None:
        base = {"return_sequences": return_sequences, "return_state": return_state}
        super().__init__(state_size, rate=rate, bidirectional=bidirectional, **base, **kwargs)
        self._ring = initializers.Ring(r_min, r_max, max_phase)
        self.r_min, self.r_max, self.max_phase, self.use_skip = r_min, r_max, max_phase, use_skip

    @property
    def modes(self) -> int:
        """Number of complex modes stored: N."""
        return self.state_size

    def build(self, input_shape: Sequence[Any]) -> None:
        super().build(input_shape)
        H, N, add = self.width, self.state_size, self.add_parameter
        part = initializers.Column
        self.nu_log = add("nu_log", (N,), part(self._ring, 0), "eigenvalues")
        self.theta_log = add("theta_log", (N,), part(self._ring, 1), "eigenvalues")
        self.gamma_log = add("gamma_log", (N,), part(self._ring, 2), "eigenvalues")
        self.B = add("B", (N, H, 2), initializers.normal(1 / (2 * H)), "input")
        self.C = add("C", (H, N, 2), initializers.normal(1 / N), "output")
        if self.bidirectional:
            self.C_backward = add("C_backward", (H, N, 2), initializers.normal(1 / N), "output")
        self.D = add("D", (H,), "standard_normal", "output") if self.use_skip else None

    def system(self, rate: Any = None, time_steps: Tensor | None = None) -> SharedState:
        """The recurrence, with steps of the duration rate * time_steps."""
        t = self.durations(rate, time_steps, axes=1)
        log_lam = -ops.exp(self.nu_log), ops.exp(self.theta_log)
        growth = expm1((2 * t * log_lam[0], 0 * log_lam[1]))[0] / real_expm1(2 * log_lam[0])
        # For a step that takes no time, a masked one for instance, the root has no derivative.
        still = growth == 0
        root = ops.sqrt(ops.where(still, ops.ones_like(growth), growth))
        gamma = ops.exp(self.gamma_log) * ops.where(still, ops.zeros_like(growth), root)
        C = [self.C, self.C_backward] if self.bidirectional else [self.C]
        D = ops.convert_to_tensor(self.D) if self.use_skip else None
        gamma = gamma, ops.zeros_like(gamma)
        return SharedState(scale(log_lam, t), gamma, pair(self.B), directions(*C), D)

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("r_min", "r_max", "max_phase", "use_skip")}
        return {**super().get_config(), **own}
