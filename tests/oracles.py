"""Plain loops in NumPy complex128: the specification the fast forms are held against."""

import numpy as np


def vandermonde(w, log_lam, length):
    """K[g, h, l] = Re sum_n w[g, h, n] lam[h, n]^l."""
    k = np.arange(length)
    return np.einsum("ghn,hnl->ghl", w, np.exp(log_lam[..., None] * k)).real


def weighted_sum(u, log_lam):
    """x[b, h, n] = sum_k lam[h, n]^(L - 1 - k) u[b, h, k]."""
    x = np.zeros((*u.shape[:2], log_lam.shape[-1]), complex)
    for k in range(u.shape[-1]):
        x = np.exp(log_lam) * x + u[..., k, None]
    return x


def scan(lam, b, x0):
    """x_k = lam_k x_(k-1) + b_k for b (B, L, P) and lam broadcast against it."""
    lam = np.broadcast_to(lam, b.shape)
    states, x = [], x0
    for k in range(b.shape[1]):
        x = lam[:, k] * x + b[:, k]
        states.append(x)
    return np.stack(states, axis=1)


def convolve(u, kernel, backward_kernel=None):
    """y[b, t, c, h] = sum_(s <= t) K[t - s] u[s] + sum_(s > t) K'[s - t - 1] u[s]."""
    batch, length, _ = u.shape
    y = np.zeros((batch, length, *kernel.shape[:2]), np.result_type(u, kernel, "float64"))
    for t in range(length):
        for s in range(length):
            if s <= t:
                y[:, t] += kernel[..., t - s] * u[:, s, None]
            elif backward_kernel is not None:
                y[:, t] += backward_kernel[..., s - t - 1] * u[:, s, None]
    return y.reshape(batch, length, -1)
