"""PyTorch."""

from typing import Any

import torch


def project(
    a: torch.Tensor, b: torch.Tensor, transpose_a: bool = False, transpose_b: bool = False
) -> torch.Tensor:
    """Product in the precision of a `Dense` layer, for projections of whole sequences."""
    return torch.matmul(a.mT if transpose_a else a, b.mT if transpose_b else b)


class _ProjectIn(torch.autograd.Function):
    """A product for every step in the chunk, read and written where it lies.

    No copy of u or y, which took a fifth of the time of S5.
    """

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(u, matrix)
        (B, M, Q, _), F = u.shape, len(matrix)
        x = u.new_empty(F, Q, B * M)
        torch.bmm(matrix.expand(Q, -1, -1), _steps(u).mT, out=x.transpose(0, 1))
        return x.view(F, Q, B, M)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        u, matrix = ctx.saved_tensors
        return _ProjectOut.apply(g, matrix), _outer(g, u)


class _ProjectOut(torch.autograd.Function):
    """The transpose of `_ProjectIn`, which is its gradient too."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, matrix)
        (F, Q, B, M), H = x.shape, matrix.shape[1]
        y = x.new_empty(B, M, Q, H)
        rows = x.reshape(F, Q, B * M).permute(1, 2, 0)
        torch.bmm(rows, matrix.expand(Q, -1, -1), out=_steps(y))
        return y

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, matrix = ctx.saved_tensors
        return _ProjectIn.apply(g, matrix), _outer(x, g)


def _steps(u: torch.Tensor) -> torch.Tensor:
    """(B, M, Q, H) as (Q, B M, H), without a copy."""
    return u.reshape(-1, *u.shape[2:]).transpose(0, 1)


def _outer(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """sum over q, b, m of x[f, q, b, m] u[b, m, q, h]: (F, H)."""
    F, Q = x.shape[:2]
    return torch.bmm(x.reshape(F, Q, -1).transpose(0, 1), _steps(u)).sum(0)


def project_in(u: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """u (B, M, Q, H) by (F, H): (F, Q, B, M)."""
    return _ProjectIn.apply(u, matrix)


def project_out(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """x (F, Q, B, M) by (F, H): (B, M, Q, H)."""
    return _ProjectOut.apply(x, matrix)


def matmul(a: torch.Tensor, b: torch.Tensor, transpose_a: bool = False) -> torch.Tensor:
    """Product in full float32, which is PyTorch's default (`allow_tf32` is off)."""
    return torch.matmul(a.mT if transpose_a else a, b)


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


# Numbers in a block of padded sequences, on a processor: 4 MiB, which stay in its cache.
_BLOCK = 1 << 20


class _Convolution(torch.autograd.Function):
    """Keeps its inputs alone and goes through blocks of channels, whose spectra stay in the cache.

    In place where it can be: a new array costs as much as a product. As fast as torch's own
    derivative of an FFT while all spectra fit into the cache, twice as fast when they do not,
    although u is transformed again (`benchmarks/layers.py`: s4d-convolution and ceiling-fft).
    """

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor, kernel: torch.Tensor, n: int) -> torch.Tensor:
        ctx.save_for_backward(u, kernel)
        ctx.n = n
        (B, L, H), C = u.shape, len(kernel)
        y, spectra = u.new_empty(B, L, C, H), _Spectra(u[:, :, None], n)
        for block in _blocks(u, C, n):
            y_f = _product(spectra(block), _kernel_spectra(kernel, block, n))
            y[..., block] = torch.fft.irfft(y_f, n)[..., :L].permute(2, 3, 0, 1)
        return y.view(B, L, C * H)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        u, kernel = ctx.saved_tensors
        (B, L, H), (C, _, K), n = u.shape, kernel.shape, ctx.n
        u_spectra, g_spectra = _Spectra(u[:, :, None], n), _Spectra(g.reshape(B, L, C, H), n)
        du, d_kernel = torch.empty_like(u), torch.empty_like(kernel)
        for block in _blocks(u, C, n):
            conj_g_f = g_spectra(block).conj_physical_()
            d_kernel_f = _product(u_spectra(block), conj_g_f).sum(2).conj_physical_()
            d_kernel[:, block] = torch.fft.irfft(d_kernel_f, n)[..., :K]
            conj_g_f.mul_(_kernel_spectra(kernel, block, n))
            du_f = (conj_g_f[0] if C == 1 else conj_g_f.sum(0)).conj_physical_()
            du[..., block] = torch.fft.irfft(du_f, n)[..., :L].permute(1, 2, 0)
        return du, d_kernel, None


def convolve(u: torch.Tensor, kernel: torch.Tensor, n: int) -> torch.Tensor:
    """Cyclic convolution of length n of u (B, L, H) by kernels (C, H, K): (B, L, C H)."""
    return _Convolution.apply(u, kernel, n)


def _blocks(u: torch.Tensor, C: int, n: int) -> list[slice]:
    """Channels done at once: all of them, but on a processor as many as stay in its cache."""
    B, _, H = u.shape
    # Less than 8 floats next to each other waste what a read from memory brings.
    size = max(8, _BLOCK // (B * C * n)) if u.device.type == "cpu" else H
    return [slice(start, min(start + size, H)) for start in range(0, H, size)]


class _Spectra:
    """Spectra (C, H', B, F) of blocks of the channels of x (B, L, C, H)."""

    def __init__(self, x: torch.Tensor, n: int) -> None:
        self.x, self.n = x.permute(2, 3, 0, 1), n
        self.padded = x.new_empty(0)

    def __call__(self, block: slice) -> torch.Tensor:
        x = self.x[:, block]
        if self.padded.shape[:3] != x.shape[:3]:
            self.padded = x.new_zeros(*x.shape[:3], self.n)
        self.padded[..., : x.shape[-1]] = x
        return torch.fft.rfft(self.padded)


def _kernel_spectra(kernel: torch.Tensor, block: slice, n: int) -> torch.Tensor:
    return torch.fft.rfft(kernel[:, block], n)[:, :, None]


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a b, written over a where it has the right shape."""
    return a.mul_(b) if len(a) == len(b) else a * b


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
