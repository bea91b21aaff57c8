"""HiPPO matrices and the eigenvalues of diagonal state spaces: NumPy float64, build time only.

Sources: HiPPO (Gu et al., 2020); S4D (Gu et al., 2022), section 3 and
state-spaces/s4 `models/hippo/hippo.py`, `kernels/dplr.py`; DSS (Gupta et al.,
2022), section 3.3 and ag1988/dss `dss.py`; S5 (Smith et al., 2023), section 3.5
and lindermanlab/S5 `s5/ssm_init.py`.
"""

import functools
from collections.abc import Callable

import numpy as np


def transition(measure: str, N: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HiPPO matrix A (N, N), input B (N,) and the low-rank P (R, N) that makes A + P^T P normal.

    Example:

    >>> from keras_ssm.ops import hippo
    >>> A, B, P = hippo.transition("legs", 2)
    >>> A[1].round(3).tolist()
    [-1.732, -2.0]
    """
    n = np.arange(N)
    root = np.sqrt(2.0 * n + 1)
    if measure == "legs":
        A = -np.tril(np.outer(root, root), -1) - np.diag(n + 1.0)
        return A, root, np.sqrt(n + 0.5)[None]
    if measure == "legt":
        i, j = np.indices((N, N))
        A = -0.5 * np.outer(root, root) * np.where(i < j, (-1.0) ** (i - j), 1.0)
        P = np.stack([root * (n % 2 == 1), root * (n % 2 == 0)]) / np.sqrt(2)
        return A, 0.5 * root, P
    if measure == "fourier":
        frequencies = np.arange(N // 2)
        off_diagonal = np.stack([np.zeros(N // 2), frequencies], axis=-1).reshape(-1)[1:]
        B = np.where(n % 2 == 0, np.sqrt(2.0), 0.0)
        B[0] = 1.0
        A = np.pi * (np.diag(off_diagonal, -1) - np.diag(off_diagonal, 1)) - np.outer(B, B)
        return A, B, B[None].copy()
    raise ValueError(
        f"`measure` must be one of 'legs', 'legt', 'fourier'. Received: measure={measure!r}"
    )


def normal_eigenvalues(measure: str, N: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues, eigenvectors and input of the normal part of a HiPPO matrix.

    Returns:
        Lambda (N,), all with the same real part, imaginary parts ascending;
        V (N, N), whose columns have an arbitrary phase; B (N,), not rotated.

    Example:

    >>> from keras_ssm.ops import hippo
    >>> Lambda, V, B = hippo.normal_eigenvalues("legs", 4)
    >>> Lambda.real.round(3).tolist(), bool(np.all(np.diff(Lambda.imag) > 0))
    ([-0.5, -0.5, -0.5, -0.5], True)
    """
    Lambda, V, B = _normal_eigenvalues(measure, N)
    return Lambda.copy(), V.copy(), B.copy()


@functools.lru_cache(maxsize=8)
def _normal_eigenvalues(measure: str, N: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Cached: every weight of every layer of a model starts from the same decomposition.
    A, B, P = transition(measure, N)
    normal = A + P.T @ P
    imaginary, V = np.linalg.eigh(-1j * (normal - normal.T) / 2)
    return np.mean(np.diag(normal)) + 1j * imaginary, V, B


def hippo_diagonal(measure: str, N: int) -> tuple[np.ndarray, np.ndarray]:
    """Lambda (N/2,) with negative imaginary part and B (N/2,) of S4D-LegS and its relatives.

    The imaginary part of B is clipped to [-2, 2] as in the official code,
    whatever phase the eigenvectors came with.

    Example:

    >>> from keras_ssm.ops import hippo
    >>> Lambda, B = hippo.hippo_diagonal("legs", 4)
    >>> Lambda.shape, bool(np.all(Lambda.imag < 0))
    ((2,), True)
    """
    Lambda, _, B = hippo_low_rank(measure, N)
    return Lambda, B


def hippo_low_rank(
    measure: str, N: int, rank: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lambda (N/2,), P (R, N/2) and B (N/2,) of S4: a HiPPO matrix as diag(Lambda) - P P^*.

    One of each pair of conjugate modes is kept, the one with negative imaginary
    part. P and the imaginary part of B, which is clipped to [-2, 2] as in the
    official code, depend on the arbitrary phase of the eigenvectors.

    Args:
        measure: `"legs"`, `"fourier"` (rank 1) or `"legt"` (rank 2).
        N: size of the real state, even.
        rank: rows of P, zeros beyond the rank of the measure; None takes that rank.

    Example:

    >>> from keras_ssm.ops import hippo
    >>> Lambda, P, B = hippo.hippo_low_rank("legt", 8)
    >>> Lambda.shape, P.shape, B.shape
    ((4,), (2, 4), (4,))
    """
    Lambda, V, B = normal_eigenvalues(measure, N)
    P = transition(measure, N)[2]
    rank = len(P) if rank is None else rank
    if rank < len(P):
        raise ValueError(
            f"The matrix of {measure!r} is normal plus rank {len(P)}, so `rank` must be at least "
            f"that. Received: rank={rank}"
        )
    Lambda, V = Lambda[: N // 2], V[:, : N // 2].copy()
    if abs(Lambda[-1]) < 1e-4:
        # A double zero eigenvalue: one unit vector stands for the pair.
        V[:, -1] = 0
        V[:2, -1] = np.array([1, 1j]) / np.sqrt(2)
    P = np.pad(P, ((0, rank - len(P)), (0, 0))) @ V.conj()
    B = V.conj().T @ B
    return Lambda, P, B.real + 1j * np.clip(B.imag, -2, 2)


def skew_hippo(N: int) -> np.ndarray:
    """DSS: the upper half of the spectrum of the skew HiPPO matrix of size 2N, minus 1/2.

    Example:

    >>> from keras_ssm.ops import hippo
    >>> Lambda = hippo.skew_hippo(2)
    >>> Lambda.real.round(3).tolist(), bool(np.all(Lambda.imag > 0))
    ([-0.5, -0.5], True)
    """
    return _skew_hippo(N).copy()


@functools.lru_cache(maxsize=8)
def _skew_hippo(N: int) -> np.ndarray:
    root = np.sqrt(2.0 * np.arange(2 * N) + 1)
    hippo = np.tril(np.outer(root, root), -1)
    imaginary = np.linalg.eigvalsh(-1j * (hippo - hippo.T) / 2)
    return -0.5 + 1j * imaginary[::-1][:N]


def s5_blocks(P: int, blocks: int, conjugate: bool) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (P,) and eigenvectors V of S5's block-diagonal HiPPO-N matrix.

    With `conjugate`, P modes stand for a real state of size 2P: each block
    keeps the half of its spectrum with negative imaginary part, and V has
    shape (2P, P). Without, V is (P, P).

    Example:

    >>> from keras_ssm.ops import hippo
    >>> Lambda, V = hippo.s5_blocks(4, blocks=2, conjugate=True)
    >>> Lambda.shape, V.shape
    ((4,), (8, 4))
    """
    size = (2 * P if conjugate else P) // blocks
    Lambda, V, _ = normal_eigenvalues("legs", size)
    kept = P // blocks
    return np.tile(Lambda[:kept], blocks), np.kron(np.eye(blocks), V[:, :kept])


def _line(imaginary: Callable[[np.ndarray, int], np.ndarray]) -> Callable[[int], np.ndarray]:
    return lambda N: -0.5 - 1j * imaginary(np.arange(N // 2), N)


# S4D (Gu et al., 2022), equations 8 and 9, and the further rows of `dplr.py`.
DIAGONALS: dict[str, Callable[[int], np.ndarray]] = {
    "lin": _line(lambda n, N: np.pi * n),
    "inv": _line(lambda n, N: N / np.pi * (N / (2 * n + 1) - 1)),
    "inv2": _line(lambda n, N: N / np.pi * (N / (n + 1) - 1)),
    "quad": _line(lambda n, N: (1 + 2 * n) ** 2 / np.pi),
    "real": lambda N: -(np.arange(N // 2) + 1.0) + 0j,
}
MEASURES = ("legs", "fourier", "legt")
COMBINATIONS = {
    "diag": ("inv", "lin"),
    "hippo": ("legs", "fourier"),
    "all": ("legs", "fourier", "inv", "lin"),
}
