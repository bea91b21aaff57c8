"""Official parameter dictionaries to our weights and back, exactly.

A dictionary holds NumPy arrays under the names the official module gives them
(torch `named_parameters` and `named_buffers`; flax paths joined by dots):

| target                | official module                                       |
|-----------------------|-------------------------------------------------------|
| `DSS`                 | ag1988/dss `DSS` without its output layer             |
| `S4D`                 | state-spaces/s4 `FFTConv` with `SSMKernelDiag`        |
| `S4D`, `minimal=True` | state-spaces/s4 `models/s4/s4d.py`, without its output layer |
| `S5`                  | lindermanlab/S5 `S5SSM`                               |
| `SSMBlock` of these   | `DSS`, `S4Block`, minimal `S4D`, `SequenceLayer`      |

Every conversion is linear (a transpose, a conjugation, a split), so that
gradients convert by the same rules. Commits read: ag1988/dss 777084e,
state-spaces/s4 e757cef, lindermanlab/S5 3c18fdb.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_ssm.initializers import S5Output
from keras_ssm.layers import DSS, S4D, S5, SSMBlock

Arrays = dict[str, np.ndarray]


class Rule(NamedTuple):
    """How one official array is made of our weights, and they of it."""

    name: str
    weights: Sequence[Any]
    to_official: Callable[..., np.ndarray] = lambda x: x
    to_ours: Callable[[np.ndarray], Any] = lambda x: (x,)


def load_official(target: Any, parameters: Mapping[str, np.ndarray], minimal: bool = False) -> None:
    """Set the weights of a built layer or block from an official parameter dictionary.

    Args:
        target: built `DSS`, `S4D`, `S5`, or `SSMBlock` of one of them. A
            block's norm is loaded from a `SequenceLayer` only; the other
            modules have none and leave it alone.
        parameters: arrays under the official names.
        minimal: for S4D: the names of the minimal `s4d.py`, where B is 1.

    Raises:
        ValueError: for missing, unknown or wrongly shaped arrays; nothing is
            set then.

    Example:

    >>> layer = keras_ssm.layers.S5(4)
    >>> layer.build((None, None, 3))
    >>> keras_ssm.converters.load_official(layer, keras_ssm.converters.export_official(layer))
    """
    rules = official_rules(target, minimal)
    names = {rule.name for rule in rules}
    if names != set(parameters):
        raise ValueError(
            f"Expected the official parameters {sorted(names)}. "
            f"Missing: {sorted(names - set(parameters))}. "
            f"Received besides: {sorted(set(parameters) - names)}"
        )
    values = []
    for rule in rules:
        expected = rule.to_official(*(np.zeros(w.shape) for w in rule.weights)).shape
        value = np.asarray(parameters[rule.name])
        if value.squeeze().shape != np.zeros(expected).squeeze().shape:
            raise ValueError(
                f"Expected {rule.name!r} of shape {expected}. Received: shape {value.shape}"
            )
        values.append(rule.to_ours(value.reshape(expected)))
    for rule, parts in zip(rules, values, strict=True):
        for weight, part in zip(rule.weights, parts, strict=True):
            weight.assign(part)
    if minimal:
        ssm = target.ssm if isinstance(target, SSMBlock) else target
        ssm.B.assign(_ones_like_B(ssm))


def export_official(target: Any, minimal: bool = False) -> Arrays:
    """The official parameter dictionary of a layer or block; the inverse of `load_official`.

    Args:
        target: built `DSS`, `S4D`, `S5`, or `SSMBlock` of one of them.
        minimal: for S4D: export as the minimal `s4d.py`, which needs B = 1.

    Returns:
        NumPy arrays under the official names, in the official shapes (of
        transposed layouts where a module knows two).

    Raises:
        ValueError: for a layer that the official module cannot express.

    Example:

    >>> layer = keras_ssm.layers.S5(4)
    >>> layer.build((None, None, 3))
    >>> sorted(keras_ssm.converters.export_official(layer))
    ['B', 'C', 'D', 'Lambda_im', 'Lambda_re', 'log_step']
    """
    rules = official_rules(target, minimal)
    if minimal:
        ssm = target.ssm if isinstance(target, SSMBlock) else target
        if not np.array_equal(ops.convert_to_numpy(ssm.B), _ones_like_B(ssm)):
            raise ValueError("The minimal S4D has B = 1. Received: a layer with another B")
    return {
        rule.name: rule.to_official(*(ops.convert_to_numpy(w) for w in rule.weights))
        for rule in rules
    }


def official_rules(target: Any, minimal: bool = False) -> list[Rule]:
    """The conversion rules of a built layer or block.

    Example:

    >>> layer = keras_ssm.layers.S5(4)
    >>> layer.build((None, None, 3))
    >>> [rule.name for rule in keras_ssm.converters.official_rules(layer)]
    ['Lambda_re', 'Lambda_im', 'log_step', 'B', 'D', 'C']
    """
    if isinstance(target, SSMBlock):
        return _block_rules(target, minimal)
    if minimal and not isinstance(target, S4D):
        raise ValueError(f"`minimal` is a form of S4D. Received: target={target!r}")
    if isinstance(target, DSS):
        return _dss_rules(target)
    if isinstance(target, S4D):
        return _s4d_minimal_rules(target) if minimal else _s4d_rules(target)
    if isinstance(target, S5):
        return _s5_rules(target)
    raise ValueError(
        "`target` must be a DSS, S4D or S5 layer or an SSMBlock of one. "
        f"Received: target={target!r}"
    )


def _stack(re: np.ndarray, im: np.ndarray) -> np.ndarray:
    return np.stack([re, im], axis=-1)


def _unstack(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return z[..., 0], z[..., 1]


def _dss_rules(layer: DSS) -> list[Rule]:
    rules = [
        Rule("kernel.log_dt", [layer.log_step]),
        Rule("kernel.W", [layer.W]),
        Rule("D", [layer.D]),
    ]
    if not layer.kernel.startswith("exp"):
        eigenvalues = [layer.Lambda_re, layer.Lambda_im]
        return [*rules, Rule("kernel.Lambda", eigenvalues, _stack, _unstack)]
    imaginary = "kernel.Lambda_log_im" if layer.kernel == "exp-re-im" else "kernel.Lambda_im"
    return [
        *rules,
        Rule("kernel.Lambda_log_neg_re", [layer.Lambda_re]),
        Rule(imaginary, [layer.Lambda_im]),
    ]


def _s4d_rules(layer: S4D) -> list[Rule]:
    rules = [
        Rule("kernel.inv_dt", [layer.log_step]),
        Rule("kernel.B", [layer.B], lambda B: B[None], lambda B: (B[0],)),
        Rule("kernel.C", [layer.C]),
        Rule("kernel.A_real", [layer.Lambda_re]),
        Rule("D", [layer.D]),
    ]
    if not layer.real_valued:
        rules.append(Rule("kernel.A_imag", [layer.Lambda_im]))
    return rules


def _s4d_minimal_rules(layer: S4D) -> list[Rule]:
    plain = {
        "discretization": "zoh",
        "channels": 1,
        "bidirectional": False,
        "real_valued": False,
        "real_transform": "exp",
        "imag_transform": "none",
        "step_transform": "exp",
        "tie_step": True,
    }
    for name, value in plain.items():
        if getattr(layer, name) != value:
            raise ValueError(
                f"The minimal S4D has {name}={value!r}. Received: {name}={getattr(layer, name)!r}"
            )
    if layer.B.shape[0] != layer.width:
        raise ValueError(
            "The minimal S4D has a system for every channel. "
            f"Received: n_ssm={layer.n_ssm}, features={layer.width}"
        )
    # It keeps the other half of each conjugate pair: Im Lambda > 0.
    return [
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


def _conjugate(pairs: np.ndarray) -> np.ndarray:
    return pairs * np.array([1, -1], pairs.dtype)


def _ones_like_B(layer: S4D) -> np.ndarray:
    ones = np.zeros(layer.B.shape)
    ones[..., 0] = 1
    return ones


def _s5_rules(layer: S5) -> list[Rule]:
    rules = [
        Rule("Lambda_re", [layer.Lambda_re]),
        Rule("Lambda_im", [layer.Lambda_im]),
        Rule("log_step", [layer.log_step], lambda x: x[:, None], lambda x: (x[:, 0],)),
        Rule("B", [layer.B]),
        Rule("D", [layer.D]),
    ]
    if not layer.bidirectional:
        return [*rules, Rule("C", [layer.C])]
    if isinstance(layer.C_initializer, S5Output):
        return [*rules, Rule("C1", [layer.C]), Rule("C2", [layer.C_backward])]
    # C_init="complex_normal" keeps both directions in one array.
    return [
        *rules,
        Rule(
            "C",
            [layer.C, layer.C_backward],
            lambda forward, backward: np.concatenate([forward, backward], axis=1),
            lambda C: np.split(C, 2, axis=1),
        ),
    ]


def _block_rules(block: SSMBlock, minimal: bool) -> list[Rule]:
    ssm = official_rules(block.ssm, minimal)
    if isinstance(block.ssm, S5):
        dense = [
            Rule(f"{name}.{part}", [getattr(getattr(block.gate, name), part)])
            for name in ("out1", "out2")
            if hasattr(block.gate, name)
            for part in ("kernel", "bias")
        ]
        return [*_prefixed("seq.", ssm), *dense, *_norm_rules(block)]
    if block.gating not in ("dense", "glu"):
        raise ValueError(
            "The official DSS and S4D modules end in gating 'dense' or 'glu'. "
            f"Received: gating={block.gating!r}"
        )
    is_dss = isinstance(block.ssm, DSS)
    prefix = "" if is_dss or minimal else "layer."
    # In the DSS module an output layer without activation is not in a list.
    name = "output_linear" if is_dss and block.gating == "dense" else "output_linear.0"
    bias = Rule(f"{name}.bias", [block.gate.out1.bias])
    weight = Rule(f"{name}.weight", [block.gate.out1.kernel], np.transpose, lambda w: (w.T,))
    if is_dss:
        bias = Rule(bias.name, bias.weights, lambda x: x[:, None], lambda x: (x[:, 0],))
    if minimal:
        weight = Rule(
            weight.name, weight.weights, lambda w: w.T[..., None], lambda w: (w[..., 0].T,)
        )
    return [*_prefixed(prefix, ssm), weight, bias]


def _norm_rules(block: SSMBlock) -> list[Rule]:
    norm = block.norm_layer
    if norm is None:
        return []
    rules = [Rule("norm.scale", [norm.gamma]), Rule("norm.bias", [norm.beta])]
    if block.norm == "batch":
        rules.append(Rule("batch_stats.norm.mean", [norm.moving_mean]))
        rules.append(Rule("batch_stats.norm.var", [norm.moving_variance]))
    return rules


def _prefixed(prefix: str, rules: list[Rule]) -> list[Rule]:
    return [rule._replace(name=prefix + rule.name) for rule in rules]
