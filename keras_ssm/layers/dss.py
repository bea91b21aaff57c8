"""DSS: diagonal state spaces that share their eigenvalues across channels."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from keras_ssm import initializers
from keras_ssm.arguments import (
    check_choice,
    check_convolution,
    check_steps,
    serialized_initialization,
)
from keras_ssm.layers.base import SSM
from keras_ssm.ops.complex import pair, scale
from keras_ssm.ops.discretization import exp_scale
from keras_ssm.ops.systems import Channelwise, Softmax
from keras_ssm.types import Pair, Tensor

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
class DSS(SSM):
    """DSS layer (Gupta et al., 2022): diagonal state spaces with shared eigenvalues.

    A causal convolution of every channel h with

        K[c, h, l] = Re sum_n W[c, h, n] s[h, n] exp(l dt[h] Lambda[n])

    plus the skip D u. The scale s is 1/Lambda[n] over the sum of the row
    (`kernel="softmax"`, normalized over the length of the input),
    (exp(dt Lambda) - 1) / Lambda (`"exp"`, `"exp-re-im"`, `"clip"`), or 1 (the
    kernels that end in `"-no-scale"`).

    `state_size` is N of the paper: N complex modes are stored once, for all
    channels, and they are not conjugate pairs, so that no factor 2 appears.

    Kernels differ in how Lambda is kept: `"softmax"` leaves Re Lambda free, a
    mode with Re Lambda > 0 running backwards from the end of the kernel; `"exp"`
    has Re Lambda = -exp(weight), `"exp-re-im"` also Im Lambda = exp(weight);
    `"clip"` takes min(Re Lambda, max_real). For modes with Re Lambda > 0 the
    gradient is the derivative of the value; that of the official code is not.

    Args:
        state_size: N.
        kernel: `"softmax"`, `"exp"`, `"exp-re-im"`, `"exp-no-scale"`, `"clip"`
            or `"clip-no-scale"`.
        initialization: initial eigenvalues, `"skew-hippo"`, `"random"` (complex
            N(0, 1), half of them with Re > 0; not for the exp kernels) or any
            Keras initializer for the shape (state_size, 2).
        step_min: smallest initial step size, in sampling periods.
        step_max: largest initial step size.
        bidirectional: add kernels for a backward direction, which begins with
            the next sample.
        rate: factor on all step sizes: a model trained at 16 kHz runs on the
            same sound at 8 kHz with `rate=2`.
        separate_steps: one step size for the real and one for the imaginary
            part of dt Lambda, which start equal, or (False) one for both.
        channels: output channels C for each input channel.
        length: for `kernel="softmax"`: the length it is normalized over; None
            takes the input's. A state requires it, and without it padding
            changes the output.
        method: how whole sequences are computed; the numbers are the same.
            `"fft"`: a convolution through the FFT. `"chunk"`: matrix products
            over chunks of time, not for a softmax kernel. `"auto"`: whichever
            is faster on this backend and device, see `keras_ssm.ops.systems.method`.
        max_real: upper bound of Re Lambda of the clip kernels.
        return_sequences: return the output at every step, or at the last one only.
        return_state: return the final state as well, (batch, state_width).
        **kwargs: `go_backwards`, `stateful`, `zero_output_for_mask` of `SSM`;
            `<weight>_initializer`, `<weight>_regularizer` and
            `<weight>_constraint` of the weights `W`, of shape (channels,
            features, N, 2), by default N(0, 1) in each part, and `D`; `name`,
            `dtype`, `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: tensor (batch, length, features).
        mask: boolean (batch, length). A masked step leaves the state as it is,
            and its output repeats the one before it (see
            `zero_output_for_mask`).
        initial_state: tensor (batch, 2 * features * state_size), or None for zero.
        time_steps: positive numbers (batch, length), the duration of each step
            in units of the learned step, for irregular sampling; None for ones.
            A NumPy array is checked. In a tensor, 0 leaves the state as it is
            (the kernels without scale add their input all the same), a negative
            number runs time backwards, and NaN spreads to everything that
            follows.
        rate: factor on all step sizes of this call; None takes the layer's.
        resets: boolean (batch, length), where the state starts anew, for documents
            packed into one sequence.

    With `kernel="softmax"` the state has one more number, the time since its
    start, and `length` must be given; a mode with Re Lambda > 0 streams as a sum
    that is read with a factor, which grows towards the end of `length` and is
    held beyond it.

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
        State Spaces, 2022. Computed as in ag1988/dss
        `src/models/sequence/ss/standalone/dss.py`.
    """

    weight_names = ("W", "D")
    default_gating = "dense"
    # The softmax kernel has a state only for one known length.
    any_length: ClassVar[Mapping[str, Any]] = {"kernel": "exp"}

    def __init__(
        self,
        state_size: int = 64,
        kernel: str = "softmax",
        initialization: Any = "skew-hippo",
        step_min: float = 1e-3,
        step_max: float = 1e-1,
        bidirectional: bool = False,
        rate: float = 1.0,
        separate_steps: bool = True,
        channels: int = 1,
        length: int | None = None,
        method: str = "auto",
        max_real: float = 1e-4,
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
        check_choice("kernel", kernel, _KERNELS)
        if isinstance(initialization, str):
            check_choice("initialization", initialization, _INITIALIZATIONS)
        if initialization == "random" and kernel.startswith("exp"):
            raise ValueError(
                "initialization='random' draws eigenvalues of either sign, which the exp kernels "
                f"cannot represent. Received: kernel={kernel!r}"
            )
        self.system_class = Softmax if kernel == "softmax" else Channelwise
        check_convolution(channels, length, method, softmax=kernel == "softmax")
        self.kernel = kernel
        self.initialization = initialization
        self.step_min = step_min
        self.step_max = step_max
        self.separate_steps = separate_steps
        self.channels = channels
        self.length = length
        self.method = method
        self.max_real = max_real
        self._eigenvalues = (
            initializers.SkewHippoEigenvalues()
            if initialization == "skew-hippo"
            else initializers.get(
                "complex_normal" if initialization == "random" else initialization
            )
        )

    @property
    def modes(self) -> int:
        """Number of complex modes stored: N, which all channels share."""
        return self.state_size

    def build(self, input_shape: Sequence[Any]) -> None:
        super().build(input_shape)
        H, N = self.width, self.state_size
        re_transform, im_transform = _KERNELS[self.kernel]
        sign = 1 if re_transform == "none" else -1
        part, add = initializers.Part, self.add_parameter
        re = part(self._eigenvalues, 0, re_transform, sign)
        im = part(self._eigenvalues, 1, im_transform)
        self.Lambda_re = add("Lambda_re", (N,), re, "eigenvalues")
        self.Lambda_im = add("Lambda_im", (N,), im, "eigenvalues")
        kernels = self.channels * (2 if self.bidirectional else 1)
        self.W = add("W", (kernels, H, N, 2), "standard_normal", "input")
        self.D = add("D", (self.channels, H), "standard_normal", "output")
        log_step = initializers.LogStep(self.step_min, self.step_max)
        if self.separate_steps:

            def twice(shape: Any, dtype: Any = None) -> Tensor:
                return ops.concatenate([log_step((H, 1), dtype=dtype)] * 2, axis=1)

            self.log_step = add("log_step", (H, 2), twice, "step")
        else:
            self.log_step = add("log_step", (H,), log_step, "step")

    def continuous(self, rate: Any = None) -> tuple[Pair, Pair]:
        """Eigenvalues Lambda, a pair of (state_size,), and step sizes, a pair of (features, 1).

        The step sizes of the real and of the imaginary part differ with
        `separate_steps`.
        """
        re, im = ops.convert_to_tensor(self.Lambda_re), ops.convert_to_tensor(self.Lambda_im)
        if self.kernel.startswith("exp"):
            re = -ops.exp(re)
        if self.kernel == "exp-re-im":
            im = ops.exp(im)
        if self.kernel.startswith("clip"):
            re = ops.clip(re, -math.inf, self.max_real)
        dt = (self.rate if rate is None else rate) * ops.exp(ops.convert_to_tensor(self.log_step))
        steps = (dt[:, :1], dt[:, 1:]) if self.separate_steps else (dt[:, None], dt[:, None])
        return (re, im), steps

    def system(self, rate: Any = None, time_steps: Tensor | None = None) -> Channelwise | Softmax:
        """The discretized system, a `Softmax` for the kernel of that name.

        The kernels without scale take the input as it is, whatever the duration
        of the step.
        """
        Lambda, dt = self.continuous(rate)
        log_lam = dt[0] * Lambda[0], dt[1] * Lambda[1]
        W, D = pair(self.W), ops.convert_to_tensor(self.D)
        W = tuple(ops.reshape(z, (-1, self.channels, *z.shape[1:])) for z in W)
        if self.kernel == "softmax":
            return Softmax(Lambda, log_lam, W, D, self.length, time_steps)
        if time_steps is not None:
            log_lam = scale(log_lam, time_steps[..., None, None])
        if self.kernel.endswith("no-scale"):
            ones = ops.ones_like(dt[0] * Lambda[0])
            return Channelwise(log_lam, (ones, ops.zeros_like(ones)), W, D)
        return Channelwise(log_lam, exp_scale(Lambda, log_lam), W, D)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel": self.kernel,
            "initialization": serialized_initialization(self.initialization),
            "step_min": self.step_min,
            "step_max": self.step_max,
            "separate_steps": self.separate_steps,
            "channels": self.channels,
            "length": self.length,
            "method": self.method,
            "max_real": self.max_real,
        }
