"""PyTorch."""

import contextlib
import functools
from typing import Any

import torch

from keras_ssm.backend import projections
from keras_ssm.backend.torch_derivatives import custom_gradient, is_transformed


def dense_matmul(
    a: torch.Tensor, b: torch.Tensor, transpose_a: bool = False, transpose_b: bool = False
) -> torch.Tensor:
    """Product in the precision of a `Dense` layer, for projections of whole sequences."""
    return torch.matmul(_transposed(a) if transpose_a else a, _transposed(b) if transpose_b else b)


def _transposed(a: torch.Tensor) -> torch.Tensor:
    # Not `mT`, which OpenVINO does not know.
    return a.transpose(-1, -2)


def project_in(u: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """u (B, M, Q, H) by (F, H): (F, Q, B, M).

    A product for every step in the chunk, read and written where it lies:
    copies of u or y took a fifth of the time of S5.
    """
    return _project_in(u, matrix)


def project_out(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """x (F, Q, B, M) by (F, H): (B, M, Q, H)."""
    return _project_out(x, matrix)


def project_onto(start: torch.Tensor, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """`start` plus `project_out(x, matrix)`, in place where no gradient may need it."""
    if torch.is_grad_enabled() or is_transformed():
        return start + project_out(x, matrix)
    F, Q, B, M = x.shape
    rows = x.reshape(F, Q, B * M).permute(1, 2, 0)
    _steps(start).baddbmm_(rows, matrix.expand(Q, -1, -1))
    return start


def project_outer(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """sum over q, b, m of x[f, q, b, m] u[b, m, q, h]: (F, H)."""
    F, Q = x.shape[:2]
    return torch.bmm(x.reshape(F, Q, -1).transpose(0, 1), _steps(u)).sum(0)


def _into_states(u: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    (B, M, Q, _), F = u.shape, len(matrix)
    x = u.new_empty(F, Q, B * M)
    torch.bmm(matrix.expand(Q, -1, -1), _transposed(_steps(u)), out=x.transpose(0, 1))
    return x.view(F, Q, B, M)


def _into_features(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    (F, Q, B, M), H = x.shape, matrix.shape[1]
    y = x.new_empty(B, M, Q, H)
    rows = x.reshape(F, Q, B * M).permute(1, 2, 0)
    torch.bmm(rows, matrix.expand(Q, -1, -1), out=_steps(y))
    return y


def _steps(u: torch.Tensor) -> torch.Tensor:
    """(B, M, Q, H) as (Q, B M, H), without a copy."""
    return u.reshape(-1, *u.shape[2:]).transpose(0, 1)


_project_in = custom_gradient(
    functools.partial(projections.project_in, dense_matmul),
    lambda inputs, _, g: (_into_features(g, inputs[1]), project_outer(g, inputs[0])),
    lambda u, matrix: (_into_states(u, matrix), ()),
)
_project_out = custom_gradient(
    functools.partial(projections.project_out, dense_matmul),
    lambda inputs, _, g: (_into_states(g, inputs[1]), project_outer(inputs[0], g)),
    lambda x, matrix: (_into_features(x, matrix), ()),
)


def precise_matmul(a: torch.Tensor, b: torch.Tensor, transpose_a: bool = False) -> torch.Tensor:
    """Product in full float32: powers and carries do not survive TF32 rounding.

    PyTorch has no precision argument. Where it would round float32 to the 10
    bits of TF32, both factors are split into parts that it does not round.
    """
    a = _transposed(a) if transpose_a else a
    if not rounds_to_tf32(a):
        return torch.matmul(a, b)
    (a, a_rest), (b, b_rest) = split(a), split(b)
    return torch.matmul(a, b) + (torch.matmul(a, b_rest) + torch.matmul(a_rest, b))


def rounds_to_tf32(x: torch.Tensor) -> bool:
    """Whether matrix products of this tensor run in TF32."""
    if not x.is_cuda or x.dtype != torch.float32:
        return False
    setting = torch.backends.cuda.matmul
    if hasattr(setting, "fp32_precision"):
        return setting.fp32_precision == "tf32"
    return setting.allow_tf32


def split(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest number of 10 bits, exact in TF32, and the rest."""
    bits = (x.detach().view(torch.int32) + (1 << 12)) & -(1 << 13)
    x_rounded = x + (bits.view(torch.float32) - x).detach()
    return x_rounded, x - x_rounded


def accumulate(start: torch.Tensor, *products: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """`start` plus the matrix products of some pairs of rank 3, in place where possible."""
    if torch.is_grad_enabled() or is_transformed() or rounds_to_tf32(start):
        return sum((precise_matmul(a, b) for a, b in products), start)
    for a, b in products:
        start.baddbmm_(a, b)
    return start


def inner_product(g: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """sum g conj(x) over the last axis, for complex numbers as (P, 2, N): (P,) and (P,)."""
    products = precise_matmul(g, x.transpose(1, 2))
    return products[:, 0, 0] + products[:, 1, 1], products[:, 1, 0] - products[:, 0, 1]


def lagged_inner_product(
    g: torch.Tensor, x: torch.Tensor, later: slice, earlier: slice
) -> tuple[torch.Tensor, torch.Tensor]:
    """sum g_k conj(x_(k-1)) over chunks (P, 2, Q, N), `later` and `earlier` being slices of Q.

    Computed as a product of whole chunks, of which the band beside the diagonal is read: slices of
    g and x would be copies.
    """
    P, _, Q, _ = g.shape
    products = precise_matmul(g.reshape(P, 2 * Q, -1), x.reshape(P, 2 * Q, -1).mT)
    band = products.reshape(P, 2, Q, 2, Q)[:, :, later, :, earlier]
    sums = band.diagonal(dim1=2, dim2=4).sum(-1)
    return sums[:, 0, 0] + sums[:, 1, 1], sums[:, 1, 0] - sums[:, 0, 1]


# Numbers in a block of padded sequences, on a CPU: 4 MiB, which stay in its cache.
_BLOCK = 1 << 20


def convolve(u: torch.Tensor, kernel: torch.Tensor, n: int) -> torch.Tensor:
    """Cyclic convolution of length n of u (B, L, H) by kernels (C, H, K): (B, L, C H).

    Keeps only its inputs and goes through blocks of channels, whose spectra stay in the cache.
    In place where it can be: a new array costs as much as a product. As fast as torch's own
    derivative of an FFT while all spectra fit into the cache, twice as fast when they do not,
    although u is transformed again (`benchmarks/layers.py`: s4d-convolution and ceiling-fft).
    """
    plain, gradient, forward = (
        functools.partial(f, n) for f in (_plain_convolution, _convolution_gradient, _convolution)
    )
    return custom_gradient(plain, gradient, forward, keeps_output=False)(u, kernel)


def _plain_convolution(n: int, u: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    u_f = torch.fft.rfft(u.permute(2, 0, 1), n)
    y = torch.fft.irfft(u_f * torch.fft.rfft(kernel, n)[:, :, None], n)[..., : u.shape[1]]
    return y.permute(2, 3, 0, 1).flatten(2)


def _convolution(n: int, u: torch.Tensor, kernel: torch.Tensor) -> tuple[torch.Tensor, Any]:
    (B, L, H), C = u.shape, len(kernel)
    y, spectra = u.new_empty(B, L, C, H), _Spectra(u[:, :, None], n)
    for block in _blocks(u, C, n):
        y_f = _product(spectra(block), _kernel_spectra(kernel, block, n))
        y[..., block] = torch.fft.irfft(y_f, n)[..., :L].permute(2, 3, 0, 1)
    return y.view(B, L, C * H), ()


def _convolution_gradient(
    n: int, inputs: Any, _: Any, g: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    u, kernel = inputs
    (B, L, H), (C, _, K) = u.shape, kernel.shape
    u_spectra, g_spectra = _Spectra(u[:, :, None], n), _Spectra(g.reshape(B, L, C, H), n)
    du, d_kernel = torch.empty_like(u), torch.empty_like(kernel)
    for block in _blocks(u, C, n):
        conj_g_f = g_spectra(block).conj_physical_()
        d_kernel_f = _product(u_spectra(block), conj_g_f).sum(2).conj_physical_()
        d_kernel[:, block] = torch.fft.irfft(d_kernel_f, n)[..., :K]
        conj_g_f.mul_(_kernel_spectra(kernel, block, n))
        du_f = (conj_g_f[0] if C == 1 else conj_g_f.sum(0)).conj_physical_()
        du[..., block] = torch.fft.irfft(du_f, n)[..., :L].permute(1, 2, 0)
    return du, d_kernel


def _blocks(u: torch.Tensor, C: int, n: int) -> list[slice]:
    """Channels done at once: all of them, but on a CPU as many as stay in its cache."""
    B, _, H = u.shape
    # Fewer than 8 floats next to each other waste part of what a read from memory brings.
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


def layer_norm(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """Keras' layer normalization over the last axis.

    Written out where TorchScript traces it: there sizes are tensors, and the exporter to ONNX
    refuses those as the shape of `torch.nn.functional.layer_norm`.
    """
    if not torch.jit.is_tracing():
        return layer(x)
    variance, mean = torch.var_mean(x.float(), dim=-1, correction=0, keepdim=True)
    y = (x.float() - mean) * torch.rsqrt(variance + layer.epsilon)
    return (y * layer.gamma.value + layer.beta.value).to(x.dtype)


def cos_sin(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine."""
    return torch.cos(x), torch.sin(x)


def at_most(x: torch.Tensor, bound: float) -> torch.Tensor:
    """The smaller of x and a number, which `keras.ops` would bring from the host every time."""
    return torch.clamp(x, max=bound)


def take(x: torch.Tensor, indices: torch.Tensor, axis: int) -> torch.Tensor:
    """The entries of x along an axis, at indices of any shape.

    `keras.ops.take` squeezes an axis that it then keeps, which an ONNX exporter writes down.
    """
    taken = torch.index_select(x, axis, indices.reshape(-1))
    return taken.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def is_traced() -> bool:
    """Whether a model may be on its way into a file, rather than run."""
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


def with_rows(x: torch.Tensor, rows: Any, message: str) -> torch.Tensor:
    """x itself: a number of rows is known before anything runs."""
    return x


def arctan2(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Angle of (x, y), in the precision of the inputs (`keras.ops` drops float64 in torch)."""
    return torch.atan2(y, x)


def compiled(model: Any) -> Any:
    """A Keras model in inference mode as a function of its inputs, without gradients."""

    def run(inputs: list[torch.Tensor]) -> Any:
        with torch.no_grad():
            return model(inputs, training=False)

    return run


def jit(*static: str) -> Any:
    """Decorates pure functions; used only by JAX."""
    return lambda function: function


def traced_once(function: Any) -> Any:
    """The function: nothing is traced here, and `torch.compile` sees through it."""
    return function


def lifted() -> Any:
    """A context in which variables are made; used only by TensorFlow."""
    return contextlib.nullcontext()


# Keras' own steps are as fast.
adam_update = None
# One that counts the rows of the batch, so that an exporter fixes them.
rnn_is_a_loop = True


def gelu(x: torch.Tensor, approximate: bool) -> torch.Tensor:
    """The exact gelu, or its approximation by tanh."""
    return torch.nn.functional.gelu(x, approximate="tanh" if approximate else "none")


def glu(x: torch.Tensor) -> torch.Tensor:
    """a sigmoid(c) for x = [a, c], side by side on the last axis."""
    return torch.nn.functional.glu(x, dim=-1)
