"""The page of examples/browser in headless Chromium says what Keras says.

It needs npm, Chromium and a converter: `make test-browser`.
"""

import functools
import http.server
import importlib.util
import json
import pathlib
import shutil
import subprocess
import threading

import keras
import numpy as np
import pytest

import keras_ssm

ROOT = pathlib.Path(__file__).parents[1]
SOURCE = ROOT / "examples" / "browser"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
NPM = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]

pytestmark = [
    pytest.mark.artefact,
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed"),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture
def folder(tmp_path):
    """A copy of the page with the packages it needs."""
    folder = tmp_path / "browser"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules", "model.*"))
    installed = subprocess.run([*NPM, "--include=dev"], cwd=folder, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"npm installs nothing here: {installed.stderr.strip()[-300:]}")
    return folder


@pytest.fixture
def url(folder):
    """Where a server of this process shows the folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_drawn_digit_is_read_as_keras_reads_it(folder, url, tmp_path):
    spec = importlib.util.spec_from_file_location("prepare_page", SOURCE / "prepare.py")
    prepare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(prepare)
    model = keras_ssm.models.classifier(10, (64, 1), layer="s5", depth=2, width=16, state_size=16)
    model.save(tmp_path / "model.keras")
    prepare.prepare(str(tmp_path / "model.keras"), folder)

    command = ["node", ROOT / "tests" / "browser.mjs", folder, url, tmp_path / "page.png", CHROMIUM]
    run = subprocess.run(command, capture_output=True, text=True, timeout=180)
    if run.returncode == 3:
        pytest.skip(f"Chromium does not start here: {run.stderr.strip()[-300:]}")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["failed"] == []
    assert all(address.startswith((url, "data:", "blob:")) for address in found["asked"])
    assert (tmp_path / "page.png").stat().st_size > 10_000

    pixels = np.array(found["pixels"], "float32")
    ring = pixels.reshape(8, 8)
    assert ring.max() > 0.9
    assert ring[3:5, 3:5].max() < 0.5  # what was drawn is hollow
    machine = keras_ssm.models.streaming(model)
    machine.reset(batch_size=1)
    expected = [keras.ops.softmax(machine.step(p.reshape(1, 1))) for p in pixels]
    expected = np.concatenate([keras.ops.convert_to_numpy(row) for row in expected])
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
