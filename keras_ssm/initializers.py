"""Keras initializers with the distributions of the S4, DSS, S4D, S5 and LRU papers.

A complex weight has a last axis of 2: real and imaginary part.
"""

import abc
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ssm.backend import precise_matmul
from keras_ssm.ops import hippo
from keras_ssm.ops.transforms import raw

_register = keras.saving.register_keras_serializable(package="keras_ssm")


def get(identifier: Any) -> keras.initializers.Initializer:
    """Get an initializer as `keras.initializers.get` does, also by the field's names.

    `"standard_normal"` is N(0, 1), `"complex_normal"` N(0, 1/2) for the real
    and for the imaginary part, `"alternating"` 1, -1, 1, ... over the modes.

    Example:

    >>> type(keras_ssm.initializers.get("alternating")).__name__
    'Alternating'
    """
    if identifier == "standard_normal":
        return keras.initializers.RandomNormal(stddev=1.0)
    if identifier == "complex_normal":
        return keras.initializers.RandomNormal(stddev=math.sqrt(0.5))
    if identifier == "alternating":
        return Alternating()
    return keras.initializers.get(identifier)


def another_draw(initializer: Any) -> Any:
    """An initializer of the same distribution with other values, where Keras would repeat them.

    Example:

    >>> first = keras.initializers.RandomNormal(seed=1)
    >>> keras_ssm.initializers.another_draw(first).seed
    2
    """
    config = initializer.get_config()
    if isinstance(config.get("seed"), int):
        config["seed"] += 1
    return type(initializer).from_config(config)


@_register
class LogStep(keras.initializers.Initializer):
    """Step sizes, log-uniform in [step_min, step_max), as the weight behind a transform.

    Args:
        step_min: smallest step size, in units of the sampling period.
        step_max: largest step size.
        transform: name of the transform the layer applies to the weight.
        seed: integer, `keras.random.SeedGenerator` or None.

    Source: HiPPO-based layers since S4 (Gu et al., 2022); state-spaces/s4
    `kernels/ssm.py`, `init_dt`.

    Example:

    >>> log_step = keras_ssm.initializers.LogStep(step_min=0.01, step_max=0.1, seed=0)((5,))
    >>> steps = np.exp(ops.convert_to_numpy(log_step))
    >>> bool(np.all((0.0099 < steps) & (steps < 0.101)))
    True
    """

    def __init__(
        self,
        step_min: float = 1e-3,
        step_max: float = 1e-1,
        transform: str = "exp",
        seed: Any = None,
    ) -> None:
        self.step_min = step_min
        self.step_max = step_max
        self.transform = transform
        self._uniform = keras.initializers.RandomUniform(
            math.log(step_min), math.log(step_max), seed=seed
        )
        self.seed = self._uniform.seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        log_step = self._uniform(shape, dtype=dtype)
        return log_step if self.transform == "exp" else raw(ops.exp(log_step), self.transform)

    def get_config(self) -> dict[str, Any]:
        return {
            "step_min": self.step_min,
            "step_max": self.step_max,
            "transform": self.transform,
            "seed": keras.saving.serialize_keras_object(self.seed),
        }


class _Tabulated(keras.initializers.Initializer, abc.ABC):
    """Base of initializers whose values are a NumPy table of the requested shape."""

    @abc.abstractmethod
    def table(self, shape: tuple[int, ...]) -> np.ndarray:
        """The values, in float64."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return ops.convert_to_tensor(self.table(tuple(shape)), dtype or keras.config.floatx())


def _real_pairs(z: np.ndarray) -> np.ndarray:
    return np.stack([z.real, z.imag], axis=-1)


@_register
class Alternating(_Tabulated):
    """1, -1, 1, ... over the modes, zero imaginary part: shape (..., n, 2).

    Example:

    >>> ops.convert_to_numpy(keras_ssm.initializers.Alternating()((3, 2))).tolist()
    [[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]]
    """

    def table(self, shape: tuple[int, ...]) -> np.ndarray:
        signs = np.where(np.arange(shape[-2]) % 2 == 0, 1.0, -1.0)
        return np.broadcast_to(_real_pairs(signs + 0j), shape)


@_register
class DiagonalEigenvalues(keras.initializers.Initializer):
    """Continuous eigenvalues of S4D, shape (S, n, 2): S systems of n modes, Re <= 0, Im <= 0.

    Args:
        initialization: `"lin"`, `"inv"`, `"inv2"`, `"quad"`, `"real"`,
            `"random"`, `"legs"`, `"fourier"`, `"legt"`; a list of these, whose
            rows are concatenated in equal parts; or the named lists `"diag"`
            (inv, lin), `"hippo"` (legs, fourier), `"all"` (legs, fourier, inv,
            lin).
        seed: for `"random"`, whose frequencies are exp(N(0, 1)).

    Source: S4D (Gu et al., 2022), section 3.3 and equations 8 and 9;
    state-spaces/s4 `kernels/dplr.py`.

    Example:

    >>> Lambda = keras_ssm.initializers.DiagonalEigenvalues("lin")((1, 3, 2))
    >>> ops.convert_to_numpy(Lambda)[0].round(2).tolist()
    [[-0.5, ...0.0], [-0.5, -3.14...], [-0.5, -6.28...]]
    """

    def __init__(self, initialization: str | Sequence[str] = "lin", seed: Any = None) -> None:
        self.initialization = initialization
        self._normal = keras.initializers.RandomNormal(stddev=1.0, seed=seed)
        self.seed = self._normal.seed
        for name in self.names:
            if name not in {*hippo.DIAGONALS, *hippo.MEASURES, "random"}:
                raise ValueError(
                    "`initialization` must be 'random', one of "
                    f"{[*hippo.DIAGONALS, *hippo.MEASURES]}, a list of them, or one of "
                    f"{list(hippo.COMBINATIONS)}. Received: initialization={initialization!r}"
                )

    @property
    def names(self) -> tuple[str, ...]:
        if isinstance(self.initialization, str):
            return hippo.COMBINATIONS.get(self.initialization, (self.initialization,))
        return tuple(self.initialization)

    def rows(self, shape: Sequence[int]) -> int:
        """Systems per name; the number of systems must be a multiple of the number of names."""
        if shape[0] % len(self.names):
            raise ValueError(
                f"initialization={self.initialization!r} mixes {len(self.names)} kinds in equal "
                f"parts, so `n_ssm` must be a multiple of that. Received: n_ssm={shape[0]}"
            )
        return shape[0] // len(self.names)

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        rows, n, dtype = self.rows(shape), shape[1], dtype or keras.config.floatx()
        parts = []
        for name in self.names:
            if name == "random":
                frequencies = ops.exp(self._normal((rows, n), dtype=dtype))
                part = ops.stack([-0.5 * ops.ones_like(frequencies), -frequencies], axis=-1)
            else:
                known = hippo.DIAGONALS.get(name)
                Lambda = known(2 * n) if known else hippo.hippo_diagonal(name, 2 * n)[0]
                part = np.broadcast_to(_real_pairs(Lambda), (rows, n, 2))
            parts.append(ops.convert_to_tensor(part, dtype))
        return ops.concatenate(parts)

    def get_config(self) -> dict[str, Any]:
        return {
            "initialization": self.initialization,
            "seed": keras.saving.serialize_keras_object(self.seed),
        }


@_register
class DiagonalInput(_Tabulated):
    """Input matrix B that goes with an S4D initialization, shape (S, n, 2): the HiPPO one or 1.

    For `"legs"`, `"fourier"` and `"legt"`, B is V^H B of the HiPPO matrix;
    without the factor 1/2 that the theory of S4D-LegS asks for, as in the
    official code. For every other name it is 1.

    Example:

    >>> B = keras_ssm.initializers.DiagonalInput("lin")((1, 2, 2))
    >>> ops.convert_to_numpy(B)[0].tolist()
    [[1.0, 0.0], [1.0, 0.0]]
    """

    def __init__(self, initialization: str | Sequence[str] = "lin") -> None:
        self.initialization = initialization

    def table(self, shape: tuple[int, ...]) -> np.ndarray:
        eigenvalues = DiagonalEigenvalues(self.initialization)
        rows, n = eigenvalues.rows(shape), shape[1]
        parts = []
        for name in eigenvalues.names:
            is_hippo = name in hippo.MEASURES
            B = hippo.hippo_diagonal(name, 2 * n)[1] if is_hippo else np.ones(n, complex)
            parts.append(np.broadcast_to(_real_pairs(B), (rows, n, 2)))
        return np.concatenate(parts)

    def get_config(self) -> dict[str, Any]:
        return {"initialization": self.initialization}


@_register
class LowRankHippo(keras.initializers.Initializer):
    """Low-rank part P of S4, shape (R, S, n, 2): R rows for S systems of n modes.

    With the eigenvalues and the input matrix of the same name
    (`DiagonalEigenvalues`, `DiagonalInput`), the state matrix diag(Lambda) - P P^*
    is the HiPPO matrix, in the basis that diagonalizes its normal part. Rows
    beyond the rank of a measure are zeros, and stay so in training.

    Args:
        initialization: `"legs"` or `"fourier"`, of rank 1, `"legt"`, of rank 2; a
            list of these, whose systems are concatenated in equal parts; or
            `"hippo"` (legs, fourier).

    Raises:
        ValueError: for another name, or where R is less than the rank.

    Source: S4 (Gu et al., 2022), theorem 1 and appendix C.1; state-spaces/s4
    `models/hippo/hippo.py`, `rank_correction` and `nplr`.

    Example:

    >>> tuple(keras_ssm.initializers.LowRankHippo("legs")((1, 1, 4, 2)).shape)
    (1, 1, 4, 2)
    """

    def __init__(self, initialization: str | Sequence[str] = "legs") -> None:
        self.initialization = initialization
        self._eigenvalues = DiagonalEigenvalues(initialization)
        for name in self._eigenvalues.names:
            if name not in hippo.MEASURES:
                raise ValueError(
                    "A low-rank part belongs to a HiPPO matrix: `initialization` must be one of "
                    f"{list(hippo.MEASURES)}, a list of them, or 'hippo'. "
                    f"Received: initialization={initialization!r}"
                )

    @property
    def names(self) -> tuple[str, ...]:
        return self._eigenvalues.names

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        rank, systems, n, _ = shape
        rows = self._eigenvalues.rows((systems,))
        parts = []
        for name in self._eigenvalues.names:
            P = hippo.hippo_low_rank(name, 2 * n, rank)[1]
            pairs = np.stack([P.real, P.imag], axis=-1)
            parts.append(np.repeat(pairs[:, None], rows, axis=1))
        table = np.concatenate(parts, axis=1)
        return ops.convert_to_tensor(table, dtype or keras.config.floatx())

    def get_config(self) -> dict[str, Any]:
        return {"initialization": self.initialization}


@_register
class SkewHippoEigenvalues(_Tabulated):
    """Eigenvalues of DSS, shape (N, 2): upper half of the spectrum of a skew HiPPO, minus 1/2.

    Source: DSS (Gupta et al., 2022), section 3.3; ag1988/dss `dss.py`,
    `hippo_skew_evals`.

    Example:

    >>> Lambda = ops.convert_to_numpy(keras_ssm.initializers.SkewHippoEigenvalues()((4, 2)))
    >>> Lambda[:, 0].tolist(), bool(np.all(Lambda[:, 1] > 0))
    ([-0.5, -0.5, -0.5, -0.5], True)
    """

    def table(self, shape: tuple[int, ...]) -> np.ndarray:
        return _real_pairs(hippo.skew_hippo(shape[0]))


@_register
class S5Eigenvalues(_Tabulated):
    """Eigenvalues of S5, shape (P, 2): HiPPO-N of each block.

    Args:
        blocks: number J of equal blocks on the diagonal.
        conjugate_symmetry: keep one of each conjugate pair.

    Source: S5 (Smith et al., 2023), sections 3.5 and 4.3; lindermanlab/S5
    `s5/ssm_init.py`, `make_DPLR_HiPPO`.

    Example:

    >>> Lambda = ops.convert_to_numpy(keras_ssm.initializers.S5Eigenvalues(blocks=2)((4, 2)))
    >>> Lambda[:, 0].tolist(), bool(np.all(Lambda[:2] == Lambda[2:]))
    ([-0.5, -0.5, -0.5, -0.5], True)
    """

    def __init__(self, blocks: int = 1, conjugate_symmetry: bool = True) -> None:
        self.blocks = blocks
        self.conjugate_symmetry = conjugate_symmetry

    def table(self, shape: tuple[int, ...]) -> np.ndarray:
        return _real_pairs(hippo.s5_blocks(shape[0], self.blocks, self.conjugate_symmetry)[0])

    def get_config(self) -> dict[str, Any]:
        return {"blocks": self.blocks, "conjugate_symmetry": self.conjugate_symmetry}


class _S5Projected(keras.initializers.Initializer):
    """Base: real draws, rotated into the eigenbasis V of the block-diagonal HiPPO-N."""

    def __init__(self, blocks: int = 1, conjugate_symmetry: bool = True, seed: Any = None) -> None:
        self.blocks = blocks
        self.conjugate_symmetry = conjugate_symmetry
        self._normal = keras.initializers.TruncatedNormal(stddev=1.0, seed=seed)
        self.seed = self._normal.seed

    def eigenvectors(self, P: int, dtype: Any) -> tuple[Any, Any]:
        """V as a pair of tensors, shape (R, P), where R is the size of the real state."""
        V = hippo.s5_blocks(P, self.blocks, self.conjugate_symmetry)[1]
        return ops.convert_to_tensor(V.real, dtype), ops.convert_to_tensor(V.imag, dtype)

    def draw(self, shape: Sequence[int], variance: float, dtype: Any) -> Any:
        """N(0, variance), truncated at two untruncated deviations, as in flax's lecun_normal."""
        return math.sqrt(variance) / 0.87962566103423978 * self._normal(shape, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            "blocks": self.blocks,
            "conjugate_symmetry": self.conjugate_symmetry,
            "seed": keras.saving.serialize_keras_object(self.seed),
        }


@_register
class S5Input(_S5Projected):
    """B of S5, shape (P, H, 2): V^H B0 with B0 real and of variance 1/R, R the real state size.

    Source: lindermanlab/S5 `s5/ssm_init.py`, `init_VinvB`.

    Example:

    >>> tuple(keras_ssm.initializers.S5Input(seed=0)((4, 3, 2)).shape)
    (4, 3, 2)
    """

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        V_re, V_im = self.eigenvectors(shape[0], dtype or keras.config.floatx())
        B0 = self.draw((V_re.shape[0], shape[1]), 1 / V_re.shape[0], V_re.dtype)
        re, im = (precise_matmul(part, B0, transpose_a=True) for part in (V_re, V_im))
        return ops.stack([re, -im], axis=-1)


@_register
class S5Output(_S5Projected):
    """C of S5, shape (H, P, 2): C0 V with C0 complex and of variance 1/fan_in in each part.

    Args:
        distribution: `"trunc_standard_normal"` (fan_in is the real state size
            R) or `"lecun_normal"` (fan_in is H R).

    Source: lindermanlab/S5 `s5/ssm_init.py`, `init_CV`,
    `trunc_standard_normal`.

    Example:

    >>> C = keras_ssm.initializers.S5Output("lecun_normal", seed=0)((3, 4, 2))
    >>> tuple(C.shape)
    (3, 4, 2)
    """

    def __init__(
        self,
        distribution: str = "trunc_standard_normal",
        blocks: int = 1,
        conjugate_symmetry: bool = True,
        seed: Any = None,
    ) -> None:
        super().__init__(blocks, conjugate_symmetry, seed)
        self.distribution = distribution

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        V = self.eigenvectors(shape[1], dtype or keras.config.floatx())
        R = V[0].shape[0]
        fan_in = shape[0] * R if self.distribution == "lecun_normal" else R
        C0 = self.draw((shape[0], R, 2), 1 / fan_in, V[0].dtype)
        re, im = C0[..., 0], C0[..., 1]
        return ops.stack(
            [
                precise_matmul(re, V[0]) - precise_matmul(im, V[1]),
                precise_matmul(re, V[1]) + precise_matmul(im, V[0]),
            ],
            axis=-1,
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "distribution": self.distribution}


class Part(keras.initializers.Initializer):
    """Real or imaginary part of complex eigenvalues as the raw weight behind a transform.

    The layers' bridge from one complex initializer to two real weights; the
    initializer is called for each part and draws the same values, as Keras
    initializers do.

    Example:

    >>> eigenvalues = keras_ssm.initializers.DiagonalEigenvalues("lin")
    >>> log_decay = keras_ssm.initializers.Part(eigenvalues, 0, transform="exp", sign=-1)((1, 3))
    >>> np.exp(ops.convert_to_numpy(log_decay)).round(2).tolist()
    [[0.5, 0.5, 0.5]]
    """

    def __init__(self, eigenvalues: Any, part: int, transform: str = "none", sign: int = 1) -> None:
        self.eigenvalues = eigenvalues
        self.part = part
        self.transform = transform
        self.sign = sign

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        values = self.eigenvalues((*shape, 2), dtype=dtype)[..., self.part]
        if self.transform == "none" and self.sign == 1:
            return values
        return raw(self.sign * values, self.transform)


@_register
class Ring(keras.initializers.Initializer):
    """Eigenvalues of the LRU, shape (N, 3): nu_log, theta_log and gamma_log of lam on a ring.

    lam = exp(-exp(nu_log) + i exp(theta_log)) is uniform on the ring between two
    radii, up to a largest angle, and exp(gamma_log) = (1 - |lam|^2)^(1/2).

    Args:
        r_min: inner radius.
        r_max: outer radius, below 1.
        max_phase: largest angle, in radians.
        seed: integer, `keras.random.SeedGenerator` or None.

    Source: Orvieto et al. (2023), section 3.2.2 and appendix A, `init_lru_parameters`.

    Example:

    >>> nu_log = keras_ssm.initializers.Ring(0.9, 0.99, seed=0)((100, 3))[:, 0]
    >>> radius = np.exp(-np.exp(ops.convert_to_numpy(nu_log)))
    >>> bool(radius.min() > 0.899), bool(radius.max() < 0.991)
    (True, True)
    """

    def __init__(
        self,
        r_min: float = 0.0,
        r_max: float = 0.99,
        max_phase: float = 2 * math.pi,
        seed: Any = None,
    ) -> None:
        if not 0 <= r_min < r_max < 1:
            raise ValueError(
                f"expected radii 0 <= r_min < r_max < 1. Received: r_min={r_min!r}, r_max={r_max!r}"
            )
        if not max_phase > 0:
            raise ValueError(f"`max_phase` must be positive. Received: max_phase={max_phase!r}")
        self.r_min, self.r_max, self.max_phase = r_min, r_max, max_phase
        self._uniform = keras.initializers.RandomUniform(0.0, 1.0, seed=seed)
        self.seed = self._uniform.seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        draws = self._uniform((shape[0], 2), dtype=dtype)
        # Never 0, which has no logarithm.
        draws = 1e-6 + (1 - 1e-6) * draws
        square = draws[:, 0] * (self.r_max**2 - self.r_min**2) + self.r_min**2  # |lam|^2
        nu_log = ops.log(-0.5 * ops.log(square))
        return ops.stack(
            [nu_log, ops.log(self.max_phase * draws[:, 1]), 0.5 * ops.log1p(-square)], axis=-1
        )

    def get_config(self) -> dict[str, Any]:
        return {
            "r_min": self.r_min,
            "r_max": self.r_max,
            "max_phase": self.max_phase,
            "seed": keras.saving.serialize_keras_object(self.seed),
        }


class Column(keras.initializers.Initializer):
    """One column of what an initializer of several columns gives, drawing the same values.

    Example:

    >>> ring = keras_ssm.initializers.Ring()
    >>> tuple(keras_ssm.initializers.Column(ring, 0)((4,)).shape)
    (4,)
    """

    def __init__(self, initializer: Any, column: int, columns: int = 3) -> None:
        self.initializer = initializer
        self.column = column
        self.columns = columns

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return self.initializer((*shape, self.columns), dtype=dtype)[..., self.column]


def normal(variance: float) -> keras.initializers.Initializer:
    """Initializer with the normal distribution N(0, variance).

    Example:

    >>> keras_ssm.initializers.normal(0.25).stddev
    0.5
    """
    return keras.initializers.RandomNormal(stddev=math.sqrt(variance))


class RealPart(keras.initializers.Initializer):
    """The real part of what an initializer of complex weights gives.

    Example:

    >>> ones = keras_ssm.initializers.DiagonalInput("lin")
    >>> ops.convert_to_numpy(keras_ssm.initializers.RealPart(ones)((1, 3))).tolist()
    [[1.0, 1.0, 1.0]]
    """

    def __init__(self, initializer: Any) -> None:
        self.initializer = initializer

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return self.initializer((*shape, 2), dtype=dtype)[..., 0]
