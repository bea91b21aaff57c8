"""PyTorch."""

from typing import Any

import torch


def project(
    a: torch.Tensor, b: torch.Tensor, transpose_a: bool = False, transpose_b: bool = False
) -> torch.Tensor:
    """Product in the precision of a `Dense` layer, for projections of whole sequences."""
    return torch.matmul(a.mT if transpose_a else a, b.mT if transpose_b else b)


def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Product in full float32, which is PyTorch's default (`allow_tf32` is off)."""
    return torch.matmul(a, b)


def accumulate(start: torch.Tensor, *products: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """`start` plus the matrix products of some pairs of rank 3, written over `start`."""
    for a, b in products:
        start.baddbmm_(a, b)
    return start


def inner_product(g: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """sum g conj(x) over the last axis, for complex numbers as (P, 2, N): (P,) and (P,)."""
    products = matmul(g, x.transpose(1, 2))
    return products[:, 0, 0] + products[:, 1, 1], products[:, 1, 0] - products[:, 0, 1]


def lagged_inner_product(
    g: torch.Tensor, x: torch.Tensor, later: slice, earlier: slice
) -> tuple[torch.Tensor, torch.Tensor]:
    """sum g_k conj(x_(k-1)) over chunks (P, 2, Q, N), `later` and `earlier` being slices of Q."""
    return inner_product(
        g[:, :, later].reshape(len(g), 2, -1), x[:, :, earlier].reshape(len(x), 2, -1)
    )


class _Convolution(torch.autograd.Function):
    """Keeps the spectra: torch's own derivative of an FFT takes 1.4 times as long."""

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor, kernel: torch.Tensor, n: int) -> torch.Tensor:
        u_f, kernel_f = torch.fft.rfft(_rows(u), n), torch.fft.rfft(kernel, n)[:, :, None]
        ctx.save_for_backward(u_f, kernel_f)
        ctx.lengths = n, u.shape[1], kernel.shape[-1]
        return _columns(torch.fft.irfft(u_f * kernel_f, n), u.shape[1])

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        u_f, kernel_f = ctx.saved_tensors
        n, length, kernel_length = ctx.lengths
        g_f = torch.fft.rfft(_rows(g), n).view(*kernel_f.shape[:2], *u_f.shape[1:])
        d_kernel = torch.fft.irfft(torch.einsum("chbf,hbf->chf", g_f, u_f.conj()), n)
        du = torch.fft.irfft((g_f * kernel_f.conj()).sum(0), n)
        return _columns(du, length), d_kernel[..., :kernel_length], None


def convolve(u: torch.Tensor, kernel: torch.Tensor, n: int) -> torch.Tensor:
    """Cyclic convolution of length n of u (B, L, H) by kernels (C, H, K): (B, L, C H)."""
    return _Convolution.apply(u, kernel, n)


def _rows(u: torch.Tensor) -> torch.Tensor:
    """(B, L, H) to (H, B, L); of a matrix, since torch transposes those three times as fast."""
    B, L, H = u.shape
    return u.reshape(B * L, H).t().contiguous().view(H, B, L)


def _columns(y: torch.Tensor, length: int) -> torch.Tensor:
    """(..., H, B, L) and what follows L to (B, L, ... H)."""
    B = y.shape[-2]
    return y[..., :length].reshape(-1, B * length).t().contiguous().view(B, length, -1)


def cos_sin(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine."""
    return torch.cos(x), torch.sin(x)


def at_most(x: torch.Tensor, bound: float) -> torch.Tensor:
    """The smaller of x and a number, which `keras.ops` would bring from the host every time."""
    return torch.clamp(x, max=bound)


def arctan2(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Angle of (x, y), in the precision of the inputs (`keras.ops` drops float64 in torch)."""
    return torch.atan2(y, x)


def compiled(model: Any) -> Any:
    """A Keras model in inference mode as a function of its inputs, without gradients."""

    def run(inputs: list[torch.Tensor]) -> Any:
        with torch.no_grad():
            return model(inputs, training=False)

    return run


def fused(*static: str) -> Any:
    """Decorates pure functions; of use to JAX only."""
    return lambda function: function
