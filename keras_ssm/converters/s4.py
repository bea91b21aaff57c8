"""state-spaces/s4: `SSMKernelDPLR` in `FFTConv` and `S4Block`.

The official module replaces its parameter C by C~ = C (I - A_bar^L) at its first
call and keeps L in the buffer `l_kernel`; the layer here keeps C itself. Read at
commit e757cef.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_ssm.converters.rules import FAMILIES, Arrays, Conversion, Family, Rule
from keras_ssm.converters.s4d import s4_block
from keras_ssm.layers import S4

_LENGTH = "kernel.l_kernel"
# The maps of the official code, with what it adds to a relu.
_MAPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda x: x,
    "exp": np.exp,
    "relu": lambda x: np.maximum(x, 0) + 1e-4,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(x, 0),
}


def _layer(layer: Any) -> Conversion:
    rules = [
        Rule("kernel.inv_dt", [layer.log_step]),
        Rule("kernel.B", [layer.B], lambda B: B[None], lambda B: (B[0],)),
        Rule("kernel.C", [layer.C]),
        Rule("kernel.P", [layer.P]),
        Rule("kernel.A_real", [layer.Lambda_re]),
        Rule("kernel.A_imag", [layer.Lambda_im]),
        Rule("D", [layer.D]),
    ]
    return Conversion("FFTConv with SSMKernelDPLR", rules, unused=[_LENGTH])


def with_output_matrices(arrays: Arrays, maps: Mapping[str, str]) -> Arrays:
    """Official arrays with C in place of every C~.

    Args:
        arrays: official arrays of any number of layers.
        maps: the `parametrization` of the layers.
    """
    found = dict(arrays)
    for name in arrays:
        if name == _LENGTH or name.endswith(f".{_LENGTH}"):
            length = int(arrays[name])
            prefix = name.removesuffix("l_kernel")
            if length > 0:
                found[f"{prefix}C"] = _output_matrix(arrays, prefix, maps, length)
    return found


def _output_matrix(arrays: Arrays, prefix: str, maps: Mapping[str, str], length: int) -> np.ndarray:
    """C of C~ = C (I - A_bar^L), in the modes of every conjugate pair, by float64 NumPy."""
    raw = {
        name: np.asarray(arrays[prefix + name], "float64")
        for name in ("A_real", "A_imag", "P", "inv_dt", "C")
    }
    Lambda = -_MAPS[maps["real"]](raw["A_real"]) - 1j * _MAPS[maps["imag"]](raw["A_imag"])
    dt = _MAPS[maps["step"]](raw["inv_dt"])
    P, C = (raw[name][..., 0] + 1j * raw[name][..., 1] for name in ("P", "C"))
    Lambda, P, C = (np.concatenate([z, z.conj()], axis=-1) for z in (Lambda, P, C))
    A = Lambda[..., None] * np.eye(Lambda.shape[-1]) - np.einsum("rsn,rsm->snm", P, P.conj())
    half = np.tile(A, (len(dt) // len(A), 1, 1)) * dt[..., None] / 2
    eye = np.eye(A.shape[-1])
    A_bar = np.linalg.solve(eye - half, eye + half)
    rest = np.swapaxes(eye - np.linalg.matrix_power(A_bar, length), 1, 2)
    solved = np.linalg.solve(rest, C[..., None])[..., : A.shape[-1] // 2, 0]
    return np.stack([solved.real, solved.imag], axis=-1).astype(arrays[f"{prefix}C"].dtype)


FAMILIES[S4] = Family(_layer, lambda block: s4_block(block, _layer(block.ssm)), "torch")
