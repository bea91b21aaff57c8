"""The low-rank system against numbers recorded from the official S4 in float64.

Errors are relative to the largest magnitude of an array. float32: 2e-5 for
values, 2e-4 for gradients; float64: 1e-9, on the backends that have it.

The official code trains C~ = C (I - A_bar^L) in place of C, and its gradients
hold C~ fixed: the tests go through that map. Where `rate` is not 1, its kernel
is that of C~ (I - A_bar^L)^-1 with A_bar at the changed step, which is not the
C it began with; the tests take the same.
"""

import json
import math

import keras
import numpy as np
import pytest
from golden_cases import FOLDER
from gradients import relative_error, value_and_gradients
from keras import ops
from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE

from keras_ssm.ops.systems import low_rank
from keras_ssm.ops.systems.low_rank import LowRank

BACKEND = keras.backend.backend()
TOLERANCE = {"float32": 2e-5, "float64": 1e-9}
DTYPES = ["float32"] if BACKEND == "jax" else ["float32", "float64"]
DENSE = ["s4__dense_legs_L16", "s4__dense_legs_L33"]
TABLES = ["s4__init_tables", "s4__ctor_raw_params"]
ALL = sorted(path.stem for path in FOLDER.glob("s4__*.npz"))
CASES = [name for name in ALL if name not in (*DENSE, *TABLES)]


@pytest.fixture(autouse=True)
def float64_is_kept(request, monkeypatch):
    """Lift a rule of Keras that would hide what float64 is to show (see `test_golden.py`)."""
    if "float32" not in request.node.name:
        monkeypatch.setitem(BIT64_TO_BIT32_DTYPE, "float64", "float64")


def test_every_fixture_is_compared():
    assert len(ALL) == 23
    assert len(CASES) == 19


class Case:
    """One fixture, and the system of its parameters."""

    def __init__(self, name, dtype):
        self.name, self.dtype = name, dtype
        with np.load(FOLDER / f"{name}.npz") as arrays:
            self.arrays = {key: arrays[key] for key in arrays.files}
        self.config = json.loads(str(self.arrays.pop("meta")))["cfg"]
        self.is_block = "block" in name
        self.prefix = "layer." if self.is_block else ""
        self.parameters = {
            key.removeprefix("param.").removeprefix(self.prefix): value
            for key, value in self.arrays.items()
            if key.startswith("param.")
        }
        self.length = self.arrays["K"].shape[-1]

    def sequence(self, key):
        value = self.arrays[key]
        return value if self.is_block else np.swapaxes(value, 1, 2)

    def tensor(self, value):
        return ops.convert_to_tensor(np.asarray(value, self.dtype))

    def variables(self):
        return {
            key: keras.Variable(np.asarray(value, self.dtype), dtype=self.dtype)
            for key, value in self.parameters.items()
        }

    def gradients(self, prefix):
        """Those recorded of a loss, by the name of the parameter."""
        found = {}
        for key, value in self.arrays.items():
            name = key.removeprefix(prefix).removeprefix(self.prefix)
            if key.startswith(prefix) and name not in ("u", "state0"):
                found[f"kernel.{name}" if prefix == "gradK." else name] = value
        assert set(found) <= set(self.parameters)
        assert len(found) >= 6
        return found

    def decay(self, parameters):
        """I - A_bar^L (H, 2n, 2n) in conjugate-doubled modes, by NumPy alone."""
        H, raw = self.config["H"], parameters
        Lambda = -np.exp(raw["kernel.A_real"]) - 1j * raw["kernel.A_imag"]
        P = raw["kernel.P"] @ np.array([1, 1j])
        Lambda, P = (np.concatenate([z, z.conj()], axis=-1) for z in (Lambda, P))
        A = Lambda[..., None] * np.eye(Lambda.shape[-1]) - np.einsum("rsn,rsm->snm", P, P.conj())
        A = np.tile(A, (H // len(A), 1, 1))
        dt = np.exp(raw["kernel.inv_dt"])
        if self.config.get("dt_transform") == "softplus":
            dt = np.log1p(dt)
        half = dt[..., None] * self.config["rate"] / 2 * A
        eye = np.eye(A.shape[-1])
        return eye - np.linalg.matrix_power(np.linalg.solve(eye - half, eye + half), self.length)

    def C(self):
        """C of C~ = C (I - A_bar^L), as a parameter."""
        doubled = in_doubled_modes(self.parameters["kernel.C"])
        transposed = np.swapaxes(self.decay(self.parameters), 1, 2)
        return halved(np.linalg.solve(transposed, doubled[..., None])[..., 0])

    def with_C_fixed(self, gradients):
        """From the gradients with C~ held fixed to those with C held fixed."""
        gradient = gradients["kernel.C"]
        decay = self.decay(self.parameters)
        of_C = np.einsum("chn,hmn->chm", in_doubled_modes(gradient), decay.conj())
        found = {**gradients, "kernel.C": halved(of_C)}
        C = in_doubled_modes(self.C())

        def moved(parameters):
            return np.sum(gradient * halved(np.einsum("chn,hnm->chm", C, self.decay(parameters))))

        for key in ("kernel.A_real", "kernel.A_imag", "kernel.P", "kernel.inv_dt"):
            value = self.parameters[key]
            change = np.zeros(value.shape)
            for index in np.ndindex(value.shape):
                # Five points: of a step so long, the difference is more than rounding.
                for count, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
                    shifted = value.copy()
                    shifted[index] += count * 1e-3
                    change[index] += weight * moved({**self.parameters, key: shifted}) / 12e-3
            found[key] = gradients[key] + change
        return found

    def system(self, weights, through_C_tilde):
        """The system of official parameters, C being one of them, or what C~ stands for."""
        H = self.config["H"]
        raw = {
            key.removeprefix("kernel."): ops.convert_to_tensor(value)
            for key, value in weights.items()
        }

        def tiled(pair):
            repeats = H // pair[0].shape[-2]
            return tuple(ops.concatenate([z] * repeats, axis=-2) for z in pair)

        transform = {"exp": ops.exp, "softplus": ops.softplus}
        dt = transform[self.config.get("dt_transform", "exp")](raw["inv_dt"][:, 0])
        C = raw["C"]
        directions = 2 if self.config.get("bidirectional") else 1
        C = ops.reshape(C, (directions, -1, *C.shape[1:]))
        system = LowRank(
            tiled((-ops.exp(raw["A_real"]), -raw["A_imag"])),
            tiled(as_pair(raw["P"])),
            tiled(as_pair(raw["B"][0])),
            as_pair(C),
            raw["D"],
            dt * self.config["rate"],
        )
        system.check(H)
        return self.from_C_tilde(system) if through_C_tilde else system

    def from_C_tilde(self, system):
        """C = C~ (I - A_bar^L)^-1, in the real form of the system."""
        E, _, rows = low_rank._matrices(system)
        eye = ops.eye(E.shape[-1], dtype=self.dtype)
        power = eye + 0 * E
        for _ in range(self.length):
            power = ops.matmul(power, eye + E)
        transposed = ops.transpose(eye - power, (0, 2, 1))
        found = []
        for row in rows:
            solved = ops.solve(transposed, ops.transpose(row, (0, 2, 1)))  # (H, N, C)
            found.append(ops.transpose(solved, (2, 0, 1)))
        re, im = ops.split(ops.stack(found), 2, axis=-1)
        return system._replace(C=(re / 2, -im / 2))

    def outputs(self, system, weights, u, **options):
        """The official module's output (B, L, ...): of the block, with all that follows."""
        y, state = system.run(u, **options)
        if self.is_block:
            y = 0.5 * y * (1 + ops.erf(y / math.sqrt(2)))  # Keras' rounds to float32
            W = ops.convert_to_tensor(weights["output_linear.0.weight"])
            y = ops.matmul(y, ops.transpose(W)) + weights["output_linear.0.bias"]
            y, gate = ops.split(y, 2, axis=-1)
            y = y * ops.sigmoid(gate)
        return y, state


def in_doubled_modes(z):
    """A complex parameter (..., n, 2) as (..., 2n), itself and its conjugate."""
    z = z @ np.array([1, 1j])
    return np.concatenate([z, z.conj()], axis=-1)


def halved(z):
    """The inverse of `in_doubled_modes`."""
    half = z[..., : z.shape[-1] // 2]
    return np.stack([half.real, half.imag], axis=-1)


def as_pair(z):
    return z[..., 0], z[..., 1]


def pack(state):
    """An official state (B, H, n) as a flat one; of conjugate-doubled modes the first half."""
    return np.concatenate(
        [part.reshape(len(state), -1) for part in (state.real, state.imag)], axis=-1
    )


def numpy(x):
    return np.asarray(ops.convert_to_numpy(ops.stop_gradient(ops.convert_to_tensor(x))))


parametrized = pytest.mark.parametrize(
    ("name", "dtype"),
    [pytest.param(name, dtype, id=f"{name}-{dtype}") for name in CASES for dtype in DTYPES],
)


@parametrized
@pytest.mark.parametrize("method", ["fft", "chunk"])
def test_values_equal_the_official(name, dtype, method):
    case = Case(name, dtype)
    weights = case.variables()
    C = case.C() if case.config["rate"] != 1 else case.arrays["C_before_setup"]
    weights["kernel.C"].assign(C)
    system = case.system(weights, through_C_tilde=False)
    state = None
    if "state0" in case.arrays:
        state = case.tensor(pack(case.arrays["state0"]))
    u = case.tensor(case.sequence("u"))
    options = {"method": method, "state": state, "return_state": True}
    y, final = case.outputs(system, weights, u, **options)
    tolerance = TOLERANCE[dtype]
    assert relative_error(numpy(y), case.sequence("y")) <= tolerance
    kernels = [
        system.impulse_response(case.length, backward=bool(k)) for k in range(system.directions)
    ]
    assert (
        relative_error(np.concatenate([numpy(k) for k in kernels]), case.arrays["K"]) <= tolerance
    )
    if "next_state" in case.arrays:
        assert relative_error(numpy(final), pack(case.arrays["next_state"])) <= tolerance
        alone = system._replace(D=None)
        response, _ = alone.run(ops.zeros_like(u), state, method=method)
        expected = np.swapaxes(case.arrays["K_state"][:, 0], 1, 2)
        assert relative_error(numpy(response), expected) <= tolerance


@parametrized
def test_steps_equal_the_official(name, dtype):
    case = Case(name, dtype)
    if "step.y" not in case.arrays:
        pytest.skip("recorded without its step mode")
    weights = case.variables()
    weights["kernel.C"].assign(case.arrays["C_before_setup"])
    system = case.system(weights, through_C_tilde=False)
    u = case.tensor(case.sequence("u"))
    stepper, y = system.stepper(), []
    H, n = system.Lambda[0].shape
    state = case.tensor(np.zeros((u.shape[0], 2 * H * n)))
    for k in range(case.length):
        y_k, state = stepper.step(u[:, k], state)
        y.append(numpy(y_k))
    assert relative_error(np.stack(y, axis=1), case.sequence("step.y")) <= TOLERANCE[dtype]
    if "stepdiag" in name:
        return  # its state is in the basis of other eigenvectors
    final = pack(case.arrays["step.final_state"][..., :n])
    assert relative_error(numpy(state), final) <= TOLERANCE[dtype]
    E, B, _ = low_rank._matrices(system)
    eye = np.eye(n)
    doubled = np.block([[eye, 1j * eye], [eye, -1j * eye]])  # conjugate modes of a real state
    A_bar = doubled @ (numpy(E) + np.eye(2 * n)) @ np.linalg.inv(doubled)
    B_bar = (doubled @ numpy(B))[..., 0]
    assert relative_error(A_bar, case.arrays["step.dA"]) <= TOLERANCE[dtype]
    assert relative_error(B_bar, case.arrays["step.dB"]) <= TOLERANCE[dtype]


def check_gradients(case, weights, expected, gradients, tolerance):
    """All that were recorded; a gradient that is zero but for rounding is held to the largest."""
    largest = {key: np.abs(g).max() for key, g in expected.items()}
    for key, gradient in zip(weights, gradients, strict=True):
        if key in expected:
            scale = max(largest[key], 1e-6 * max(largest.values()))
            assert np.abs(gradient - expected[key]).max() <= tolerance * scale, key


def losses(case, weights, through_C_tilde):
    """What the official gradients are of: sum(y gy) and sum(K gK), by the prefix of their names."""

    def of_outputs(u, gy, gK, state=None):
        system = case.system(weights, through_C_tilde)
        return ops.sum(case.outputs(system, weights, u, state=state)[0] * gy)

    def of_kernel(u, gy, gK, state=None):
        system = case.system(weights, through_C_tilde)
        kernels = [
            system.impulse_response(case.length, backward=bool(k)) for k in range(system.directions)
        ]
        return ops.sum(ops.concatenate(kernels) * gK)

    inputs = [case.sequence("u"), case.sequence("gy"), case.arrays["gK"]]
    if "state0" in case.arrays:
        inputs.append(pack(case.arrays["state0"]))
    inputs = [np.asarray(x, case.dtype) for x in inputs]
    return inputs, {"grad.": of_outputs, "gradK.": of_kernel}


def check_input_gradients(case, of_inputs, tolerance):
    assert relative_error(of_inputs[0], case.sequence("grad.u")) <= tolerance
    if "grad.state0" in case.arrays:
        assert relative_error(of_inputs[3], pack(case.arrays["grad.state0"])) <= tolerance


@pytest.mark.training
@pytest.mark.parametrize("name", CASES if "float64" in DTYPES else [])
def test_float64_gradients_equal_the_official(name):
    case = Case(name, "float64")
    weights = case.variables()
    inputs, functions = losses(case, weights, through_C_tilde=True)
    for prefix, function in functions.items():
        _, found, of_inputs = value_and_gradients(function, list(weights.values()), inputs)
        check_gradients(case, weights, case.gradients(prefix), found, 1e-9)
        if prefix == "grad.":
            check_input_gradients(case, of_inputs, 1e-9)


@pytest.mark.training
@pytest.mark.parametrize("name", CASES)
def test_float32_gradients_equal_the_official(name):
    """With C held in place of C~, which takes a matrix of condition 1e4 where modes are undamped.

    What the change of variables adds to the official gradients is computed in float64.
    """
    case = Case(name, "float32")
    weights = case.variables()
    weights["kernel.C"].assign(case.C())
    inputs, functions = losses(case, weights, through_C_tilde=False)
    for prefix, function in functions.items():
        _, found, of_inputs = value_and_gradients(function, list(weights.values()), inputs)
        expected = case.with_C_fixed(case.gradients(prefix))
        check_gradients(case, weights, expected, found, 2e-4)
        if prefix == "grad.":
            check_input_gradients(case, of_inputs, 2e-4)


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_equal_those_of_the_official_dense_matrix(name, dtype):
    """Its matrix is written out in conjugate-doubled modes, (diag, 0; 0, conj) - p p^*."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        A, B, C = (arrays[f"param.{key}"] @ np.array([1, 1j]) for key in "ABC")
        log_dt, K = arrays["param.inv_dt"], arrays["K"]
    n = A.shape[-1] // 2
    across = A[:, :n, n:]  # -p p^T
    P = -across[:, :, 0] / np.sqrt(-across[:, :1, 0] + 0j)
    Lambda = np.diagonal(A[:, :n, :n], axis1=1, axis2=2) + np.abs(P) ** 2

    def pair(z):
        return tuple(ops.convert_to_tensor(np.asarray(part, dtype)) for part in (z.real, z.imag))

    system = LowRank(
        pair(Lambda),
        pair(P[None]),
        pair(B[:, :n]),
        pair(C[None, ..., :n]),
        None,
        ops.convert_to_tensor(np.exp(log_dt[:, 0]).astype(dtype)),
    )
    assert relative_error(numpy(system.impulse_response(K.shape[-1])), K) <= TOLERANCE[dtype]
