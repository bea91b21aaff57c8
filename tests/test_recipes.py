"""Recipes: sizes, groups and schedules as published, and data that JSON can hold."""

import copy
import functools
import json

import keras
import numpy as np
import published_settings
import pytest
from keras import ops

from keras_ssm import analysis, optimizers, recipes
from keras_ssm.layers.names import LAYERS
from keras_ssm.recipes import rules
from keras_ssm.recipes.published import PARAMETERS

pytestmark = pytest.mark.backend_free
NAMES = recipes.names()
FULL = [name for name in NAMES if name[2] == "full"]


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x), "float64")


@functools.cache
def built(task, layer, scale="full", **changes):
    recipe = recipes.get(task, layer, scale)
    recipe["model"] |= changes
    return recipes.build_model(recipe)


@functools.cache
def narrow(task, layer):
    """A model of one narrow block of the recipe's kind: rates do not depend on sizes."""
    recipe = recipes.get(task, layer)
    recipe["model"] |= {"depth": 1, "width": 4, "state_size": 4}
    recipe["model"].pop("blocks", None)
    return recipes.build_model(recipe)


def parameters(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


# Counted from the released configurations, without the norm after the last block that the code
# of DSS and S4 has with prenorm, and with a linear head.
COUNTED = {
    ("sc35", "s4d"): 305_827,
    ("lra-listops", "s5"): 188_490,
    ("lra-text", "s5"): 1_321_154,
    ("lra-retrieval", "s5"): 706_434,
    ("lra-image", "s5"): 5_133_706,
    ("lra-pathfinder", "s5"): 1_113_602,
    ("lra-pathx", "s5"): 694_018,
    ("sc35", "s5"): 283_523,
    ("lra-listops", "dss"): 205_578,
    ("lra-text", "dss"): 152_194,
    ("lra-retrieval", "dss"): 625_410,
    ("lra-image", "dss"): 1_991_434,
    ("lra-pathfinder", "dss"): 600_834,
    ("sc10", "dss"): 203_530,
}


@pytest.mark.parametrize(("task", "layer"), COUNTED, ids=str)
def test_number_of_parameters_equals_that_of_the_released_configuration(task, layer):
    model = built(task, layer)
    recipe = recipes.get(task, layer)
    width, classes = recipe["model"]["width"], recipe["data"]["num_classes"]
    final_norm = 2 * width if layer != "s5" and recipe["model"]["prenorm"] else 0
    hidden = 0
    if task == "lra-retrieval":
        # [a, b, a - b, a * b] to the width, in front of the linear head.
        hidden = (4 * width + 1) * width
        head = parameters(model.get_layer("head").trainable_variables)
        assert head == (width + 1) * classes
    total = parameters(model.trainable_variables)
    assert total - final_norm - hidden == COUNTED[task, layer]


def test_speech_models_have_the_published_thousands_of_parameters():
    assert round(parameters(built("sc35", "s4d").trainable_variables) / 1000) == 306
    untied = built("sc35", "s4d", n_ssm=None)
    assert parameters(untied.trainable_variables) == 402_595 + 2 * 128


@pytest.mark.parametrize("name", NAMES, ids="-".join)
def test_every_recipe_makes_a_model_for_its_data(name):
    recipe, model = recipes.get(*name), built(*name)
    assert model.input_shape == (None, *recipe["data"]["input_shape"])
    assert model.output_shape == (None, recipe["data"]["num_classes"])
    if name[2] == "full":
        assert parameters(model.trainable_variables) == PARAMETERS[name[:2]]


def test_sizes_of_the_data_may_replace_those_of_the_recipe():
    recipe = recipes.get("lra-retrieval", "s4d")
    recipe["model"] |= {"depth": 1, "width": 4}
    model = recipes.build_model(recipe, input_shape=(2, None), num_classes=3)
    assert (model.input_shape, model.output_shape) == ((None, 2, None), (None, 3))


def test_a_recipe_is_a_copy_of_its_own_that_json_can_hold():
    for name in NAMES:
        recipe = recipes.get(*name)
        assert json.loads(json.dumps(recipe)) == recipe
        recipe["model"].clear()
        recipe["data"]["input_shape"].append(1)
        assert recipes.get(*name) != recipe
        assert recipes.get(*name)["model"]


@pytest.mark.parametrize(
    "name", [("digits", "s5", "full"), ("mnist", "s5", "small"), ("sc35", "lstm", "full")]
)
def test_an_unknown_recipe_names_those_there_are(name):
    task, layer, scale = name
    with pytest.raises(ValueError, match=r"digits \(small: dss, lru, s4, s4d, s5\)") as caught:
        recipes.get(*name)
    received = f"Received: task={task!r}, layer={layer!r}, scale={scale!r}"
    assert str(caught.value).endswith(received)


def test_wrong_names_inside_a_recipe_say_what_was_expected():
    recipe = recipes.get("digits", "s5", "small")
    with pytest.raises(ValueError, match=r"`schedule.name` must be one of constant, .*='linear'"):
        recipes.optimizer({**recipe, "schedule": {"name": "linear"}}, 10)
    with pytest.raises(ValueError, match=r"output of shape \(None, 64, 10\)"):
        recipes.build_model({**recipe, "model": {**recipe["model"], "pooling": None}})
    with pytest.raises(ValueError, match=r"`builder` must be one of .*Received: builder='rnn'"):
        recipes.build_model({**recipe, "builder": "rnn"})


def flat(settings, name=""):
    """Nested settings by their path, with dots in it, down to single numbers."""
    if isinstance(settings, list):
        settings = dict(enumerate(settings))
    if not isinstance(settings, dict):
        return {name: settings}
    found = {}
    for key, value in settings.items():
        found |= flat(value, f"{name}.{key}" if name else str(key))
    return found


@pytest.mark.parametrize("name", FULL, ids="-".join)
def test_every_setting_is_the_published_one(name):
    recipe = recipes.get(*name)
    found = flat({part: recipe[part] for part in recipe if isinstance(recipe[part], dict)})
    expected = flat(published_settings.settings(name[1], name[0]))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == (pytest.approx(value) if isinstance(value, float) else value), key


def test_every_published_setting_has_a_recipe():
    typed = {
        (task, layer, "full")
        for layer, table in (
            ("dss", published_settings.DSS),
            ("s4", published_settings.S4),
            ("s4d", published_settings.S4D),
            ("s5", published_settings.S5),
            ("s5", published_settings.LONG_S5),
            ("lru", published_settings.LONG_LRU),
        )
        for task in published_settings.rows(table)
    }
    assert typed == set(FULL)


# What is wrong is refused, whatever it is: each setting with values of every kind.

WRONG = ("abc", -1, 1.5, True, None, [1, 2], {}, float("nan"), 10**400)


def every_setting(recipe):
    known = {
        "model": rules._model_arguments(recipe["builder"], recipe["layer"]),
        "optimizer": rules._optimizer_arguments(),
    }
    for part, settings in recipe.items():
        if isinstance(settings, dict):
            for name in {**settings, **known.get(part, {})}:
                yield part, name
        else:
            yield None, part


@pytest.mark.parametrize(
    "name", [("digits", "s5"), ("lra-listops", "s4d"), ("sc10", "dss")], ids="-".join
)
def test_a_wrong_setting_is_a_valueerror_or_makes_a_model(name):
    base = recipes.get(*name, "small")
    base["model"] |= {"depth": 1, "width": 4, "state_size": 4}
    messages = []
    for part, key in every_setting(base):
        for value in WRONG:
            recipe = copy.deepcopy(base)
            (recipe[part] if part else recipe)[key] = value
            try:
                recipes.build_model(recipe)
                recipes.optimizer(recipe, 10)
            except ValueError as error:
                messages.append(str(error))
    assert not [message for message in messages if "Received: " not in message]
    assert len(messages) > 300


def test_a_missing_or_unknown_part_is_named():
    recipe = recipes.get("digits", "s5", "small")
    for name in recipe:
        less = {key: value for key, value in recipe.items() if key != name}
        with pytest.raises(ValueError, match=f"Received: one without '{name}'"):
            recipes.check(less)
        with pytest.raises(ValueError, match=r"Received: recipe.extra=1"):
            recipes.check({**recipe, "extra": 1})
    for wrong in (None, [], "digits"):
        with pytest.raises(ValueError, match="expected `recipe` to be a dict"):
            recipes.check(wrong)
    tokens = recipes.get("lra-listops", "s5", "small")
    tokens["model"]["vocabulary_size"] = 17
    with pytest.raises(ValueError, match="at least 18, the tokens of lra-listops"):
        recipes.check(tokens)
    tokens["model"]["vocabulary_size"] = 18
    tokens["data"]["input_shape"] = []
    with pytest.raises(
        ValueError, match=r"must be \[2048\], that of lra-listops. Received: .*=\[\]"
    ):
        recipes.check(tokens)


# Groups. (share of decay, rate) by weight, in words of the recipe's arguments.


def expected_groups(layer, variant, dt_global):
    ssm, rest = ("ssm_learning_rate", False), ("learning_rate", True)
    step = "ssm_learning_rate" if layer == "s5" else "step_learning_rate"
    inputs = {
        "standard": ssm,
        "BandCdecay": ("ssm_learning_rate", True),
        "BfastandCdecay": rest,
        "noBCdecay": ssm,
    }[variant]
    outputs = ssm if variant == "noBCdecay" else rest
    return {
        "nu_log": ssm, "theta_log": ssm, "gamma_log": ssm,
        "Lambda_re": ssm, "Lambda_im": ssm, "A_real": ssm, "A_imag": ssm, "P": ssm,
        "B": inputs, "W": inputs,
        "C": outputs, "C_backward": outputs, "D": outputs,
        "log_step": rest if dt_global else (step, False),
    }  # fmt: skip


@pytest.mark.parametrize("name", FULL, ids="-".join)
def test_every_weight_trains_with_the_published_rate_and_decay(name):
    recipe = recipes.get(*name)
    arguments, schedule = recipe["optimizer"], recipe["schedule"]
    # Where the rise ends, the rate is the peak.
    top = schedule.get("warmup_steps", 10 * schedule.get("warmup_epochs", 0))
    groups = expected_groups(
        name[1], arguments.get("variant", "standard"), arguments.get("dt_global", False)
    )
    # The first step of Adam for a gradient of 1, were it step `top`; without a gradient, the
    # decay alone; and at the end of a schedule nothing.
    beta_1, beta_2, t = 0.9, 0.999, top + 1
    share = (1 - beta_1) / (1 - beta_1**t) * np.sqrt((1 - beta_2**t) / (1 - beta_2))
    model = narrow(*name[:2])
    end = schedule.get("total_steps", 10 * recipe["training"]["epochs"])
    cases = [(top, 1.0, 0.0, 0.0, 1.0), (top, 0.0, 1.0, share, 0.0), (end, 1.0, 1.0, 0.0, 0.0)]
    falls = schedule["name"] not in ("plateau", "constant")
    for step, before, gradient, of_rate, of_decay in cases[: 2 + falls]:
        for variable in model.trainable_variables:
            variable.assign(ops.full_like(variable, before))
        optimizer = recipes.optimizer(recipe, steps_per_epoch=10)
        optimizer.build(model.trainable_variables)
        for one in (optimizer, *optimizer.optimizers):
            one.iterations.assign(step)
        gradients = [ops.full_like(v, gradient) for v in model.trainable_variables]
        optimizer.apply(gradients, model.trainable_variables)
        for variable in model.trainable_variables:
            rate, decays = groups.get(variable.name, ("learning_rate", True))
            moved = of_rate + of_decay * decays * arguments["weight_decay"]
            found = before - numpy(variable)
            expected = arguments[rate] * moved
            np.testing.assert_allclose(found, expected, 1e-3, 3e-7, err_msg=variable.path)
    assert {v.name for v in model.trainable_variables} & set(groups)


def test_settings_of_adam_reach_the_optimizer():
    # Adam's step for a gradient of 1 where nothing was before, were it its tenth.
    recipe = recipes.get("lra-listops", "dss")
    recipe["optimizer"] |= {"beta_1": 0.5, "beta_2": 0.75, "epsilon": 0.25, "weight_decay": 0.0}
    model = narrow("lra-listops", "dss")
    optimizer = recipes.optimizer(recipe, 1)
    optimizer.build(model.trainable_variables)
    for one in (optimizer, *optimizer.optimizers):
        one.iterations.assign(9)
    head = model.get_layer("head").kernel
    head.assign(ops.zeros_like(head))
    variables = model.trainable_variables
    optimizer.apply([ops.ones_like(variable) for variable in variables], variables)
    rate = 0.01 * np.sqrt(1 - 0.75**10) / (1 - 0.5**10)
    expected = -rate * 0.5 / (np.sqrt(0.25) + 0.25)
    np.testing.assert_allclose(numpy(head), np.full(head.shape, expected), rtol=1e-5)


# Schedules.


def schedule_of(recipe, steps_per_epoch):
    """The rate of the largest group at a step, as a share of its peak."""
    rate = recipes.optimizer(recipe, steps_per_epoch).optimizers[-1]._learning_rate
    return lambda step: float(numpy(rate(step))) / recipe["optimizer"]["learning_rate"]


def test_s4d_rates_rise_and_fall_over_the_steps_of_its_configuration():
    share = schedule_of(recipes.get("lra-pathfinder", "s4d"), steps_per_epoch=1)
    shares = [share(step) for step in (0, 1_250, 2_500, 251_250, 500_000, 510_000)]
    np.testing.assert_allclose(shares, [0, 0.5, 1, 0.5, 0, 0], atol=1e-6)


def test_small_rates_rise_for_one_epoch_and_fall_to_the_end():
    recipe = recipes.get("digits", "s5", "small")
    share = schedule_of(recipe, steps_per_epoch=39)
    shares = [share(step) for step in (0, 39, 39 + 29 * 39 / 2, 30 * 39)]
    np.testing.assert_allclose(shares, [0, 1, 0.5, 0], atol=1e-6)
    # A single epoch rises for half of it.
    recipe["training"]["epochs"] = 1
    share = schedule_of(recipe, steps_per_epoch=40)
    np.testing.assert_allclose([share(0), share(20), share(40)], [0, 1, 0], atol=1e-6)


@pytest.mark.parametrize("task", sorted({name[0] for name in NAMES if name[2] == "small"}))
def test_small_layers_store_as_many_modes_as_each_other(task):
    models = [built(task, layer, "small") for layer in LAYERS]
    stored = {layer.modes for model in models for layer in analysis.ssm_layers(model).values()}
    assert len(stored) == 1


def test_s5_rates_are_zero_for_as_long_as_they_rose():
    share = schedule_of(recipes.get("sc35", "s5"), steps_per_epoch=100)
    # Of 4000 steps; the cosine counts from the start, one step late.
    after_rise = (1 + np.cos(np.pi * 100 / 3900)) / 2
    shares = [share(step) for step in (0, 50, 100, 101, 1951, 3901, 3999)]
    np.testing.assert_allclose(shares, [1, 0.5, 1, after_rise, 0.5, 0, 0], atol=1e-6)
    # The text model has no rise.
    share = schedule_of(recipes.get("lra-text", "s5"), steps_per_epoch=100)
    np.testing.assert_allclose([share(0), share(1751), share(3501)], [1, 0.5, 0], atol=1e-6)


def test_only_dss_waits_for_a_plateau():
    for name in FULL:
        callbacks = recipes.training_callbacks(recipes.get(*name))
        assert len(callbacks) == (name[1] == "dss"), name
    pathfinder = recipes.training_callbacks(recipes.get("lra-pathfinder", "dss"))[0]
    assert (pathfinder.factor, pathfinder.patience) == (0.2, 13)


def test_a_resumed_run_has_waited_already():
    recipe = recipes.get("lra-listops", "dss")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(recipes.optimizer(recipe, 1))
    for waited, share in ((4, 1.0), (5, 0.2)):
        (callback,) = recipes.training_callbacks(recipe, history=[0.5] * (1 + waited))
        callback.set_model(model)
        callback.on_epoch_end(0, {"val_accuracy": 0.5})
        rate = float(numpy(model.optimizer.optimizers[-1].learning_rate))
        assert rate == pytest.approx(share * 1e-2)


def test_a_compiled_model_has_loss_and_accuracy():
    recipe = recipes.get("digits", "dss", "small")
    recipe["model"] |= {"depth": 1, "width": 4}
    model = recipes.build_model(recipe)
    recipes.compile_model(model, recipe, steps_per_epoch=2)
    x, y = np.zeros((4, 64, 1), "float32"), np.array([0, 1, 2, 3])
    values = model.evaluate(x, y, verbose=0, return_dict=True)
    logits = model.predict(x, verbose=0)
    logits = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert values["loss"] == pytest.approx(-np.mean(logits[np.arange(4), y]), abs=1e-5)
    assert values["accuracy"] == np.mean(logits.argmax(axis=1) == y)
    assert type(model.optimizer) is type(optimizers.adamw())


# Published results.

LRA = ("lra-listops", "lra-text", "lra-retrieval", "lra-image", "lra-pathfinder", "lra-pathx")


@pytest.mark.parametrize(
    ("model", "origin", "average"),
    [
        ("DSS-softmax", "Gupta", 81.88),
        ("S4D-LegS", "Gu et", 84.89),
        ("S4D-Inv", "Gu et", 85.50),
        ("S4D-Lin", "Gu et", 78.39),
        ("S5", "Smith", 87.46),
    ],
)
def test_published_results_have_the_published_average(model, origin, average):
    found = {
        result.task: 50.0 if result.accuracy is None else result.accuracy
        for result in recipes.RESULTS
        if result.model == model and result.origin.startswith(origin) and result.task in LRA
    }
    assert set(found) == set(LRA)
    assert np.mean(list(found.values())) == pytest.approx(average, abs=0.0051)


def test_every_result_says_whose_it_is_and_unread_ones_are_not_there():
    for result in recipes.RESULTS:
        assert any(word in result.origin for word in ("README", "as later papers cite")), result
    results = {(result.task, result.layer, result.model) for result in recipes.RESULTS}
    assert (
        len({result[1:] for result in results}) == 8
    )  # DSS-softmax, LRU, S4, S5, four names of S4D
    assert not any("EXP" in model.upper() for _, _, model in results)
    assert not any(task == "psmnist" for task, _, _ in results)


def test_the_table_has_every_recipe_and_every_result():
    lines = recipes.table().splitlines()
    starts = [tuple(line.split()[:3]) for line in lines[1:]]
    assert [start for start in starts if start in NAMES] == NAMES
    text = "\n".join(lines)
    assert "62.15 (0.23)" in text
    assert "96.52, 8 kHz 94.53" in text
    assert "58.5 (0.3)" in text
    assert "188,490" in text
    assert sum(text.count(result.origin) for result in set(recipes.RESULTS)) >= len(recipes.RESULTS)
    small = [line for line, start in zip(lines[1:], starts, strict=True) if start[2:] == ("small",)]
    # One line more stands for all problems of the archives.
    assert len(small) == len(NAMES) - len(FULL) + 1
    assert ("uea:NAME", "each", "small") in starts
    assert not any("papers cite" in line for line in small)
