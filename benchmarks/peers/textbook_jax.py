"""S4D and S5 as their papers write them, in plain JAX: complex numbers and JAX's own gradients."""

# ruff: noqa: TID251

from typing import Any

import jax
import jax.numpy as jnp


def convolution(u: jax.Array, kernel: jax.Array) -> jax.Array:
    """Causal convolution of u (B, H, L) with a kernel (H, L), zero-padded to 2L."""
    L = u.shape[-1]
    spectrum = jnp.fft.rfft(u, n=2 * L) * jnp.fft.rfft(kernel, n=2 * L)
    return jnp.fft.irfft(spectrum, n=2 * L)[..., :L]


def s4d(weights: Any, u: jax.Array) -> jax.Array:
    """S4D on u (B, L, H), through the whole (H, N/2, L) tensor of powers."""
    log_step, log_re, im, C, D = weights
    A = -jnp.exp(log_re) + 1j * im
    dtA = jnp.exp(log_step)[:, None] * A
    Ct = (C[..., 0] + 1j * C[..., 1]) * (jnp.exp(dtA) - 1) / A
    powers = jnp.exp(dtA[..., None] * jnp.arange(u.shape[1]))
    kernel = 2 * jnp.einsum("hn,hnl->hl", Ct, powers).real
    u = u.transpose(0, 2, 1)
    return (convolution(u, kernel) + D[:, None] * u).transpose(0, 2, 1)


def _compose(first: Any, second: Any) -> Any:
    (a, b), (c, d) = first, second
    return c * a, c * b + d


def s5(weights: Any, u: jax.Array) -> jax.Array:
    """S5 on u (B, L, H), by JAX's associative scan over complex states, one or two ways."""
    re, im, B, D, log_step, *Cs = weights
    Lambda = re + 1j * im
    lam = jnp.exp(Lambda * jnp.exp(log_step))
    B_bar = ((lam - 1) / Lambda)[:, None] * (B[..., 0] + 1j * B[..., 1])

    def sequence(u: jax.Array) -> jax.Array:
        Bu = jax.vmap(lambda u_k: B_bar @ u_k)(u)
        repeated, y = jnp.broadcast_to(lam, Bu.shape), D * u
        for C, backwards in zip(Cs, (False, True), strict=False):
            C = C[..., 0] + 1j * C[..., 1]
            _, x = jax.lax.associative_scan(_compose, (repeated, Bu), reverse=backwards)
            y += jax.vmap(lambda x_k, C=C: 2 * (C @ x_k).real)(x)
        return y

    return jax.vmap(sequence)(u)
