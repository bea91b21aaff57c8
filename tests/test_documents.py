"""The Python of README and docs runs in the order of each file, and names in the text exist."""

import importlib
import pathlib
import re

import keras
import numpy as np
import pytest
from keras import ops

import keras_ssm

ROOT = pathlib.Path(__file__).parents[1]
FILES = ["README.md", *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/**/*.md"))]
# By their first line, blocks that run elsewhere or cannot run.
LEFT_OUT = {
    'keras_ssm.export.step(model, "step.onnx")  # run in': "the tests of export write such files",
    'artefact = keras_ssm.export.step(model, "step.onnx"': "the tests of export write such files",
    'checkpoint = keras_ssm.converters.read_checkpoint("s4d': "needs a checkpoint",
}
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
_CODE = re.compile(r"`([^`\n]+)`")
_NAME = re.compile(r"\bkeras_ssm(?:\.[A-Za-z_]\w*)+")


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name):
    found = _BLOCK.findall(text_of(name))
    return [code for code in found if not code.startswith(tuple(LEFT_OUT))]


def given():
    """What a reader of the pages has: the imports of the start page, and a model with its data."""
    x = np.random.default_rng(0).standard_normal((4, 20, 3)).astype("float32")
    layer = {"layer": "s5", "depth": 1, "width": 4, "state_size": 4}
    model, old = (keras_ssm.models.classifier(2, (None, 3), **layer) for _ in range(2))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    names = {"keras": keras, "keras_ssm": keras_ssm, "np": np, "ops": ops}
    return {**names, "model": model, "old_model": old, "x": x, "y": np.arange(4) % 2}


def cases():
    return [name for name in FILES if blocks(name)]


@pytest.mark.training
@pytest.mark.parametrize("name", cases())
def test_the_blocks_of_a_page_run_in_order(name, tmp_path, monkeypatch):
    if name == "docs/keras_hub.md":
        pytest.importorskip("keras_hub", reason="needs keras-hub")
        if keras.backend.backend() != "torch":  # the only one that compiles nothing
            pytest.skip("one program; other tests cover the backends")
    monkeypatch.chdir(tmp_path)
    # Some blocks choose a backend; here it is chosen.
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    namespace = given()
    for code in blocks(name):
        exec(compile(code, name, "exec"), namespace)


@pytest.mark.backend_free
def test_what_is_left_out_is_there():
    found = [code for name in FILES for code in _BLOCK.findall(text_of(name))]
    assert all(any(code.startswith(line) for code in found) for line in LEFT_OUT)
    assert "README.md" in cases()


def exists(name):
    """Whether a dotted name leads to a module, or to something within one."""
    value, path = keras_ssm, "keras_ssm"
    for part in name.split(".")[1:]:
        path = f"{path}.{part}"
        if not hasattr(value, part):
            try:
                importlib.import_module(path)
            except ModuleNotFoundError as error:
                # A framework or an extra that is not installed hides nothing of ours.
                return not (error.name or "").startswith("keras_ssm")
        value = getattr(value, part)
    return True


@pytest.mark.backend_free
@pytest.mark.parametrize("name", FILES)
def test_names_in_the_text_exist(name):
    missing = []
    for code in _CODE.findall(_BLOCK.sub("", text_of(name))):
        for found in _NAME.findall(code):
            if not exists(found) and not re.search(r"keras_ssm(\.\w+)*\.(py|md|keras)\b", found):
                missing.append(found)
    assert not missing


@pytest.mark.backend_free
def test_a_name_that_is_not_there_is_found_out():
    assert exists("keras_ssm.layers.S5")
    assert exists("keras_ssm.ops.systems.SharedState")
    assert not exists("keras_ssm.layers.S6")
    assert not exists("keras_ssm.S5")


@pytest.mark.backend_free
def test_the_reference_of_layers_lists_all_of_them():
    page = text_of("docs/reference/layers.md")
    members = re.search(r"members: \[(.*)\]", page).group(1).split(", ")
    bases = re.findall(r"^::: keras_ssm\.layers\.\w+\.(\w+)$", page, re.M)
    assert sorted(members + bases) == sorted(keras_ssm.layers.__all__)
    assert members[0] == "S5"
