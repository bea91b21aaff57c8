"""The optimizer's groups, its steps, its schedule, and training resumed from a file."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_ssm.layers import DSS, S4D, S5, SequencePooling, SSMBlock
from keras_ssm.models import classifier
from keras_ssm.optimizers import VARIANTS, adamw, warmup_cosine

LR, SSM_LR, STEP_LR, DECAY = 4e-3, 1e-3, 2e-2, 0.05
OTHERS = {"kernel", "bias", "gamma", "beta"}


def three_layers():
    """A model with all three layers in blocks."""
    inputs = keras.Input((None, 1))
    x = keras.layers.Dense(4)(inputs)
    x = SSMBlock(S5(4, bidirectional=True), gating="full_glu")(x)
    x = SSMBlock(S4D(4), norm="batch")(x)
    x = SSMBlock(DSS(4), gating="dense")(x)
    return keras.Model(inputs, keras.layers.Dense(3)(SequencePooling()(x)))


def one_layer():
    return classifier(3, (12, 1), "s4d", depth=1, width=4, state_size=4)


def published(variant, dt_global=False, step_learning_rate=None):
    """(rate, decay) by weight name: the table of the S5 code, W of DSS in the place of B."""
    ssm, rest = (SSM_LR, 0.0), (LR, DECAY)
    table = {
        "standard": {"B": ssm, "C": rest},
        "BandCdecay": {"B": (SSM_LR, DECAY), "C": rest},
        "BfastandCdecay": {"B": rest, "C": rest},
        "noBCdecay": {"B": ssm, "C": ssm},
    }[variant]
    groups = dict.fromkeys(OTHERS, rest) | {"Lambda_re": ssm, "Lambda_im": ssm}
    groups |= {"B": table["B"], "W": table["B"]}
    groups |= {"C": table["C"], "C_backward": table["C"], "D": table["C"]}
    groups["log_step"] = ssm if step_learning_rate is None else (step_learning_rate, 0.0)
    return groups | ({"log_step": rest} if dt_global else {})


CASES = [{"variant": variant} for variant in VARIANTS] + [
    {"variant": "standard", "dt_global": True},
    {"variant": "BandCdecay", "dt_global": True},
    {"variant": "standard", "step_learning_rate": STEP_LR},
    {"variant": "noBCdecay", "step_learning_rate": STEP_LR},
]


def optimizer_of(model, **options):
    optimizer = adamw(LR, SSM_LR, weight_decay=DECAY, **options)
    optimizer.build(model.trainable_variables)
    return optimizer


@pytest.mark.parametrize("options", CASES, ids=str)
def test_every_weight_is_once_in_the_group_of_the_published_table(options):
    model = three_layers()
    optimizer = optimizer_of(model, **options)
    found = [
        (variable.path, (float(numpy(group.learning_rate)), group.weight_decay))
        for group in optimizer.optimizers
        for variable in getattr(group, "_trainable_variables", [])
    ]
    assert sorted(path for path, _ in found) == sorted(v.path for v in model.trainable_variables)
    expected = published(**options)
    assert {path.split("/")[-1] for path, _ in found} == set(expected)
    for path, (rate, decay) in found:
        assert (rate, decay) == pytest.approx(expected[path.split("/")[-1]]), path


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x), "float64")


def updates(optimizer, variables, gradient):
    """What one step with the same gradient everywhere adds to each variable."""
    before = [numpy(v) for v in variables]
    optimizer.apply([ops.full(v.shape, gradient, "float32") for v in variables], variables)
    return [numpy(v) - b for v, b in zip(variables, before, strict=True)]


@pytest.mark.training
@pytest.mark.parametrize("options", CASES[:1] + CASES[3:4] + CASES[-2:-1], ids=str)
def test_a_step_without_gradient_is_the_decay_of_the_group_and_nothing_else(options):
    model = three_layers()
    optimizer, variables = optimizer_of(model, **options), model.trainable_variables
    for variable in variables:
        variable.assign(ops.full(variable.shape, 2.0))
    for variable, update in zip(variables, updates(optimizer, variables, 0.0), strict=True):
        rate, decay = published(**options)[variable.name]
        np.testing.assert_allclose(update, -2.0 * rate * decay, atol=2.5e-7, err_msg=variable.path)
        if not decay:
            assert not update.any(), variable.path


@pytest.mark.training
def test_the_first_step_is_the_learning_rate_of_the_group():
    model = three_layers()
    options = CASES[-2]
    optimizer, variables = optimizer_of(model, **options), model.trainable_variables
    for variable in variables:
        variable.assign(ops.zeros(variable.shape))
    for variable, update in zip(variables, updates(optimizer, variables, -3.0), strict=True):
        rate, _ = published(**options)[variable.name]
        np.testing.assert_allclose(update, rate, rtol=1e-4, err_msg=variable.path)


def schedule_oracle(peak, step, total, warmup):
    if step < warmup:
        return peak * step / warmup
    share = min((step - warmup) / (total - warmup), 1)
    return peak * (1 + np.cos(np.pi * share)) / 2


@pytest.mark.parametrize(("total", "warmup"), [(10, 0), (10, 4), (7, 1), (1, 0)])
def test_warmup_cosine_equals_its_formula(total, warmup):
    schedule = warmup_cosine(0.3, total, warmup)
    steps = range(total + 3)
    expected = [schedule_oracle(0.3, step, total, warmup) for step in steps]
    np.testing.assert_allclose([float(numpy(schedule(s))) for s in steps], expected, atol=1e-7)


@pytest.mark.training
def test_every_group_follows_the_schedule_from_its_own_peak():
    model = one_layer()
    optimizer = adamw(
        LR, SSM_LR, weight_decay=0.0, step_learning_rate=STEP_LR, total_steps=6, warmup_steps=2
    )
    variables = model.trainable_variables
    optimizer.build(variables)
    expected = published("standard", step_learning_rate=STEP_LR)
    for step in range(6):
        for variable in variables:
            variable.assign(ops.zeros(variable.shape))
        for variable, update in zip(variables, updates(optimizer, variables, -1.0), strict=True):
            rate = schedule_oracle(expected[variable.name][0], step, total=6, warmup=2)
            np.testing.assert_allclose(update, rate, rtol=1e-4, atol=1e-9)


@pytest.mark.training
def test_a_rate_may_be_a_schedule_object():
    schedules = [
        keras.optimizers.schedules.PiecewiseConstantDecay([0], [rate, 5 * rate])
        for rate in (LR, SSM_LR, STEP_LR)
    ]
    optimizer = adamw(schedules[0], schedules[1], 0.0, step_learning_rate=schedules[2])
    model = one_layer()
    variables = model.trainable_variables
    optimizer.build(variables)
    for factor in (1, 5):
        for variable in variables:
            variable.assign(ops.zeros(variable.shape))
        for variable, update in zip(variables, updates(optimizer, variables, -1.0), strict=True):
            rate, _ = published("standard", step_learning_rate=STEP_LR)[variable.name]
            np.testing.assert_allclose(update, factor * rate, rtol=1e-4)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: adamw(
            1e-2, 2e-3, 0.03, "noBCdecay", step_learning_rate=5e-3, total_steps=20,
            warmup_steps=3, beta_1=0.8, beta_2=0.99, epsilon=1e-6,
        ),
        lambda: adamw(warmup_cosine(1e-2, 9, 2), warmup_cosine(1e-3, 9), dt_global=True),
    ],
    ids=["numbers", "schedules"],
)  # fmt: skip
def test_config_round_trip_keeps_groups_and_rates(optimizer):
    optimizer = optimizer()
    config = keras.optimizers.serialize(optimizer)
    copy = keras.optimizers.deserialize(config)
    assert keras.optimizers.serialize(copy) == config
    assert len(copy.optimizers) == len(optimizer.optimizers)
    for a, b in zip(optimizer.optimizers, copy.optimizers, strict=True):
        assert {**a.get_config(), "name": ""} == {**b.get_config(), "name": ""}


def resumable(kind):
    if kind == "ssm":
        model = one_layer()
        options = {"step_learning_rate": STEP_LR, "total_steps": 8, "warmup_steps": 2}
    else:
        # Groups without any variable must not get in the way.
        if kind == "float16":
            keras.config.set_dtype_policy("mixed_float16")
        model = keras.Sequential([keras.Input((12, 1)), keras.layers.Flatten()])
        model.add(keras.layers.Dense(3))
        options = {"variant": "BandCdecay"}
    model.compile(adamw(**options), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.training
@pytest.mark.usefixtures("float32_afterwards")
@pytest.mark.parametrize("kind", ["ssm", "no-ssm", "float16"])
def test_training_resumed_from_a_file_equals_uninterrupted_training(kind, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 12, 1)).astype("float32"), rng.integers(0, 3, 8)

    def train(model, steps):
        model.reset_metrics()
        return [float(model.train_on_batch(x, y)) for _ in range(steps)]

    model = resumable(kind)
    train(model, 3)
    model.save(tmp_path / "model.keras")
    resumed = keras.saving.load_model(tmp_path / "model.keras")
    assert type(resumed.optimizer) is type(model.optimizer)
    np.testing.assert_allclose(train(resumed, 4), train(model, 4), rtol=1e-6)
    for a, b in zip(resumed.weights, model.weights, strict=True):
        np.testing.assert_allclose(numpy(a), numpy(b), atol=1e-6, err_msg=a.path)
    assert len(resumed.optimizer.variables) == len(model.optimizer.variables)
    for a, b in zip(resumed.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_allclose(numpy(a), numpy(b), atol=1e-6, err_msg=a.path)
    assert int(numpy(resumed.optimizer.iterations)) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "fast"}, "`variant` must be one of .*noBCdecay.* Received: variant='fast'"),
        ({"learning_rate": 0}, "`learning_rate` must be positive. Received: learning_rate=0"),
        ({"ssm_learning_rate": -1}, "`ssm_learning_rate` must be positive. Received: .*=-1"),
        ({"step_learning_rate": 0.0}, "`step_learning_rate` must be positive. Received: .*=0.0"),
        ({"weight_decay": -0.1}, "`weight_decay` must not be negative. Received: .*=-0.1"),
        ({"dt_global": True, "step_learning_rate": 0.1}, "must be None. Received: .*=0.1"),
        ({"warmup_steps": 3}, "needs `total_steps`. Received: warmup_steps=3"),
        ({"total_steps": 3, "warmup_steps": 3}, "less than .* Received: warmup_steps=3"),
        ({"total_steps": 0}, "less than `total_steps`. Received: .* total_steps=0"),
        (
            {"total_steps": 3, "learning_rate": warmup_cosine(0.1, 3)},
            "must then be a number. Received: learning_rate=<.*CosineDecay",
        ),
    ],
    ids=str,
)
def test_a_wrong_argument_names_what_was_expected_and_received(options, message):
    with pytest.raises(ValueError, match=message):
        adamw(**options)
