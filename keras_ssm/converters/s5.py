"""lindermanlab/S5: `S5SSM` and `SequenceLayer`. Read at commit 3c18fdb."""

from typing import Any

import numpy as np

from keras_ssm.converters.rules import (
    FAMILIES,
    Conversion,
    Family,
    Rule,
    flax_dense,
    flax_norm,
    joined,
    require,
)
from keras_ssm.initializers import S5Output
from keras_ssm.layers import S5


def _layer(layer: Any) -> Conversion:
    rules = [
        Rule("Lambda_re", [layer.Lambda_re]),
        Rule("Lambda_im", [layer.Lambda_im]),
        Rule("log_step", [layer.log_step], lambda x: x[:, None], lambda x: (x[:, 0],)),
        Rule("B", [layer.B]),
        Rule("D", [layer.D]),
    ]
    if not layer.bidirectional:
        rules.append(Rule("C", [layer.C]))
    elif isinstance(layer.C_initializer, S5Output):
        rules += [Rule("C1", [layer.C]), Rule("C2", [layer.C_backward])]
    else:
        # C_init="complex_normal" keeps both directions in one array.
        both = [layer.C, layer.C_backward]
        rules.append(Rule("C", both, _beside, lambda C: np.split(C, 2, axis=1)))
    return Conversion("S5SSM", rules)


def _beside(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    return np.concatenate([forward, backward], axis=1)


def _block(block: Any) -> Conversion:
    require(block, "SequenceLayer", gating=("gelu", "full_glu", "half_glu1", "half_glu2"))
    require(block, "SequenceLayer", norm=("layer", "batch"), residual=(True,))
    dense = [
        rule
        for name in ("out1", "out2")
        if hasattr(block.gate, name)
        for rule in flax_dense(name, getattr(block.gate, name))
    ]
    rest = Conversion("SequenceLayer", [*dense, *flax_norm("norm", block.norm_layer)])
    return joined("SequenceLayer", [_layer(block.ssm).under("seq."), rest])


FAMILIES[S5] = Family(_layer, _block, "flax")
