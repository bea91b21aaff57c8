"""Our layers against numbers recorded from the official code in float64.

Errors are relative to the largest magnitude of an array. float32: 2e-5 for
values, 2e-4 for gradients; float64: 1e-9, on the backends that have it.
"""

import re

import keras
import numpy as np
import pytest
from equivalences import compiled
from golden_cases import FLOAT64_ONLY, LOOSER, REFUSED, Case, names
from gradients import relative_error, value_and_gradients
from keras import ops
from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE

from keras_ssm import converters
from keras_ssm.backend import gelu
from keras_ssm.layers import DSS, S4D
from keras_ssm.ops.complex import exp, multiply, scale

BACKEND = keras.backend.backend()
TOLERANCE = {"float32": 2e-5, "float64": 1e-9}
GRADIENT_TOLERANCE = {"float32": 2e-4, "float64": 1e-9}
DTYPES = ["float32"] if BACKEND == "jax" else ["float32", "float64"]
MET = [name for name in names() if name not in REFUSED]
CASES = [
    pytest.param(name, dtype, id=f"{name}-{dtype}")
    for name in MET
    for dtype in DTYPES
    if not (dtype == "float32" and name in FLOAT64_ONLY)
]


@pytest.fixture(autouse=True)
def float64_is_kept(request, monkeypatch):
    """Lift a rule of Keras that would hide what float64 is to show.

    On every backend but TensorFlow, `keras.ops` demotes float64 results to
    float32 by this table (Dense does on torch, every operation on numpy).
    """
    if "float32" not in request.node.name:
        monkeypatch.setitem(BIT64_TO_BIT32_DTYPE, "float64", "float64")


def test_at_most_fifteen_fixtures_are_left_out():
    assert len(names()) >= 190
    assert len(REFUSED) + len(FLOAT64_ONLY) <= 15


@pytest.mark.parametrize("name", REFUSED)
def test_left_out_options_are_refused_by_name(name):
    with pytest.raises(ValueError, match=f"{REFUSED[name]!r} is left out"):
        Case(name).layer_options()


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_values_and_gradients_equal_the_official(name, dtype):
    case = Case(name)
    target = case.build(dtype, return_state="state0" in case.arrays)
    inputs = [case.sequence("u").astype(dtype), case.sequence("gy").astype(dtype)]
    if "state0" in case.arrays:
        inputs.append(pack(case.arrays["state0"]).astype(dtype))
    ours, dv, dx = run(case, target, inputs)

    tolerance = max(TOLERANCE[dtype], LOOSER.get(name, 0))
    for key, expected in case.arrays.items():
        value = ours.get(key)
        if value is not None:
            assert relative_error(like(key, value, expected, case), expected) <= tolerance, key
    compared = set(ours) & set(case.arrays)
    recorded = {k for k in case.arrays if k in ("y", "K", "next_state", "pre_linear")}
    assert recorded <= compared
    assert {k for k in case.arrays if k.startswith("derived.")} <= compared

    if dv is not None:
        check_gradients(case, target, dv, "grad.", dtype)
        gradient_tolerance = max(GRADIENT_TOLERANCE[dtype], LOOSER.get(name, 0))
        du = like("grad.u", dx[0], case.arrays["grad.u"], case)
        assert relative_error(du, case.arrays["grad.u"]) <= gradient_tolerance
        if "grad.state0" in case.arrays:
            expected = pack(case.arrays["grad.state0"])
            assert relative_error(dx[2], expected) <= gradient_tolerance

    exported = converters.export_official(target, case.minimal)
    parameters = case.parameters()
    assert set(exported) == set(parameters)
    for key, value in parameters.items():
        if case.family == "dss" and key.endswith("bias") and case.channels_last:
            value = value[:, None]  # the untransposed module has a flat bias
        if not key.startswith("batch_stats"):  # moved by the call, and tested below
            np.testing.assert_array_equal(exported[key], value.astype(dtype), err_msg=key)


# Where every case is compiled anew, those that differ in initial values are left to the others.
CHEAP = BACKEND in ("torch", "numpy")
STEPPED = [
    c
    for c in CASES
    if {"step.y", "final_state"} & set(Case(c.values[0]).arrays)
    and (CHEAP or not re.search("init_|Binit|normal|lr0|lr001|L64|L100|float64", c.id))
]


@pytest.mark.parametrize(("name", "dtype"), STEPPED)
def test_steps_and_final_states_equal_the_official(name, dtype):
    """S4D: the official step mode and `forward_state`; S5: the last state of the official scan."""
    case = Case(name)
    if case.config.get("bidirectional"):
        with pytest.raises(ValueError, match="cannot step"):
            case.build(dtype).step(case.sequence("u")[:, 0], None)
        return
    target, u = case.build(dtype), case.sequence("u").astype(dtype)
    state = target.get_initial_state(len(u))
    if "state0" in case.arrays:
        state = pack(case.arrays["state0"]).astype(dtype)
    step, y = compiled(target.step), []
    start = state
    for k in range(u.shape[1]):
        y_k, state = step(u[:, k], state)
        y.append(to_numpy(y_k))
    found = {"step.y": np.stack(y, axis=1), "step.final_state": to_numpy(state)}
    if case.glu_activation:
        value, gate = np.split(found["step.y"], 2, axis=-1)
        found["step.y"] = value / (1 + np.exp(-gate))
    found["final_state"] = found["forward_state"] = found["step.final_state"]
    for key in set(found) & set(case.arrays):
        expected = case.sequence(key) if key == "step.y" else pack(case.arrays[key])
        assert relative_error(found[key], expected) <= TOLERANCE[dtype], key
    if CHEAP and "block" not in name:
        whole = case.build(dtype, return_state=True)(u, initial_state=start)
        final = pack(case.arrays.get("final_state", case.arrays.get("step.final_state")))
        assert relative_error(to_numpy(whole[1]), final) <= TOLERANCE[dtype]


@pytest.mark.training
@pytest.mark.parametrize(
    ("name", "dtype"),
    [c for c in CASES if c.id.startswith("dss") and "posre" in c.id],
)
def test_kernel_gradients_equal_finite_differences(name, dtype):
    """Where the official autograd is wrong (Re Lambda > 0), the recorded differences decide.

    Central differences of a float64 function carry 1e-6: their tolerance is 1e-5.
    """
    case = Case(name)
    prefix = "fdK." if any(k.startswith("fdK.") for k in case.arrays) else "gradK."
    target = case.build(dtype)
    gK = case.arrays["gK"].astype(dtype)
    variables = target.trainable_variables
    _, dv, _ = value_and_gradients(
        lambda g: ops.sum(target.ssm.impulse_response(gK.shape[-1]) * g), variables, [gK]
    )
    check_gradients(case, target.ssm, dv, prefix, dtype, "kernel.", 1e-5, variables)


def test_batch_norm_statistics_move_as_the_official():
    case = Case("s5layer__half_glu1_pre1_bn_train1_L16")
    block = case.build("float32")
    block(case.sequence("u").astype("float32"), training=True)
    norm = block.norm_layer
    for ours, key in ((norm.moving_mean, "mean"), (norm.moving_variance, "var")):
        expected = case.arrays[f"new_batch_stats.norm.{key}"]
        assert relative_error(ops.convert_to_numpy(ours), expected) <= 2e-5


def quantities(case, target, u, state0=None):
    """Everything a fixture may record, under its names there; complex numbers as pairs."""
    found = {}
    if state0 is not None:
        found["y"] = target(u, initial_state=state0)
        if target.return_state:
            found["y"], found["next_state"] = found["y"]
    else:
        options = {"training": case.config["training"]} if "training" in case.config else {}
        found["y"] = target(u, **options)
    if case.glu_activation:
        value, gate = ops.split(found["y"], 2, axis=-1)
        found["y"] = value * ops.sigmoid(gate)
    ssm = case.ssm(target)
    if "pre_linear" in case.arrays:
        found["pre_linear"] = gelu(ssm(u), approximate=False)
    if "K" in case.arrays:
        directions = (False, True) if case.arrays["K"].shape[0] > ssm.channels else (False,)
        kernels = [
            ssm.impulse_response(case.arrays["K"].shape[-1], backward=backward)
            for backward in (directions if ssm.bidirectional else (False,))
        ]
        found["K"] = ops.concatenate(kernels, axis=0)
    return found | derived(ssm)


def derived(layer):
    """What the fixtures call derived quantities, and those of the step mode."""
    Lambda, (dt, _) = layer.continuous()
    if isinstance(layer, DSS):
        return {"derived.Lambda": Lambda}
    found = {"derived.Lambda": Lambda, "derived.A": Lambda, "derived.dt": dt}
    if isinstance(layer, S4D):
        found["derived.B"] = layer._tiled(layer._pair(layer.B))
        found["derived.C"] = layer._pair(layer.C)
        if layer.discretization == "softmax":
            return found
    system = layer.system()
    lam, C = exp(system.log_lam), system.C
    if isinstance(layer, S4D):
        forward = C[0][0], C[1][0]
        return found | {"step.dA": lam, "step.dB": system.B, "step.dC": scale(forward, 0.5)}
    gamma = tuple(z[:, None] for z in system.gamma)
    found |= {"derived.Lambda_bar": lam, "derived.B_bar": multiply(gamma, system.B)}
    factor = 2 if layer.conjugate_symmetry else 1
    C_tilde = tuple(ops.concatenate(list(z), axis=-1) / factor for z in C)
    return found | {"derived.C_tilde": C_tilde}


def like(key, value, expected, case):
    """One of our arrays in the layout of a fixture."""
    if isinstance(value, tuple):
        value = value[0] + 1j * value[1]
        if not np.iscomplexobj(expected):
            value = value.real
        elif case.minimal:
            value = np.conj(value)  # it keeps the other half of each conjugate pair
    if np.iscomplexobj(expected) and not np.iscomplexobj(value):
        half = value.shape[-1] // 2
        value = value[:, :half] + 1j * value[:, half:]
    sequence_first = case.channels_last and not (key == "pre_linear" and case.minimal)
    if key in ("y", "pre_linear", "grad.u") and not sequence_first:
        value = np.swapaxes(value, 1, 2)
    return value.reshape(expected.shape) if value.size == expected.size else value


def check_gradients(case, target, dv, prefix, dtype, strip="", at_least=0.0, variables=None):
    tolerance = max(GRADIENT_TOLERANCE[dtype], at_least, LOOSER.get(case.name, 0))
    variables = target.trainable_variables if variables is None else variables
    by_variable = {id(v): g for v, g in zip(variables, dv, strict=True)}
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


def pack(z):
    """Complex (B, ...) to our flat state: real parts, then imaginary parts."""
    z = z.reshape(z.shape[0], -1)
    return np.concatenate([z.real, z.imag], axis=-1)


_COMPILED = {}


def run(case, target, inputs):
    """The quantities, and the gradients of sum(y gy) of weights and inputs, as NumPy.

    On JAX, fixtures of one structure share one compiled function.
    """
    found = {}

    def loss(u, gy, *state0):
        found.update(quantities(case, target, u, *state0))
        return ops.sum(found["y"] * gy)

    if BACKEND == "numpy":
        loss(*inputs)
        return {k: to_numpy(v) for k, v in found.items()}, None, None
    if BACKEND != "jax":
        _, dv, dx = value_and_gradients(loss, target.trainable_variables, inputs)
        return {k: to_numpy(v) for k, v in found.items()}, dv, dx
    import jax

    structure = structure_of(case, target)
    if structure not in _COMPILED:

        def stateless(trained, fixed, inputs):
            pairs = list(zip(target.trainable_variables, trained, strict=True))
            pairs += list(zip(target.non_trainable_variables, fixed, strict=True))
            with keras.StatelessScope(state_mapping=pairs):
                value = loss(*inputs)
            return value, dict(found)

        _COMPILED[structure] = jax.jit(jax.grad(stateless, argnums=(0, 2), has_aux=True))
    values = [
        [v.value for v in variables]
        for variables in (target.trainable_variables, target.non_trainable_variables)
    ]
    (dv, dx), quantities_ = _COMPILED[structure](*values, inputs)
    as_array = [np.asarray(g) for g in dv], [np.asarray(g) for g in dx]
    return {k: to_numpy(v) for k, v in quantities_.items()}, *as_array


def structure_of(case, target):
    """What decides the compiled function: options and shapes, not initial values or names."""

    def plain(config):
        return {
            key: plain(value) if isinstance(value, dict) else value
            for key, value in config.items()
            if not key.endswith(("name", "initialization", "initializer"))
        }

    shapes = sorted((key, value.shape) for key, value in case.arrays.items())
    return repr((case.family, plain(target.get_config()), shapes))


def to_numpy(value):
    if isinstance(value, (tuple, list)):
        return tuple(to_numpy(v) for v in value)
    return np.asarray(ops.convert_to_numpy(ops.stop_gradient(value)))
