"""S4D and S5 as their papers write them, in plain PyTorch: complex numbers and autograd."""

# ruff: noqa: TID251

from typing import Any

import torch
from torch import Tensor


def convolution(u: Tensor, kernel: Tensor) -> Tensor:
    """Causal convolution of u (B, H, L) with a kernel (H, L), zero-padded to 2L."""
    L = u.shape[-1]
    spectrum = torch.fft.rfft(u, n=2 * L) * torch.fft.rfft(kernel, n=2 * L)
    return torch.fft.irfft(spectrum, n=2 * L)[..., :L]


def s4d(weights: Any, u: Tensor) -> Tensor:
    """S4D on u (B, L, H), through the whole (H, N/2, L) tensor of powers."""
    log_step, log_re, im, C, D = weights
    A = torch.complex(-torch.exp(log_re), im)
    dtA = torch.exp(log_step)[:, None] * A
    Ct = torch.view_as_complex(C) * (torch.exp(dtA) - 1) / A
    powers = torch.exp(dtA[..., None] * torch.arange(u.shape[1], device=u.device))
    kernel = 2 * torch.einsum("hn,hnl->hl", Ct, powers).real
    u = u.transpose(1, 2)
    return (convolution(u, kernel) + D[:, None] * u).transpose(1, 2)


def scan(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """All prefixes of the maps x -> a x + b, a (L, P) and b (B, L, P), by a tree.

    Neighbours are composed, which leaves a scan of half the length for the odd
    places; one more composition each gives the even ones.
    """
    L = b.shape[1]
    if L == 1:
        return a, b
    first, second = slice(0, L - 1, 2), slice(1, L, 2)
    odd_a, odd_b = scan(a[second] * a[first], torch.addcmul(b[:, second], a[second], b[:, first]))
    later = slice(2, L, 2)
    before_a, before_b = (odd_a, odd_b) if L % 2 else (odd_a[:-1], odd_b[:, :-1])
    even_a = torch.cat([a[:1], a[later] * before_a])
    even_b = torch.cat([b[:, :1], torch.addcmul(b[:, later], a[later], before_b)], dim=1)
    return _interleave(even_a, odd_a, 0), _interleave(even_b, odd_b, 1)


def _interleave(even: Tensor, odd: Tensor, axis: int) -> Tensor:
    n = odd.shape[axis]
    pairs = torch.stack([even.narrow(axis, 0, n), odd], dim=axis + 1).flatten(axis, axis + 1)
    rest = even.narrow(axis, n, even.shape[axis] - n)
    return torch.cat([pairs, rest], dim=axis)


def s5(weights: Any, u: Tensor) -> Tensor:
    """S5 on u (B, L, H), by a tree scan over complex states, one or two ways."""
    re, im, B, D, log_step, *Cs = weights
    Lambda = torch.complex(re, im)
    lam = torch.exp(Lambda * torch.exp(log_step))
    B_bar = ((lam - 1) / Lambda)[:, None] * torch.view_as_complex(B)
    Bu, y = u.to(B_bar.dtype) @ B_bar.T, D * u
    for C, backwards in zip(Cs, (False, True), strict=False):
        _, x = scan(lam.expand(u.shape[1], -1), Bu.flip(1) if backwards else Bu)
        y = y + 2 * ((x.flip(1) if backwards else x) @ torch.view_as_complex(C).T).real
    return y
