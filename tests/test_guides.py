"""Every guide runs, and becomes a page and a notebook that hold all of it."""

import importlib.util
import json
import os
import pathlib
import runpy

import pytest

NEEDS = {"deploy": ["onnx", "onnxruntime"], "pictures": ["matplotlib", "scipy"]}
GUIDES = pathlib.Path(__file__).parents[1] / "docs" / "guides"
NAMES = sorted(path.stem for path in GUIDES.glob("*.py"))
FIRST = 'os.environ.setdefault("KERAS_BACKEND", "jax")'


def script_of(name):
    return (GUIDES / f"{name}.py").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hook():
    path = GUIDES.parent / "hooks" / "guides.py"
    spec = importlib.util.spec_from_file_location("hook_of_guides", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.training
@pytest.mark.parametrize("name", NAMES)
def test_a_guide_runs(name, tmp_path, monkeypatch):
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package, reason="an extra")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    runpy.run_path(str(GUIDES / f"{name}.py"), run_name="__main__")


@pytest.mark.backend_free
@pytest.mark.parametrize("name", NAMES)
def test_a_guide_chooses_a_backend_first_and_says_what_to_read_next(name):
    script = script_of(name)
    assert script.startswith("# %% [markdown]\n# # ")
    assert 0 < script.find(FIRST) < script.find("import keras")
    assert "\n# ## What to read next\n" in script
    assert "assert" in script


@pytest.mark.backend_free
@pytest.mark.parametrize("name", NAMES)
def test_page_and_notebook_hold_the_whole_guide(name, hook):
    script = script_of(name)
    code = [line for line in script.splitlines() if line and not line.startswith("#")]
    notebook = json.loads(json.dumps(hook.notebook(script)))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    page = hook.page(script, name)
    blocks = [block.split("\n```")[0] for block in page.split("```python\n")[1:]]
    for found in (cells, blocks):
        lines = "\n".join(found).splitlines()
        assert [line for line in lines if line and not line.startswith("#")] == code
    texts = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    assert "".join(texts[0]["source"]).startswith("# ")
    assert all("".join(cell["source"]) in page for cell in texts[1:])
    compile("\n".join(cells), name, "exec")
