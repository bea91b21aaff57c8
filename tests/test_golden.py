"""Our layers against numbers recorded from the official code in float64.

Errors are relative to the largest magnitude of an array. float32: 2e-5 for
values, 2e-4 for gradients; float64: 1e-9, on the backends that have it.
"""

import keras
import numpy as np
import pytest
from golden_cases import FLOAT64_ONLY, REFUSED, Case, names
from gradients import relative_error, value_and_gradients
from keras import ops
from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE

from keras_ssm import converters
from keras_ssm.layers import DSS, S4D, S5
from keras_ssm.layers.gating import _gelu
from keras_ssm.ops.complex import exp

BACKEND = keras.backend.backend()
TOLERANCE = {"float32": 2e-5, "float64": 1e-9}
GRADIENT_TOLERANCE = {"float32": 2e-4, "float64": 1e-9}
DTYPES = ["float32"] if BACKEND == "jax" else ["float32", "float64"]
MET = [name for name in names() if name not in REFUSED]


@pytest.fixture(autouse=True)
def float64_is_kept(request, monkeypatch):
    """Lift a rule of Keras that would hide what float64 is to show.

    On every backend but TensorFlow, `keras.ops` demotes float64 results to
    float32 by this table (Dense does on torch, every operation on numpy).
    """
    if "float32" not in request.node.name:
        monkeypatch.setitem(BIT64_TO_BIT32_DTYPE, "float64", "float64")


def cases():
    return [
        pytest.param(name, dtype, id=f"{name}-{dtype}")
        for name in MET
        for dtype in DTYPES
        if not (dtype == "float32" and name in FLOAT64_ONLY)
    ]


def test_at_most_fifteen_fixtures_are_left_out():
    assert len(names()) >= 190
    assert len(REFUSED) + len(FLOAT64_ONLY) <= 15


@pytest.mark.parametrize("name", REFUSED)
def test_left_out_options_are_refused_by_name(name):
    with pytest.raises(ValueError, match=f"{REFUSED[name]!r} is left out"):
        Case(name).layer_options()


@pytest.mark.parametrize(("name", "dtype"), cases())
def test_output_and_kernel_equal_the_official(name, dtype):
    case = Case(name)
    target = case.build(dtype, return_state="state0" in case.arrays)
    tolerance = TOLERANCE[dtype]
    y, state = forward(case, target, case.sequence("u").astype(dtype))
    assert relative_error(as_numpy(y), case.sequence("y")) <= tolerance
    if state is not None:
        expected = pack(case.arrays["next_state"])
        assert relative_error(as_numpy(state), expected) <= tolerance
    if "pre_linear" in case.arrays:
        g = _gelu(target.ssm(case.sequence("u").astype(dtype)), approximate=False)
        expected = case.arrays["pre_linear"]
        if case.minimal or not case.channels_last:
            expected = np.swapaxes(expected, 1, 2)
        assert relative_error(as_numpy(g), expected) <= tolerance
    if "K" in case.arrays:
        K = case.ssm(target).impulse_response(case.arrays["K"].shape[-1])
        expected = case.arrays["K"].reshape(K.shape)
        assert relative_error(as_numpy(K), expected) <= tolerance


@pytest.mark.parametrize(("name", "dtype"), cases())
def test_derived_quantities_equal_the_official(name, dtype):
    case = Case(name)
    ours = derived(case.ssm(case.build(dtype)))
    recorded = {k: v for k, v in case.arrays.items() if k.startswith(("derived.", "step.d"))}
    for key, expected in recorded.items():
        value = ours[key.split(".")[1]]
        if case.minimal:
            value = np.conj(value)  # the other half of each conjugate pair
        value = value.reshape(expected.shape) if value.size == expected.size else value
        assert relative_error(value, expected) <= TOLERANCE[dtype], key


@pytest.mark.training
@pytest.mark.parametrize(("name", "dtype"), cases())
def test_gradients_equal_the_official(name, dtype):
    case = Case(name)
    target = case.build(dtype)
    variables = target.trainable_variables
    inputs = [case.sequence("u").astype(dtype)]
    if "state0" in case.arrays:
        inputs.append(pack(case.arrays["state0"]).astype(dtype))
    gy = case.sequence("gy").astype(dtype)
    _, dv, dx = value_and_gradients(
        lambda u, *state: ops.sum(forward(case, target, u, *state)[0] * ops.convert_to_tensor(gy)),
        variables,
        inputs,
    )
    check_gradients(case, target, variables, dv, "grad.", dtype)
    du = dx[0] if case.channels_last else np.swapaxes(dx[0], 1, 2)
    assert relative_error(du, case.arrays["grad.u"]) <= GRADIENT_TOLERANCE[dtype], "u"
    if "grad.state0" in case.arrays:
        expected = pack(case.arrays["grad.state0"])
        assert relative_error(dx[1], expected) <= GRADIENT_TOLERANCE[dtype], "state0"


@pytest.mark.training
@pytest.mark.parametrize(("name", "dtype"), [c for c in cases() if c.id.startswith("dss") and ("posre" in c.id or "clip" in c.id)])
def test_kernel_gradients_equal_finite_differences(name, dtype):
    """Where the official autograd is wrong (Re Lambda > 0), the recorded differences decide.

    Central differences of a float64 function carry 1e-6: their tolerance is 1e-5.
    """
    case = Case(name)
    key = "fdK." if any(k.startswith("fdK.") for k in case.arrays) else "gradK."
    target = case.build(dtype)
    variables = target.ssm.trainable_variables
    gK = case.arrays["gK"].astype(dtype)
    _, dv, _ = value_and_gradients(
        lambda: ops.sum(target.ssm.impulse_response(gK.shape[-1]) * ops.convert_to_tensor(gK)), variables, []
    )
    check_gradients(case, target.ssm, variables, dv, f"{key}", dtype, "kernel.", 1e-5)


def check_gradients(case, target, variables, gradients, prefix, dtype, strip="", at_least=0.0):
    tolerance = max(GRADIENT_TOLERANCE[dtype], at_least)
    by_variable = {id(v): g for v, g in zip(variables, gradients, strict=True)}
    checked = 0
    for rule in converters.official_rules(target, case.minimal):
        key = prefix + rule.name.removeprefix(strip)
        if key not in case.arrays or (prefix == "grad." and official_gradient_is_wrong(case, key)):
            continue
        value = rule.to_official(*(by_variable[id(w)] for w in rule.weights))
        expected = case.arrays[key].reshape(value.shape)
        assert relative_error(value, expected) <= tolerance, key
        checked += 1
    assert checked


def official_gradient_is_wrong(case, key):
    """The shift of modes with Re Lambda > 0 is under no_grad in the official softmax kernel."""
    softmax = case.family == "dss" and case.config.get("version", "softmax") == "softmax"
    unstable = softmax and np.any(case.arrays["derived.Lambda"].real > 0)
    return unstable and key in ("grad.kernel.Lambda", "grad.kernel.log_dt")


def forward(case, target, u, state0=None):
    """Our output for the official call, and the final state of a call that has one."""
    options = {"training": case.config["training"]} if "training" in case.config else {}
    if "state0" in case.arrays:
        dtype = target.parameter_dtype
        state0 = pack(case.arrays["state0"]).astype(dtype) if state0 is None else state0
        y = target(u, initial_state=state0)
        return y if target.return_state else (y, None)
    y = target(u, **options)
    if case.glu_activation:
        value, gate = ops.split(y, 2, axis=-1)
        y = value * ops.sigmoid(gate)
    return y, None


def pack(z):
    """Complex (B, ...) to our flat state: real parts, then imaginary parts."""
    z = z.reshape(z.shape[0], -1)
    return np.concatenate([z.real, z.imag], axis=-1)


def derived(layer):
    """What the fixtures call derived quantities, as complex NumPy arrays."""
    if isinstance(layer, DSS):
        return {"Lambda": as_complex(layer.continuous()[0])}
    Lambda, dt = layer.continuous()
    found = {"Lambda": as_complex(Lambda), "A": as_complex(Lambda), "dt": as_numpy(dt)}
    if isinstance(layer, S4D):
        found["B"] = as_complex(layer._tiled(layer._pair(layer.B)))
        found["C"] = as_complex(layer._pair(layer.C))
        if layer.real_valued:
            found = {key: value.real for key, value in found.items()}
        if layer.discretization == "dss":
            return found
    log_lam, B, C = layer.recurrence()
    found |= {"dA": as_complex(exp(log_lam)), "dB": as_complex(B)}
    found |= {"Lambda_bar": found["dA"], "B_bar": found["dB"]}
    if isinstance(layer, S5):
        weights = [layer.C, layer.C_backward] if layer.bidirectional else [layer.C]
        pairs = [as_numpy(w) for w in weights]
        found["C_tilde"] = np.concatenate([p[..., 0] + 1j * p[..., 1] for p in pairs], axis=-1)
        factor = 2 if layer.conjugate_symmetry else 1
        np.testing.assert_allclose(as_complex(C), factor * found["C_tilde"][:, : layer.modes])
    else:
        found["dC"] = as_complex(C) / 2
    return found


def as_numpy(x):
    return np.asarray(ops.convert_to_numpy(ops.stop_gradient(x)))


def as_complex(z):
    return as_numpy(z[0]).astype("float64") + 1j * as_numpy(z[1]).astype("float64")


@pytest.mark.parametrize("name", MET)
def test_conversion_is_exact_both_ways(name):
    case = Case(name)
    dtype = "float32" if BACKEND == "jax" else "float64"
    exported = converters.export_official(case.build(dtype), case.minimal)
    parameters = case.parameters()
    assert set(exported) == set(parameters)
    for key, value in parameters.items():
        if case.family == "dss" and key.endswith("bias") and case.channels_last:
            value = value[:, None]  # the untransposed module has a flat bias
        np.testing.assert_array_equal(exported[key], value.astype(dtype), err_msg=key)


def test_batch_norm_statistics_move_as_the_official():
    case = Case("s5layer__half_glu1_pre1_bn_train1_L16")
    block = case.build("float32")
    block(case.sequence("u").astype("float32"), training=True)
    for ours, key in ((block.norm_layer.moving_mean, "mean"), (block.norm_layer.moving_variance, "var")):
        expected = case.arrays[f"new_batch_stats.norm.{key}"]
        assert relative_error(as_numpy(ours), expected) <= 2e-5
