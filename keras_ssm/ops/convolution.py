"""Long convolutions through the real FFT, zero-padded so that nothing wraps around."""

from keras import ops

from keras_ssm import backend
from keras_ssm.types import Tensor


@backend.jit()
def convolve(u: Tensor, kernel: Tensor, backward_kernel: Tensor | None = None) -> Tensor:
    """Causal convolution, plus an anti-causal one that starts at the next sample.

        y[b, t, c, h] = sum_(s <= t) K[c, h, t - s] u[b, s, h]
                      + sum_(s > t)  K'[c, h, s - t - 1] u[b, s, h]

    The second sum is the convention of the DSS and S4 code: the present sample
    is seen only by the forward kernel.

    Args:
        u: tensor (B, L, H).
        kernel: tensor (C, H, L).
        backward_kernel: tensor (C, H, L) or None.

    Returns:
        Tensor (B, L, C H), the output channels of a kernel set side by side.

    Example:

    >>> from keras_ssm.ops import convolution
    >>> u = ops.array([[[1.0], [0.0], [0.0]]])
    >>> y = convolution.convolve(u, ops.array([[[3.0, 2.0, 1.0]]]))
    >>> [round(float(value), 3) for value in y[0, :, 0]]
    [3.0, 2.0, 1.0]
    """
    length = ops.shape(u)[1]
    n = fft_length(2 * length)
    if backward_kernel is not None:
        # K'[j] acts at lag -(1 + j), which is index n - 1 - j of a cyclic kernel.
        gap = n - 2 * length
        backward = ops.pad(ops.flip(backward_kernel, axis=-1), ((0, 0), (0, 0), (gap, 0)))
        kernel = ops.concatenate([kernel, backward], axis=-1)
    return backend.convolve(u, kernel, n)


def convolve_directly(u: Tensor, kernel: Tensor, backward_kernel: Tensor | None = None) -> Tensor:
    """`convolve` computed as the plain sum, for where there is no FFT.

    Work grows with the square of the length, memory with the length.

    Args:
        u: tensor (B, L, H).
        kernel: tensor (C, H, L).
        backward_kernel: tensor (C, H, L) or None.

    Returns:
        Tensor (B, L, C H), the output channels of a kernel set side by side.

    Example:

    >>> from keras_ssm.ops import convolution
    >>> u = ops.array([[[1.0], [0.0], [0.0]]])
    >>> y = convolution.convolve_directly(u, ops.array([[[3.0, 2.0, 1.0]]]))
    >>> [round(float(value), 3) for value in y[0, :, 0]]
    [3.0, 2.0, 1.0]
    """
    (batch, length, H), C = ops.shape(u), kernel.shape[0]
    # Frameworks slide a kernel over its input without flipping it.
    weights, after = ops.flip(kernel, axis=2), 0
    if backward_kernel is not None:
        weights, after = (
            ops.concatenate([weights, backward_kernel[..., : length - 1]], 2),
            length - 1,
        )
    u = ops.pad(u, ((0, 0), (length - 1, after), (0, 0)))
    y = ops.depthwise_conv(
        u, ops.transpose(weights, (2, 1, 0)), padding="valid", data_format="channels_last"
    )
    y = ops.transpose(ops.reshape(y, (batch, length, H, C)), (0, 1, 3, 2))
    return ops.reshape(y, (batch, length, C * H))


def fft_length(minimum: Tensor) -> Tensor:
    """The next length with prime factors 2, 3 and 5 only, where FFTs are fast.

    Example:

    >>> from keras_ssm.ops import convolution
    >>> convolution.fft_length(17)
    18
    """
    if not isinstance(minimum, int):
        return minimum
    n = max(minimum, 1)
    while not _is_smooth(n):
        n += 1
    return n


def _is_smooth(n: int) -> bool:
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1
