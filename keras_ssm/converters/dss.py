"""ag1988/dss, `standalone/dss.py`: the class `DSS`. Read at commit 777084e."""

from typing import Any

import numpy as np

from keras_ssm.converters.rules import (
    FAMILIES,
    Conversion,
    Family,
    Rule,
    joined,
    norm_weights,
    require,
    torch_linear,
)
from keras_ssm.layers import DSS


def _layer(layer: Any) -> Conversion:
    rules = [
        Rule("kernel.log_dt", [layer.log_step]),
        Rule("kernel.W", [layer.W]),
        Rule("D", [layer.D]),
    ]
    if not layer.kernel.startswith("exp"):
        eigenvalues = [layer.Lambda_re, layer.Lambda_im]
        rules.append(Rule("kernel.Lambda", eigenvalues, _stack, _unstack))
        return Conversion("DSS", rules)
    imaginary = "kernel.Lambda_log_im" if layer.kernel == "exp-re-im" else "kernel.Lambda_im"
    rules.append(Rule("kernel.Lambda_log_neg_re", [layer.Lambda_re]))
    rules.append(Rule(imaginary, [layer.Lambda_im]))
    return Conversion("DSS", rules)


def _stack(re: np.ndarray, im: np.ndarray) -> np.ndarray:
    return np.stack([re, im], axis=-1)


def _unstack(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return z[..., 0], z[..., 1]


def _block(block: Any) -> Conversion:
    require(block, "DSS", gating=("dense", "glu"))
    # An output layer without activation is not in a list.
    name = "output_linear" if block.gating == "dense" else "output_linear.0"
    weight, bias = torch_linear(name, block.gate.out1)
    # (features, 1) in the transposed module; the other one has it flat, which is taken as well.
    bias = bias._replace(to_official=lambda x: x[:, None], to_ours=lambda x: (x[:, 0],))
    output = Conversion("DSS", [weight, bias], kept=norm_weights(block))
    return joined("DSS", [_layer(block.ssm), output])


FAMILIES[DSS] = Family(_layer, _block, "torch")
