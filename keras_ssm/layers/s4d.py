"""S4D: one diagonal state space per channel."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_ssm import initializers
from keras_ssm.arguments import (
    check_choice,
    check_convolution,
    check_size,
    check_steps,
    serialized_initialization,
)
from keras_ssm.layers.base import SSM
from keras_ssm.layers.parametrization import MAPS, checked, positive
from keras_ssm.ops.complex import multiply, pair, scale
from keras_ssm.ops.discretization import DISCRETIZATIONS
from keras_ssm.ops.systems import Channelwise, Softmax
from keras_ssm.types import Pair, Tensor

_PARAMETRIZATION = {**MAPS, "real_valued": False, "tie_step": True, "train_B": True}


@keras.saving.register_keras_serializable(package="keras_ssm")
class S4D(SSM):
    """S4D layer (Gu et al., 2022): a separate diagonal state space for every channel.

    Continuous time, for channel h and output channel c:

        x'(t) = Lambda x(t) + B u(t),   y(t) = 2 Re(C x(t)) + D u(t)

    discretized with the learned step dt and evaluated as a causal convolution
    with the kernel `K[c, h, l] = 2 Re sum_n C B gamma lam^l` (zero-order hold:
    lam = exp(dt Lambda), gamma = (lam - 1) / Lambda).

    `state_size` is N of the paper, the size of the real state; N/2 complex
    modes are stored for each of the `n_ssm` systems, one of each conjugate pair;
    the factor 2 accounts for the other.

    Args:
        state_size: N, even unless the modes are real.
        initialization: initial eigenvalues, `"lin"`, `"inv"`, `"inv2"`,
            `"quad"`, `"real"`, `"random"`, `"legs"`, `"fourier"`, `"legt"`, a list of
            them or `"diag"`, `"hippo"`, `"all"` (see
            `initializers.DiagonalEigenvalues`), or any Keras initializer for
            the shape (n_ssm, modes, 2) with Re < 0 and Im <= 0.
        discretization: `"zoh"`, `"bilinear"`, or `"softmax"` (the kernel of DSS
            of that name, normalized over the length of the input, without the
            factor 2; `disc='dss'` in the official code).
        step_min: smallest initial step size, in sampling periods.
        step_max: largest initial step size.
        bidirectional: add kernels for a backward direction, which begins with
            the next sample.
        rate: factor on all step sizes: a model trained at 16 kHz runs on the
            same sound at 8 kHz with `rate=2`.
        n_ssm: number of systems (Lambda, B), a divisor of the channels; channel
            h uses system h mod n_ssm. None: one for each channel.
        channels: output channels C for each input channel.
        length: for `discretization="softmax"`: the length its softmax is normalized
            over; None takes the input's. A state requires it.
        method: how whole sequences are computed; the numbers are the same.
            `"fft"`: a convolution through the FFT. `"chunk"`: matrix products
            over chunks of time, not for a softmax kernel. `"auto"`: whichever
            is faster on this backend and device, see `keras_ssm.ops.systems.method`.
        parametrization: how the weights stand for eigenvalues and steps, where
            not as in the paper: a dict with some of `"real"`, `"imag"` and
            `"step"`, the maps from the weight to -Re Lambda (`"exp"`), -Im Lambda
            (`"none"`) and dt (`"exp"`), each of `"exp"`, `"none"`, `"relu"`,
            `"sigmoid"`, `"softplus"`; `"real_valued"`, real eigenvalues and
            weights, N of them (False); `"tie_step"`, one step for a channel
            (True) or one for each of its modes; `"train_B"` (True).
        return_sequences: return the output at every step, or at the last one only.
        return_state: return the final state as well, (batch, state_width).
        **kwargs: `go_backwards`, `stateful`, `zero_output_for_mask` of `SSM`;
            `<weight>_initializer`, `<weight>_regularizer` and
            `<weight>_constraint` of the weights `B`, of shape (n_ssm, modes, 2),
            by default the one that belongs to `initialization` (the HiPPO one or
            1), `C`, of shape (channels, features, modes, 2), by default complex
            N(0, 1), and `D`; `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: tensor (batch, length, features).
        mask: boolean (batch, length). A masked step leaves the state as it is,
            and its output repeats the one before it (see
            `zero_output_for_mask`).
        initial_state: tensor (batch, 2 * features * modes), or None for zero.
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
        (batch, length, channels * features): all features of output channel 0,
        then of 1, ...

    Raises:
        ValueError: for an odd or non-positive `state_size`, an unknown name,
            `step_min >= step_max`, or an `n_ssm` that does not divide the
            features.

    Example:

    >>> layer = keras_ssm.layers.S4D(state_size=16, initialization="inv")
    >>> tuple(layer(np.ones((2, 100, 8), "float32")).shape)
    (2, 100, 8)

    References:
        Gu, Gupta, Goel, Re: On the Parameterization and Initialization of
        Diagonal State Space Models, 2022. Computed as in state-spaces/s4
        `kernels/ssm.py`, `SSMKernelDiag`, and `models/s4/s4d.py`.
    """

    weight_names = ("B", "C", "D")

    def __init__(
        self,
        state_size: int = 64,
        initialization: Any = "lin",
        discretization: str = "zoh",
        step_min: float = 1e-3,
        step_max: float = 1e-1,
        bidirectional: bool = False,
        rate: float = 1.0,
        n_ssm: int | None = None,
        channels: int = 1,
        length: int | None = None,
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
        maps = checked(parametrization, _PARAMETRIZATION)
        if state_size % 2 and not maps["real_valued"]:
            raise ValueError(
                "`state_size` must be even: modes are kept in conjugate pairs. "
                f"Received: state_size={state_size}"
            )
        check_choice("discretization", discretization, {*DISCRETIZATIONS, "softmax"})
        if n_ssm is not None:
            check_size("n_ssm", n_ssm)
        self.system_class = Softmax if discretization == "softmax" else Channelwise
        check_convolution(channels, length, method, softmax=discretization == "softmax")
        self.initialization = initialization
        self.discretization = discretization
        self.step_min = step_min
        self.step_max = step_max
        self.n_ssm = n_ssm
        self.channels = channels
        self.length = length
        self.method = method
        self.parametrization = maps
        named = isinstance(initialization, (str, list, tuple))
        self._eigenvalues = (
            initializers.DiagonalEigenvalues(initialization)
            if named
            else keras.initializers.get(initialization)
        )
        self._input = initializers.DiagonalInput(initialization) if named else "ones"

    @property
    def modes(self) -> int:
        """Modes stored for each system: N/2, or N when they are real."""
        return self.state_size if self.parametrization["real_valued"] else self.state_size // 2

    def build(self, input_shape: Sequence[Any]) -> None:
        super().build(input_shape)
        H, n, maps = self.width, self.modes, self.parametrization
        S = H if self.n_ssm is None else self.n_ssm
        if H % S:
            raise ValueError(
                "`n_ssm` must divide the number of features. "
                f"Received: n_ssm={self.n_ssm}, features={H}"
            )
        real = maps["real_valued"]
        parts, add = () if real else (2,), self.add_parameter
        kernels = self.channels * (2 if self.bidirectional else 1)
        re = initializers.Part(self._eigenvalues, 0, maps["real"], sign=-1)
        self.Lambda_re = add("Lambda_re", (S, n), re, "eigenvalues")
        if not real:
            im = initializers.Part(self._eigenvalues, 1, maps["imag"], sign=-1)
            self.Lambda_im = add("Lambda_im", (S, n), im, "eigenvalues")
        B = initializers.get(self._input)
        self.B = add(
            "B", (S, n, *parts), initializers.RealPart(B) if real else B, "input", maps["train_B"]
        )
        self.C = add("C", (kernels, H, n, *parts), "complex_normal", "output")
        self.D = add("D", (self.channels, H), "standard_normal", "output")
        log_step = initializers.LogStep(self.step_min, self.step_max, maps["step"])
        self.log_step = add("log_step", (H, 1 if maps["tie_step"] else n), log_step, "step")

    def continuous(self, rate: Any = None) -> tuple[Pair, Pair]:
        """Eigenvalues Lambda, a pair of (features, modes), and steps, a pair of (features, 1).

        Steps are (features, modes) where they are not tied.
        """
        maps = self.parametrization
        re = -positive(maps, "real", self.Lambda_re)
        im = 0 * re if maps["real_valued"] else -positive(maps, "imag", self.Lambda_im)
        dt = positive(maps, "step", self.log_step) * (self.rate if rate is None else rate)
        return self._tiled((re, im)), (dt, dt)

    def system(self, rate: Any = None, time_steps: Tensor | None = None) -> Channelwise | Softmax:
        """The discretized system, with the factor 2 of the conjugate pairs in C.

        It is a `Softmax` for the discretization of that name.
        """
        Lambda, (dt, _) = self.continuous(rate)
        B, C, D = self._tiled(self._pair(self.B)), self._pair(self.C), ops.convert_to_tensor(self.D)
        C = tuple(ops.reshape(z, (-1, self.channels, *z.shape[1:])) for z in C)
        if self.discretization == "softmax":
            W = multiply(B, C)
            return Softmax(Lambda, scale(Lambda, dt), W, D, self.length, time_steps)
        if time_steps is not None:
            dt = dt * time_steps[..., None, None]
        log_lam, gamma = DISCRETIZATIONS[self.discretization](Lambda, dt)
        return Channelwise(log_lam, multiply(gamma, B), scale(C, 2.0), D)

    def _tiled(self, z: Pair) -> Pair:
        repeats = self.width // z[0].shape[0]
        return z if repeats == 1 else tuple(ops.tile(part, (repeats, 1)) for part in z)

    def _pair(self, weight: Any) -> Pair:
        if not self.parametrization["real_valued"]:
            return pair(weight)
        z = ops.convert_to_tensor(weight)
        return z, ops.zeros_like(z)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "initialization": serialized_initialization(self.initialization),
            "discretization": self.discretization,
            "step_min": self.step_min,
            "step_max": self.step_max,
            "n_ssm": self.n_ssm,
            "channels": self.channels,
            "length": self.length,
            "method": self.method,
            "parametrization": self.parametrization,
        }
