"""Constructor arguments of the official layers to ours."""

from collections.abc import Mapping
from typing import Any

from keras_ssm.ops import hippo


def layer_options(family: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of our layer for those of an official one.

    Args:
        family: `"dss"` (`DSS`), `"s4d"` (`SSMKernelDiag`) or `"s5"` (`S5SSM` as
            `init_S5SSM` is called, with `ssm_size` before halving).
        config: official arguments by name. Arguments that only set initial
            values we do not offer are ignored: the values come with the
            parameters.

    Returns:
        Keyword arguments of `DSS`, `S4D` or `S5`.

    Raises:
        ValueError: for an option that our layers leave out.

    Example:

    >>> keras_ssm.converters.layer_options("dss", {"d_state": 8, "version": "exp"})
    {'state_size': 8, 'kernel': 'exp'}
    """
    if family not in _OPTIONS:
        raise ValueError(f"`family` must be one of {list(_OPTIONS)}. Received: family={family!r}")
    names, refused = _OPTIONS[family]
    for name, reason in refused.items():
        if config.get(name):
            raise ValueError(
                f"{name!r} is left out of keras_ssm: {reason}. Received: {name}={config[name]!r}"
            )
    options = {names[name]: value for name, value in config.items() if name in names}
    if "initialization" in options:
        name = _INITIALIZATIONS.get(options["initialization"], options["initialization"])
        known = {*hippo.DIAGONALS, *hippo.MEASURES, *hippo.COMBINATIONS, "random", "skew-hippo"}
        options["initialization"] = name
        if name not in known:
            del options["initialization"]
    return options


_OPTIONS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "dss": (
        {
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
        {
            "hyper_act": "a multiplicative variant of old experiments",
            "max_kernel_length": "a cut kernel has no recurrence, and the official code misplaces "
            "the backward one",
        },
    ),
    "s4d": (
        {
            "d_state": "state_size",
            "init": "initialization",
            "disc": "discretization",
            "n_ssm": "n_ssm",
            "channels": "channels",
            "bidirectional": "bidirectional",
            "is_real": "real_valued",
            "real_transform": "real_transform",
            "imag_transform": "imag_transform",
            "dt_transform": "step_transform",
            "dt_tie": "tie_step",
            "dt_min": "step_min",
            "dt_max": "step_max",
        },
        {
            "dt_fast": "it trains asinh of the step, a variant of old experiments",
            "bandlimit": "it masks modes by their initial frequency, a variant of old experiments",
            "swap_channels": "a permutation of the output channels of old experiments",
            "l_max": "a cut kernel has no recurrence",
        },
    ),
    "s5": (
        {
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
        {},
    ),
}
_INITIALIZATIONS = {
    "hippo_skew_pos_imag": "skew-hippo",
    "randn": "random",
    "fout": "fourier",
    **{f"diag-{name}": name for name in (*hippo.DIAGONALS, "legs", "random")},
    "diag-rand": "random",
}
