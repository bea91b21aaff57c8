"""Outputs of every layer on the running Keras backend, from weights and inputs in a file.

`python tests/portable_process.py INPUTS OUTPUTS`: see `test_portable.py`.
"""

import sys
import warnings

import numpy as np

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import keras_ssm
import keras
from artefacts import LAYERS, classifier


def models():
    """By name, small models of every layer, and one with them all in both directions."""
    for name in LAYERS:
        yield name, classifier((name,), length=70)
    yield "both directions", classifier(("S5", "S4D", "DSS"), length=20, bidirectional=True)


if __name__ == "__main__":
    given, results = np.load(sys.argv[1]), {}
    for name, model in models():
        count = len(model.weights)
        model.set_weights([given[f"{name} {k}"] for k in range(count)])
        x = given["x"][:, : model.inputs[0].shape[1]]
        results[name] = np.asarray(model.predict(x, verbose=0))
    told = [str(w.message) for w in caught if "keras_ssm has no fast paths" in str(w.message)]
    np.savez(sys.argv[2], told=told, backend=keras.backend.backend(), **results)
    assert keras_ssm.__version__
