"""S4 as its paper writes it, in plain PyTorch: the kernel's transform as sums over modes."""

# ruff: noqa: TID251

import math
from typing import Any

import torch

from peers.textbook_torch import convolution


def s4(weights: Any, u: torch.Tensor) -> torch.Tensor:
    """S4 on u (B, L, H), through the whole (4, H, N, L/2 + 1) tensor of Cauchy's quotients.

    That is `cauchy_naive` of state-spaces/s4. As there, the weight C stands for the
    system's C (I - A_bar^L).
    """
    log_step, log_re, im, P, B, C, D = weights
    L = u.shape[1]
    A, P, B, C = (
        torch.cat([z, z.conj()], dim=-1)
        for z in (torch.complex(-torch.exp(log_re), im), *map(torch.view_as_complex, (P, B, C)))
    )
    dt = torch.exp(log_step)[:, None]
    omega = torch.exp(-2j * math.pi * torch.arange(L // 2 + 1, device=u.device) / L)
    z = 2 * (1 - omega) / (1 + omega)
    v = dt * torch.stack([C * B, C * P, P.conj() * B, P.conj() * P])
    CB, CP, PB, PP = (v[..., None] / (z - (dt * A)[..., None])).sum(2)
    transform = (CB - CP * PB / (1 + PP)) * 2 / (1 + omega)
    kernel = torch.fft.irfft(transform, n=L)
    u = u.transpose(1, 2)
    return (convolution(u, kernel) + D[:, None] * u).transpose(1, 2)
