"""One diagonal system per channel, over a whole sequence: DSS and S4D."""

from keras import ops

from keras_ssm.ops.complex import Pair, Tensor, exp, multiply
from keras_ssm.ops.convolution import convolve
from keras_ssm.ops.vandermonde import vandermonde, weighted_sum


def channelwise(u: Tensor, kernel: Tensor, bidirectional: bool) -> Tensor:
    """The sequence map of a stack of kernels.

    Args:
        u: tensor (B, L, H).
        kernel: tensor (C, H, L), or (2 C, H, L) with the backward kernels in
            the second half.
        bidirectional: whether there are backward kernels.

    Returns:
        Tensor (B, L, C H), the output channels of a kernel set side by side.
    """
    u = ops.transpose(u, (0, 2, 1))
    if bidirectional:
        y = convolve(u, *ops.split(kernel, 2, axis=0))
    else:
        y = convolve(u, kernel)
    return merge_channels(y)


def initial_state_response(state: Pair, log_lam: Pair, C: Pair, length: Tensor) -> Tensor:
    """Re C lam^(k+1) x0 for every step k.

    Args:
        state: pair of (B, H, N), the state before the first input.
        log_lam: pair of (H, N).
        C: pair of (C, H, N).
        length: number of steps.

    Returns:
        Tensor (B, L, C H).
    """
    B, C_out = ops.shape(state[0])[0], C[0].shape[0]
    w = multiply(C, tuple(z[:, None] for z in multiply(exp(log_lam), state)))
    w = tuple(ops.reshape(z, (-1, *log_lam[0].shape)) for z in w)
    y = vandermonde(w, log_lam, length)
    return merge_channels(ops.reshape(y, (B, C_out, log_lam[0].shape[0], length)))


def final_state(u: Tensor, log_lam: Pair, B: Pair, state: Pair | None) -> Pair:
    """lam^L x0 + sum_k lam^(L-1-k) B u_k for u of (B, L, H): the state after the last input."""
    driven = multiply(B, weighted_sum(ops.transpose(u, (0, 2, 1)), log_lam))
    if state is None:
        return driven
    length = ops.cast(ops.shape(u)[1], log_lam[0].dtype)
    kept = multiply(exp((log_lam[0] * length, log_lam[1] * length)), state)
    return driven[0] + kept[0], driven[1] + kept[1]


def merge_channels(y: Tensor) -> Tensor:
    """(B, C, H, L) to (B, L, C H)."""
    B, C, H, L = ops.shape(y)
    return ops.reshape(ops.transpose(y, (0, 3, 1, 2)), (B, L, C * H))
