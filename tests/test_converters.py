"""What the converters refuse; that they are exact is shown on every golden fixture."""

import numpy as np
import pytest
from keras import ops

from keras_ssm import converters
from keras_ssm.layers import DSS, S4D, S5, SSMBlock


def built(layer):
    layer.build((None, None, 3))
    return layer


def values(layer):
    return [ops.convert_to_numpy(w) for w in layer.weights]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("D"), r"Missing: \['D'\]\. Received besides: \[\]"),
        (lambda p: p.update(P=np.ones(3)), r"Missing: \[\]\. Received besides: \['P'\]"),
        (
            lambda p: p.update(D=np.ones(4)),
            r"Expected 'D' of shape \(3,\)\. Received: shape \(4,\)",
        ),
        (lambda p: p.update(B=p["B"].transpose(1, 0, 2)), r"Expected 'B' of shape \(4, 3, 2\)"),
    ],
)
def test_missing_unknown_or_misshapen_parameters_change_nothing(change, message):
    layer = built(S5(8))
    before, parameters = values(layer), converters.export_official(built(S5(8)))
    change(parameters)
    with pytest.raises(ValueError, match=message):
        converters.load_official(layer, parameters)
    for old, new in zip(before, values(layer), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_low_rank_term_of_s4_is_refused():
    parameters = converters.export_official(built(S4D(8)))
    parameters["kernel.P"] = np.zeros((1, 3, 4, 2))
    with pytest.raises(ValueError, match=r"Received besides: \['kernel.P'\]"):
        converters.load_official(built(S4D(8)), parameters)


def test_a_layer_the_minimal_s4d_cannot_express_is_refused():
    layer = built(S4D(8))
    layer.B.assign(2 * ops.convert_to_numpy(layer.B))
    for target, message in (
        (layer, "has B = 1"),
        (built(S4D(8, n_ssm=1)), "n_ssm=1, features=3"),
        (built(S4D(8, discretization="bilinear")), "discretization='zoh'.*'bilinear'"),
        (built(S5(8)), "`minimal` is a form of S4D"),
    ):
        with pytest.raises(ValueError, match=message):
            converters.export_official(target, minimal=True)


def test_loading_the_minimal_s4d_sets_its_input_matrix_to_one():
    layer = built(S4D(8, B_initializer="complex_normal"))
    converters.load_official(layer, converters.export_official(built(S4D(8)), minimal=True), True)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.B)[..., 0], 1)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.B)[..., 1], 0)


def test_targets_and_families_that_are_no_official_module_are_refused():
    with pytest.raises(ValueError, match=r"'dense' or 'glu'.*gating='gelu'"):
        converters.export_official(built(SSMBlock(DSS(8), gating="gelu")))
    with pytest.raises(ValueError, match=r"must be a DSS, S4D or S5 layer.*target='s5'"):
        converters.export_official("s5")
    with pytest.raises(ValueError, match=r"\['dss', 's4d', 's5'\].*family='s4'"):
        converters.layer_options("s4", {})


def test_official_names_of_initial_values_become_ours_or_are_left_to_the_parameters():
    assert converters.layer_options("s4d", {"init": "diag-lin"}) == {"initialization": "lin"}
    assert converters.layer_options("s4d", {"init": "fout"}) == {"initialization": "fourier"}
    assert converters.layer_options("s4d", {"init": "foud"}) == {}
    assert converters.layer_options("dss", {"Lambda_init": "randn"}) == {"initialization": "random"}
