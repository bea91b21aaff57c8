"""The layer S4 with official parameters against the recorded official outputs."""

import json

import keras
import numpy as np
import pytest
from equivalences import numpy
from golden_cases import FOLDER
from gradients import relative_error

from keras_ssm import converters
from keras_ssm.layers import S4, SSMBlock
from keras_ssm.ops.systems.low_rank import LowRank

# One length for the kernel and the call: for others, C~ is that of the length it was kept at.
NAMES = [
    "block_yaml_s4_L33", "fout_L33", "hippo_combo_L16", "legs_L1", "legs_L7", "legs_L16",
    "legs_N16_L64", "legs_bi_L33", "legs_ch2_nssm2_L16", "legs_lmaxNone_L33", "legs_state_L16",
    "legs_steplinear_L16", "legt_rank2_L33",
]  # fmt: skip


def case(name):
    with np.load(FOLDER / f"s4__{name}.npz") as arrays:
        found = {key: arrays[key] for key in arrays.files}
    return found, json.loads(str(found.pop("meta")))["cfg"]


def loaded(arrays, config, **options):
    known = {
        key: value
        for key, value in {**config, "d_state": config.get("N")}.items()
        if key not in ("H", "N", "L", "B", "rate", "mode", "l_max", "transposed", "training")
    }
    for name in ("final_act", "activation"):
        known.pop(name, None)
    made = S4(**{**converters.layer_options("s4", known), **options})
    if any("output_linear" in key for key in arrays):
        made = SSMBlock(made, "glu", norm=None, residual=False)
    made.build((None, None, config["H"]))
    official = {
        key.split(".", 1)[1]: value
        for key, value in arrays.items()
        if key.startswith(("param.", "buffer."))
    }
    converters.load_official(made, official)
    return made, official


@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_the_official(name):
    arrays, config = case(name)
    target, official = loaded(arrays, config, return_state="state0" in arrays)
    channels_last = "block" in name
    u = arrays["u"] if channels_last else np.swapaxes(arrays["u"], 1, 2)
    if "state0" in arrays:
        z = arrays["state0"].reshape(len(u), -1)
        state = np.concatenate([z.real, z.imag], axis=-1).astype("float32")
        y = numpy(target(u.astype("float32"), initial_state=state)[0])
    else:
        y = numpy(target(u.astype("float32")))
    y = y if channels_last else np.swapaxes(y, 1, 2)
    assert relative_error(y, arrays["y"]) <= 2e-5

    exported = converters.export_official(target)
    for key, value in exported.items():
        if not key.endswith("kernel.C"):
            np.testing.assert_array_equal(value, official[key].astype("float32"), err_msg=key)
        elif "C_before_setup" in arrays:
            assert relative_error(value, arrays["C_before_setup"]) <= 1e-5


def test_the_whole_matrix_is_that_of_hippo():
    layer = S4(8)
    layer.build((None, None, 4))
    system = layer.system()
    assert isinstance(system, LowRank)
    # The HiPPO matrix has the eigenvalues -1, -2, ..., whatever the basis.
    Lambda = layer.eigenvalues()[0]
    np.testing.assert_allclose(np.sort(Lambda[0].real), -np.arange(8, 0, -1.0), rtol=1e-2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: S4(7), "`state_size` must be even.*state_size=7"),
        (lambda: S4(8, "legt", rank=1), "needs a rank of at least 2.*rank=1"),
        (lambda: S4(8, "lin"), "low-rank part belongs to a HiPPO matrix.*'lin'"),
        (lambda: S4(8, n_ssm=2).build((None, None, 3)), "`n_ssm` must divide.*features=3"),
        (lambda: S4(8, parametrization={"tie_step": True}), "may have 'real'.*tie_step"),
        (lambda: converters.layer_options("s4", {"disc": "zoh"}), "'disc'|disc='zoh'"),
    ],
)
def test_a_wrong_argument_is_named(call, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call()


def test_a_saved_layer_is_the_same(tmp_path):
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, S4(8, "legt", bidirectional=True)(inputs))
    model.save(tmp_path / "s4.keras")
    x = np.random.default_rng(0).standard_normal((2, 9, 3)).astype("float32")
    copy = keras.models.load_model(tmp_path / "s4.keras")
    np.testing.assert_allclose(numpy(copy(x)), numpy(model(x)), atol=1e-6)
