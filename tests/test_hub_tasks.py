"""Classifiers and language models from strings and waveforms, their presets, and bad input."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import keras_hub
import numpy as np
import pytest
from hub_models import BACKEND, SIZES, byte_preprocessor, language_model, numpy, random_weights

from keras_ssm import hub

TEXTS = ["yes yes", "no", "yes", "no no no"]
LABELS = np.array([1, 0, 1, 0])
# What JAX must compile, TensorFlow runs in less time without.
FAST = {"run_eagerly": BACKEND == "tensorflow", "jit_compile": BACKEND == "jax"}


def text_classifier():
    backbone = hub.SSMBackbone(256, "s4d", **SIZES, ssm_options={"bidirectional": True})
    preprocessor = hub.SSMTextClassifierPreprocessor(hub.SSMByteTokenizer(), sequence_length=10)
    return random_weights(hub.SSMTextClassifier(backbone, 2, preprocessor))


def audio_classifier():
    converter = hub.SSMAudioConverter(max_samples=24)
    backbone = hub.SSMFeatureBackbone(1, "s5", **SIZES)
    return hub.SSMAudioClassifier(
        backbone, 2, hub.SSMAudioClassifierPreprocessor(converter), activation="softmax"
    )


def waves():
    """Slow and fast oscillations, of two lengths, the second longer than the model reads."""
    lengths = (20, 30, 20, 30)
    return [
        np.cos(np.arange(n) * (2.5 if fast else 0.1))
        for n, fast in zip(lengths, LABELS, strict=True)
    ]


def same_length(waves):
    return np.stack([wave[:20] for wave in waves]).astype("float32")


def fit(model, x, y=None):
    # With metrics, Keras runs the model once more to build them.
    model.compile(keras.optimizers.Adam(1e-2), metrics=[], weighted_metrics=[], **FAST)
    losses = model.fit(x, y, epochs=4, batch_size=4, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]


def test_a_text_classifier_learns_from_strings_and_ignores_their_padding():
    model = text_classifier()
    fit(model, TEXTS, LABELS)
    probabilities = model.predict(TEXTS, verbose=0)
    assert probabilities.shape == (4, 2)
    inputs = {name: numpy(x) for name, x in model.preprocessor(TEXTS).items()}
    assert not inputs["padding_mask"].all()
    inputs["token_ids"] = np.where(inputs["padding_mask"], inputs["token_ids"], 77)
    model.preprocessor = None
    np.testing.assert_allclose(model.predict(inputs, verbose=0), probabilities, atol=1e-5)


def test_an_audio_classifier_learns_from_waveforms_of_one_length_and_of_several():
    import tensorflow as tf

    model = audio_classifier()
    fit(model, same_length(waves()), LABELS)
    probabilities = model.predict(tf.ragged.constant(waves(), "float32"), verbose=0)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    inputs, labels = model.preprocessor(waves(), y=LABELS)
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(inputs["padding_mask"].sum(1), [20, 24, 20, 24])
    model.preprocessor = None
    np.testing.assert_allclose(model.predict(inputs, verbose=0), probabilities, atol=1e-5)


def test_a_language_model_learns_from_strings_and_goes_on_with_strings():
    model = language_model(vocabulary_size=256, preprocessor=byte_preprocessor(sequence_length=10))
    fit(model, ["abababab", "babab"])
    model.compile(sampler="greedy", **FAST)
    latin, greek = model.generate(["ab", "ὕ"], max_length=8)
    assert latin.startswith("ab")
    assert greek.startswith("ὕ")


def test_the_tokenizer_keeps_every_character_and_its_special_tokens_are_no_text():
    tokenizer = hub.SSMByteTokenizer()
    text = "Ägypten, ὕδωρ, 水, 🜄, \x01\x7f"
    assert tokenizer.detokenize(tokenizer(text)) == text
    for special in (tokenizer.start_token_id, tokenizer.end_token_id):
        with pytest.raises(UnicodeDecodeError):
            bytes([special]).decode()
    rows, targets, weights = byte_preprocessor(sequence_length=6, add_start_token=True)(["abc"])
    assert numpy(rows["token_ids"]).tolist() == [[254, 97, 98, 99, 255, 0]]
    assert numpy(targets).tolist() == [[97, 98, 99, 255, 0, 0]]
    assert numpy(weights).tolist() == [[True] * 4 + [False] * 2]


# Presets.

PRESETS = {
    "lm": (lambda: language_model("dss", 256, byte_preprocessor()), keras_hub.models.CausalLM),
    "text": (text_classifier, keras_hub.models.TextClassifier),
    "audio": (audio_classifier, hub.SSMAudioClassifier),
}


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """Every model and the folder it was saved to."""
    folder = tmp_path_factory.mktemp("presets")
    models = {name: make() for name, (make, _) in PRESETS.items()}
    for name, model in models.items():
        model.save_to_preset(str(folder / name))
    return models, folder


def assert_same(model, other):
    assert type(other) is type(model)
    assert other.backbone.get_config() == model.backbone.get_config()
    preprocessors = [m.preprocessor.get_config() for m in (model, other)]
    assert preprocessors[0] == preprocessors[1]
    assert [w.path.split("/")[-2:] for w in other.weights] == [
        w.path.split("/")[-2:] for w in model.weights
    ]
    for mine, theirs in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(numpy(mine), numpy(theirs), err_msg=mine.path)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_gives_back_the_model_bit_for_bit(name, presets):
    models, folder = presets
    # Through keras-hub's own class, which finds ours by the file.
    assert_same(models[name], PRESETS[name][1].from_preset(str(folder / name)))
    assert_same(models[name], type(models[name]).from_preset(folder / name))
    backbone = type(models[name].backbone).from_preset(folder / name)
    for mine, theirs in zip(models[name].backbone.weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(numpy(mine), numpy(theirs))


COPY = """
import sys
from keras_ssm import hub
for name, kind in (("lm", hub.SSMCausalLM), ("text", hub.SSMTextClassifier),
                   ("audio", hub.SSMAudioClassifier)):
    kind.from_preset(sys.argv[1] + "/" + name).save_to_preset(sys.argv[2] + "/" + name)
"""


@pytest.mark.skipif(BACKEND != "torch", reason="one ring goes through every backend")
def test_presets_go_through_every_backend_and_come_back_bit_for_bit(presets, tmp_path):
    models, folder = presets
    for backend in ("jax", "tensorflow"):
        environment = {**os.environ, "KERAS_BACKEND": backend}
        root = pathlib.Path(__file__).parents[1]
        command = [sys.executable, "-c", COPY, str(folder), str(tmp_path / backend)]
        copied = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
        assert copied.returncode == 0, copied.stderr
        folder = tmp_path / backend
    for name, model in models.items():
        assert_same(model, type(model).from_preset(folder / name))


def test_a_classifier_of_a_preset_gets_a_new_head_on_demand(presets):
    models, folder = presets
    other = hub.SSMTextClassifier.from_preset(folder / "text", num_classes=3)
    assert other.output_shape == (None, 3)
    np.testing.assert_array_equal(*(numpy(m.backbone.weights[0]) for m in (models["text"], other)))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("lm", "config.json"),
        ("lm", "model.weights.h5"),
        ("text", "task.json"),
        ("audio", "task.weights.h5"),
    ],
)
def test_a_preset_that_lacks_a_file_names_it(name, file, presets, tmp_path):
    models, folder = presets
    broken = shutil.copytree(folder / name, tmp_path / "broken")
    (broken / file).unlink()
    with pytest.raises(ValueError, match=rf"expected a whole preset in .*, which lacks {file}; fo"):
        type(models[name]).from_preset(broken)


@pytest.mark.parametrize("file", ["config.json", "task.json", "model.weights.h5"])
def test_a_preset_with_half_a_file_is_refused(file, presets, tmp_path):
    broken = shutil.copytree(presets[1] / "audio", tmp_path / "broken")
    content = (broken / file).read_bytes()
    (broken / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"expected whole .*broken.*, found"):
        hub.SSMAudioClassifier.from_preset(broken)


def test_a_preset_that_lacks_a_shard_of_its_weights_names_it(presets, tmp_path):
    broken = shutil.copytree(presets[1] / "lm", tmp_path / "broken")
    (broken / "model.weights.h5").unlink()
    index = {"weight_map": {"/a": ["model_00000.weights.h5"]}}
    (broken / "model.weights.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"lacks model_00000\.weights\.h5"):
        hub.SSMCausalLM.from_preset(broken)


# Bad input.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hub.SSMBackbone(9, "lstm"), "expected a layer: one of .*'s5'.*: layer='lstm'"),
        (lambda: hub.SSMBackbone(9, depth=0), "`depth` must be a positive integer.*: depth=0"),
        (lambda: hub.SSMBackbone(0), "`vocabulary_size` must be a positive .*: vocabulary_size=0"),
        (lambda: hub.SSMFeatureBackbone(0), "`features` must be a positive .*: features=0"),
        (
            lambda: hub.SSMCausalLM(hub.SSMFeatureBackbone(1, **SIZES)),
            "`backbone` must be a SSMBackbone. Received: backbone=<SSMFeatureBackbone",
        ),
        (
            lambda: hub.SSMCausalLM(
                hub.SSMBackbone(9, **SIZES, ssm_options={"bidirectional": True})
            ),
            "one direction.* Received: ssm_options={'bidirectional': True}",
        ),
        (lambda: hub.SSMAudioConverter(0), "`max_samples` must be a .*: max_samples=0"),
        (
            lambda: hub.SSMAudioConverter()(np.zeros((2, 3, 4))),
            r"waveform.* Received: waveforms of shapes \[\(3, 4\)\]",
        ),
    ],
)
def test_a_wrong_argument_names_what_was_expected_and_received(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_prompts_that_cannot_be_continued_are_refused():
    model = language_model(vocabulary_size=256, preprocessor=byte_preprocessor(sequence_length=5))
    for prompts, length, message in (
        ("", None, r"every prompt needs a token .* Received: prompts of \[0\] tokens"),
        (["ab", ""], None, r"every prompt needs a token .* Received: prompts of \[2, 0\] tokens"),
        ([], None, r"every prompt needs a token .* Received: prompts of \[\] tokens"),
        ("abcdef", None, "fit into `max_length` = 5 tokens. Received: a prompt of 6 tokens"),
        (["ab", "abcd"], 3, "fit into `max_length` = 3 tokens. Received: a prompt of 4 tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            model.generate(prompts, max_length=length)
    model.preprocessor = None
    ids = np.ones((2, 4), "int32")
    for mask, message in (
        (np.array([[1, 1, 0, 0], [0, 0, 0, 0]]), r"Received: prompts of \[2, 0\] tokens"),
        (
            np.ones((2, 3)),
            r"one shape \(batch, max_length\). Received: shapes \(2, 4\) and \(2, 3\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            model.generate({"token_ids": ids, "padding_mask": mask}, stop_token_ids=None)
    ids = byte_preprocessor().generate_preprocess("ab", 4)["token_ids"]
    assert numpy(ids).tolist() == [97, 98, 0, 0]
    # With a start token there is something to go on from.
    assert byte_preprocessor(add_start_token=True).generate_preprocess("", 4)["token_ids"][0] == 254
