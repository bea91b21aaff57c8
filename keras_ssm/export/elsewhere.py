"""Export under another Keras backend than the running one, in a separate process.

A model has the same weights under every backend, so it is saved, and loaded by
a process under one that writes the format.
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from keras_ssm.export.formats import FORMATS, Artefact

_CODE = """\
import json, sys
from keras_ssm import export
import keras
job = json.loads(sys.argv[1])
model = keras.models.load_model(job["model"], compile=False)
function = export.step if job["streams"] else export.model
try:
    artefact = function(model, job["path"], job["format"], **job["options"])
except (ValueError, ImportError) as error:
    print(json.dumps({"error": str(error), "kind": type(error).__name__}))
else:
    print(json.dumps([str(artefact.path), *artefact[1:]]))
"""


def export(
    model: Any, path: pathlib.Path, name: str, streams: bool, options: Mapping[str, Any]
) -> Artefact:
    """What `keras_ssm.export` gives under the first backend that writes the format."""
    form = FORMATS[name]
    backend = next((b for b in form.backends if importlib.util.find_spec(b)), None)
    if backend is None:
        needed = " or ".join(form.backends)
        raise ImportError(
            f'{form.title} is written with {needed}: `pip install "keras-ssm[{form.backends[0]}]"`'
        )
    with tempfile.TemporaryDirectory() as folder:
        saved = pathlib.Path(folder) / "model.keras"
        model.save(saved)
        job = {
            "model": str(saved),
            "path": str(path.absolute()),
            "format": name,
            "streams": streams,
            "options": dict(options),
        }
        paths = os.pathsep.join(entry for entry in sys.path if entry)
        run = subprocess.run(
            [sys.executable, "-c", _CODE, json.dumps(job)],
            env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
    lines = run.stdout.strip().splitlines()
    try:
        result = json.loads(lines[-1]) if run.returncode == 0 else None
    except (ValueError, IndexError):
        result = None
    if result is None:
        last = (run.stderr.strip().splitlines() or ["no word"])[-1]
        raise ValueError(
            f"the model could not be loaded under {backend}, which writes {form.title}: layers of "
            f"your own are known only where they are defined. It said: {last}"
        )
    if isinstance(result, dict):
        raise (ImportError if result["kind"] == "ImportError" else ValueError)(result["error"])
    _, found, size, error, notes = result
    return Artefact(path, found, size, error, tuple(notes))
