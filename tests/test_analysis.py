"""Numbers of a layer: against the layer itself on every backend, and against scipy in float64."""

import keras
import numpy as np
import pytest
import scipy.signal
from state_cases import FEATURES, LAYERS, built

from keras_ssm import analysis
from keras_ssm.analysis.layers import modal_system
from keras_ssm.layers import DSS, LRU, S4D, S5, SSMBlock, SSMCell
from keras_ssm.ops.systems.modal import as_float

LENGTH = 40
SYSTEMS = {
    **LAYERS,
    "S5-no-symmetry": lambda **k: S5(4, conjugate_symmetry=False, **k),
    "S5-both": lambda **k: S5(4, bidirectional=True, rate=0.5, **k),
    "S4D-both": lambda **k: S4D(4, channels=2, bidirectional=True, **k),
    "DSS-both": lambda **k: DSS(4, bidirectional=True, length=LENGTH, **k),
}
RECURRENT = [
    name for name in SYSTEMS if "softmax" not in name and name not in ("S4D-softmax", "DSS-both")
]


def system(name):
    layer = SYSTEMS[name](**({} if name == "LRU" else {"step_min": 0.05, "step_max": 0.5}))
    layer.build((None, None, FEATURES))
    return layer


def pairs(layer):
    """Some (output, input) that exist."""
    if isinstance(layer, (S5, LRU)):
        return [(0, 0), (2, 1)]
    return [(h, h % FEATURES) for h in (0, FEATURES * layer.channels - 1)]


@pytest.mark.parametrize("name", SYSTEMS)
def test_kernel_and_states_are_those_of_the_layer(name):
    layer = system(name)
    u = np.random.default_rng(0).normal(size=(1, LENGTH, FEATURES)).astype("float32")
    y = keras.ops.convert_to_numpy(layer(u))[0]
    lags, K = analysis.impulse_response(layer, LENGTH)
    D = as_float(layer.D).reshape(-1, FEATURES)
    expected = np.zeros_like(y)
    for k in range(LENGTH):
        # y_k = sum_lag K[lag] u_(k - lag), over the lags that stay inside the sequence
        inside = (k - lags >= 0) & (k - lags < LENGTH)
        seen = u[0, k - lags[inside]]
        if isinstance(layer, (S5, LRU)):
            expected[k] = np.einsum("oil,li->o", K[..., inside], seen) + D[0] * u[0, k]
        else:
            expected[k] = (np.einsum("chl,lh->ch", K[..., inside], seen) + D * u[0, k]).ravel()
    np.testing.assert_allclose(y, expected, atol=2e-5 * np.abs(y).max())


@pytest.mark.parametrize("name", ["S5-zoh", "S4D-zoh", "DSS-exp", "DSS-softmax-random", "S5-both"])
def test_states_read_by_C_are_the_output(name):
    layer = system(name)
    u = np.random.default_rng(0).normal(size=(LENGTH, FEATURES))
    y = np.zeros((LENGTH, FEATURES * layer.channels))
    for backward in (False, True)[: 2 if layer.bidirectional else 1]:
        C = modal_system(layer, LENGTH).C[int(backward)]
        x = analysis.states(layer, u, backward=backward)
        if isinstance(layer, S5):
            y += (x @ C[0].T).real
        else:
            y += np.einsum("lhn,hcn->lch", x, C).real.reshape(LENGTH, -1)
    D = as_float(layer.D).reshape(-1, FEATURES)
    y += (u[:, None] * D).reshape(LENGTH, -1)
    expected = keras.ops.convert_to_numpy(layer(u[None].astype("float32")))[0]
    np.testing.assert_allclose(y, expected, atol=2e-5 * np.abs(y).max())


@pytest.mark.backend_free
@pytest.mark.parametrize("name", SYSTEMS)
def test_impulse_response_is_that_of_scipy(name):
    layer = system(name)
    D = as_float(layer.D).ravel()
    total = None if name in RECURRENT else layer.length
    for pair in pairs(layer):
        lags, K = analysis.impulse_response(layer, LENGTH, pair)
        expected = np.zeros(len(lags))
        for backward in (False, True)[: 2 if layer.bidirectional else 1]:
            *matrices, dt = analysis.to_statespace(layer, pair, length=total, backward=backward)
            response = scipy.signal.dimpulse((*matrices, dt), n=LENGTH + 1)[1][0][:, 0]
            for lag, value in enumerate(response):
                expected[lags == (-lag if backward else lag)] += value
        own = pair[0] % FEATURES == pair[1]
        expected[lags == 0] -= D[pair[0]] if own else 0
        np.testing.assert_allclose(K, expected, atol=1e-6 * np.abs(K).max())


@pytest.mark.backend_free
@pytest.mark.parametrize("name", RECURRENT)
def test_frequency_response_is_that_of_the_matrices(name):
    # Solved here: scipy goes by polynomials, which lose more digits than the response has.
    layer = system(name)
    frequencies = np.linspace(0, 0.5, 33)
    for pair in pairs(layer):
        H = analysis.frequency_response(layer, frequencies * 100, pair, sampling_rate=100)
        expected = np.zeros(len(frequencies), complex)
        for backward in (False, True)[: 2 if layer.bidirectional else 1]:
            A, B, C, D, _ = analysis.to_statespace(layer, pair, backward=backward)
            z = np.exp(2j * np.pi * frequencies)[:, None, None]
            x = np.linalg.solve(z * np.eye(len(A)) - A, np.broadcast_to(B, (33, *B.shape)))
            response = (C @ x + D)[:, 0, 0]
            expected += np.conj(response) if backward else response
        np.testing.assert_allclose(H, expected, atol=1e-6 * np.abs(H).max())
        every = analysis.frequency_response(layer, frequencies)
        every = every if isinstance(layer, (S5, LRU)) else every.reshape(-1, 1, 33)
        found = every[pair[0], pair[1] if isinstance(layer, (S5, LRU)) else 0]
        np.testing.assert_allclose(found, H, atol=1e-12)


@pytest.mark.backend_free
@pytest.mark.parametrize("name", ["S5-zoh", "S4D-zoh", "S4D-real", "DSS-exp"])
def test_the_whole_layer_simulated_by_scipy_is_the_layer(name):
    layer = system(name)
    A, B, C, D, dt = analysis.to_statespace(layer, sampling_rate=50.0)
    assert dt == 0.02
    assert len(A) == (1 if name == "S4D-real" else 2) * layer.modes * (
        1 if isinstance(layer, S5) else FEATURES
    )
    assert all(matrix.dtype == "float64" for matrix in (A, B, C, D))
    u = np.random.default_rng(0).normal(size=(LENGTH, FEATURES)).astype("float32")
    _, y, _ = scipy.signal.dlsim((A, B, C, D, dt), u)
    expected = keras.ops.convert_to_numpy(layer(u[None]))[0]
    np.testing.assert_allclose(y, expected, atol=2e-5 * np.abs(y).max())


@pytest.mark.backend_free
@pytest.mark.parametrize("name", ["S5-bilinear", "S4D-real", "S4D-both", "DSS-exp"])
def test_energy_in_closed_form_is_that_of_a_long_kernel(name):
    layer = system(name)
    lags, K = analysis.impulse_response(layer, 3000)
    by_output = K if isinstance(layer, S5) else K.reshape(-1, 1, len(lags))
    energy = np.sum(by_output**2, axis=1)
    age = np.where(lags < 0, -1 - lags, lags)
    lengths = [0, 1, 10, 100]
    expected = np.stack([energy[:, age < L].sum(axis=1) for L in lengths], axis=1)
    expected = expected / energy.sum(axis=1, keepdims=True)
    shares = analysis.energy_within(layer, lengths)
    np.testing.assert_allclose(shares, expected, atol=1e-9)
    steps = analysis.memory_length(layer, 0.9)
    for h, L in enumerate(steps):
        before, after = analysis.energy_within(layer, [int(L) - 1, int(L)])[h]
        assert before < 0.9 <= after
    np.testing.assert_allclose(analysis.memory_length(layer, 0.9, sampling_rate=8), steps / 8)


@pytest.mark.backend_free
def test_energy_of_a_softmax_kernel_ends_with_it():
    layer = DSS(4, initialization="random", step_min=0.05, step_max=0.5)
    layer.build((None, None, FEATURES))
    _, K = analysis.impulse_response(layer, LENGTH)
    expected = np.cumsum(K[0] ** 2, axis=-1) / np.sum(K[0] ** 2, axis=-1, keepdims=True)
    shares = analysis.energy_within(layer, np.arange(1, LENGTH + 1), length=LENGTH)
    np.testing.assert_allclose(shares, expected, atol=1e-12)
    assert np.all(analysis.memory_length(layer, length=LENGTH) <= LENGTH)


@pytest.mark.backend_free
def test_modes_that_grow_over_a_long_softmax_stay_finite():
    layer = DSS(4, initialization="random", step_min=1.0, step_max=2.0, length=2048)
    layer.build((None, None, FEATURES))
    layer.Lambda_re.assign([0.6, -0.5, 0.1, -1.0])
    # One of them, as a plain power, has no float64.
    assert 2048 * np.log(np.abs(analysis.modes(layer).lam).max()) > 1000
    _, K = analysis.impulse_response(layer, 2048)
    np.testing.assert_allclose(
        K, keras.ops.convert_to_numpy(layer.impulse_response(2048)), atol=2e-5 * np.abs(K).max()
    )
    assert np.isfinite(analysis.states(layer, np.ones((2048, FEATURES)))).all()


def fixed_s5(Lambda, step):
    """Of given eigenvalues, all with the same step."""
    layer = S5(2 * len(Lambda))
    layer.build((None, None, FEATURES))
    layer.Lambda_re.assign(np.real(Lambda))
    layer.Lambda_im.assign(np.imag(Lambda))
    layer.log_step.assign(np.full(len(Lambda), np.log(step)))
    return layer


@pytest.mark.backend_free
def test_time_scale_and_frequency_in_seconds_and_hertz():
    layer = fixed_s5([-0.5 + 2j * np.pi, -2.0], 0.01)
    modes = analysis.modes(layer, sampling_rate=1000)
    # A unit of the layer's time is 100 steps, here 0.1 s.
    np.testing.assert_allclose(modes.time_scale, [0.2, 0.05], rtol=1e-6)
    np.testing.assert_allclose(modes.frequency, [10, 0], rtol=1e-6)
    np.testing.assert_allclose(modes.lam, np.exp([0.01 * (-0.5 + 2j * np.pi), -0.02]), rtol=1e-6)
    assert not modes.unstable.any()
    steps = analysis.modes(layer)
    np.testing.assert_allclose(steps.time_scale, [200, 50], rtol=1e-6)
    np.testing.assert_allclose(steps.frequency, [0.01, 0], rtol=1e-6)
    np.testing.assert_allclose(analysis.step_sizes(layer), [0.01, 0.01], rtol=1e-6)


@pytest.mark.backend_free
def test_an_unstable_mode_has_no_end():
    layer = fixed_s5([0.1 + 1j, -0.5, 0j], 0.1)
    modes = analysis.modes(layer)
    assert modes.unstable.tolist() == [True, False, False]
    np.testing.assert_allclose(modes.time_scale, [-100, 20, np.inf], rtol=1e-6)
    assert np.isinf(analysis.memory_length(layer)).all()
    assert (analysis.energy_within(layer, [10, 1000]) == 0).all()
    with pytest.raises(ValueError, match=r"does not exist; .* 2 such modes"):
        analysis.frequency_response(layer, [0.1])
    lags, K = analysis.impulse_response(layer, 50, 0)
    D = as_float(layer.D)[0]
    expected = np.sum(K * np.exp(-2j * np.pi * 0.1 * lags)) + D
    np.testing.assert_allclose(analysis.frequency_response(layer, 0.1, 0, length=50), [expected])


@pytest.mark.backend_free
@pytest.mark.parametrize("name", [name for name in LAYERS if name != "LRU"])
def test_step_sizes_are_those_the_layer_was_given(name):
    layer = built(name, step_min=0.01, step_max=0.02, rate=2.0)
    steps = analysis.step_sizes(layer)
    assert steps.min() >= 0.02 * (1 - 1e-6)
    assert steps.max() <= 0.04 * (1 + 1e-6)


@pytest.mark.backend_free
def test_blocks_cells_and_models_give_their_layer():
    block, cell = SSMBlock(S4D(4), name="block"), SSMCell(S4D(4), FEATURES)
    inputs = keras.Input((None, FEATURES))
    outputs = keras.layers.RNN(cell, return_sequences=True, name="rnn")(block(inputs))
    model = keras.Model(inputs, outputs)
    layers = analysis.ssm_layers(model)
    assert list(layers.values()) == [block.ssm, cell.ssm]
    for outer, inner in zip((block, cell), layers.values(), strict=True):
        np.testing.assert_array_equal(analysis.modes(outer).lam, analysis.modes(inner).lam)


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s4d: analysis.modes(keras.layers.Dense(2)), "expected a state space layer"),
        (lambda s4d: analysis.modes(S5(4)), "which is not built"),
        (lambda s4d: analysis.modes(s4d, 0), "`sampling_rate` must be positive.* sampling_rate=0"),
        (lambda s4d: analysis.impulse_response(s4d, 0), "`length` must be .* Received: length=0"),
        (lambda s4d: analysis.impulse_response(s4d, 9, 6), r"below 6, .* Received: channel=6"),
        (lambda s4d: analysis.impulse_response(s4d, 9, (0, 1, 2)), r"channel=\(0, 1, 2\)"),
        (lambda s4d: analysis.to_statespace(s4d, (0, 1)), "sees the input feature 0 alone"),
        (lambda s4d: analysis.to_statespace(s4d, backward=True), "expected a bidirectional layer"),
        (lambda s4d: analysis.memory_length(s4d, 1.0), "`share` must be between 0 and 1"),
        (lambda s4d: analysis.states(s4d, np.ones((5, 2))), r"\(length, 3\).* shape \(5, 2\)"),
        (
            lambda s4d: analysis.memory_length(system("S4D-softmax"), length=5000),
            "not defined beyond",
        ),
        (lambda s4d: analysis.to_statespace(softmax()), "Received: length=None"),
    ],
)
def test_what_is_not_there_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(system("S4D-zoh"))


def softmax():
    layer = DSS(4)
    layer.build((None, None, FEATURES))
    return layer
