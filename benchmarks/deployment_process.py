"""Files of one Keras backend: written, run in their own runtimes, timed. See `deployment.py`."""

import argparse
import json
import pathlib
import re
import statistics
import tempfile
import time
from typing import Any

import keras
import numpy as np

import keras_ssm
from keras_ssm.export.formats import FORMATS

LAYERS: dict[str, dict[str, Any]] = {
    "dss": {"length": 100},
    "dss-exp": {"kernel": "exp"},
    "s4d": {},
    "s4": {},
    "s5": {},
    "lru": {},
}
LENGTH, FEATURES, WIDTH, STATE, CHUNK = 100, 8, 64, 64, 10


def model(name: str, length: int | None = LENGTH) -> keras.Model:
    """A classifier of one block with 64 features."""
    keras.utils.set_random_seed(0)
    return keras_ssm.models.classifier(
        10,
        (length, FEATURES),
        layer=name.partition("-")[0],
        depth=1,
        width=WIDTH,
        state_size=STATE,
        **LAYERS[name],
    )


def cell(name: str, form: str, kind: str, folder: pathlib.Path, steps: int) -> dict[str, Any]:
    """One file: its size and error or, where there is none, the reason."""
    path = folder / f"{name}-{kind}{FORMATS[form].suffix}"
    start = time.perf_counter()
    try:
        if kind in ("whole", "free length"):
            source = model(name, LENGTH if kind == "whole" else None)
            artefact = keras_ssm.export.model(source, path, form)
        else:
            chunk = CHUNK if kind == "chunk" else None
            artefact = keras_ssm.export.step(model(name), path, form, chunk)
    except (ValueError, ImportError) as error:
        # Neither colours nor the folder of this process.
        reason = re.sub(r"\x1b\[[\d;]*m|/\S+?/\.[^/]*?partial/", "", str(error))
        return {"failed": reason, "seconds": time.perf_counter() - start}
    result = {
        "error": artefact.error,
        "bytes": artefact.size,
        "seconds": time.perf_counter() - start,
        "notes": list(artefact.notes),
    }
    if kind == "step" and steps:
        stream = keras_ssm.export.load(path)
        stream.reset(1)
        result["microseconds"] = latency(stream.step, np.ones((1, FEATURES), "float32"), steps)
    return result


def python_step(name: str, steps: int) -> float:
    """Microseconds of a step of `models.streaming`, under this backend."""
    machine = keras_ssm.models.streaming(model(name))
    machine.reset(1)
    x = np.ones((1, FEATURES), "float32")
    return latency(lambda x: keras.ops.convert_to_numpy(machine.step(x)), x, steps)


def latency(step: Any, x: np.ndarray, steps: int) -> float:
    """Median microseconds of a call whose result is read."""
    durations = []
    for _ in range(steps):
        start = time.perf_counter()
        step(x)
        durations.append(time.perf_counter() - start)
    return 1e6 * statistics.median(durations[steps // 5 :])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", nargs="+", default=list(LAYERS))
    parser.add_argument("--formats", nargs="+", default=list(FORMATS))
    parser.add_argument("--kinds", nargs="+", default=["whole", "free length", "step", "chunk"])
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    backend = keras.backend.backend()
    with tempfile.TemporaryDirectory() as folder:
        for name in options.layers:
            if options.steps:
                record = {"python": python_step(name, options.steps)}
                print(json.dumps({"layer": name, "backend": backend, **record}), flush=True)
            for form in options.formats:
                if backend not in FORMATS[form].backends:
                    continue
                for kind in options.kinds:
                    found = cell(name, form, kind, pathlib.Path(folder), options.steps)
                    key = {"layer": name, "backend": backend, "format": form, "kind": kind}
                    print(json.dumps({**key, **found}), flush=True)
