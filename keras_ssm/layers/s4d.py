"""S4D: one diagonal state space per channel."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssm import initializers
from keras_ssm.layers.arguments import check_choice, check_size, serialized_initialization
from keras_ssm.layers.channelwise import ChannelwiseSSM
from keras_ssm.layers.ssm import Recurrence
from keras_ssm.ops import dss
from keras_ssm.ops.complex import Pair, Tensor, multiply, scale
from keras_ssm.ops.discretization import DISCRETIZATIONS
from keras_ssm.ops.transforms import TRANSFORMS


@keras.saving.register_keras_serializable(package="keras_ssm")
class S4D(ChannelwiseSSM):
    """S4D layer (Gu et al., 2022): a diagonal state space of its own for every channel.

    Continuous time, for channel h and output channel c:

        x'(t) = Lambda x(t) + B u(t),   y(t) = 2 Re(C x(t)) + D u(t)

    discretised with the learned step dt and evaluated as a causal convolution
    with the kernel `K[c, h, l] = 2 Re sum_n C B gamma lam^l` (zero-order hold:
    lam = exp(dt Lambda), gamma = (lam - 1) / Lambda).

    `state_size` is N of the paper, the size of the real state; N/2 complex
    modes are stored for each of the `n_ssm` systems, one of every conjugate
    pair, whence the factor 2. With `real_valued=True`, N real modes are stored.

    Args:
        state_size: N, even unless `real_valued`.
        initialization: eigenvalues, `"lin"`, `"inv"`, `"inv2"`, `"quad"`,
            `"real"`, `"random"`, `"legs"`, `"fourier"`, `"legt"`, a list of
            them or `"diag"`, `"hippo"`, `"all"` (see
            `initializers.DiagonalEigenvalues`), or any Keras initializer of
            shape (n_ssm, modes, 2) with Re < 0 and Im <= 0.
        discretization: `"zoh"`, `"bilinear"`, or `"dss"` (the softmax kernel
            of DSS, normalised over the length of the input, without factor 2).
        n_ssm: number of systems (Lambda, B), a divisor of the channels; channel
            h uses system h mod n_ssm. None: one for each channel.
        channels: output channels C for each input channel.
        length: for `discretization="dss"`: the length its softmax is normalised
            over; None takes the input's. A state needs it given.
        method: how whole sequences are computed; the numbers are the same.
            `"fft"`: a convolution through the FFT. `"chunk"`: matrix products
            over chunks of time, not for a softmax kernel. `"auto"`: whichever
            is faster on this backend and device, see `keras_ssm.layers.method`.
        real_valued: real eigenvalues and weights.
        real_transform: map from the weight to -Re Lambda: `"exp"`, `"none"`,
            `"relu"`, `"sigmoid"` or `"softplus"`.
        imag_transform: the same for -Im Lambda.
        step_transform: the same for dt.
        tie_step: one step per channel, or (False) one per channel and mode.
        train_B: train B, or keep its initial value.
        B_initializer: initializer of B, shape (n_ssm, modes, 2). None takes the
            one that belongs to `initialization`: the HiPPO one or 1.
        B_regularizer: regularizer of B.
        B_constraint: constraint of B.
        C_initializer: initializer of C; complex N(0, 1) by default.
        C_regularizer: regularizer of C.
        C_constraint: constraint of C.
        **kwargs: `step_min`, `step_max`, `rate`, `bidirectional`, `D_*`,
            `return_sequences`, `return_state`, `go_backwards`, `stateful`,
            `zero_output_for_mask` of the base class; `name`, `dtype`,
            `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: tensor (batch, length, features).
        mask: boolean (batch, length). A masked step leaves the state as it is,
            and its output repeats the one before it (see
            `zero_output_for_mask`).
        initial_state: tensor (batch, 2 * features * modes), or None for zero.
        time_steps: positive numbers (batch, length), the duration of each step
            in learned steps, for irregular sampling; None for ones. A NumPy
            array is checked. In a tensor, 0 leaves the state as it is, a
            negative number runs time backwards, and NaN spreads to all that
            follows.
        rate: factor on all step sizes of this call; None takes the layer's.

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
        Diagonal State Space Models, 2022. Computed as state-spaces/s4
        `kernels/ssm.py`, `SSMKernelDiag`, and `models/s4/s4d.py`.
    """

    def __init__(
        self,
        state_size: int = 64,
        initialization: Any = "lin",
        discretization: str = "zoh",
        n_ssm: int | None = None,
        channels: int = 1,
        length: int | None = None,
        method: str = "auto",
        real_valued: bool = False,
        real_transform: str = "exp",
        imag_transform: str = "none",
        step_transform: str = "exp",
        tie_step: bool = True,
        train_B: bool = True,
        B_initializer: Any = None,
        B_regularizer: Any = None,
        B_constraint: Any = None,
        C_initializer: Any = "complex_normal",
        C_regularizer: Any = None,
        C_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(state_size, **kwargs)
        if state_size % 2 and not real_valued:
            raise ValueError(
                "`state_size` must be even: modes are kept in conjugate pairs. "
                f"Received: state_size={state_size}"
            )
        check_choice("discretization", discretization, {*DISCRETIZATIONS, "dss"})
        check_choice("real_transform", real_transform, TRANSFORMS)
        check_choice("imag_transform", imag_transform, TRANSFORMS)
        check_choice("step_transform", step_transform, TRANSFORMS)
        if n_ssm is not None:
            check_size("n_ssm", n_ssm)
        named = isinstance(initialization, (str, list, tuple))
        if B_initializer is None:
            B_initializer = initializers.DiagonalInput(initialization) if named else "ones"
        self.initialization = initialization
        self.discretization = discretization
        self.n_ssm = n_ssm
        self._set_options(channels, length, method)
        self.real_valued = real_valued
        self.real_transform = real_transform
        self.imag_transform = imag_transform
        self.step_transform = step_transform
        self.tie_step = tie_step
        self.train_B = train_B
        self.B_initializer = initializers.get(B_initializer)
        self.B_regularizer = keras.regularizers.get(B_regularizer)
        self.B_constraint = keras.constraints.get(B_constraint)
        self.C_initializer = initializers.get(C_initializer)
        self.C_regularizer = keras.regularizers.get(C_regularizer)
        self.C_constraint = keras.constraints.get(C_constraint)
        self._eigenvalues = (
            initializers.DiagonalEigenvalues(initialization)
            if named
            else keras.initializers.get(initialization)
        )

    @property
    def modes(self) -> int:
        """Modes stored per system: N/2, or N when real-valued."""
        return self.state_size if self.real_valued else self.state_size // 2

    @property
    def uses_softmax(self) -> bool:
        return self.discretization == "dss"

    def build(self, input_shape: Sequence[Any]) -> None:
        super().build(input_shape)
        H, n = self.width, self.modes
        S = H if self.n_ssm is None else self.n_ssm
        if H % S:
            raise ValueError(
                "`n_ssm` must divide the number of features. "
                f"Received: n_ssm={self.n_ssm}, features={H}"
            )
        part, pair = initializers.Part, _real_part if self.real_valued else (lambda x: x)
        parts = () if self.real_valued else (2,)
        kernels = self.channels * (2 if self.bidirectional else 1)
        self.Lambda_re = self.add_parameter(
            "Lambda_re", (S, n), part(self._eigenvalues, 0, self.real_transform, sign=-1)
        )
        if not self.real_valued:
            self.Lambda_im = self.add_parameter(
                "Lambda_im", (S, n), part(self._eigenvalues, 1, self.imag_transform, sign=-1)
            )
        self.B = self.add_parameter("B", (S, n, *parts), pair(self.B_initializer), self.train_B)
        self.C = self.add_parameter("C", (kernels, H, n, *parts), pair(self.C_initializer))
        self.D = self.add_parameter("D", (self.channels, H), self.D_initializer)
        self.log_step = self.add_parameter(
            "log_step",
            (H, 1 if self.tie_step else n),
            initializers.LogStep(self.step_min, self.step_max, self.step_transform),
        )

    def continuous(self, rate: Any = None) -> tuple[Pair, Tensor]:
        """Eigenvalues Lambda, a pair of (features, modes), and steps dt, (features, 1 or modes)."""
        re = -TRANSFORMS[self.real_transform].forward(ops.convert_to_tensor(self.Lambda_re))
        if self.real_valued:
            im = ops.zeros_like(re)
        else:
            im = -TRANSFORMS[self.imag_transform].forward(ops.convert_to_tensor(self.Lambda_im))
        dt = TRANSFORMS[self.step_transform].forward(ops.convert_to_tensor(self.log_step))
        return self._tiled((re, im)), dt * (self.rate if rate is None else rate)

    def _tiled(self, z: Pair) -> Pair:
        repeats = self.width // z[0].shape[-2]
        tiles = (*[1] * (len(z[0].shape) - 2), repeats, 1)
        return ops.tile(z[0], tiles), ops.tile(z[1], tiles)

    def _pair(self, weight: Any) -> Pair:
        z = ops.convert_to_tensor(weight)
        return (z, ops.zeros_like(z)) if self.real_valued else (z[..., 0], z[..., 1])

    def recurrence(self, rate: Any = None, time_steps: Tensor | None = None) -> Recurrence:
        """The discretised system, the factor 2 of the conjugate pairs included in C.

        Args:
            rate: factor on all step sizes; None takes the layer's.
            time_steps: None, or a tensor that broadcasts against (features,
                modes), multiples of the step.

        Returns:
            `log_lam` and `B`, pairs of (features, modes), and `C`, a pair of
            (channels, features, modes).
        """
        if self.uses_softmax:
            raise ValueError("discretization='dss' has no recurrence that is free of a length")
        Lambda, dt = self.continuous(rate)
        dt = dt if time_steps is None else dt * time_steps
        log_lam, gamma = DISCRETIZATIONS[self.discretization](Lambda, dt)
        B = multiply(gamma, self._tiled(self._pair(self.B)))
        return Recurrence(log_lam, B, scale(self._pair(self.C), 2.0))

    def _softmax(self, rate: Any, length: Tensor) -> dss.Softmax:
        Lambda, dt = self.continuous(rate)
        w = multiply(self._tiled(self._pair(self.B)), self._pair(self.C))
        return dss.softmax(w, Lambda, scale(Lambda, dt), length)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "initialization": serialized_initialization(self.initialization),
            "discretization": self.discretization,
            "n_ssm": self.n_ssm,
            "channels": self.channels,
            "length": self.length,
            "method": self.method,
            "real_valued": self.real_valued,
            "real_transform": self.real_transform,
            "imag_transform": self.imag_transform,
            "step_transform": self.step_transform,
            "tie_step": self.tie_step,
            "train_B": self.train_B,
            **self._weight_options("B", "C"),
        }


def _real_part(initializer: Any) -> Any:
    return lambda shape, dtype=None: initializer((*shape, 2), dtype=dtype)[..., 0]
