"""state-spaces/s4: `SSMKernelDiag` in `FFTConv` and `S4Block`, and the minimal `models/s4/s4d.py`.

Read at commit e757cef.
"""

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
from keras_ssm.layers import S4D

MINIMAL = "minimal S4D"


def s4_block(block: Any, layer: Conversion) -> Conversion:
    """`S4Block` around a convolution layer, given the conversion of that layer.

    Args:
        block: a `SSMBlock`.
        layer: conversion of `block.ssm` as `FFTConv` has it.
    """
    require(block, "S4Block", gating=("glu", "dense", "exact_gelu"))
    linear = (
        [] if block.gating == "exact_gelu" else torch_linear("output_linear.0", block.gate.out1)
    )
    output = Conversion("S4Block", linear, kept=norm_weights(block))
    return joined("S4Block", [layer.under("layer."), output])


def _layer(layer: Any) -> Conversion:
    rules = [
        Rule("kernel.inv_dt", [layer.log_step]),
        Rule("kernel.B", [layer.B], lambda B: B[None], lambda B: (B[0],)),
        Rule("kernel.C", [layer.C]),
        Rule("kernel.A_real", [layer.Lambda_re]),
        Rule("D", [layer.D]),
    ]
    if not layer.parametrization["real_valued"]:
        rules.append(Rule("kernel.A_imag", [layer.Lambda_im]))
    return Conversion("FFTConv with SSMKernelDiag", rules)


def _minimal_layer(layer: Any) -> Conversion:
    require(layer, MINIMAL, discretization=("zoh",), channels=(1,), bidirectional=(False,))
    maps = {**S4D().parametrization, "train_B": layer.parametrization["train_B"]}
    require(layer, MINIMAL, parametrization=(maps,))
    if layer.B.shape[0] != layer.width:
        raise ValueError(
            f"The official {MINIMAL} has a system for every channel. "
            f"Received: n_ssm={layer.n_ssm}, features={layer.width} in {layer.name!r}"
        )
    # It keeps the other half of each conjugate pair: Im Lambda > 0.
    rules = [
        Rule("kernel.log_dt", [layer.log_step], lambda x: x[:, 0], lambda x: (x[:, None],)),
        Rule(
            "kernel.C",
            [layer.C],
            lambda C: _conjugate(C[0]),
            lambda C: (_conjugate(C)[None],),
        ),
        Rule("kernel.log_A_real", [layer.Lambda_re]),
        Rule("kernel.A_imag", [layer.Lambda_im]),
        Rule("D", [layer.D], lambda D: D[0], lambda D: (D[None],)),
    ]
    ones = np.zeros(layer.B.shape)
    ones[..., 0] = 1
    return Conversion(MINIMAL, rules, fixed=[(layer.B, ones)])


def _conjugate(pairs: np.ndarray) -> np.ndarray:
    return pairs * np.array([1, -1], pairs.dtype)


def _minimal_block(block: Any) -> Conversion:
    require(block, MINIMAL, gating=("glu",))
    weight, bias = torch_linear("output_linear.0", block.gate.out1)
    # A convolution over time of width 1.
    weight = weight._replace(to_official=lambda w: w.T[..., None], to_ours=lambda w: (w[..., 0].T,))
    output = Conversion(MINIMAL, [weight, bias], kept=norm_weights(block))
    return joined(MINIMAL, [_minimal_layer(block.ssm), output])


FAMILIES[S4D] = Family(
    _layer,
    lambda block: s4_block(block, _layer(block.ssm)),
    "torch",
    minimal=Family(_minimal_layer, _minimal_block, "torch"),
)
