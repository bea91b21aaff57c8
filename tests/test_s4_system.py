"""The low-rank system: every way of running it, against a plain loop in NumPy float64."""

import keras
import numpy as np
import pytest
from equivalences import compiled
from golden_cases import FOLDER
from gradients import relative_error, value_and_gradients
from keras import ops

from keras_ssm.initializers import DiagonalEigenvalues, DiagonalInput, LowRankHippo
from keras_ssm.ops import hippo, masking, matrix_powers
from keras_ssm.ops.systems.low_rank import LowRank

BACKEND = keras.backend.backend()
BATCH, FEATURES, OUTPUTS = 2, 3, 2
LENGTHS = [1, 2, 3, 64, 100, 257, 1024]
METHODS = ["fft", "chunk"]
TOLERANCE = 2e-5


class Weights:
    """Random weights around a HiPPO matrix, and what a plain loop makes of them."""

    def __init__(self, measure="legs", N=16, directions=1, jitter=0.02, seed=0):
        rng = np.random.default_rng(seed)
        n = N // 2
        Lambda, P, B = hippo.hippo_low_rank(measure, N)

        def jittered(z):
            z = np.repeat(z[..., None, :], FEATURES, axis=-2)
            noise = rng.standard_normal((2, *z.shape)) * jitter
            return single(z * (1 + noise[0] + 1j * noise[1]))

        self.Lambda, self.P, self.B = jittered(Lambda), jittered(P), jittered(B)
        # The imaginary jitter of Lambda must not make a real part positive.
        self.Lambda = -np.abs(self.Lambda.real) + 1j * self.Lambda.imag
        C = rng.standard_normal((2, directions, OUTPUTS, FEATURES, n))
        self.C = single(C[0] + 1j * C[1])
        self.D = single(rng.standard_normal((OUTPUTS, FEATURES)))
        self.dt = single(np.geomspace(1e-3, 1e-1, FEATURES))
        self.rng = rng

    def system(self, dtype="float32", **changes):
        def tensor(z):
            if np.iscomplexobj(z):
                return tensor(z.real), tensor(z.imag)
            return ops.convert_to_tensor(z.astype(dtype), dtype)

        names = LowRank._fields
        return LowRank(*(tensor(changes.get(name, getattr(self, name))) for name in names))

    def inputs(self, length):
        return single(self.rng.standard_normal((BATCH, length, FEATURES)))

    def state(self):
        width = LowRank.state_width(*self.Lambda.shape)
        return single(self.rng.standard_normal((BATCH, width)))

    def matrices(self, dt):
        """A_bar and B_bar in conjugate-doubled modes, for steps of (..., H)."""
        Lambda, P, B = (np.concatenate([z, z.conj()], -1) for z in (self.Lambda, self.P, self.B))
        A = Lambda[..., None] * np.eye(Lambda.shape[-1]) - np.einsum("rhn,rhm->hnm", P, P.conj())
        half = dt[..., None, None] / 2 * A
        eye = np.eye(A.shape[-1])
        B_bar = np.linalg.solve(eye - half, (dt[..., None] * B)[..., None])[..., 0]
        return np.linalg.solve(eye - half, eye + half), B_bar

    def doubled_C(self):
        return np.concatenate([self.C, self.C.conj()], axis=-1)

    def loop(self, u, state=None, dt=None):
        """Outputs (B, L, C H) of both directions, and flat states (B, L, W), step by step."""
        dt = np.broadcast_to(self.dt if dt is None else dt, u.shape)
        x = self.unpacked(np.zeros((len(u), LowRank.state_width(*self.Lambda.shape))))
        start = x if state is None else self.unpacked(state)
        C = self.doubled_C()
        y = self.D * u[:, :, None]
        states = []
        for k in range(u.shape[1]):
            start = self.next(start, u[:, k], dt[:, k])
            y[:, k] += np.einsum("chn,bhn->bch", C[0], start).real
            states.append(self.packed(start))
        if len(C) == 2:
            for k in reversed(range(u.shape[1])):
                y[:, k] += np.einsum("chn,bhn->bch", C[1], x).real
                x = self.next(x, u[:, k], dt[:, k])
        return y.reshape(*u.shape[:2], -1), np.stack(states, axis=1)

    def next(self, x, u, dt):
        if np.all(dt == dt[:1]):
            if getattr(self, "_kept_dt", None) is None or np.any(self._kept_dt != dt[0]):
                self._kept_dt, self._kept = dt[0], self.matrices(dt[0])
            A, B = self._kept
            return np.einsum("hnm,bhm->bhn", A, x) + B * u[..., None]
        A, B = self.matrices(dt)
        return np.einsum("bhnm,bhm->bhn", A, x) + B * u[..., None]

    def unpacked(self, flat):
        re, im = np.split(flat, 2, axis=-1)
        x = (re + 1j * im).reshape(len(flat), *self.Lambda.shape)
        return np.concatenate([x, x.conj()], axis=-1)

    def packed(self, x):
        x = x[..., : x.shape[-1] // 2].reshape(len(x), -1)
        return np.concatenate([x.real, x.imag], axis=-1)


def single(z):
    """Rounded to float32, so that nothing but the computation is compared."""
    z = np.asarray(z)
    return z.astype("complex64" if np.iscomplexobj(z) else "float32").astype(
        "complex128" if np.iscomplexobj(z) else "float64"
    )


def tensor(x):
    return ops.convert_to_tensor(np.asarray(x, "float32"))


def numpy(x):
    return np.asarray(ops.convert_to_numpy(ops.stop_gradient(ops.convert_to_tensor(x))))


def close(value, expected, tolerance=TOLERANCE):
    error = relative_error(numpy(value), expected)
    assert error <= tolerance, f"{error:.1e}"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("length", LENGTHS)
def test_sequences_equal_the_loop(length, method):
    weights = Weights(directions=2)
    u, state = weights.inputs(length), weights.state()
    y, states = weights.loop(u, state)
    run = compiled(lambda u, state: weights.system().run(u, state, None, True, method))
    found, final = run(tensor(u), tensor(state))
    close(found, y)
    close(final, states[:, -1])
    y, states = weights.loop(u)
    found, final = weights.system().run(tensor(u), return_state=True, method=method)
    close(found, y)
    close(final, states[:, -1])
    assert weights.system().run(tensor(u), method=method)[1] is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("measure", ["legs", "legt", "fourier"])
def test_sixty_four_modes_equal_the_loop(measure, method):
    weights = Weights(measure, N=64, directions=2, jitter=0)
    u, state = weights.inputs(1024), weights.state()
    y, states = weights.loop(u, state)
    found, final = weights.system().run(tensor(u), tensor(state), None, True, method)
    close(found, y)
    close(final, states[:, -1])


@pytest.mark.parametrize("length", LENGTHS)
def test_steps_and_states_equal_the_loop(length):
    weights = Weights("legt")
    u, state = weights.inputs(length), weights.state()
    y, states = weights.loop(u, state)
    all_states = compiled(lambda u, state: weights.system().state_sequence(u, state))
    close(all_states(tensor(u), tensor(state)), states)
    step = compiled(lambda u, state: weights.system().stepper().step(u, state))
    x, found = tensor(state), []
    for k in range(length):
        y_k, x = step(tensor(u[:, k]), x)
        found.append(numpy(y_k))
    close(np.stack(found, axis=1), y)
    close(x, states[:, -1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1, 7, 64])
def test_chunks_that_hand_on_their_state_equal_the_loop(size, method):
    weights = Weights("fourier")
    length = 100 if size == 1 else 257
    u, state = weights.inputs(length), weights.state()
    y, states = weights.loop(u, state)
    run = compiled(lambda u, x: weights.system().run(u, x, None, True, method))
    x, found = tensor(state), []
    for start in range(0, length, size):
        y_k, x = run(tensor(u[:, start : start + size]), x)
        found.append(numpy(y_k))
    close(np.concatenate(found, axis=1), y)
    close(x, states[:, -1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("length", [1, 3, 64, 257])
def test_masked_steps_leave_the_state_alone(length, method):
    weights = Weights(directions=2)
    u, state = weights.inputs(length), weights.state()
    mask = weights.rng.random((BATCH, length)) < 0.6
    mask[1] = False
    where = masking.compaction(ops.convert_to_tensor(mask))
    compact = masking.compact(tensor(u), where)
    y, final = weights.system().run(compact, tensor(state), where, True, method)
    y = masking.expand(y, where, ops.convert_to_tensor(mask), zero_output=True)
    for row in range(BATCH):
        kept = u[row : row + 1, mask[row]]
        if not kept.size:
            np.testing.assert_array_equal(numpy(final)[row], state[row].astype("float32"))
            continue
        expected, states = weights.loop(kept, state[row : row + 1])
        close(y[row][mask[row]], expected[0])
        close(final[row], states[0, -1])
    assert not np.any(numpy(y)[~mask])


@pytest.mark.parametrize("length", [1, 3, 64, 257])
def test_steps_that_vary_equal_the_loop(length):
    weights = Weights("legt", N=8, directions=2)
    u, state = weights.inputs(length), weights.state()
    dt = single(weights.dt * weights.rng.uniform(0.2, 2, (BATCH, length, 1)))
    dt[:, length // 2] = 0  # a masked step
    y, states = weights.loop(u, state, dt)
    run = compiled(lambda u, x, dt: weights.system()._replace(dt=dt).run(u, x))
    found, final = run(tensor(u), tensor(state), tensor(dt))
    close(found, y)
    close(final, states[:, -1])
    all_states = compiled(lambda u, x, dt: weights.system()._replace(dt=dt).state_sequence(u, x))
    close(all_states(tensor(u), tensor(state), tensor(dt)), states)
    stepper = weights.system(dt=dt[:, 0], C=weights.C[:1]).stepper()
    _, x = stepper.step(tensor(u[:, 0]), tensor(state))
    close(x, states[:, 0])


@pytest.mark.skipif(BACKEND != "tensorflow", reason="lengths are known elsewhere")
@pytest.mark.parametrize("method", METHODS)
def test_unknown_lengths_equal_the_loop(method):
    import tensorflow as tf

    weights = Weights(directions=2)
    system = weights.system()
    sequence = tf.TensorSpec((None, None, FEATURES))
    states = tf.TensorSpec((None, LowRank.state_width(*weights.Lambda.shape)))

    @tf.function(input_signature=[sequence, states])
    def run(u, state):
        return system.run(u, state, None, True, method)

    @tf.function(input_signature=[sequence])
    def without_state(u):
        return system.run(u, method=method)[0]

    for length in (1, 2, 63, 64, 65, 300):
        u, state = weights.inputs(length), weights.state()
        y, x = weights.loop(u, state)
        found, final = run(tensor(u), tensor(state))
        close(found, y)
        close(final, x[:, -1])
        close(without_state(tensor(u)), weights.loop(u)[0])


@pytest.mark.training
@pytest.mark.parametrize("method", [*METHODS, "varying", "steps"])
def test_gradients_equal_finite_differences(method):
    weights = Weights("legt", N=8, directions=1 if method == "steps" else 2)
    # XLA without its expensive passes doubles the work with every step of an unrolled loop.
    length = 7 if method == "steps" else 33
    u, state = weights.inputs(length), weights.state()
    dt = np.broadcast_to(weights.dt, u.shape) if method == "varying" else weights.dt
    gy = weights.rng.standard_normal((BATCH, length, OUTPUTS * FEATURES))
    gx = weights.rng.standard_normal(state.shape)
    values = [weights.Lambda, weights.P, weights.B, weights.C]
    values = [part for z in values for part in (z.real, z.imag)] + [weights.D, dt, u, state]

    def loss(*arrays):
        system = LowRank(*(arrays[i : i + 2] for i in range(0, 8, 2)), *arrays[8:10])
        if method == "steps":
            x, y, stepper = arrays[11], [], system.stepper()
            for k in range(length):
                y_k, x = stepper.step(arrays[10][:, k], x)
                y.append(y_k)
            y = ops.stack(y, axis=1)
        else:
            option = "auto" if method == "varying" else method
            y, x = system.run(arrays[10], arrays[11], None, True, option)
        return ops.sum(y * tensor(gy)) + ops.sum(x * tensor(gx))

    _, _, gradients = value_and_gradients(loss, [], [np.asarray(v, "float32") for v in values])

    def moved(index, direction, size):
        arrays = [v + size * direction if i == index else v for i, v in enumerate(values)]
        twin = Weights("legt", N=8, directions=1)
        pairs = [arrays[i] + 1j * arrays[i + 1] for i in range(0, 8, 2)]
        twin.Lambda, twin.P, twin.B, twin.C = pairs
        twin.D, twin.dt = arrays[8], weights.dt
        y, x = twin.loop(arrays[10], arrays[11], arrays[9])
        return np.sum(y * gy) + np.sum(x[:, -1] * gx)

    for index, gradient in enumerate(gradients):
        # Along the gradient, and so nowhere near zero.
        direction = gradient / np.linalg.norm(gradient)
        size = 1e-4 * min(1, np.abs(values[index]).max())
        slope = (moved(index, direction, size) - moved(index, direction, -size)) / (2 * size)
        assert abs(slope - np.linalg.norm(gradient)) <= 2e-4 * abs(slope), index
        direction = weights.rng.standard_normal(gradient.shape)
        slope = (moved(index, direction, size) - moved(index, direction, -size)) / (2 * size)
        scale = np.linalg.norm(gradient) * np.linalg.norm(direction)
        assert abs(slope - np.sum(gradient * direction)) <= 2e-4 * scale, index


@pytest.mark.parametrize(
    ("measure", "N"), [("legs", 8), ("legs", 64), ("legt", 64), ("fourier", 8)]
)
def test_modes_give_the_kernel(measure, N):
    # In float64, where there is one: the exact matrix has worse eigenvectors than one near it.
    weights = Weights(measure, N, directions=2, jitter=0)
    weights.Lambda, weights.P, weights.B = (
        np.repeat(z[..., None, :], FEATURES, axis=-2) for z in hippo.hippo_low_rank(measure, N)
    )
    modal = weights.system("float64").modal()
    kernels = modal.kernels(100)[:, :, :, 0].swapaxes(1, 2)  # (K, C, H, L)
    A, x = weights.matrices(weights.dt)
    for k in range(100):
        expected = np.einsum("kchn,hn->kch", weights.doubled_C(), x).real
        close(kernels[..., k], expected, 1e-4)
        x = np.einsum("hnm,hm->hn", A, x)
    np.testing.assert_array_equal(modal.D[:, :, 0].T, weights.D)
    assert not modal.shared
    assert np.all(modal.log_lam.real < 1e-6)
    with pytest.raises(ValueError, match="vary in time"):
        weights.system(dt=np.ones((BATCH, FEATURES))).modal()


@pytest.mark.parametrize("count", [1, 2, 3, 8, 13])
def test_powers_of_a_matrix(count):
    rng = np.random.default_rng(0)
    E = single(-0.3 * np.eye(4) + 0.1 * rng.standard_normal((FEATURES, 4, 4)))
    A = E + np.eye(4)
    levels = matrix_powers.increments(tensor(E), matrix_powers.levels_for(count + 1))
    for k, level in enumerate(levels):
        close(level, np.linalg.matrix_power(A, 2**k) - np.eye(4), 1e-6)
    x = single(rng.standard_normal((FEATURES, 4, BATCH)))
    powers = [np.linalg.matrix_power(A, j) for j in range(count)]
    close(
        matrix_powers.columns(tensor(x), levels, count),
        np.concatenate([a @ x for a in powers], 2),
        1e-6,
    )
    rows = np.stack([np.swapaxes(x, 1, 2) @ a for a in powers], axis=2)
    close(matrix_powers.rows(tensor(np.swapaxes(x, 1, 2)), levels, count), rows, 1e-6)
    b = single(rng.standard_normal((FEATURES, 4, BATCH, count)))
    before, state = [], x
    for j in range(count):
        before.append(state)
        state = A @ state + b[..., j]
    close(matrix_powers.before_each(tensor(b), tensor(x), levels), np.stack(before, axis=3), 1e-6)
    driven = state - np.linalg.matrix_power(A, count) @ x
    close(matrix_powers.weighted_sum(tensor(b), levels), driven, 1e-6)
    raised = np.stack([x[..., 0], np.linalg.matrix_power(A, count) @ x[..., 1:] @ [1]], axis=2)
    exponents = ops.convert_to_tensor(np.array([0, count], "int32"))
    close(matrix_powers.raised(tensor(x), exponents, levels), raised, 1e-6)


def test_shapes_that_do_not_go_together_are_refused():
    weights = Weights()
    weights.system().check(FEATURES)
    with pytest.raises(ValueError, match=r"`Lambda`.*\(5, 8\).*Received: Lambda of shape \(3, 8\)"):
        weights.system().check(5)
    for name, value in {
        "P": weights.P[0],
        "B": weights.B[:, :-1],
        "C": np.concatenate([weights.C] * 3),
        "D": weights.D[0],
        "dt": weights.dt[:-1],
    }.items():
        with pytest.raises(ValueError, match=f"`{name}` .*Received: {name} of shape"):
            weights.system(**{name: value}).check(FEATURES)
    with pytest.raises(ValueError, match=r"at least one row.*Received: P of shape"):
        weights.system(P=weights.P[:0]).check(FEATURES)


@pytest.mark.parametrize("measure", ["legs", "legt", "fourier"])
@pytest.mark.parametrize("N", [4, 16, 64])
def test_low_rank_tables_equal_the_official(measure, N):
    with np.load(FOLDER / "s4__init_tables.npz") as tables:
        expected_P = tables[f"nplr.{measure}.{N}.P"]
    Lambda, P, B = hippo.hippo_low_rank(measure, N)
    # Up to the phase of each eigenvector, which is arbitrary.
    np.testing.assert_allclose(np.abs(P), np.abs(expected_P), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(
        P.conj()[:, None] * P, expected_P.conj()[:, None] * expected_P, atol=1e-6
    )
    for found, expected in zip((Lambda, B), hippo.hippo_diagonal(measure, N), strict=True):
        np.testing.assert_array_equal(found, expected)
    shape = (len(P), 2, N // 2, 2)
    pairs = numpy(LowRankHippo(measure)(shape))
    np.testing.assert_allclose(pairs @ [1, 1j], np.repeat(P[:, None], 2, 1), rtol=1e-6)


@pytest.mark.parametrize("measure", ["legs", "legt"])
def test_tables_are_the_hippo_matrix(measure):
    N = 16
    Lambda, P, _ = hippo.hippo_low_rank(measure, N)
    A, _, _ = hippo.transition(measure, N)
    Lambda, P = (np.concatenate([z, z.conj()], axis=-1) for z in (Lambda, P))
    # The basis has an arbitrary phase; the characteristic polynomial has none.
    ours = np.diag(Lambda) - P.T @ P.conj()
    for s in (0.3, 1j, 2 - 5j):
        eye = np.eye(N)
        values = [np.linalg.slogdet(s * eye - M) for M in (ours, A)]
        np.testing.assert_allclose(values[0][1], values[1][1], rtol=1e-9)
        np.testing.assert_allclose(values[0][0], values[1][0], rtol=1e-9)


def test_initial_values_equal_those_of_the_official_constructor():
    with np.load(FOLDER / "s4__ctor_raw_params.npz") as arrays:
        for name in ("legs", "fourier", "hippo"):
            found = {
                "P": LowRankHippo(name)((1, 4, 4, 2)),
                "B": DiagonalInput(name)((4, 4, 2))[None],
            }
            for key, value in found.items():
                expected = arrays[f"{name}|nplr|kernel.{key}"] @ [1, 1j]
                value = numpy(value) @ [1, 1j]
                # The clip of B depends on the phase too.
                unclipped = np.abs(np.abs(value.imag) - 2) > 1e-6
                unclipped &= np.abs(np.abs(expected.imag) - 2) > 1e-6
                np.testing.assert_allclose(
                    np.abs(value)[unclipped], np.abs(expected)[unclipped], rtol=1e-5
                )
            Lambda = numpy(DiagonalEigenvalues(name)((4, 4, 2)))
            np.testing.assert_allclose(
                np.log(np.maximum(-Lambda[..., 0], 1e-4)),
                arrays[f"{name}|nplr|kernel.A_real"],
                rtol=1e-5,
            )
            np.testing.assert_allclose(
                np.maximum(-Lambda[..., 1], 1e-4), arrays[f"{name}|nplr|kernel.A_imag"], rtol=1e-5
            )


def test_ranks_that_do_not_go_with_a_measure_are_refused():
    with pytest.raises(ValueError, match=r"'legt' is normal plus rank 2.*Received: rank=1"):
        LowRankHippo("legt")((1, 2, 4, 2))
    padded = numpy(LowRankHippo("legs")((3, 2, 4, 2)))
    assert not np.any(padded[1:])
    with pytest.raises(ValueError, match="Received: initialization='lin'"):
        LowRankHippo("lin")
    with pytest.raises(ValueError, match="Received: n_ssm=3"):
        LowRankHippo("hippo")((1, 3, 4, 2))
    copied = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(LowRankHippo(["legs", "fourier"]))
    )
    np.testing.assert_array_equal(
        numpy(copied((1, 2, 4, 2))), numpy(LowRankHippo("hippo")((1, 2, 4, 2)))
    )
