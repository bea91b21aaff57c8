"""keras-hub is imported on demand only."""

import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.backend_free


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=pathlib.Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )


def test_the_package_does_not_import_keras_hub():
    code = "import sys, keras_ssm, keras_ssm.cli; print('keras_hub' in sys.modules)"
    assert run(code).stdout.strip() == "False"


def test_without_keras_hub_the_error_names_the_extra():
    result = run("import sys; sys.modules['keras_hub'] = None; import keras_ssm.hub")
    assert 'pip install "keras-ssm[hub]"' in result.stderr
    assert "ImportError" in result.stderr
