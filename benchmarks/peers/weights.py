"""Initial weights of the textbook layers and ceilings, as NumPy arrays."""

import numpy as np


def s4d(H: int, N: int) -> list[np.ndarray]:
    """Weights of S4D-Lin with N/2 modes: log_step, log(-Re A), Im A, C (re, im), D."""
    draw, n = np.random.default_rng(0), N // 2
    return _float32(
        draw.uniform(np.log(1e-3), np.log(1e-1), H),
        np.full((H, n), np.log(0.5)),
        np.tile(np.pi * np.arange(n), (H, 1)),
        draw.normal(0, np.sqrt(0.5), (H, n, 2)),
        draw.normal(size=H),
    )


def s5(H: int, P: int, directions: int = 1) -> list[np.ndarray]:
    """Weights of S5 with P modes: Re Lambda, Im Lambda, B, D, log_step, C (re, im) for each way."""
    draw = np.random.default_rng(0)
    return _float32(
        np.full(P, -0.5),
        -np.pi * np.arange(P),
        draw.normal(0, np.sqrt(0.5 / H), (P, H, 2)),
        draw.normal(size=H),
        draw.uniform(np.log(1e-3), np.log(1e-1), P),
        *draw.normal(0, np.sqrt(0.5 / P), (directions, H, P, 2)),
    )


def s4(H: int, N: int) -> list[np.ndarray]:
    """Weights of S4 with N/2 modes: log_step, log(-Re A), Im A, P, B, C (re, im), D."""
    draw, n = np.random.default_rng(0), N // 2
    low_rank, B, C = draw.normal(0, np.sqrt(0.5), (3, H, n, 2))
    return _float32(
        draw.uniform(np.log(1e-3), np.log(1e-1), H),
        np.full((H, n), np.log(0.5)),
        np.tile(np.pi * np.arange(n), (H, 1)),
        low_rank,
        B,
        C,
        draw.normal(size=H),
    )


def kernel(H: int, L: int) -> list[np.ndarray]:
    """A convolution kernel for each of H channels."""
    return _float32(np.random.default_rng(0).normal(size=(H, L)) / np.sqrt(L))


def projections(H: int, P: int) -> list[np.ndarray]:
    """Matrices and biases of two dense layers, H to 2P and 2P to H."""
    draw = np.random.default_rng(0)
    return _float32(
        draw.normal(size=(H, 2 * P)) / np.sqrt(H),
        np.zeros(2 * P),
        draw.normal(size=(2 * P, H)) / np.sqrt(2 * P),
        np.zeros(H),
    )


def _float32(*arrays: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(a, "float32") for a in arrays]
