"""S4 as its paper writes it, in plain JAX: the kernel's transform as sums over modes."""

# ruff: noqa: TID251

from typing import Any

import jax
import jax.numpy as jnp

from peers.textbook_jax import convolution


def s4(weights: Any, u: jax.Array) -> jax.Array:
    """S4 on u (B, L, H), through the whole (4, H, N, L/2 + 1) tensor of Cauchy's quotients.

    That is `cauchy_naive` of state-spaces/s4. As there, the weight C stands for the
    system's C (I - A_bar^L).
    """
    log_step, log_re, im, P, B, C, D = weights
    H, L = len(D), u.shape[1]
    A, P, B, C = (
        jnp.concatenate([z, jnp.conj(z)], axis=-1)
        for z in (-jnp.exp(log_re) + 1j * im, *(z[..., 0] + 1j * z[..., 1] for z in (P, B, C)))
    )
    dt = jnp.exp(log_step)[:, None]
    omega = jnp.exp(-2j * jnp.pi * jnp.arange(L // 2 + 1) / L)
    z = 2 * (1 - omega) / (1 + omega)
    v = dt * jnp.stack([C * B, C * P, jnp.conj(P) * B, jnp.conj(P) * P])
    CB, CP, PB, PP = jnp.sum(v[..., None] / (z - (dt * A)[..., None]), axis=2)
    transform = (CB - CP * PB / (1 + PP)) * 2 / (1 + omega)
    kernel = jnp.fft.irfft(transform, n=L)
    u = u.transpose(0, 2, 1)
    return (convolution(u, kernel.reshape(H, L)) + D[:, None] * u).transpose(0, 2, 1)
