"""AdamW with a learning rate and a weight decay for every group of weights.

The eigenvalues, the input matrix and the step sizes of state space layers train
with a smaller learning rate and without weight decay; without that they learn
markedly worse. Each weight names its group where its layer makes it, and one
optimizer holds the rates of all groups, so that clipping, averages, accumulation
and loss scaling see the whole model, as with any optimizer of Keras.
"""

import math
import numbers
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_ssm.backend import adam_update, lifted
from keras_ssm.schedules import warmup_cosine

VARIANTS = ("standard", "BandCdecay", "BfastandCdecay", "noBCdecay")

# The groups of the layers of this package. None is the group of all other weights.
_LAYER_GROUPS = ("eigenvalues", "input", "output", "step")

Rate: TypeAlias = float | LearningRateSchedule

# The backend's own AdamW: torch has one that updates many weights in one call,
# which Keras takes for `keras.optimizers.AdamW` itself but not for its subclasses.
_AdamW: Any = type(keras.optimizers.AdamW.__new__(keras.optimizers.AdamW))


class Group(NamedTuple):
    """Learning rate and weight decay for the weights of one or more groups.

    Attributes:
        names: values of `ssm_group` of the weights.
        factor: the learning rate, as a multiple of the optimizer's; or None.
        learning_rate: a number or schedule of its own, where `factor` is None.
        weight_decay: decoupled decay, multiplied by the learning rate.
        argument: name of the argument that asked for this rate. It is an error
            if no weight trains with it; None asks for nothing.

    Example:

    >>> slow = keras_ssm.optimizers.Group(("eigenvalues", "step"), factor=0.25)
    >>> optimizer = keras_ssm.optimizers.GroupedAdamW(4e-3, 0.01, [slow])
    >>> round(float(optimizer.learning_rate_of("step")), 6)
    0.001
    """

    names: tuple[str, ...]
    factor: float | None = None
    learning_rate: Rate | None = None
    weight_decay: float = 0.0
    argument: str | None = None


def adamw(
    learning_rate: Rate = 4e-3,
    ssm_learning_rate: Rate | None = None,
    weight_decay: float = 0.01,
    variant: str = "standard",
    dt_global: bool = False,
    step_learning_rate: Rate | None = None,
    group_learning_rates: Mapping[str, Rate] | None = None,
    total_steps: int | None = None,
    warmup_steps: int = 0,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    **kwargs: Any,
) -> "GroupedAdamW":
    """Make an AdamW optimizer with groups for the state space parameters of a model.

    | variant            | ssm rate, no decay               | ssm rate, decay | the rest |
    |--------------------|----------------------------------|-----------------|----------|
    | `"standard"`       | eigenvalues, input, step         | -               | output   |
    | `"BandCdecay"`     | eigenvalues, step                | input           | output   |
    | `"BfastandCdecay"` | eigenvalues, step                | -               | input, output |
    | `"noBCdecay"`      | eigenvalues, input, output, step | -               |          |

    The groups are those that the layers name where they make their weights:
    `"eigenvalues"` (Lambda), `"input"` (B, or W of DSS), `"output"` (C and D) and
    `"step"` (the step sizes). `"standard"` is also the grouping of S4D and DSS.
    The rest, to which the weights of all other layers belong, trains with
    `learning_rate` and `weight_decay`.

    Rates are numbers or `keras.optimizers.schedules.LearningRateSchedule`s.
    Where all are numbers, `optimizer.learning_rate` is that of the rest, and
    setting it scales those of all groups with it, so that
    `keras.callbacks.ReduceLROnPlateau` and `LearningRateScheduler` do what they
    say. As in Keras, a rate that follows a schedule cannot be set.

    The optimizer is saved with the model, and training goes on from a `.keras`
    file as if it had not been interrupted, under any backend.

    Args:
        learning_rate: learning rate of the rest; the peak, when `total_steps` is given.
        ssm_learning_rate: learning rate of the state space groups, 1e-3 by default.
            If it is given, the model must have weights in these groups.
        weight_decay: decoupled decay, multiplied by the group's learning rate.
        variant: one of the names of the table, those of the S5 code.
        dt_global: put the step sizes into the rest, as two S5 models do.
        step_learning_rate: a learning rate for the step sizes alone, without
            decay, as DSS and S4D models have.
        group_learning_rates: learning rates of groups of your own layers, by
            the name that they give to `add_parameter`; without decay.
        total_steps: if given, all rates, which must be numbers, rise linearly
            from 0 during `warmup_steps` and then fall to 0 as a cosine at
            `total_steps`.
        warmup_steps: length of the rise.
        beta_1: decay of the first moment.
        beta_2: decay of the second moment.
        epsilon: as Keras applies it, before the bias correction.
        **kwargs: other arguments of `keras.optimizers.AdamW`, with their meaning over
            all groups together: `clipnorm`, `global_clipnorm`, `clipvalue`,
            `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `gradient_accumulation_steps`, `loss_scale_factor`, `amsgrad`, `name`.

    Returns:
        A `GroupedAdamW`, to be given to `model.compile`.

    Raises:
        ValueError: for an unknown variant, rates that are not positive numbers
            or schedules, a negative decay, both `dt_global` and
            `step_learning_rate`, schedules or `warmup_steps` that do not go
            with `total_steps`, names that Keras does not know. When the
            optimizer meets the model: for a rate that was given and that no
            weight trains with, and for weights in a group without a rate.

    Example:

    >>> model = keras_ssm.models.classifier(10, (None, 1), layer="s5", depth=2, width=16)
    >>> optimizer = keras_ssm.optimizers.adamw(4e-3, 1e-3, global_clipnorm=1.0)
    >>> model.compile(optimizer, "sparse_categorical_crossentropy")
    >>> round(float(optimizer.learning_rate_of("eigenvalues")), 6)
    0.001

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
    own = _own_groups(group_learning_rates)
    given = dict(own.values())
    if ssm_learning_rate is not None:
        given["ssm_learning_rate"] = ssm_learning_rate
    if step_learning_rate is not None:
        given["step_learning_rate"] = step_learning_rate
    for name, rate in {"learning_rate": learning_rate, **given}.items():
        _check_rate(name, rate)
        if total_steps is not None and isinstance(rate, LearningRateSchedule):
            raise ValueError(
                f"`total_steps` makes a schedule of `{name}`, which must then be a number. "
                f"Received: {name}={rate!r}, total_steps={total_steps!r}"
            )
    if warmup_steps and total_steps is None:
        raise ValueError(
            "`warmup_steps` needs `total_steps`. "
            f"Received: warmup_steps={warmup_steps!r}, total_steps=None"
        )
    _check_number("weight_decay", weight_decay)
    _check_number("epsilon", epsilon)
    _check_number("beta_1", beta_1, below=1)
    _check_number("beta_2", beta_2, below=1)

    def group(names: Sequence[str], argument: str, decay: float = 0.0) -> Group:
        rate: Any = given.get(argument, 1e-3)
        group = Group(
            names=tuple(names),
            learning_rate=rate,
            weight_decay=float(decay),
            argument=argument if argument in given else None,
        )
        if any(isinstance(x, LearningRateSchedule) for x in (rate, learning_rate)):
            return group
        return group._replace(learning_rate=None, factor=float(rate) / float(learning_rate))

    # The table: what trains with the ssm rate, what of it decays, and what is in the rest.
    slow: list[str] = ["eigenvalues"]
    decaying: list[str] = []
    rest: list[str] = []
    {"BandCdecay": decaying, "BfastandCdecay": rest}.get(variant, slow).append("input")
    (slow if variant == "noBCdecay" else rest).append("output")
    if step_learning_rate is None:
        (rest if dt_global else slow).append("step")

    groups = [group(slow, "ssm_learning_rate")]
    if decaying:
        groups.append(group(decaying, "ssm_learning_rate", weight_decay))
    if step_learning_rate is not None:
        groups.append(group(["step"], "step_learning_rate"))
    groups += [group([name], argument) for name, (argument, _) in own.items()]
    if total_steps is not None:
        learning_rate = warmup_cosine(learning_rate, total_steps, warmup_steps)
    kwargs |= {"beta_1": float(beta_1), "beta_2": float(beta_2), "epsilon": float(epsilon)}
    return GroupedAdamW(learning_rate, float(weight_decay), groups, rest, **kwargs)


@keras.saving.register_keras_serializable(package="keras_ssm")
class GroupedAdamW(_AdamW):
    """`keras.optimizers.AdamW` with a learning rate and a decay for every group of weights.

    `adamw` makes it with the groups of state space models. A weight is in the
    group that its attribute `ssm_group` names, which `add_parameter` of a state
    space layer sets; weights without one, or with None, train as the rest.

    Args:
        learning_rate: learning rate of the rest, a number or a schedule.
        weight_decay: weight decay of the rest.
        groups: the other groups.
        rest_groups: names of groups that train as the rest.
        **kwargs: other arguments of `keras.optimizers.AdamW`.

    Raises:
        ValueError: for a name in two groups, or a group with two rates or none.
            When the optimizer is built: for a rate that was asked for and that
            no weight trains with, and for weights in a group without a rate.

    Example:

    >>> fast = keras_ssm.optimizers.Group(("mine",), factor=10.0)
    >>> optimizer = keras_ssm.optimizers.GroupedAdamW(1e-3, 0.01, [fast])
    >>> optimizer.learning_rate = 5e-4
    >>> round(float(optimizer.learning_rate_of("mine")), 6)
    0.005
    """

    def __init__(
        self,
        learning_rate: Rate = 1e-3,
        weight_decay: float = 0.004,
        groups: Sequence[Group] = (),
        rest_groups: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        _check_groups(groups, rest_groups)
        if not isinstance(learning_rate, LearningRateSchedule):
            learning_rate = float(learning_rate)
        super().__init__(learning_rate, weight_decay=weight_decay, **kwargs)
        self.groups = tuple(groups)
        self.rest_groups = tuple(rest_groups)

    @property
    def learning_rate(self) -> Any:
        """The current learning rate of the rest. Setting it scales all groups alike."""
        return self._get_current_learning_rate()

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        fixed = [group.names for group in self.groups if group.factor is None]
        if fixed and not isinstance(self._learning_rate, LearningRateSchedule):
            raise TypeError(
                "Setting the learning rate scales those of all groups, which cannot be done to "
                f"the schedules of {fixed}. Received: learning_rate={value!r}"
            )
        _AdamW.learning_rate.fset(self, value)

    def learning_rate_of(self, name: str | None) -> Any:
        """Get the current learning rate of a group by its name; None names the rest.

        Args:
            name: as the weights name it, e.g. `"eigenvalues"`.

        Returns:
            A scalar: a tensor, a variable or a number.

        Raises:
            ValueError: for a name that is in no group.

        Example:

        >>> optimizer = keras_ssm.optimizers.adamw(4e-3, step_learning_rate=2e-3)
        >>> round(float(optimizer.learning_rate_of("step")), 6)
        0.002
        """
        return self._rate(self._index(name))

    @property
    def optimizers(self) -> "deque[GroupedAdamW]":
        """This optimizer alone, for code that walks the optimizers in a `MultiOptimizer`.

        Callbacks of Keras do so, and then log the rate with the optimizer's name.
        """
        return deque([self])  # Keras' saving walks into lists, and would not come to an end.

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        self._check_weights(variables)
        self._indices = tuple(self._index(_group_of(variable)) for variable in variables)
        with lifted():
            super().build(variables)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "groups": [
                {
                    "names": list(group.names),
                    "factor": group.factor,
                    "learning_rate": keras.saving.serialize_keras_object(group.learning_rate),
                    "weight_decay": group.weight_decay,
                }
                for group in self.groups
            ],
            "rest_groups": list(self.rest_groups),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "GroupedAdamW":
        # Which rates were asked for is left out: a file must load with weights frozen since.
        def rate(value: Any) -> Any:
            return keras.saving.deserialize_keras_object(value, custom_objects)

        groups = [
            Group(**{**g, "names": tuple(g["names"]), "learning_rate": rate(g["learning_rate"])})
            for g in config["groups"]
        ]
        return super().from_config({**config, "groups": groups}, custom_objects)

    # One step: what Keras does with all weights, group by group.

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        for index, positions in self._split(variables):
            decaying = [variables[i] for i in positions if self._use_weight_decay(variables[i])]
            group = _AsGroup(self, index)
            if decaying and group.weight_decay:
                _AdamW._apply_weight_decay(group, decaying)

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        for index, positions in self._split(trainable_variables):
            rate = self._rate(index, learning_rate)
            if self._updates_at_once:
                step = ops.cast(self.iterations + 1, trainable_variables[positions[0]].dtype)
                correction = ops.sqrt(1 - ops.power(self.beta_2, step))
                rate = rate * correction / (1 - ops.power(self.beta_1, step))
            super()._backend_update_step(
                [grads[i] for i in positions], [trainable_variables[i] for i in positions], rate
            )

    @property
    def _updates_at_once(self) -> bool:
        """Whether the framework has an operation for the whole update of a weight."""
        return adam_update is not None and not self.amsgrad

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if not self._updates_at_once:
            return super().update_step(gradient, variable, learning_rate)
        index = self._get_variable_index(variable)
        moments = self._momentums[index], self._velocities[index]
        constants = self.beta_1, self.beta_2, self.epsilon
        return adam_update(variable, *moments, gradient, learning_rate, *constants)

    def _split(self, variables: Sequence[Any]) -> list[tuple[int | None, list[int]]]:
        """Positions of the variables of each group; of one dtype, which torch updates at once."""
        found: dict[Any, list[int]] = {}
        for position, variable in enumerate(variables):
            index = self._indices[self._get_variable_index(variable)]
            found.setdefault((index, variable.dtype), []).append(position)
        return [(index, positions) for (index, _), positions in found.items()]

    def _rate(self, index: int | None, rest: Any = None) -> Any:
        """Current learning rate of a group, from that of the rest."""
        rest = self.learning_rate if rest is None else rest
        if index is None:
            return rest
        _, factor, rate, *_ = self.groups[index]
        if factor is not None:
            return rest * factor
        return rate(self._iterations) if isinstance(rate, LearningRateSchedule) else rate

    # Which weight is where.

    def _index(self, name: str | None) -> int | None:
        """Position of the group of this name, None for the rest."""
        if name is None or name in self.rest_groups:
            return None
        for index, group in enumerate(self.groups):
            if name in group.names:
                return index
        raise ValueError(f"expected one of the groups {self._names()}. Received: {name!r}")

    def _names(self) -> list[str]:
        return [*(name for group in self.groups for name in group.names), *self.rest_groups]

    def _check_weights(self, variables: Sequence[Any]) -> None:
        """Raise ValueError unless groups and weights go together."""
        members: dict[Any, list[str]] = {}
        for variable in variables:
            if not isinstance(variable, keras.Variable):
                raise ValueError(
                    "The weights of a model, which know their groups, are `keras.Variable`s, as "
                    f"in `model.trainable_variables`. Received: {variable!r}"
                )
            members.setdefault(_group_of(variable), []).append(variable.path)
        unknown = {n: paths for n, paths in members.items() if n not in (None, *self._names())}
        if unknown:
            raise ValueError(
                f"The learning rates of this optimizer are for the groups {self._names()} and "
                "for weights in none; `adamw(group_learning_rates={name: rate})` gives another "
                f"group its rate. Received: weights by group {unknown}"
            )
        asked: dict[str, list[str]] = {}
        for group in self.groups:
            if group.argument is not None:
                asked.setdefault(group.argument, []).extend(group.names)
        for argument, names in asked.items():
            if not members.keys() & set(names):
                raise ValueError(
                    f"`{argument}` is a learning rate for weights in the groups {names}, but none "
                    "of the weights to be trained is in one; leave it out, or unfreeze them "
                    f"before compiling. Received: weights by group {members}"
                )


class _AsGroup:
    """The optimizer with the learning rate and the decay of one of its groups.

    Keras' decay of weights, which each backend has its own version of, reads
    both from the optimizer, so that one method serves all groups and backends.
    """

    def __init__(self, optimizer: GroupedAdamW, index: int | None) -> None:
        self._optimizer = optimizer
        self._position = index
        decays = optimizer if index is None else optimizer.groups[index]
        self.weight_decay = decays.weight_decay

    def _get_current_learning_rate(self) -> Any:
        return self._optimizer._rate(self._position)

    learning_rate = property(_get_current_learning_rate)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)


def _group_of(variable: Any) -> Any:
    return getattr(variable, "ssm_group", None)


def _own_groups(group_learning_rates: Any) -> dict[str, tuple[str, Any]]:
    """By the name of a user's own group, the words that an error names it with, and its rate."""
    if group_learning_rates is None:
        return {}
    if not isinstance(group_learning_rates, Mapping):
        raise ValueError(
            "`group_learning_rates` must be a dictionary of learning rates by the names of groups. "
            f"Received: group_learning_rates={group_learning_rates!r}"
        )
    for name in group_learning_rates:
        if not isinstance(name, str) or name in _LAYER_GROUPS:
            raise ValueError(
                "`group_learning_rates` must name groups of your own, other than "
                f"{list(_LAYER_GROUPS)}. Received: group_learning_rates={group_learning_rates!r}"
            )
    return {
        name: (f"group_learning_rates[{name!r}]", rate)
        for name, rate in group_learning_rates.items()
    }


def _check_rate(name: str, rate: Any) -> None:
    """Raise ValueError unless `rate` is a positive number or a schedule."""
    if not isinstance(rate, LearningRateSchedule) and not (_is_number(rate) and rate > 0):
        raise ValueError(
            f"`{name}` must be a positive number or a `LearningRateSchedule`. "
            f"Received: {name}={rate!r}"
        )


def _check_number(name: str, value: Any, below: float = math.inf) -> None:
    """Raise ValueError unless `value` is a number from 0 up, `below` another."""
    if not (_is_number(value) and 0 <= value < below):
        upper = "" if below == math.inf else f" and less than {below}"
        raise ValueError(
            f"`{name}` must be a number, at least 0{upper}. Received: {name}={value!r}"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _check_groups(groups: Sequence[Group], rest_groups: Sequence[str]) -> None:
    """Raise ValueError unless every name has one group and every group one rate."""
    names = [*(name for group in groups for name in group.names), *rest_groups]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"A name must be in one group; {twice} are in several. "
            f"Received: groups={groups!r}, rest_groups={rest_groups!r}"
        )
    for group in groups:
        if (group.factor is None) == (group.learning_rate is None):
            raise ValueError(
                "A group must have either a `factor` on the learning rate of the rest or a "
                f"`learning_rate` of its own. Received: {group!r}"
            )
