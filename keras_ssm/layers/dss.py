"""DSS: diagonal state spaces that share their eigenvalues over the channels."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssm import initializers
from keras_ssm.layers.arguments import check_choice, serialized_initialization
from keras_ssm.layers.channelwise import ChannelwiseSSM
from keras_ssm.layers.ssm import Recurrence
from keras_ssm.ops import dss
from keras_ssm.ops.complex import Pair, Tensor, scale

# Transforms of the weights Lambda_re and Lambda_im, by the first word of the kernel's name.
_KERNELS = {
    "softmax": ("none", "none"),
    "exp": ("exp", "none"),
    "exp-re-im": ("exp", "exp"),
    "exp-no-scale": ("exp", "none"),
    "clip": ("none", "none"),
    "clip-no-scale": ("none", "none"),
}
_INITIALIZATIONS = ("skew-hippo", "random")


@keras.saving.register_keras_serializable(package="keras_ssm")
class DSS(ChannelwiseSSM):
    """DSS layer (Gupta et al., 2022): diagonal state spaces with shared eigenvalues.

    A causal convolution of every channel h with

        K[c, h, l] = Re sum_n W[c, h, n] s[h, n] exp(l dt[h] Lambda[n])

    plus the skip D u. The scale s is 1/Lambda[n] over the sum of the row
    (`kernel="softmax"`, normalised over the length of the input),
    (exp(dt Lambda) - 1) / Lambda (`"exp"`, `"exp-re-im"`, `"clip"`), or 1 (the
    kernels that end in `"-no-scale"`).

    `state_size` is N of the paper: N complex modes are stored once, for all
    channels, and they are no conjugate pairs, so that no factor 2 appears.

    Kernels differ in how Lambda is kept: `"softmax"` leaves Re Lambda free, a
    mode with Re Lambda > 0 running backwards from the end of the kernel; `"exp"`
    has Re Lambda = -exp(weight), `"exp-re-im"` also Im Lambda = exp(weight);
    `"clip"` takes min(Re Lambda, max_real). For modes with Re Lambda > 0 the
    gradient is the derivative of the value, which the official code's is not.

    Args:
        state_size: N.
        kernel: `"softmax"`, `"exp"`, `"exp-re-im"`, `"exp-no-scale"`, `"clip"`
            or `"clip-no-scale"`.
        initialization: eigenvalues, `"skew-hippo"`, `"random"` (complex N(0, 1),
            half of them with Re > 0; not for the exp kernels) or any Keras
            initializer of shape (state_size, 2).
        separate_steps: a step size each for the real and the imaginary part of
            dt Lambda, which start equal, or (False) one for both.
        channels: output channels C for each input channel.
        length: for `kernel="softmax"`: the length it is normalised over; None
            takes the input's. A state needs it given, and padding changes the
            output without it.
        method: how whole sequences are computed; the numbers are the same.
            `"fft"`: a convolution through the FFT. `"chunk"`: matrix products
            over chunks of time, not for a softmax kernel. `"auto"`: whichever
            is faster on this backend and device, see `keras_ssm.layers.method`.
        max_real: upper bound of Re Lambda of the clip kernels.
        W_initializer: initializer of W, shape (channels, features, N, 2);
            N(0, 1) for each part by default.
        W_regularizer: regularizer of W.
        W_constraint: constraint of W.
        **kwargs: `step_min`, `step_max`, `rate`, `bidirectional`, `D_*`,
            `return_sequences`, `return_state`, `go_backwards`, `stateful`,
            `zero_output_for_mask` of the base class; `name`, `dtype`,
            `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: tensor (batch, length, features).
        mask: boolean (batch, length). A masked step leaves the state as it is,
            and its output repeats the one before it (see
            `zero_output_for_mask`).
        initial_state: tensor (batch, 2 * features * state_size), or None for zero.
        time_steps: positive numbers (batch, length), the duration of each step
            in learned steps, for irregular sampling; None for ones. A NumPy
            array is checked. In a tensor, 0 leaves the state as it is
            (the kernels without scale add their input all the same), a negative
            number runs time backwards, and NaN spreads to all that follows.
        rate: factor on all step sizes of this call; None takes the layer's.

    With `kernel="softmax"` the state has one number more, the time since its
    start, and `length` must be given; a mode with Re Lambda > 0 streams as a sum
    whose reading grows towards the end of `length`, and is held beyond it.

    Input shape:
        (batch, length, features)

    Output shape:
        (batch, length, channels * features): all features of output channel 0,
        then of 1, ...

    Raises:
        ValueError: for a non-positive size, an unknown name, `step_min >=
            step_max`, or `"random"` eigenvalues in an exp kernel.

    Example:

    >>> layer = keras_ssm.layers.DSS(state_size=16, kernel="exp")
    >>> tuple(layer(np.ones((2, 100, 8), "float32")).shape)
    (2, 100, 8)

    References:
        Gupta, Gu, Berant: Diagonal State Spaces are as Effective as Structured
        State Spaces, 2022. Computed as ag1988/dss
        `src/models/sequence/ss/standalone/dss.py`.
    """

    def __init__(
        self,
        state_size: int = 64,
        kernel: str = "softmax",
        initialization: Any = "skew-hippo",
        separate_steps: bool = True,
        channels: int = 1,
        length: int | None = None,
        method: str = "auto",
        max_real: float = 1e-4,
        W_initializer: Any = "standard_normal",
        W_regularizer: Any = None,
        W_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(state_size, **kwargs)
        check_choice("kernel", kernel, _KERNELS)
        if isinstance(initialization, str):
            check_choice("initialization", initialization, _INITIALIZATIONS)
        if initialization == "random" and kernel.startswith("exp"):
            raise ValueError(
                "initialization='random' draws eigenvalues of either sign, which the exp kernels "
                f"cannot represent. Received: kernel={kernel!r}"
            )
        self.kernel = kernel
        self.initialization = initialization
        self.separate_steps = separate_steps
        self._set_options(channels, length, method)
        self.max_real = max_real
        self.W_initializer = initializers.get(W_initializer)
        self.W_regularizer = keras.regularizers.get(W_regularizer)
        self.W_constraint = keras.constraints.get(W_constraint)
        self._eigenvalues = (
            initializers.SkewHippoEigenvalues()
            if initialization == "skew-hippo"
            else initializers.get(
                "complex_normal" if initialization == "random" else initialization
            )
        )

    @property
    def uses_softmax(self) -> bool:
        return self.kernel == "softmax"

    @property
    def modes(self) -> int:
        return self.state_size

    def build(self, input_shape: Sequence[Any]) -> None:
        super().build(input_shape)
        H, N = self.width, self.state_size
        re_transform, im_transform = _KERNELS[self.kernel]
        re_sign = 1 if re_transform == "none" else -1
        part = initializers.Part
        self.Lambda_re = self.add_parameter(
            "Lambda_re", (N,), part(self._eigenvalues, 0, re_transform, re_sign)
        )
        self.Lambda_im = self.add_parameter(
            "Lambda_im", (N,), part(self._eigenvalues, 1, im_transform)
        )
        kernels = self.channels * (2 if self.bidirectional else 1)
        self.W = self.add_parameter("W", (kernels, H, N, 2), self.W_initializer)
        self.D = self.add_parameter("D", (self.channels, H), self.D_initializer)
        log_step = initializers.LogStep(self.step_min, self.step_max)
        if self.separate_steps:
            self.log_step = self.add_parameter(
                "log_step",
                (H, 2),
                lambda shape, dtype=None: ops.concatenate(
                    [log_step((H, 1), dtype=dtype)] * 2, axis=1
                ),
            )
        else:
            self.log_step = self.add_parameter("log_step", (H,), log_step)

    def continuous(self, rate: Any = None) -> tuple[Pair, Pair]:
        """Eigenvalues Lambda and their products with the steps, dt Lambda.

        Returns:
            Lambda, a pair of (state_size,), and dt Lambda, a pair of (features,
            state_size).
        """
        re, im = ops.convert_to_tensor(self.Lambda_re), ops.convert_to_tensor(self.Lambda_im)
        if self.kernel.startswith("exp"):
            re = -ops.exp(re)
        if self.kernel == "exp-re-im":
            im = ops.exp(im)
        if self.kernel.startswith("clip"):
            re = ops.clip(re, -math.inf, self.max_real)
        dt = (self.rate if rate is None else rate) * ops.exp(ops.convert_to_tensor(self.log_step))
        dt_re, dt_im = (dt[:, :1], dt[:, 1:]) if self.separate_steps else (dt[:, None], dt[:, None])
        return (re, im), (dt_re * re, dt_im * im)

    def recurrence(self, rate: Any = None, time_steps: Tensor | None = None) -> Recurrence:
        """The discretised system of the kernels other than softmax.

        Args:
            rate: factor on all step sizes; None takes the layer's.
            time_steps: None, or a tensor that broadcasts against (features,
                state_size), multiples of the step. The kernels without scale
                take the input as it is, whatever the duration of the step.

        Returns:
            `log_lam` and `B`, pairs of (features, state_size), and `C`, a pair
            of (channels, features, state_size).
        """
        if self.uses_softmax:
            raise ValueError("kernel='softmax' has no recurrence that is free of a length")
        Lambda, log_lam = self.continuous(rate)
        if time_steps is not None:
            log_lam = scale(log_lam, time_steps)
        if self.kernel.endswith("no-scale"):
            B = ops.ones_like(log_lam[0]), ops.zeros_like(log_lam[0])
        else:
            B = dss.exp_scale(Lambda, log_lam)
        return Recurrence(log_lam, B, self._W())

    def _softmax(self, rate: Any, length: Tensor) -> dss.Softmax:
        return dss.softmax(self._W(), *self.continuous(rate), length)

    def _W(self) -> Pair:
        W = ops.convert_to_tensor(self.W)
        return W[..., 0], W[..., 1]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel": self.kernel,
            "initialization": serialized_initialization(self.initialization),
            "separate_steps": self.separate_steps,
            "channels": self.channels,
            "length": self.length,
            "method": self.method,
            "max_real": self.max_real,
            **self._weight_options("W"),
        }
