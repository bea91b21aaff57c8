"""AdamW with the state space parameters in a group of their own.

The eigenvalues, the input matrix and the step sizes of these layers train with
a smaller learning rate and without weight decay; without that they learn
markedly worse. One call builds the groups on `keras.optimizers.MultiOptimizer`,
by the names of the weights, so that they are saved and loaded with the model.
"""

from collections.abc import Iterable
from typing import Any, TypeAlias

import keras

_EIGENVALUES = ("Lambda_re", "Lambda_im")
_INPUT = ("B", "W")
_OUTPUT = ("C", "C_backward", "D")
_STEP = ("log_step",)

VARIANTS = ("standard", "BandCdecay", "BfastandCdecay", "noBCdecay")

Rate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


def adamw(
    learning_rate: Rate = 4e-3,
    ssm_learning_rate: Rate = 1e-3,
    weight_decay: float = 0.01,
    variant: str = "standard",
    dt_global: bool = False,
    step_learning_rate: Rate | None = None,
    total_steps: int | None = None,
    warmup_steps: int = 0,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
) -> "GroupedAdamW":
    """AdamW for a model, with groups for its state space parameters.

    | variant            | ssm rate, no decay             | ssm rate, decay | the rest      |
    |--------------------|--------------------------------|-----------------|---------------|
    | `"standard"`       | Lambda, B (or W), log_step     | -               | C, D, others  |
    | `"BandCdecay"`     | Lambda, log_step               | B               | C, D, others  |
    | `"BfastandCdecay"` | Lambda, log_step               | -               | B, C, D, others |
    | `"noBCdecay"`      | Lambda, B, C, D, log_step      | -               | others        |

    `"standard"` is also the grouping of S4D and DSS, where DSS's W takes the
    place of B. The rest trains with `learning_rate` and `weight_decay`.

    Rates are numbers or `keras.optimizers.schedules.LearningRateSchedule`s.
    The groups are saved with the model, and training goes on from a `.keras`
    file as if it had not been interrupted, under any backend.

    Args:
        learning_rate: of the rest; the peak, when `total_steps` is given.
        ssm_learning_rate: of the state space groups.
        weight_decay: decoupled decay, multiplied by the group's learning rate.
        variant: one of the names of the table, those of the S5 code.
        dt_global: put the step sizes into the rest, as two S5 models do.
        step_learning_rate: a learning rate for the step sizes alone, without
            decay, as DSS and S4D models have.
        total_steps: if given, all rates, which must be numbers, rise linearly
            from 0 during `warmup_steps` and then fall to 0 as a cosine at
            `total_steps`.
        warmup_steps: length of the rise.
        beta_1: decay of the first moment.
        beta_2: decay of the second moment.
        epsilon: as Keras applies it, before the bias correction.

    Returns:
        A `keras.optimizers.MultiOptimizer`, to be given to `model.compile`. Its
        groups, each a `keras.optimizers.AdamW`, are in `.optimizers`, the rest
        last.

    Raises:
        ValueError: for an unknown variant, rates or steps that are not
            positive, a negative decay, both `dt_global` and
            `step_learning_rate`, schedules or `warmup_steps` that do not go
            with `total_steps`.

    Example:

    >>> model = keras_ssm.models.classifier(10, (None, 1), layer="s5", depth=2, width=16)
    >>> model.compile(keras_ssm.optimizers.adamw(4e-3, 1e-3), "sparse_categorical_crossentropy")

    References:
        lindermanlab/S5 `s5/train_helpers.py`, `create_train_state`;
        state-spaces/s4 `example.py`, `setup_optimizer`; ag1988/dss
        `standalone/dss.py`.
    """
    if variant not in VARIANTS:
        raise ValueError(
            f"`variant` must be one of {list(VARIANTS)}. Received: variant={variant!r}"
        )
    if dt_global and step_learning_rate is not None:
        raise ValueError(
            "`dt_global` gives the step sizes the rate of the rest, so `step_learning_rate` must "
            f"be None. Received: step_learning_rate={step_learning_rate!r}"
        )
    rates = {
        "learning_rate": learning_rate,
        "ssm_learning_rate": ssm_learning_rate,
        "step_learning_rate": step_learning_rate,
    }
    for name, rate in rates.items():
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            if total_steps is not None:
                raise ValueError(
                    f"`total_steps` makes a schedule of `{name}`, which must then be a number. "
                    f"Received: {name}={rate!r}, total_steps={total_steps!r}"
                )
        elif rate is not None and not rate > 0:
            raise ValueError(f"`{name}` must be positive. Received: {name}={rate!r}")
    if not weight_decay >= 0:
        raise ValueError(
            f"`weight_decay` must not be negative. Received: weight_decay={weight_decay!r}"
        )
    if warmup_steps and total_steps is None:
        raise ValueError(
            "`warmup_steps` needs `total_steps`. "
            f"Received: warmup_steps={warmup_steps!r}, total_steps=None"
        )

    def group(rate: Any, decay: float) -> keras.optimizers.Optimizer:
        if total_steps is not None:
            rate = warmup_cosine(rate, total_steps, warmup_steps)
        elif not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            rate = float(rate)
        return keras.optimizers.AdamW(
            rate, weight_decay=decay, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon
        )

    ssm_names = [*_EIGENVALUES]
    if variant in ("standard", "noBCdecay"):
        ssm_names += _INPUT
    if variant == "noBCdecay":
        ssm_names += _OUTPUT
    if not dt_global and step_learning_rate is None:
        ssm_names += _STEP
    groups = {_pattern(ssm_names): group(ssm_learning_rate, 0.0)}
    if variant == "BandCdecay":
        groups[_pattern(_INPUT)] = group(ssm_learning_rate, weight_decay)
    if step_learning_rate is not None:
        groups[_pattern(_STEP)] = group(step_learning_rate, 0.0)
    rest = group(learning_rate, weight_decay)
    return GroupedAdamW(
        keras.optimizers.OptimizerMap(rest, groups),
        {
            **rates,
            "weight_decay": weight_decay,
            "variant": variant,
            "dt_global": dt_global,
            "total_steps": total_steps,
            "warmup_steps": warmup_steps,
            "beta_1": beta_1,
            "beta_2": beta_2,
            "epsilon": epsilon,
        },
    )


@keras.saving.register_keras_serializable(package="keras_ssm")
class GroupedAdamW(keras.optimizers.MultiOptimizer):
    """What `adamw` returns; its configuration is the arguments of `adamw`.

    The configuration of a plain `MultiOptimizer` names the optimizer classes of
    the backend. Those of torch are classes of their own, with which a model
    saved under torch could not go on training under another backend.

    Example:

    >>> optimizer = keras_ssm.optimizers.adamw(learning_rate=4e-3, ssm_learning_rate=1e-3)
    >>> [round(float(group.learning_rate), 4) for group in optimizer.optimizers]
    [0.001, 0.004]
    """

    def __init__(self, optimizer_map: Any, arguments: dict[str, Any]) -> None:
        super().__init__(optimizer_map)
        self.arguments = arguments

    def get_config(self) -> dict[str, Any]:
        return {
            name: keras.saving.serialize_keras_object(value)
            for name, value in self.arguments.items()
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "GroupedAdamW":
        return adamw(
            **{
                name: keras.saving.deserialize_keras_object(value, custom_objects)
                for name, value in config.items()
            }
        )


def warmup_cosine(
    peak: float, total_steps: int, warmup_steps: int = 0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear rise from 0 to `peak`, then a cosine to 0 at `total_steps`.

    Args:
        peak: the highest learning rate.
        total_steps: steps of the whole training.
        warmup_steps: steps of the rise, less than `total_steps`.

    Returns:
        A `keras.optimizers.schedules.CosineDecay`.

    Raises:
        ValueError: unless 0 <= warmup_steps < total_steps.

    Example:

    >>> schedule = keras_ssm.optimizers.warmup_cosine(1e-2, total_steps=100, warmup_steps=10)
    >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 55, 100)]
    [0.0, 0.005, 0.01, 0.005, 0.0]
    """
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            "`warmup_steps` must be at least 0 and less than `total_steps`. "
            f"Received: warmup_steps={warmup_steps!r}, total_steps={total_steps!r}"
        )
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(peak, total_steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, total_steps - warmup_steps, warmup_target=peak, warmup_steps=warmup_steps
    )


def _pattern(names: Iterable[str]) -> str:
    """Regular expression of the paths of weights with these names, in any layer."""
    return rf"(.*/)?({'|'.join(names)})"
