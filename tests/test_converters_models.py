"""Whole official checkpoints: what our models give with them, and that they come back unchanged.

Held against logits recorded from the official code, and against the official
models in NumPy with checkpoints whose names and shapes are written out here.
"""

import pathlib

import keras
import numpy as np
import official_models as official
import pytest
from keras import ops

from keras_ssm import converters
from keras_ssm.models import classifier, retrieval

GOLDEN = pathlib.Path(__file__).parent / "golden"
H, N, LENGTH = 4, 6, 9
rng = np.random.default_rng(0)


def drawn(shapes):
    """A checkpoint of these shapes: variances positive, eigenvalues that decay."""
    found, rng = {}, np.random.default_rng(1)
    for name, shape in shapes.items():
        value = 0.4 * rng.standard_normal(shape)
        last = name.split(".")[-1]
        if last in ("running_var", "var"):
            value = np.exp(value)
        if last in ("log_dt", "inv_dt", "log_step"):
            value = value - 2
        if last == "Lambda_re":
            value = -np.exp(value)
        found[name] = value.astype("float32")
    return found


def weights(checkpoint):
    return official.Weights({k: v.astype("float64") for k, v in checkpoint.items()})


def predict(model, x):
    return np.asarray(ops.convert_to_numpy(model(x)))


def check(model, checkpoint, x, expected, layout=None, minimal=False):
    """The checkpoint in our model gives the official output, and comes out as it went in."""
    assert np.all(np.isfinite(expected))
    assert np.std(expected) > 0.01
    converters.load_official(model, checkpoint)
    np.testing.assert_allclose(predict(model, x), expected, rtol=2e-4, atol=2e-5)
    exported = converters.export_official(model, minimal=minimal, layout=layout)
    assert set(exported) == set(checkpoint)
    for key, value in checkpoint.items():
        assert exported[key].shape == value.shape, key
        np.testing.assert_array_equal(exported[key], value, err_msg=key)
    return exported


def s4_block_shapes(n_ssm=H, directions=1, output=True):
    shapes = {
        "layer.D": (1, H),
        "layer.kernel.inv_dt": (H, 1),
        "layer.kernel.C": (directions, H, N // 2, 2),
        "layer.kernel.B": (1, n_ssm, N // 2, 2),
        "layer.kernel.A_real": (n_ssm, N // 2),
        "layer.kernel.A_imag": (n_ssm, N // 2),
    }
    linear = {"output_linear.0.weight": (2 * H, H), "output_linear.0.bias": (2 * H,)}
    return {**shapes, **(linear if output else {})}


def dss_shapes():
    return {
        "D": (1, H),
        "kernel.log_dt": (H, 2),
        "kernel.Lambda_log_neg_re": (N,),
        "kernel.Lambda_im": (N,),
        "kernel.W": (1, H, N, 2),
        "output_linear.weight": (H, H),
        "output_linear.bias": (H, 1),
    }


def norm_shapes(name, batch):
    parts = ("weight", "bias", "running_mean", "running_var") if batch else ("weight", "bias")
    return {f"{name}.{part}": (H,) for part in parts}


def under(prefix, shapes):
    return {prefix + name: shape for name, shape in shapes.items()}


def sequence_shapes(module, encoder, head, batch=False, final_norm=False):
    shapes = {**encoder, **head}
    for i in range(2):
        shapes |= under(f"model.layers.{i}.layer.", module)
        shapes |= norm_shapes(f"model.layers.{i}.norm.norm", batch)
    return shapes | (norm_shapes("model.norm.norm", batch) if final_norm else {})


DENSE = {"encoder.0.weight": (H, 2), "encoder.0.bias": (H,)}
HEAD = {"decoder.0.output_transform.weight": (3, H), "decoder.0.output_transform.bias": (3,)}
SIGNAL = rng.standard_normal((2, LENGTH, 2))


def test_a_sequence_model_of_s4_blocks():
    checkpoint = drawn(
        sequence_shapes(s4_block_shapes(2, directions=2), DENSE, HEAD, batch=True, final_norm=True)
    )
    model = classifier(
        3, (None, 2), "s4d", depth=2, width=H, state_size=N, bidirectional=True, n_ssm=2,
        block={"gating": "glu", "norm": "batch"}, final_norm=True,
    )  # fmt: skip
    p = weights(checkpoint)

    def layer(q, x):
        return official.s4_block(q, x, bidirectional=True)

    y = official.sequence_backbone(p, SIGNAL, layer, prenorm=True)
    expected = official.linear(p, "decoder.0.output_transform", y.mean(1))
    check(model, checkpoint, SIGNAL, expected, "sequence")
    counted = {f"model.layers.{i}.norm.norm.num_batches_tracked": np.array(9) for i in (0, 1)}
    counted["model.norm.norm.num_batches_tracked"] = np.array(9)
    state = {"state_dict": {**checkpoint, **counted}, "epoch": 3}
    converters.load_official(model, state)


def test_a_sequence_model_of_s4_blocks_without_final_activation_on_tokens():
    module = s4_block_shapes(output=False)
    checkpoint = drawn(sequence_shapes(module, {"encoder.0.weight": (7, H)}, HEAD))
    model = classifier(
        3, (None,), "s4d", depth=2, width=H, state_size=N, vocabulary_size=7, pooling="last",
        parametrization={"step": "softplus"},
        block={"gating": "exact_gelu", "norm": "layer", "prenorm": False},
    )  # fmt: skip
    p, tokens = weights(checkpoint), rng.integers(0, 7, (2, LENGTH))

    def layer(q, x):
        return official.s4_block(q, x, step=lambda w: np.log1p(np.exp(w)))

    y = official.sequence_backbone(p, tokens, layer, prenorm=False)
    expected = official.linear(p, "decoder.0.output_transform", y[:, -1])
    check(model, checkpoint, tokens, expected, "sequence")


def test_a_sequence_model_of_s4_blocks_for_pairs():
    head = {
        **under("decoder.0.retrieval.classifier.0.", {"weight": (H, 4 * H), "bias": (H,)}),
        **under("decoder.0.retrieval.classifier.2.", {"weight": (2, H), "bias": (2,)}),
    }
    checkpoint = drawn(
        sequence_shapes(
            s4_block_shapes(), {"encoder.0.weight": (7, H)}, head, batch=True, final_norm=True
        )
    )
    model = retrieval(
        2, (2, None), "s4d", width=H, depth=2, state_size=N, vocabulary_size=7,
        block={"gating": "glu", "norm": "batch"}, final_norm=True,
    )  # fmt: skip
    p, tokens = weights(checkpoint), rng.integers(0, 7, (3, 2, LENGTH))
    pooled = [
        official.sequence_backbone(p, tokens[:, side], official.s4_block, prenorm=True).mean(1)
        for side in (0, 1)
    ]
    check(model, checkpoint, tokens, official.retrieval_head(p, pooled), "sequence")


@pytest.mark.parametrize("prenorm", [False, True])
def test_the_example_of_dss(prenorm):
    shapes = {
        **{"encoder.weight": (H, 2), "encoder.bias": (H,)},
        **{"decoder.weight": (3, H), "decoder.bias": (3,)},
    }
    for i in range(2):
        shapes |= under(f"s4_layers.{i}.", dss_shapes()) | norm_shapes(f"norms.{i}", False)
    checkpoint = drawn(shapes)
    model = classifier(
        3, (None, 2), "dss", depth=2, width=H, state_size=N, kernel="exp",
        block={"gating": "dense", "norm": "layer", "prenorm": prenorm},
    )  # fmt: skip
    expected = official.example_model(weights(checkpoint), SIGNAL, official.dss_exp, prenorm)
    check(model, checkpoint, SIGNAL, expected)
    # The flat bias of the untransposed module is taken as well.
    name = "s4_layers.0.output_linear.bias"
    converters.load_official(model, {**checkpoint, name: checkpoint[name][:, 0]})


def test_a_sequence_model_of_dss():
    checkpoint = drawn(sequence_shapes(dss_shapes(), DENSE, HEAD, batch=True))
    model = classifier(
        3, (None, 2), "dss", depth=2, width=H, state_size=N, kernel="exp",
        block={"gating": "dense", "norm": "batch", "prenorm": False},
    )  # fmt: skip
    p = weights(checkpoint)
    y = official.sequence_backbone(p, SIGNAL, official.dss_exp, prenorm=False)
    expected = official.linear(p, "decoder.0.output_transform", y.mean(1))
    check(model, checkpoint, SIGNAL, expected, "sequence")


def s5_shapes(inputs, head, outputs=("C",), gates=("out2",)):
    shapes = {"encoder.encoder.kernel": (inputs, H), "encoder.encoder.bias": (H,), **head}
    for i in range(2):
        module = {
            "seq.Lambda_re": (N // 2,),
            "seq.Lambda_im": (N // 2,),
            "seq.log_step": (N // 2, 1),
            "seq.B": (N // 2, H, 2),
            "seq.D": (H,),
            "norm.scale": (H,),
            "norm.bias": (H,),
        }
        module |= {f"seq.{C}": (H, N // 2, 2) for C in outputs}
        module |= {f"{gate}.kernel": (H, H) for gate in gates}
        module |= {f"{gate}.bias": (H,) for gate in gates}
        shapes |= under(f"encoder.layers_{i}.", module)
        shapes |= {f"batch_stats.encoder.layers_{i}.norm.{part}": (H,) for part in ("mean", "var")}
    return shapes


def test_the_retrieval_model_of_s5():
    layers = {"layer1.kernel": (4 * H, H), "layer1.bias": (H,)}
    layers |= {"layer2.kernel": (H, 2), "layer2.bias": (2,)}
    checkpoint = drawn(s5_shapes(7, under("decoder.", layers), outputs=("C1", "C2")))
    model = retrieval(
        2, (2, None), "s5", width=H, depth=2, state_size=N, vocabulary_size=7, one_hot=True,
        masked="pooling", bidirectional=True, block={"gating": "half_glu2", "norm": "batch"},
    )  # fmt: skip
    p, tokens = weights(checkpoint), rng.integers(1, 7, (3, 2, LENGTH))
    tokens[0, 0, 5:] = 0
    pooled = []
    for side in (0, 1):
        y = official.s5_encoder(p, np.eye(7)[tokens[:, side]], "half_glu2")
        kept = (tokens[:, side] != 0)[..., None]
        pooled.append((y * kept).sum(1) / kept.sum(1))
    a, b = pooled
    hidden = official.dense(p, "decoder.layer1", np.concatenate([a, b, a - b, a * b], -1))
    expected = official.dense(p, "decoder.layer2", official.tanh_gelu(hidden))
    check(model, checkpoint, tokens, expected)


def test_the_classification_model_of_s5_with_both_gates_and_postnorm():
    head = {"decoder.kernel": (H, 3), "decoder.bias": (3,)}
    checkpoint = drawn(s5_shapes(2, head, gates=("out1", "out2")))
    model = classifier(
        3, (None, 2), "s5", depth=2, width=H, state_size=N, pooling="last",
        block={"gating": "full_glu", "norm": "batch", "prenorm": False},
    )  # fmt: skip
    p = weights(checkpoint)
    y = official.s5_encoder(p, SIGNAL, "full_glu", prenorm=False)
    exported = check(model, checkpoint, SIGNAL, official.dense(p, "decoder", y[:, -1]))
    nested = converters.flax_variables(exported)
    assert set(nested) == {"params", "batch_stats"}
    assert set(nested["batch_stats"]["encoder"]["layers_0"]["norm"]) == {"mean", "var"}
    check(model, checkpoint, SIGNAL, official.dense(p, "decoder", y[:, -1]))
    before = predict(model, SIGNAL)
    for weight in model.weights:
        weight.assign(ops.zeros(weight.shape))
    converters.load_official(model, nested)
    np.testing.assert_array_equal(predict(model, SIGNAL), before)


# Records of the official code.


def s5_model():
    return classifier(
        10, (64, 1), "s5", depth=2, width=16, state_size=16, blocks=2, bidirectional=True,
        block={"gating": "half_glu1", "norm": "layer", "norm_epsilon": 1e-6},
    )  # fmt: skip


def s4d_model():
    return classifier(
        10, (64, 1), "s4d", depth=2, width=16, state_size=16,
        block={"gating": "glu", "norm": "layer", "prenorm": False},
    )  # fmt: skip


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@pytest.mark.parametrize("updates", [0, 1, 10, 80])
@pytest.mark.parametrize("name", ["s5_ln", "s4d"])
def test_outputs_recorded_during_official_training(name, updates):
    record, data = np.load(GOLDEN / f"traj__{name}.npz"), np.load(GOLDEN / "digits.npz")
    prefix = f"p{updates}."
    checkpoint = {k[len(prefix) :]: record[k] for k in record.files if k.startswith(prefix)}
    checkpoint = {k: v.astype("float32") for k, v in checkpoint.items()}
    model = s4d_model() if name == "s4d" else s5_model()
    converters.load_official(model, checkpoint)
    logits = predict(model, data["test_pixels"].astype("float32")[..., None] / 16)
    outputs = log_softmax(logits) if name == "s5_ln" else logits
    np.testing.assert_allclose(outputs, record[f"test_out.{updates}"], atol=1e-4)
    exported = converters.export_official(model, minimal=name == "s4d")
    assert set(exported) == set(checkpoint)
    for key, value in checkpoint.items():
        np.testing.assert_array_equal(exported[key], value, err_msg=key)


def test_the_minimal_s4d_of_the_record_in_numpy():
    """The NumPy model of these tests gives the recorded logits as well."""
    record, data = np.load(GOLDEN / "traj__s4d.npz"), np.load(GOLDEN / "digits.npz")
    p = official.Weights({k[4:]: record[k] for k in record.files if k.startswith("p10.")})
    x = data["test_pixels"][:2, :, None] / 16
    logits = official.example_model(p, x, official.minimal_s4d)
    np.testing.assert_allclose(logits, record["test_out.10"][:2], atol=1e-9)


# What does not fit.


def small(layer="s4d", **options):
    options = {"depth": 2, "width": H, "state_size": N, "block": {"gating": "glu"}, **options}
    return classifier(3, (None, 2), layer, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("decoder.bias"), r"1 missing: 'decoder.bias' \(for head/bias\)"),
        (lambda c: c.pop("norms.1.weight"), r"'norms.1.weight' \(for block_1/norm/gamma\)"),
        (lambda c: c.update({"s4_layers.2.D": np.ones(H)}), "1 unknown: 's4_layers.2.D'"),
        (
            lambda c: c.update({"s4_layers.1.layer.D": np.ones((1, H + 1))}),
            r"'s4_layers.1.layer.D' \(for block_1/s4d/D\) expected \(1, 4\), received \(1, 5\)",
        ),
        (
            lambda c: [c.pop(k) for k in list(c) if "s4_layers.1" in k],
            "8 missing: 's4_layers.1.layer.kernel.inv_dt' .* and 4 more",
        ),
        (lambda c: c.clear(), "Received: 0 arrays; 24 missing"),
    ],
)
def test_a_checkpoint_that_does_not_fit_leaves_the_model_as_it_was(change, message):
    model, checkpoint = small(name="mine"), converters.export_official(small())
    before = [ops.convert_to_numpy(w) for w in model.weights]
    change(checkpoint)
    with pytest.raises(ValueError, match=f"'mine' takes the 24 arrays of .*S4Model.*{message}"):
        converters.load_official(model, checkpoint)
    for old, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, ops.convert_to_numpy(weight))


MODELS = {
    "s5": lambda: small("s5", block={"gating": "half_glu1"}),
    "dss": lambda: small("dss", block={"gating": "dense"}),
    "s4d": small,
}


@pytest.mark.parametrize("theirs", MODELS)
@pytest.mark.parametrize("ours", MODELS)
def test_checkpoints_of_another_model_are_refused(ours, theirs):
    checkpoint = converters.export_official(MODELS[theirs]())
    model = MODELS[ours]()
    if ours == theirs:
        converters.load_official(model, checkpoint)
        return
    with pytest.raises(ValueError, match=r"missing: .*unknown: .*Nothing was loaded"):
        converters.load_official(model, checkpoint)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (lambda: small(final_norm=True), {}, "no norm after its last block; layout='sequence'"),
        (lambda: small(block={"norm": "batch"}), {}, "norm='layer'; layout='sequence' has 'batch'"),
        (small, {"layout": "sequence"}, r"norm after its last block where prenorm=True"),
        (
            lambda: small(final_norm=True, block={"prenorm": False}),
            {"layout": "sequence"},
            "norm after its last block where prenorm=True, and only there.*prenorm=False",
        ),
        (small, {"layout": "s4"}, r"None or one of \['example', 'sequence'\].*layout='s4'"),
        (MODELS["s5"], {"layout": "example"}, "S5 models have one layout, None.*'example'"),
        (lambda: small("s5", final_norm=True, block={}), {}, "S5 has no norm after its last"),
        (MODELS["dss"], {"minimal": True}, "`minimal` is a form of S4D"),
        (lambda: small("lru", block={}), {}, "must be a layer DSS, S4, S4D, S5"),
        (
            lambda: classifier(None, (None, 2), "s4d", depth=1, width=H),
            {},
            r"'encoder', 'block_0', 'block_1', ... and 'head'",
        ),
        (
            lambda: keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]),
            {},
            "must be a model of `models.classifier` or `models.retrieval`",
        ),
        (
            lambda: classifier(3, (None,), "s4d", depth=1, width=H, vocabulary_size=7),
            {},
            "has a dense encoder; layout='sequence' has an embedding",
        ),
        (
            lambda: classifier(
                3, (None,), "dss", depth=1, width=H, vocabulary_size=7, one_hot=True,
            ),
            {},
            "dense encoder or an embedding without bias.*OneHotDense",
        ),
        (
            lambda: classifier(3, (None,), "s5", depth=1, width=H, vocabulary_size=7),
            {},
            "one_hot=True. Received: Embedding",
        ),
        (
            lambda: retrieval(2, (2, None), "s4d", depth=1, width=H, vocabulary_size=7),
            {},
            "reads one sequence, not pairs; layout='sequence'",
        ),
    ],
)  # fmt: skip
def test_models_that_the_official_code_does_not_have_are_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        converters.export_official(model(), **options)
