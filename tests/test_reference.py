"""Layers, blocks and models give the numbers that were recorded of them (see reference_cases)."""

import numpy as np
import pytest
import reference_cases

CASES = reference_cases.cases()
# JAX recorded the numbers. Elsewhere exp, sin and cos round differently, and the FFT and matrix
# products add in another order: phases of up to 380 radians, kept to 2 ** -24 of it, give
# states that differ by 7e-6 (dss_exp_forward), sums over a softmax kernel by 9e-6.
TOLERANCES = {"jax": 1e-6}
OTHERS = 2e-5
PARAMETERS = [
    pytest.param(name, marks=[pytest.mark.training] if case.trains else [])
    for name, case in CASES.items()
]


def deviation(value, reference):
    """max |value - reference|, relative to the largest number of the reference."""
    assert value.shape == reference.shape
    largest = np.max(np.abs(reference))
    return float(np.max(np.abs(value.astype("float64") - reference)) / (largest or 1.0))


@pytest.mark.usefixtures("step_by_step")
@pytest.mark.parametrize("name", PARAMETERS)
def test_the_numbers_are_those_of_the_record(name, backend):
    case, record = CASES[name], reference_cases.read(name)
    if case.hub:
        pytest.importorskip("keras_hub", reason="the extra `hub` is not installed")
    model = case.build()
    reference_cases.assign(model, record["weights"])
    outputs = case.run(model, record["inputs"])
    found = {key: reference_cases.numpy(value) for key, value in outputs.items()}
    assert found.keys() == record["outputs"].keys()
    errors = {key: deviation(found[key], record["outputs"][key]) for key in found}
    print(f"{name}: largest deviation {max(errors.values()):.1e}")
    tolerance = TOLERANCES.get(backend, OTHERS)
    assert all(error <= tolerance for error in errors.values()), errors  # a NaN is no maximum


@pytest.mark.backend_free
def test_each_case_has_a_record_and_each_record_a_case():
    assert {path.stem for path in reference_cases.FOLDER.glob("*.npz")} == set(CASES)
