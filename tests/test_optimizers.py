"""The optimizer's groups against AdamW in NumPy, what Keras does with optimizers, and files."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops
from keras.optimizers.schedules import PiecewiseConstantDecay

from keras_ssm.layers import DSS, S4D, S5, SequencePooling, SSMBlock
from keras_ssm.models import classifier
from keras_ssm.optimizers import VARIANTS, Group, GroupedAdamW, adamw
from keras_ssm.schedules import warmup_cosine

BACKEND = os.environ["KERAS_BACKEND"]
LR, SSM_LR, STEP_LR, OWN_LR, DECAY = 4e-3, 1e-3, 2e-2, 7e-3, 0.05
OTHERS = {"kernel", "bias", "gamma", "beta"}
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


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


def no_ssm():
    return keras.Sequential(
        [keras.Input((12, 1)), keras.layers.Flatten(), keras.layers.Dense(3, name="head")]
    )


@keras.saving.register_keras_serializable(package="test_optimizers")
class Gain(keras.layers.Layer):
    """A user's own layer, with a group of its own."""

    def build(self, input_shape):
        self.gain = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="gain")
        self.gain.ssm_group = "mine"

    def call(self, inputs):
        return inputs * self.gain


def own_layer():
    inputs = keras.Input((12, 1))
    x = Gain(name="amplifier")(S5(4)(keras.layers.Dense(4)(inputs)))
    return keras.Model(inputs, keras.layers.Dense(3)(SequencePooling()(x)))


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x), "float64")


# AdamW in NumPy.


def oracle(
    weights, gradients, rates, decays, *, clipnorm=None, clipvalue=None, global_clipnorm=None,
    use_ema=False, ema_momentum=0.99, ema_overwrite_frequency=None, loss_scale_factor=1.0,
    gradient_accumulation_steps=1, amsgrad=False, beta_1=0.9, beta_2=0.999, epsilon=1e-8,
):  # fmt: skip
    """Weights after each step of AdamW; `rates` gives the rate of each weight at a step."""
    w = [np.array(x, "float64") for x in weights]
    m, v, top, total, mean = ([np.zeros_like(x) for x in w] for _ in range(5))
    history, updates = [], 0
    for step, g in enumerate(gradients):
        total = [
            a + np.asarray(b, "float64") / loss_scale_factor for a, b in zip(total, g, strict=True)
        ]
        if (step + 1) % gradient_accumulation_steps == 0:
            g = [x / gradient_accumulation_steps for x in total]
            total = [np.zeros_like(x) for x in w]
            if clipnorm:
                g = [x * min(1, clipnorm / np.linalg.norm(x)) for x in g]
            if global_clipnorm:
                norm = np.sqrt(sum(np.sum(x**2) for x in g))
                g = [x * min(1, global_clipnorm / norm) for x in g]
            if clipvalue:
                g = [np.clip(x, -clipvalue, clipvalue) for x in g]
            updates += 1
            correction = np.sqrt(1 - beta_2**updates) / (1 - beta_1**updates)
            for i, (rate, decay) in enumerate(zip(rates(step), decays, strict=True)):
                w[i] = w[i] - rate * decay * w[i]
                m[i] = beta_1 * m[i] + (1 - beta_1) * g[i]
                v[i] = beta_2 * v[i] + (1 - beta_2) * g[i] ** 2
                top[i] = np.maximum(top[i], v[i]) if amsgrad else v[i]
                w[i] = w[i] - rate * correction * m[i] / (np.sqrt(top[i]) + epsilon)
        if use_ema:
            share = ema_momentum if step else 0.0
            mean = [share * a + (1 - share) * x for a, x in zip(mean, w, strict=True)]
            if ema_overwrite_frequency and (step + 1) % ema_overwrite_frequency == 0:
                w = [x.copy() for x in mean]
        history.append([x.copy() for x in w])
    return history


def random_gradients(variables, steps):
    """Of very different sizes, so that what is clipped together and apart differs."""
    rng = np.random.default_rng(3)
    return [
        [
            (10.0 ** (i % 3 - 1) * rng.normal(size=variable.shape)).astype("float32")
            for i, variable in enumerate(variables)
        ]
        for _ in range(steps)
    ]


def steps_of(optimizer, variables, gradients):
    """Weights after each step of the optimizer."""
    history = []
    for g in gradients:
        optimizer.apply([ops.convert_to_tensor(x) for x in g], variables)
        history.append([numpy(v) for v in variables])
    return history


def assert_equal_histories(found, expected, names, rtol=2e-5):
    for step, (a, b) in enumerate(zip(found, expected, strict=True)):
        for x, y, name in zip(a, b, names, strict=True):
            np.testing.assert_allclose(x, y, rtol=rtol, atol=2e-6, err_msg=f"{name}, step {step}")


# The published groups.


def published(variant="standard", dt_global=False, step_learning_rate=None):
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


@pytest.mark.parametrize("options", CASES, ids=str)
def test_five_steps_equal_adamw_with_the_rates_and_decays_of_the_published_table(options):
    model = three_layers()
    variables = model.trainable_variables
    for variable in variables:  # So that decay shows in all of them.
        variable.assign(ops.full(variable.shape, 2.0))
    table = published(**options)
    assert {v.name for v in variables} == set(table)
    rates, decays = zip(*(table[v.name] for v in variables), strict=True)
    gradients = random_gradients(variables, 5)
    expected = oracle([numpy(v) for v in variables], gradients, lambda step: rates, decays)
    found = steps_of(adamw(LR, SSM_LR, DECAY, **options), variables, gradients)
    # Of float32, the distance of 2.0 to its neighbour is 2.4e-7; a decay of 5 % is 5e-5 or more.
    assert_equal_histories(found, expected, [v.path for v in variables], rtol=1e-6)


def multi_optimizer(options):
    """What Keras has for groups: an optimizer for each regular expression of names."""
    groups = {}
    for name, settings in published(**options).items():
        groups.setdefault(settings, []).append(name)
    made = {
        settings: keras.optimizers.AdamW(settings[0], weight_decay=settings[1], epsilon=1e-8)
        for settings in groups
    }
    patterns = {f"(.*/)?({'|'.join(names)})": made[s] for s, names in groups.items()}
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(made[LR, DECAY], patterns))


@pytest.mark.parametrize("options", [CASES[0], CASES[1], CASES[-1]], ids=str)
def test_five_steps_equal_those_of_an_optimizer_for_each_group(options):
    histories = []
    for optimizer in (multi_optimizer(options), adamw(LR, SSM_LR, DECAY, **options)):
        keras.utils.set_random_seed(0)
        variables = three_layers().trainable_variables
        histories.append(steps_of(optimizer, variables, random_gradients(variables, 5)))
    assert_equal_histories(*histories, [v.path for v in variables], rtol=1e-6)


# What Keras optimizers take, over all groups as one.

SETTINGS = {
    "eigenvalues": (SSM_LR, 0.0), "input": (SSM_LR, 0.0), "output": (LR, DECAY),
    "step": (STEP_LR, 0.0), None: (LR, DECAY), "mine": (OWN_LR, 0.0),
}  # fmt: skip


def weights_of_all_groups():
    rng = np.random.default_rng(5)
    weights = []
    for group in SETTINGS:
        weights.append(keras.Variable(rng.normal(size=(2, 3)).astype("float32"), name=f"w_{group}"))
        weights[-1].ssm_group = group
    # A weight that no layer of this package made.
    weights.append(keras.Variable(rng.normal(size=(4,)).astype("float32"), name="plain"))
    return weights


def settings_of(weights):
    found = [SETTINGS[getattr(w, "ssm_group", None)] for w in weights]
    return [rate for rate, _ in found], [decay for _, decay in found]


def all_groups(**kwargs):
    return adamw(
        LR, SSM_LR, DECAY, step_learning_rate=STEP_LR, group_learning_rates={"mine": OWN_LR},
        **kwargs,
    )  # fmt: skip


KERAS_OPTIONS = [
    {},
    {"clipnorm": 0.5},
    {"global_clipnorm": 0.5},
    {"clipvalue": 0.3},
    {"use_ema": True, "ema_momentum": 0.6},
    {"use_ema": True, "ema_momentum": 0.6, "ema_overwrite_frequency": 2},
    {"gradient_accumulation_steps": 2},
    {"gradient_accumulation_steps": 2, "global_clipnorm": 0.5},
    {"loss_scale_factor": 8.0},
    {"amsgrad": True, "beta_1": 0.7, "beta_2": 0.8, "epsilon": 1e-4},
]


@pytest.mark.parametrize("options", KERAS_OPTIONS, ids=str)
def test_what_keras_optimizers_take_works_over_all_groups_as_one(options):
    if BACKEND == "numpy" and "gradient_accumulation_steps" in options:
        pytest.skip("the numpy backend has no optimizer of its own")
    weights = weights_of_all_groups()
    rates, decays = settings_of(weights)
    gradients = random_gradients(weights, 5)
    start = [numpy(w) for w in weights]
    expected = oracle(start, gradients, lambda step: rates, decays, **options)
    optimizer = all_groups(**options)
    found = steps_of(optimizer, weights, gradients)
    assert_equal_histories(found, expected, SETTINGS.keys() | {"plain"})
    if "use_ema" in options:
        optimizer.finalize_variable_values(weights)
        assert largest_difference(map(numpy, weights), found[-1]) > 1e-4
    elif options and "loss_scale_factor" not in options:
        plain = oracle(start, gradients, lambda step: rates, decays)
        assert largest_difference(plain[-1], expected[-1]) > 1e-4


def largest_difference(first, second):
    return max(np.abs(a - b).max() for a, b in zip(first, second, strict=True))


@pytest.mark.skipif(BACKEND != "jax", reason="the stateless form of JAX")
@pytest.mark.parametrize("options", KERAS_OPTIONS[::2], ids=str)
def test_the_stateless_form_in_a_compiled_loop_equals_numpy(options):
    import jax

    weights = weights_of_all_groups()
    rates, decays = settings_of(weights)
    gradients = random_gradients(weights, 5)
    expected = oracle([numpy(w) for w in weights], gradients, lambda step: rates, decays, **options)
    optimizer = all_groups(**options)
    optimizer.build(weights)

    @jax.jit
    def step(state, g):
        weights, own = optimizer.stateless_apply(state[1], g, state[0])
        return (weights, own), weights

    stacked = [np.stack(g) for g in zip(*gradients, strict=True)]
    state = [w.value for w in weights], [v.value for v in optimizer.variables]
    _, history = jax.lax.scan(step, state, stacked)
    found = [[np.asarray(h[k]) for h in history] for k in range(5)]
    assert_equal_histories(found, expected, SETTINGS.keys() | {"plain"})


def test_weights_that_the_user_excludes_do_not_decay():
    weights = weights_of_all_groups()
    rates, decays = settings_of(weights)
    optimizer = all_groups()
    optimizer.exclude_from_weight_decay(var_names=["plain", "w_None"])
    decays[4] = decays[6] = 0.0
    gradients = random_gradients(weights, 3)
    expected = oracle([numpy(w) for w in weights], gradients, lambda step: rates, decays)
    assert_equal_histories(
        steps_of(optimizer, weights, gradients), expected, [w.name for w in weights]
    )


def test_a_model_without_state_space_layers_trains_as_with_adamw_of_keras():
    histories = []
    for make in (
        lambda: keras.optimizers.AdamW(LR, DECAY, epsilon=1e-8),
        lambda: adamw(LR, weight_decay=DECAY),
    ):
        keras.utils.set_random_seed(0)
        variables = no_ssm().trainable_variables
        histories.append(steps_of(make(), variables, random_gradients(variables, 3)))
    for a, b in zip(*histories, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


# Learning rates: schedules, reading, setting.


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


RATES = {"learning_rate": LR, "ssm_learning_rate": SSM_LR, "step_learning_rate": STEP_LR}


def assert_rates(weights, optimizer, rates_at, steps=6):
    gradients = random_gradients(weights, steps)
    expected = oracle([numpy(w) for w in weights], gradients, rates_at, settings_of(weights)[1])
    found = steps_of(optimizer, weights, gradients)
    assert_equal_histories(found, expected, [w.name for w in weights])


def test_every_group_follows_the_schedule_from_its_own_peak():
    weights = weights_of_all_groups()
    peaks, _ = settings_of(weights)
    assert_rates(
        weights,
        all_groups(total_steps=6, warmup_steps=2),
        lambda step: [schedule_oracle(peak, step, 6, 2) for peak in peaks],
    )


@pytest.mark.parametrize("scheduled", [RATES.keys(), ["learning_rate"], ["step_learning_rate"]])
def test_a_rate_may_be_a_schedule_and_leaves_the_others_alone(scheduled):
    weights = weights_of_all_groups()
    rates, _ = settings_of(weights)
    moving = {RATES[name] for name in scheduled}
    options = {
        name: PiecewiseConstantDecay([1], [rate, 5 * rate]) if name in scheduled else rate
        for name, rate in RATES.items()
    }
    assert_rates(
        weights,
        adamw(weight_decay=DECAY, group_learning_rates={"mine": OWN_LR}, **options),
        lambda step: [(5 if step > 1 and rate in moving else 1) * rate for rate in rates],
    )


def rates_of(optimizer):
    return {name: float(numpy(optimizer.learning_rate_of(name))) for name in SETTINGS}


def test_setting_the_learning_rate_scales_all_groups():
    weights = weights_of_all_groups()
    optimizer = all_groups()
    before = {name: rate for name, (rate, _) in SETTINGS.items()}
    assert rates_of(optimizer) == pytest.approx(before)
    for share in (0.5, 0.0, 2.0):  # From 0 back: the ratios stay.
        optimizer.learning_rate = share * LR
        assert float(numpy(optimizer.learning_rate)) == pytest.approx(share * LR)
        assert rates_of(optimizer) == pytest.approx({n: share * r for n, r in before.items()})
        copy = GroupedAdamW.from_config(optimizer.get_config())
        assert rates_of(copy) == rates_of(optimizer)
    rates, _ = settings_of(weights)
    assert_rates(weights, optimizer, lambda step: [2 * rate for rate in rates], steps=3)


def test_a_schedule_set_later_moves_the_groups_with_it():
    optimizer = all_groups()
    optimizer.learning_rate = PiecewiseConstantDecay([1], [2 * LR, 0.1])
    assert rates_of(optimizer) == pytest.approx({n: 2 * rate for n, (rate, _) in SETTINGS.items()})


def test_the_rate_of_a_schedule_cannot_be_set():
    with pytest.raises(TypeError, match="not settable"):
        all_groups(total_steps=5).learning_rate = 0.1
    optimizer = adamw(LR, step_learning_rate=warmup_cosine(0.1, 5))
    with pytest.raises(TypeError, match=r"schedules of \[\('step',\)\].*learning_rate=0.1"):
        optimizer.learning_rate = 0.1
    assert float(numpy(optimizer.learning_rate)) == pytest.approx(LR)


def test_the_rate_of_an_unknown_group_is_an_error():
    with pytest.raises(ValueError, match=r"one of the groups \['eigenvalues', 'input', 'step',"):
        adamw().learning_rate_of("mine")


def test_it_is_one_optimizer():
    optimizer = adamw(name="one", gradient_accumulation_steps=4)
    assert isinstance(optimizer, keras.optimizers.AdamW)
    assert optimizer.name == "one"
    assert list(optimizer.optimizers) == [optimizer]


# Training in Keras.


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(8, 12, 1)).astype("float32"), rng.integers(0, 3, 8)


def train(model, steps):
    model.reset_metrics()
    x, y = data()
    return [float(model.train_on_batch(x, y)) for _ in range(steps)]


@pytest.mark.training
@pytest.mark.usefixtures("float32_afterwards")
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("kind", ["plateau", "scheduler"])
def test_callbacks_of_keras_change_the_rates_of_all_groups(policy, kind):
    keras.config.set_dtype_policy(policy)
    model = one_layer()
    model.compile(adamw(LR, SSM_LR, 0.0), CROSS_ENTROPY)
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    assert (inner is model.optimizer) == (policy == "float32")
    if kind == "plateau":
        callback = keras.callbacks.ReduceLROnPlateau("loss", factor=0.1, patience=1, min_delta=1e9)
        shares = [1.0, 0.1, 0.01]
    else:
        callback = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * (epoch != 1))
        shares = [1.0, 0.0, 0.0]
    found = []
    record = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: found.append(
            [float(numpy(inner.learning_rate_of(name))) for name in (None, "step", "output")]
        )
    )
    x, y = data()
    model.fit(x, y, epochs=3, verbose=0, callbacks=[callback, record])
    expected = [[share * rate for rate in (LR, SSM_LR, LR)] for share in shares]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert float(numpy(model.optimizer.learning_rate)) == pytest.approx(expected[-1][0])


@pytest.mark.training
@pytest.mark.parametrize("compiling", [{"run_eagerly": True}, {"jit_compile": True}], ids=str)
def test_training_compiled_and_step_by_step_is_the_same(compiling):
    if BACKEND == "torch" and "jit_compile" in compiling:
        pytest.skip("torch.compile needs a C++ compiler and minutes")
    losses = []
    for options in ({"jit_compile": False}, compiling):
        keras.utils.set_random_seed(0)
        model = one_layer()
        optimizer = adamw(LR, SSM_LR, global_clipnorm=0.1, gradient_accumulation_steps=2)
        model.compile(optimizer, CROSS_ENTROPY, **options)
        losses.append(train(model, 5))
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.training
@pytest.mark.usefixtures("float32_afterwards")
def test_a_step_with_infinite_gradients_is_left_out_under_float16():
    keras.config.set_dtype_policy("mixed_float16")
    model = one_layer()
    model.compile(adamw(LR, SSM_LR, 0.0), CROSS_ENTROPY)
    optimizer, variables = model.optimizer, model.trainable_variables
    before = [numpy(v) for v in variables]
    x, y = data()
    for inputs, steps in ((np.inf * x, 0), (x, 1)):
        model.train_on_batch(inputs, y)
        assert int(numpy(optimizer.iterations)) == steps
        for v, b in zip(variables, before, strict=True):
            # The first step of AdamW, where there is a gradient.
            size, (rate, _) = np.abs(numpy(v) - b).max(), published()[v.name]
            assert size == pytest.approx(steps * rate, rel=0.1), v.path


# Files.


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: adamw(
            1e-2, 2e-3, 0.03, "noBCdecay", step_learning_rate=5e-3, total_steps=20,
            warmup_steps=3, beta_1=0.8, beta_2=0.99, epsilon=1e-6,
        ),
        lambda: adamw(warmup_cosine(1e-2, 9, 2), warmup_cosine(1e-3, 9), dt_global=True),
        lambda: adamw(1e-2, variant="BandCdecay", group_learning_rates={"a": 0.1, "b": 0.2}),
        lambda: adamw(np.float32(0.1), np.float64(0.2), np.float32(0.01)),
        lambda: adamw(global_clipnorm=1.5, gradient_accumulation_steps=4, name="one", amsgrad=True),
        lambda: adamw(clipnorm=0.5, use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=3),
        lambda: adamw(clipvalue=0.5, loss_scale_factor=16.0),
    ],
    ids=["numbers", "schedules", "own", "numpy", "clip", "ema", "scale"],
)  # fmt: skip
def test_config_round_trip_keeps_all_settings(optimizer):
    optimizer = optimizer()
    config = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    assert "backend" not in json.dumps(config)  # Another backend has to read it.
    copy = keras.optimizers.deserialize(config)
    assert type(copy) is GroupedAdamW
    assert keras.optimizers.serialize(copy) == config
    assert copy.get_config() == optimizer.get_config()
    names = [name for group in optimizer.groups for name in group.names]
    for name in (None, *optimizer.rest_groups, *names):
        a, b = (float(numpy(o.learning_rate_of(name))) for o in (optimizer, copy))
        assert a == b, name


def resumable(kind):
    if kind == "float16":
        keras.config.set_dtype_policy("mixed_float16")
    options = {
        "ssm": {"ssm_learning_rate": 3e-3, "step_learning_rate": STEP_LR, "total_steps": 8},
        "no-ssm": {"variant": "BandCdecay"},
        "float16": {"variant": "BandCdecay", "clipnorm": 1.0},
        "accumulated": {"ssm_learning_rate": 7e-4, "gradient_accumulation_steps": 2},
        "averaged": {"use_ema": True, "ema_overwrite_frequency": 4, "global_clipnorm": 0.1},
        "own": {"ssm_learning_rate": 3e-3, "group_learning_rates": {"mine": OWN_LR}},
        "reduced": {"ssm_learning_rate": 1.1e-3, "learning_rate": 3.7e-3},
    }[kind]
    model = {"no-ssm": no_ssm, "own": own_layer}.get(kind, one_layer)()
    model.compile(adamw(**options), CROSS_ENTROPY)
    return model


@pytest.mark.training
@pytest.mark.usefixtures("float32_afterwards")
@pytest.mark.parametrize(
    "kind", ["ssm", "no-ssm", "float16", "accumulated", "averaged", "own", "reduced"]
)
def test_training_resumed_from_a_file_is_uninterrupted_training(kind, tmp_path):
    model = resumable(kind)
    train(model, 3)
    if kind == "reduced":
        model.optimizer.learning_rate = 0.3 * float(numpy(model.optimizer.learning_rate))
    model.save(tmp_path / "model.keras")
    resumed = keras.saving.load_model(tmp_path / "model.keras")
    assert type(resumed.optimizer) is type(model.optimizer)
    for part in ("weights", "optimizer"):
        assert_same(variables_of(resumed, part), variables_of(model, part))
    # Separate programs: compilers may order the same sums in two ways.
    np.testing.assert_allclose(train(resumed, 4), train(model, 4), rtol=1e-6)
    for part in ("weights", "optimizer"):
        assert_same(variables_of(resumed, part), variables_of(model, part), atol=1e-6)
    steps = 3 if kind == "accumulated" else 7
    assert int(numpy(resumed.optimizer.iterations)) == steps


def variables_of(model, part):
    return model.weights if part == "weights" else model.optimizer.variables


def assert_same(found, expected, atol=0.0):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(numpy(a), numpy(b), rtol=0, atol=atol, err_msg=a.path)


ELSEWHERE = """
import sys
import keras
import numpy as np
sys.path.insert(0, sys.argv[2])
import test_optimizers as tests
model = tests.one_layer()
optimizer = tests.adamw(3.7e-3, 1.1e-3, global_clipnorm=0.1)
# What one backend compiles by itself, another would compile because the file says so.
model.compile(optimizer, tests.CROSS_ENTROPY, jit_compile=False)
tests.train(model, 3)
model.save(sys.argv[1] + "/model.keras")
tests.train(model, 3)
np.savez(sys.argv[1] + "/six.npz", *map(tests.numpy, model.weights))
"""


@pytest.mark.training
def test_training_goes_on_from_a_file_of_another_backend(tmp_path):
    other = "torch" if BACKEND == "jax" else "jax"
    subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path), os.path.dirname(__file__)],
        env={**os.environ, "KERAS_BACKEND": other},
        check=True,
    )
    model = keras.saving.load_model(tmp_path / "model.keras")
    assert int(numpy(model.optimizer.iterations)) == 3
    train(model, 3)
    with np.load(tmp_path / "six.npz") as expected:
        for weight, name in zip(model.weights, expected.files, strict=True):
            np.testing.assert_allclose(
                numpy(weight), expected[name], atol=2e-5, err_msg=weight.path
            )


@pytest.mark.training
def test_a_model_frozen_after_training_still_loads(tmp_path):
    model = one_layer()
    model.compile(adamw(LR, SSM_LR), CROSS_ENTROPY)
    train(model, 1)
    model.get_layer("block_0").trainable = False
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.built


# Errors.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "fast"}, "`variant` must be one of .*noBCdecay.* Received: variant='fast'"),
        ({"learning_rate": 0}, "`learning_rate` must be a positive number .*learning_rate=0"),
        ({"learning_rate": None}, "`learning_rate` must be .*Received: learning_rate=None"),
        ({"learning_rate": True}, "`learning_rate` must be .*Received: learning_rate=True"),
        ({"learning_rate": np.inf}, "`learning_rate` must be .*Received: learning_rate=inf"),
        ({"ssm_learning_rate": -1}, "`ssm_learning_rate` must be a positive .*Received: .*=-1"),
        ({"ssm_learning_rate": "0.1"}, "`ssm_learning_rate` must be .*Received: .*='0.1'"),
        ({"step_learning_rate": 0.0}, "`step_learning_rate` must be .*Received: .*=0.0"),
        ({"step_learning_rate": np.nan}, "`step_learning_rate` must be .*Received: .*=nan"),
        ({"weight_decay": -0.1}, "`weight_decay` must be a number, at least 0. Received: .*=-0.1"),
        ({"weight_decay": None}, "`weight_decay` must be .*Received: weight_decay=None"),
        ({"beta_1": 1.0}, "`beta_1` must be .*less than 1. Received: beta_1=1.0"),
        ({"beta_2": -0.1}, "`beta_2` must be .*Received: beta_2=-0.1"),
        ({"epsilon": "small"}, "`epsilon` must be .*Received: epsilon='small'"),
        ({"dt_global": True, "step_learning_rate": 0.1}, "must be None. Received: .*=0.1"),
        ({"group_learning_rates": 0.1}, "must be a dictionary .*Received: .*=0.1"),
        ({"group_learning_rates": {"mine": None}}, r"rates\['mine'\]` must be .*=None"),
        ({"group_learning_rates": {"mine": -1}}, r"rates\['mine'\]` must be .*=-1"),
        ({"group_learning_rates": {"input": 0.1}}, "groups of your own.*Received: .*'input': 0.1"),
        ({"group_learning_rates": {3: 0.1}}, "groups of your own.*Received: .*3: 0.1"),
        ({"warmup_steps": 3}, "needs `total_steps`. Received: warmup_steps=3"),
        ({"total_steps": 3, "warmup_steps": 3}, "less than .* Received: warmup_steps=3"),
        ({"total_steps": 0}, "less than `total_steps`. Received: .* total_steps=0"),
        ({"total_steps": "3"}, "must be integers.* Received: .* total_steps='3'"),
        (
            {"total_steps": 3, "learning_rate": warmup_cosine(0.1, 3)},
            "must then be a number. Received: learning_rate=<.*CosineDecay",
        ),
        ({"clip_norm": 1.0}, "not recognized: .*clip_norm"),
        ({"clipnorm": 1.0, "clipvalue": 1.0}, "Only one of"),
    ],
    ids=str,
)
def test_a_wrong_argument_names_what_was_expected_and_received(options, message):
    with pytest.raises(ValueError, match=message):
        adamw(**options)


@pytest.mark.parametrize(
    ("groups", "rest", "message"),
    [
        ([Group(("a",), 1.0), Group(("b", "a"), 2.0)], (), r"\['a'\] are in several. Received: "),
        ([Group(("a",), 1.0)], ("a",), r"\['a'\] are in several. Received: .*rest_groups="),
        ([Group(("a",))], (), "either a `factor` .*Received: Group"),
        ([Group(("a",), 1.0, 0.1)], (), "either a `factor` .*Received: Group"),
    ],
)
def test_wrong_groups_are_an_error(groups, rest, message):
    with pytest.raises(ValueError, match=message):
        GroupedAdamW(1e-3, 0.01, groups, rest)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (no_ssm, {"ssm_learning_rate": 1e-3}, "`ssm_learning_rate` is .*None: .*/head/kernel'"),
        (no_ssm, {"step_learning_rate": 1e-3}, r"`step_learning_rate` .*\['step'\].*head/kernel"),
        (
            one_layer,
            {"group_learning_rates": {"mine": 0.1}},
            r"`group_learning_rates\['mine'\]` .*'eigenvalues': \['block_0/",
        ),
        (own_layer, {}, r"groups \['eigenvalues', .*Received: .*'mine': \['amplifier/gain'\]"),
    ],
)
def test_groups_that_do_not_fit_the_model_are_an_error_that_names_the_weights(
    model, options, message
):
    model = model()
    with pytest.raises(ValueError, match=message):
        adamw(**options).build(model.trainable_variables)
    if BACKEND != "numpy":
        model.compile(adamw(**options), CROSS_ENTROPY)
        with pytest.raises(ValueError, match=message):
            train(model, 1)


def test_part_of_what_a_rate_is_for_suffices():
    """Models whose input matrix or step size is fixed train with the rate of all three."""
    inputs = keras.Input((None, 2))
    model = keras.Model(inputs, S4D(4, parametrization={"train_B": False})(inputs))
    assert "input" not in {v.ssm_group for v in model.trainable_variables}
    adamw(LR, SSM_LR, variant="BandCdecay").build(model.trainable_variables)


def test_bare_tensors_are_an_error():
    with pytest.raises(ValueError, match=r"`keras.Variable`s.*Received: "):
        adamw().build([ops.ones((2,))])
