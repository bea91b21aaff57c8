"""The block, its gating and the pooling against a NumPy re-computation in float64."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import erf, expit

from keras_ssm.layers import DSS, S4D, S5, Gating, SequencePooling, SSMBlock
from keras_ssm.layers.gating import GATINGS

BATCH, LENGTH, WIDTH = 3, 7, 4


def array(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x), "float64")


def randomized(layer):
    """Weights that none of the equalities below holds for by accident, as gamma = 1 would be."""
    for index, variable in enumerate(layer.weights):
        if variable.name in ("gamma", "beta", "bias", "moving_mean", "moving_variance"):
            variable.assign(np.abs(array(*variable.shape, seed=index)) + 0.5)
    return layer


def gelu(x, approximate):
    if approximate:
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def gating_oracle(layer, x):
    def dense(name, z):
        kernel, bias = (numpy(w) for w in getattr(layer, name).weights)
        return z @ kernel + bias

    g = gelu(x, approximate=layer.gating not in ("exact_gelu", "dense", "glu"))
    if layer.gating in ("gelu", "exact_gelu"):
        return g
    if layer.gating == "dense":
        return dense("out1", g)
    if layer.gating == "glu":
        half = dense("out1", g)
        return half[..., : half.shape[-1] // 2] * expit(half[..., half.shape[-1] // 2 :])
    gate = expit(dense("out2", g))
    value = {"full_glu": lambda: dense("out1", g), "half_glu1": lambda: g, "half_glu2": lambda: x}
    return value[layer.gating]() * gate


def norm_oracle(block, x):
    """The norm at inference."""
    if block.norm is None:
        return x
    if block.norm == "layer":
        gamma, beta = (numpy(w) for w in block.norm_layer.weights)
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    else:
        gamma, beta, mean, variance = (numpy(w) for w in block.norm_layer.weights)
    return gamma * (x - mean) / np.sqrt(variance + block.norm_epsilon) + beta


def block_oracle(block, x):
    """The block at inference, its state space layer taken as it is."""
    x = np.asarray(x, "float64")
    z = norm_oracle(block, x) if block.prenorm else x
    z = numpy(block.ssm(z.astype("float32")))
    z = gating_oracle(block.gate, z) + (x if block.residual else 0)
    return z if block.prenorm else norm_oracle(block, z)


def make_block(**options):
    # An epsilon large enough to show.
    block = SSMBlock(S5(4), **{"norm_epsilon": 0.1, **options})
    block.build((None, None, WIDTH))
    return randomized(block)


@pytest.mark.parametrize("prenorm", [True, False])
@pytest.mark.parametrize("norm", ["layer", "batch", None])
@pytest.mark.parametrize("gating", ["glu", "half_glu2"])
def test_block_equals_numpy_for_every_norm(gating, norm, prenorm):
    block, x = make_block(gating=gating, norm=norm, prenorm=prenorm), array(BATCH, LENGTH, WIDTH)
    np.testing.assert_allclose(numpy(block(x)), block_oracle(block, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ssm", [DSS(4, bidirectional=True), S4D(4)], ids=["dss", "s4d"])
def test_block_without_residual_equals_numpy_for_the_other_layers(ssm):
    block = SSMBlock(type(ssm).from_config(ssm.get_config()), gating="dense", residual=False)
    x = array(BATCH, LENGTH, WIDTH)
    y = numpy(block(x))
    np.testing.assert_allclose(y, block_oracle(block, x), rtol=1e-4, atol=1e-5)
    assert np.max(np.abs(y - block_oracle(make_block(), x))) > 0.1


@pytest.mark.parametrize("gating", GATINGS)
def test_gating_equals_numpy(gating):
    units = 3 if gating in ("dense", "glu", "full_glu") else None
    layer, x = Gating(gating, units), 2 * array(BATCH, LENGTH, WIDTH)
    layer.build(x.shape)
    randomized(layer)
    y = layer(x)
    assert tuple(y.shape) == tuple(layer.compute_output_shape(x.shape))
    np.testing.assert_allclose(numpy(y), gating_oracle(layer, x.astype("float64")), atol=2e-6)


@pytest.mark.parametrize("gating", ["gelu", "dense"])
def test_dropout_drops_a_feature_for_the_whole_sequence_and_scales_the_rest(gating):
    layer, x = Gating(gating, dropout=0.5), 1 + array(8, LENGTH, 16) ** 2
    layer.build(x.shape)
    if gating == "dense":  # identity, so that the activation's mask shows through
        layer.out1.kernel.assign(np.eye(16))
    ratio = numpy(layer(x, training=True)) / numpy(layer(x, training=False))
    np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones((1, LENGTH, 1)), atol=1e-5)
    scales, counts = np.unique(np.round(ratio[:, 0], 4), return_counts=True)
    # Two masks, before and after the linear map, or one.
    assert scales.tolist() == ([0, 4] if gating == "dense" else [0, 2])
    kept = counts[1] / counts.sum()
    assert abs(kept - (0.25 if gating == "dense" else 0.5)) < 0.15


def test_dropout_is_off_at_inference():
    x = array(BATCH, LENGTH, WIDTH)
    block = make_block(dropout=0.5)
    np.testing.assert_allclose(numpy(block(x)), block_oracle(block, x), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(numpy(block(x)), numpy(block(x, training=False)))
    assert np.max(np.abs(numpy(block(x)) - numpy(block(x, training=True)))) > 0.1


def test_batch_norm_averages_over_the_valid_steps_of_the_batch():
    block = make_block(norm="batch", norm_momentum=0.75)
    _, _, mean, variance = (numpy(w) for w in block.norm_layer.weights)
    x = array(BATCH, LENGTH, WIDTH)
    mask = np.arange(LENGTH) < np.array([[LENGTH], [4], [1]])
    x[~mask] = 30
    y = numpy(block(x, mask=mask, training=True))
    _, _, new_mean, new_variance = (numpy(w) for w in block.norm_layer.weights)
    valid = x[mask].astype("float64")
    np.testing.assert_allclose(new_mean, 0.75 * mean + 0.25 * valid.mean(0), rtol=1e-5)
    np.testing.assert_allclose(new_variance, 0.75 * variance + 0.25 * valid.var(0), rtol=1e-5)
    # The batch's own statistics, not the averages, normalise while training.
    block.norm_layer.moving_mean.assign(valid.mean(0))
    block.norm_layer.moving_variance.assign(valid.var(0))
    np.testing.assert_allclose(y, numpy(block(x, mask=mask)), rtol=1e-3, atol=1e-3)


def test_a_mask_goes_through_block_and_gating_and_ends_at_the_pooling():
    inputs = keras.Input((None, WIDTH))
    x = keras.layers.Masking()(inputs)
    x = SSMBlock(S5(4))(x)
    pooled = SequencePooling("last")(x)
    model = keras.Model(inputs, [x, pooled])
    data = array(2, LENGTH, WIDTH)
    data[1, 4:] = 0
    sequence, last = (numpy(y) for y in model(data))
    np.testing.assert_allclose(last, [sequence[0, -1], sequence[1, 3]], atol=1e-6)


MASK = np.array(
    [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], bool
)


@pytest.mark.parametrize("prenorm", [True, False])
@pytest.mark.parametrize("ssm", [S5(4), DSS(4, kernel="exp"), S4D(4)], ids=["s5", "dss", "s4d"])
def test_advancing_with_holes_equals_a_loop_of_steps_over_the_valid_ones(ssm, prenorm):
    block = SSMBlock(type(ssm).from_config(ssm.get_config()), prenorm=prenorm)
    x = array(2, LENGTH, WIDTH)
    block.build(x.shape)
    start = array(2, block.state_width, seed=1)
    mask = np.array([[0, 1, 1, 0, 1, 0, 0], [0] * LENGTH], bool)
    y, end = (numpy(z) for z in block.advance(ops.convert_to_tensor(x), start, mask))
    state, system = ops.convert_to_tensor(start), block.ssm.system().stepper()
    for k in np.flatnonzero(mask[0]):
        output, state = block.step(ops.convert_to_tensor(x[:, k]), state, system=system)
        np.testing.assert_allclose(y[0, k], numpy(output)[0], atol=1e-5)
    np.testing.assert_allclose(end[0], numpy(state)[0], atol=1e-5)
    np.testing.assert_allclose(end[1], start[1], atol=1e-6, err_msg="no step, no change")


def pooling_oracle(mode, x, mask):
    rows = []
    for sequence, valid in zip(x.astype("float64"), mask, strict=True):
        steps = sequence if mode == "all_mean" else sequence[valid]
        if not len(steps):
            rows.append(np.zeros(x.shape[-1]))
        else:
            rows.append(steps[-1] if mode == "last" else steps.mean(0))
    return np.stack(rows)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("mode", ["mean", "all_mean", "last"])
def test_pooling_equals_numpy_also_with_holes_and_empty_rows(mode, masked):
    layer, x = SequencePooling(mode), array(*MASK.shape, WIDTH)
    y = layer(x, mask=MASK) if masked else layer(x)
    expected = pooling_oracle(mode, x, MASK if masked else np.ones_like(MASK))
    assert tuple(y.shape) == layer.compute_output_shape(x.shape)
    np.testing.assert_allclose(numpy(y), expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["mean", "all_mean", "last"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_pooling_of_a_long_constant_is_that_constant_in_half_precision(mode, dtype):
    layer = SequencePooling(mode, dtype=f"mixed_{dtype}")
    y = layer(np.full((1, 70_001, 1), 3.0, "float32"), mask=np.ones((1, 70_001), bool))
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    np.testing.assert_allclose(numpy(ops.cast(y, "float32")), 3.0, rtol=1e-2)


@pytest.mark.parametrize(
    "layer",
    [
        SSMBlock(
            S4D(4, initialization="inv"), gating="dense", norm="batch", prenorm=False, dropout=0.25,
            residual=False, norm_epsilon=1e-3, norm_momentum=0.95, use_mask=False, name="mine",
        ),
        Gating("full_glu", units=3, dropout=0.25, name="mine"),
        SequencePooling("last", name="mine"),
    ],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_config_round_trip_keeps_every_option(layer):
    config = layer.get_config()
    if isinstance(layer, SSMBlock):
        default = SSMBlock(S4D(4)).get_config()
    else:
        default = type(layer)().get_config()
    assert set(inspect.signature(type(layer)).parameters) - {"kwargs"} <= set(config)
    unchanged = {key for key in config if config[key] == default[key]}
    assert unchanged <= {"trainable", "dtype"}
    copy = type(layer).from_config(config)
    assert copy.get_config() == config


def test_a_copy_of_a_built_block_has_the_same_weight_paths():
    inputs = keras.Input((None, WIDTH))
    model = keras.Model(inputs, SSMBlock(S5(4, name="s5"), name="block")(inputs))
    copy = keras.Model.from_config(model.get_config())
    assert [w.path for w in copy.weights] == [w.path for w in model.weights]
    assert copy.weights[0].path == "block/s5/Lambda_re"


def test_a_block_takes_a_layer_that_is_built_already():
    ssm, x = S5(4), array(BATCH, LENGTH, WIDTH)
    y = numpy(ssm(x))
    block = SSMBlock(ssm, gating="gelu", norm=None, residual=False)
    np.testing.assert_allclose(numpy(block(x)), gelu(y, approximate=True), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SSMBlock(keras.layers.LSTM(4)), "`ssm` must be .* Received: ssm=<LSTM"),
        (lambda: SSMBlock(S5(4, return_sequences=False)), "Received: return_sequences=False"),
        (lambda: SSMBlock(S5(4, return_state=True)), "Received: .*return_state=True"),
        (lambda: SSMBlock(S5(4, go_backwards=True)), "Received: .*go_backwards=True"),
        (lambda: SSMBlock(S5(4), norm="group"), "`norm` must be .*'batch'.*: norm='group'"),
        (lambda: SSMBlock(S5(4), gating="swish"), "Received: gating='swish'"),
        (lambda: Gating("swish"), "`gating` must be .*'half_glu1'.* Received: gating='swish'"),
        (lambda: Gating("half_glu1", units=3)(array(1, 2, 4)), "keeps .* Received: units=3"),
        (lambda: SequencePooling("max"), "`mode` must be .*'last'.* Received: mode='max'"),
        (
            lambda: SSMBlock(S4D(4, channels=2), gating="half_glu1")(array(1, 2, 3)),
            "keeps the number of features. Received: units=3, input features=6",
        ),
    ],
)  # fmt: skip
def test_a_wrong_argument_names_what_was_expected_and_received(make, message):
    with pytest.raises(ValueError, match=message):
        make()
