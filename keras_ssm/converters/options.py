"""From constructor arguments of the official layers to ours."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from keras_ssm.ops import hippo


def layer_options(
    family: str, config: Mapping[str, Any], length: int | None = None
) -> dict[str, Any]:
    """Translate the constructor arguments of an official layer into ours.

    Every name must be known. Arguments that only set initial values which we do
    not offer are ignored, since the values come with the parameters, and so are
    those that leave the function alone (learning rates, the order of axes).

    Args:
        family: `"dss"` (`DSS`), `"s4"` (`FFTConv` with `SSMKernelDPLR`), `"s4d"`
            (`FFTConv` with `SSMKernelDiag`) or `"s5"` (`S5SSM` as `init_S5SSM` is
            called, with `ssm_size` before halving and `blocks`).
        config: official arguments by name.
        length: of the longest sequence. An `l_max` (S4D) or `max_kernel_length`
            (DSS) that is not shorter cuts nothing and is accepted.

    Returns:
        Keyword arguments of `DSS`, `S4`, `S4D` or `S5`.

    Raises:
        ValueError: for a name that is not an argument of the official layer,
            one that is left out, or one that belongs to a block or model.

    Example:

    >>> keras_ssm.converters.layer_options("dss", {"d_state": 8, "version": "exp"})
    {'state_size': 8, 'kernel': 'exp'}
    """
    if family not in _FAMILIES:
        raise ValueError(f"`family` must be one of {list(_FAMILIES)}. Received: family={family!r}")
    names = _FAMILIES[family]
    options: dict[str, Any] = {}
    for name, value in config.items():
        if name in names.taken:
            argument, _, entry = names.taken[name].partition(".")
            if entry:
                options.setdefault(argument, {})[entry] = value
            else:
                options[argument] = value
        elif name == names.cut:
            _check_cut(name, value, length)
        elif name in names.left_out:
            # Off, they leave the function as it is.
            if value not in (None, False):
                raise ValueError(
                    f"{name!r} is left out of keras_ssm: {names.left_out[name]}. "
                    f"Received: {name}={value!r}"
                )
        elif name in names.elsewhere:
            raise ValueError(
                f"{name!r} is not an option of the layer: {names.elsewhere[name]}. "
                f"Received: {name}={value!r}"
            )
        elif name not in names.ignored:
            known = [*names.taken, *([names.cut] if names.cut else []), *names.ignored]
            raise ValueError(
                f"`config` must have arguments of the official {names.official}: "
                f"{', '.join(map(repr, known))}. Received: {name}={value!r}"
            )
    return _with_our_names(options, names)


class _Names(NamedTuple):
    """The arguments of an official layer.

    Attributes:
        official: name of its class.
        taken: official name to ours.
        left_out: what changes the function and is not offered, with the reason.
        elsewhere: what changes the function of something around the layer, and
            where it is found.
        ignored: what does not change the function, with the reason.
        initializations: official name of initial eigenvalues to ours, None for
            those that are not offered.
        cut: the argument that cuts the kernel.
    """

    official: str
    taken: Mapping[str, str]
    left_out: Mapping[str, str]
    elsewhere: Mapping[str, str]
    ignored: Mapping[str, str]
    initializations: Mapping[str, str | None] = {}
    cut: str | None = None


def _check_cut(name: str, value: Any, length: int | None) -> None:
    if value is None or value == 0:
        return
    whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if not whole or length is None or value < length:
        raise ValueError(
            f"{name!r} is left out of keras_ssm: a cut kernel has no recurrence. One that is not "
            "shorter than `length`, that of the longest sequence, cuts nothing. "
            f"Received: {name}={value!r}, length={length!r}"
        )


def _with_our_names(options: dict[str, Any], names: _Names) -> dict[str, Any]:
    """Values that have another name here."""
    if options.get("discretization") == "dss":
        options["discretization"] = "softmax"
    if "initialization" in options:
        given = options.pop("initialization")
        listed = list(given) if isinstance(given, (list, tuple)) else [given]
        if not all(isinstance(v, str) and v in names.initializations for v in listed):
            raise ValueError(
                f"Initial eigenvalues of the official {names.official} are one of "
                f"{list(names.initializations)}. Received: {given!r}"
            )
        ours = [names.initializations[v] for v in listed]
        if None not in ours:
            options["initialization"] = ours[0] if isinstance(given, str) else ours
    return options


_INPUTS = "the inputs tell"
_VALUES = "initial values, which come with the parameters"
_TRAINING = "the optimizer decides"
_AXES = "inputs are (batch, length, features) here"
_SPEED = "how it is computed, not what"
_MESSAGES = "messages"
_OLD = "a variant from old experiments"
_GATING = "it is the `gating` of `SSMBlock`"
_DROPOUT = "it is the `dropout` of `SSMBlock`"

# Names after "diag-", and the whole names of `hippo.nplr`.
_SYNONYMS = {"linear": "lin", "inverse": "inv", "inverse2": "inv2", "quadratic": "quad"}
_S4D_INITIALIZATIONS: dict[str, str | None] = {
    **{f"diag-{name}": name for name in (*hippo.DIAGONALS, "legs", "random")},
    **{f"diag-{name}": ours for name, ours in _SYNONYMS.items()},
    "diag-rand": "random",
    "diag-hippo": "legs",
    "diag-legsd": "legs",
    **{name: name for name in (*hippo.MEASURES, *hippo.COMBINATIONS)},
    "fout": "fourier",
    # Eigenvalues of the state-spaces/s4 code that are not offered.
    **dict.fromkeys(("legsd", "foud", "fourier_diag", "lagt"), None),
}

_FAMILIES = {
    "dss": _Names(
        official="DSS",
        taken={
            "d_state": "state_size",
            "version": "kernel",
            "Lambda_init": "initialization",
            "sep_dt_re_im": "separate_steps",
            "channels": "channels",
            "bidirectional": "bidirectional",
            "dt_min": "step_min",
            "dt_max": "step_max",
            "max_real_Lambda": "max_real",
        },
        left_out={"hyper_act": f"it multiplies two outputs, {_OLD}"},
        elsewhere={
            "activation": _GATING,
            "postact": _GATING,
            "dropout": _DROPOUT,
            "weight_norm": "the output layer is a plain dense layer",
            "epsilon": "it is the 1e-7 of the official code",
        },
        ignored={
            "d_model": _INPUTS,
            "l_max": "unused in the official code",
            "lr": _TRAINING,
            "trainable": _TRAINING,
            "initializer": _VALUES,
            "transposed": _AXES,
            "verbose": _MESSAGES,
        },
        initializations={"hippo_skew_pos_imag": "skew-hippo", "randn": "random"},
        cut="max_kernel_length",
    ),
    "s4d": _Names(
        official="FFTConv with SSMKernelDiag",
        taken={
            "d_state": "state_size",
            "init": "initialization",
            "disc": "discretization",
            "n_ssm": "n_ssm",
            "channels": "channels",
            "bidirectional": "bidirectional",
            "is_real": "parametrization.real_valued",
            "real_transform": "parametrization.real",
            "imag_transform": "parametrization.imag",
            "dt_transform": "parametrization.step",
            "dt_tie": "parametrization.tie_step",
            "dt_min": "step_min",
            "dt_max": "step_max",
        },
        left_out={
            "dt_fast": f"it trains asinh of the step, {_OLD}",
            "bandlimit": f"it masks modes by their initial frequency, {_OLD}",
            "swap_channels": "a permutation of the output channels from old experiments",
        },
        elsewhere={
            "activation": _GATING,
            "final_act": _GATING,
            "postact": _GATING,
            "dropout": _DROPOUT,
            "tie_dropout": _DROPOUT,
            "mode": "family 's4d' is the diagonal kernel",
            "kernel": "family 's4d' is the diagonal kernel",
        },
        ignored={
            "d_model": _INPUTS,
            "lr": _TRAINING,
            "wd": _TRAINING,
            "measure": f"an old name of `init`: {_VALUES}",
            "rank": "of the low-rank term, which the diagonal kernel does not have",
            "P_scale": "of the low-rank term, which the diagonal kernel does not have",
            **dict.fromkeys(
                ("deterministic", "real_random", "real_scale", "imag_random", "imag_scale"),
                _VALUES,
            ),
            **dict.fromkeys(("B_random", "B_init", "B_scale", "B_clip", "normalize"), _VALUES),
            "backend": _SPEED,
            "transposed": _AXES,
            "verbose": _MESSAGES,
        },
        initializations=_S4D_INITIALIZATIONS,
        cut="l_max",
    ),
    "s5": _Names(
        official="S5SSM",
        taken={
            "ssm_size": "state_size",
            "blocks": "blocks",
            "C_init": "C_initializer",
            "discretization": "discretization",
            "conj_sym": "conjugate_symmetry",
            "clip_eigs": "clip_eigenvalues",
            "bidirectional": "bidirectional",
            "dt_min": "step_min",
            "dt_max": "step_max",
            "step_rescale": "rate",
        },
        left_out={},
        elsewhere={
            "P": "give `ssm_size`, the size before conjugate symmetry halves it",
            "activation": _GATING,
            "dropout": _DROPOUT,
            "prenorm": "it is the `prenorm` of `SSMBlock`",
            "batchnorm": "it is the `norm` of `SSMBlock`",
            "bn_momentum": "it is the `norm_momentum` of `SSMBlock`",
            "mode": "it is the `pooling` of `models.classifier`",
        },
        ignored={
            "H": _INPUTS,
            **dict.fromkeys(("Lambda_re_init", "Lambda_im_init", "V", "Vinv"), _VALUES),
        },
    ),
}

_S4D_NAMES = _FAMILIES["s4d"]
_DIAGONAL = ("disc", "is_real", "dt_tie")
_FAMILIES["s4"] = _S4D_NAMES._replace(
    official="FFTConv with SSMKernelDPLR",
    taken={
        **{k: v for k, v in _S4D_NAMES.taken.items() if k not in _DIAGONAL},
        "rank": "rank",
    },
    left_out={
        **{k: v for k, v in _S4D_NAMES.left_out.items() if k != "bandlimit"},
        "deterministic": f"it changes the initial C alone, {_OLD}",
    },
    elsewhere={k: v for k, v in _S4D_NAMES.elsewhere.items() if k not in ("mode", "kernel")},
    ignored={
        **{k: v for k, v in _S4D_NAMES.ignored.items() if k not in ("rank", "deterministic")},
        **dict.fromkeys(("mode", "kernel"), "family 's4' is the low-rank kernel"),
    },
    initializations={
        **{name: name for name in (*hippo.MEASURES, "hippo")},
        "fout": "fourier",
    },
)
