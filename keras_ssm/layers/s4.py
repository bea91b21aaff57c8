"""S4: one state space per channel, whose matrix is diagonal plus low rank."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ssm import initializers
from keras_ssm.arguments import check_convolution, check_size, check_steps
from keras_ssm.layers.base import SSM
from keras_ssm.layers.parametrization import MAPS, checked, positive
from keras_ssm.ops.complex import pair
from keras_ssm.ops.systems import LowRank
from keras_ssm.types import Pair, Tensor

_PARAMETRIZATION = {**MAPS, "train_B": True}
# Rows of P that make each HiPPO matrix normal.
_RANKS = {"legs": 1, "fourier": 1, "legt": 2, "hippo": 1}


@keras.saving.register_keras_serializable(package="keras_ssm")
class S4(SSM):
    """S4 layer (Gu et al., 2022): a diagonal plus low-rank state space for every channel.

        x'(t) = (Lambda - P P^*) x(t) + B u(t),   y(t) = 2 Re(C x(t)) + D u(t)

    over both modes of each conjugate pair, discretized by the bilinear rule with
    the learned step dt. The kernel is made from powers of the real N x N matrix
    of a channel, at two scales; no array of the size of channels times modes
    times length is kept.

    `state_size` is N of the paper; N/2 complex modes are stored for each of the
    `n_ssm` systems, one of every conjugate pair.

    C is the output matrix itself. The official module keeps C (I - A^L) in its
    place after its first call; `converters.load_official` turns one into the
    other.

    Args:
        state_size: N, even.
        initialization: the HiPPO matrix, `"legs"`, `"legt"` or `"fourier"`, a list
            of them whose systems are concatenated in equal parts, or `"hippo"`
            (legs, fourier).
        rank: number of rows of P; None takes what the initialization needs: 2 for `"legt"`,
            1 for the others.
        step_min: smallest initial step size, in sampling periods.
        step_max: largest initial step size.
        bidirectional: add kernels for a backward direction, which begins with
            the next sample.
        rate: factor on all step sizes: a model trained at 16 kHz runs on the
            same sound at 8 kHz with `rate=2`.
        n_ssm: number of systems (Lambda, P, B), a divisor of the channels; channel
            h uses system h mod n_ssm. None: one for each channel.
        channels: output channels C for each input channel.
        method: how whole sequences are computed; the numbers are the same.
            `"fft"`: a convolution through the FFT. `"chunk"`: matrix products
            over chunks of time. `"auto"`: whichever is faster on this backend
            and device, see `keras_ssm.ops.systems.method`.
        parametrization: how the weights stand for eigenvalues and steps, where
            not as in the paper: a dict with some of `"real"`, `"imag"` and
            `"step"`, the maps from the weight to -Re Lambda (`"exp"`), -Im Lambda
            (`"none"`) and dt (`"exp"`), each of `"exp"`, `"none"`, `"relu"`,
            `"sigmoid"`, `"softplus"`; and `"train_B"` (True).
        return_sequences: return the output at every step, or at the last one only.
        return_state: return the final state as well, (batch, state_width).
        **kwargs: `go_backwards`, `stateful`, `zero_output_for_mask` of `SSM`;
            `<weight>_initializer`, `<weight>_regularizer` and
            `<weight>_constraint` of the weights `P`, of shape (rank, n_ssm,
            modes, 2), `B`, of shape (n_ssm, modes, 2), by default those of the
            HiPPO matrix, `C`, of shape (channels, features, modes, 2), by default
            complex N(0, 1), and `D`; `name`, `dtype`, `trainable` of
            `keras.layers.Layer`.

    Call arguments:
        inputs: tensor (batch, length, features).
        mask: boolean (batch, length). A masked step leaves the state as it is,
            and its output repeats the one before it (see
            `zero_output_for_mask`).
        initial_state: tensor (batch, 2 * features * modes), or None for zero.
        time_steps: positive numbers (batch, length), the duration of each step
            in units of the learned step; None for ones. Steps of varying size
            are taken one after the other, which is slow.
        rate: factor on all step sizes of this call; None takes the layer's.
        resets: boolean (batch, length), where the state starts anew.

    Input shape:
        (batch, length, features)

    Output shape:
        (batch, length, channels * features): all features of output channel 0,
        then of 1, ...

    Raises:
        ValueError: for an odd or non-positive `state_size`, an unknown name, a
            `rank` below what the initialization needs, `step_min >= step_max`,
            or an `n_ssm` that does not divide the features.

    Example:

    >>> layer = keras_ssm.layers.S4(state_size=16)
    >>> tuple(layer(np.ones((2, 100, 8), "float32")).shape)
    (2, 100, 8)

    References:
        Gu, Goel, Re: Efficiently Modeling Long Sequences with Structured State
        Spaces, ICLR 2022. Computed as in state-spaces/s4
        `kernels/ssm.py`, `SSMKernelDPLR`, except for the order of the products.
    """

    system_class = LowRank
    weight_names = ("P", "B", "C", "D")

    def __init__(
        self,
        state_size: int = 64,
        initialization: Any = "legs",
        rank: int | None = None,
        step_min: float = 1e-3,
        step_max: float = 1e-1,
        bidirectional: bool = False,
        rate: float = 1.0,
        n_ssm: int | None = None,
        channels: int = 1,
        method: str = "auto",
        parametrization: Mapping[str, Any] | None = None,
        return_sequences: bool = True,
        return_state: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            state_size,
            rate=rate,
            bidirectional=bidirectional,
            return_sequences=return_sequences,
            return_state=return_state,
            **kwargs,
        )
        check_steps(step_min, step_max)
        if state_size % 2:
            raise ValueError(
                "`state_size` must be even: modes are kept in conjugate pairs. "
                f"Received: state_size={state_size}"
            )
        if n_ssm is not None:
            check_size("n_ssm", n_ssm)
        check_convolution(channels, None, method, softmax=False)
        self._low_rank = initializers.LowRankHippo(initialization)
        needed = max(_RANKS[name] for name in self._low_rank.names)
        if rank is not None:
            check_size("rank", rank)
            if rank < needed:
                raise ValueError(
                    f"initialization={initialization!r} needs a rank of at least {needed}. "
                    f"Received: rank={rank}"
                )
        self.initialization = initialization
        self.rank = needed if rank is None else rank
        self.step_min = step_min
        self.step_max = step_max
        self.n_ssm = n_ssm
        self.channels = channels
        self.method = method
        self.parametrization = checked(parametrization, _PARAMETRIZATION)

    @property
    def modes(self) -> int:
        """Modes stored for each system: N/2."""
        return self.state_size // 2

    def build(self, input_shape: Sequence[Any]) -> None:
        super().build(input_shape)
        H, n, maps, add = self.width, self.modes, self.parametrization, self.add_parameter
        S = H if self.n_ssm is None else self.n_ssm
        if H % S:
            raise ValueError(
                "`n_ssm` must divide the number of features. "
                f"Received: n_ssm={self.n_ssm}, features={H}"
            )
        eigenvalues = initializers.DiagonalEigenvalues(self.initialization)
        re = initializers.Part(eigenvalues, 0, maps["real"], sign=-1)
        im = initializers.Part(eigenvalues, 1, maps["imag"], sign=-1)
        self.Lambda_re = add("Lambda_re", (S, n), re, "eigenvalues")
        self.Lambda_im = add("Lambda_im", (S, n), im, "eigenvalues")
        self.P = add("P", (self.rank, S, n, 2), self._low_rank, "eigenvalues")
        B = initializers.DiagonalInput(self.initialization)
        self.B = add("B", (S, n, 2), B, "input", maps["train_B"])
        kernels = self.channels * (2 if self.bidirectional else 1)
        self.C = add("C", (kernels, H, n, 2), "complex_normal", "output")
        self.D = add("D", (self.channels, H), "standard_normal", "output")
        log_step = initializers.LogStep(self.step_min, self.step_max, maps["step"])
        self.log_step = add("log_step", (H, 1), log_step, "step")

    def continuous(self, rate: Any = None) -> tuple[Pair, Pair]:
        """The diagonal Lambda, a pair of (features, modes), and steps, a pair of (features, 1)."""
        maps = self.parametrization
        re, im = positive(maps, "real", self.Lambda_re), positive(maps, "imag", self.Lambda_im)
        dt = positive(maps, "step", self.log_step) * (self.rate if rate is None else rate)
        return self._tiled((-re, -im)), (dt, dt)

    def system(self, rate: Any = None, time_steps: Tensor | None = None) -> LowRank:
        """The system before the bilinear rule, which `LowRank` applies to steps of any size."""
        Lambda, (dt, _) = self.continuous(rate)
        dt = dt[:, 0] if time_steps is None else dt[:, 0] * time_steps[..., None]
        C = tuple(ops.reshape(z, (-1, self.channels, *z.shape[1:])) for z in pair(self.C))
        P, B, D = self._tiled(pair(self.P)), self._tiled(pair(self.B)), self.D
        return LowRank(Lambda, P, B, C, ops.convert_to_tensor(D), dt)

    def eigenvalues(self) -> tuple[np.ndarray, np.ndarray, bool]:
        """Lambda and log lam of the whole state matrix, and whether growth is bounded.

        Both modes of each conjugate pair are included. They are not those of the
        diagonal.
        """
        log_lam = self.checked_system().exponents()
        dt = np.asarray(ops.convert_to_numpy(self.continuous()[1][0]), "float64")
        # The bilinear rule backwards: lam = (1 + z / 2) / (1 - z / 2) for z = dt Lambda.
        return 2 * np.tanh(log_lam / 2) / dt, log_lam, False

    def _tiled(self, z: Pair) -> Pair:
        repeats = self.width // z[0].shape[-2]
        if repeats == 1:
            return z
        tiles = (*[1] * (len(z[0].shape) - 2), repeats, 1)
        return ops.tile(z[0], tiles), ops.tile(z[1], tiles)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "initialization": self.initialization,
            "rank": self.rank,
            "step_min": self.step_min,
            "step_max": self.step_max,
            "n_ssm": self.n_ssm,
            "channels": self.channels,
            "method": self.method,
            "parametrization": self.parametrization,
        }
