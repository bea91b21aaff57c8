"""State: the same numbers as sequence, step, chunks, masked and irregular."""

import keras
import numpy as np
import pytest
from equivalences import EQUIVALENCES, Sequence, drift, gradients, numpy, relative
from keras import ops
from state_cases import FEATURES, LAYERS, as_complex, built, twin

from keras_ssm.layers import DSS, S4D, S5, SSMCell
from keras_ssm.ops.complex import pair

# Where every new shape is compiled or every step is slow, one odd length has to do;
# `python tests/equivalences.py` runs seven on any backend.
CHEAP = keras.backend.backend() in ("torch", "numpy")
# There one layer of each family stands for the others, which differ in no operation.
NAMES = list(LAYERS) if CHEAP else ["DSS-softmax-random", "S4D-bilinear", "S5-zoh"]
PLAIN = ["DSS-exp", "S4D-zoh", "S5-zoh"]


@pytest.fixture
def u():
    return np.random.default_rng(0).standard_normal((2, 20, FEATURES)).astype("float32")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [1, 3, 100] if CHEAP else [17])
def test_every_way_of_running_a_sequence_gives_the_same(name, length):
    case = Sequence(name, length)
    for kind in EQUIVALENCES:
        assert getattr(case, kind)() <= 2e-5, kind


@pytest.mark.training
@pytest.mark.parametrize("name", NAMES)
def test_gradients_through_state_and_output_are_the_same(name):
    """Of a sequence, a right-padded one and one with time_steps, against the step loop."""
    for kind, error in gradients(name, length=17 if CHEAP else 5).items():
        assert error <= 2e-4, kind


@pytest.mark.parametrize("name", PLAIN)
def test_irregular_time_is_the_matrix_exponential_with_held_inputs(name):
    from scipy.linalg import expm

    layer = built(name, return_state=True)
    rng = np.random.default_rng(0)
    length = 30
    u = rng.standard_normal((1, length, FEATURES)).astype("float32")
    time_steps = rng.uniform(0.2, 5, (1, length)).astype("float32")
    y, _ = layer(u, time_steps=time_steps)
    if isinstance(layer, DSS):
        layer.log_step.assign(ops.tile(layer.log_step[:, :1], (1, 2)))  # one dt is true ZOH
        y, _ = layer(u, time_steps=time_steps)
        Lambda, dt = as_complex(layer.continuous()[0]), numpy(layer.continuous()[1][0])
        dt = dt * np.ones(Lambda.shape)
        Lambda, B, factor = np.broadcast_to(Lambda, dt.shape), np.ones(dt.shape), 1
    else:
        Lambda, dt = as_complex(layer.continuous()[0]), numpy(layer.continuous()[1][0])
        B = pair(layer.B) if isinstance(layer, S5) else layer._tiled(layer._pair(layer.B))
        B, factor = as_complex(B), 1  # the 2 of the pairs is in the system's C
    C = as_complex(layer.system().C)[0]
    expected = []
    if isinstance(layer, S5):
        x = np.zeros(Lambda.size, complex)
        A = np.diag(dt * Lambda)
        for k in range(length):
            x = held(A, dt[:, None] * B, x, u[0, k], time_steps[0, k], expm)
            expected.append(factor * (C @ x).real)
    else:
        x = np.zeros(Lambda.shape, complex)
        dt = np.broadcast_to(dt, Lambda.shape)
        for k in range(length):
            for h in range(FEATURES):
                A = np.diag(dt[h] * Lambda[h])
                x[h] = held(
                    A, (dt[h] * B[h])[:, None], x[h], u[0, k, h : h + 1], time_steps[0, k], expm
                )
            expected.append(np.einsum("chn,hn->ch", C, x).real.reshape(-1))
    D = numpy(layer.D).reshape(-1, FEATURES)
    skip = (u[0, :, None] * D).reshape(length, -1)
    assert relative(y[0], np.stack(expected) + skip) <= 2e-5


def held(A, B, x, u, duration, expm):
    """x(t + duration) for x' = A x + B u with u held, by one matrix exponential."""
    n, m = A.shape[0], B.shape[1]
    augmented = np.zeros((n + m, n + m), complex)
    augmented[:n, :n], augmented[:n, n:] = A * duration, B * duration
    return (expm(augmented) @ np.concatenate([x, u]))[:n]


@pytest.mark.parametrize("name", NAMES)
def test_rate_at_the_call_is_rate_at_construction(name, u):
    layer = built(name)
    slow = twin(name, layer, rate=2.0)
    np.testing.assert_allclose(numpy(layer(u, rate=2.0)), numpy(slow(u)), rtol=1e-6, atol=1e-6)
    twos = np.full((2, 20), 2.0, "float32")
    if "softmax" not in name and "dss" not in name:  # rate also rescales their normaliser
        assert relative(layer(u, time_steps=twos), slow(u)) <= 2e-5
    assert relative(layer(u), slow(u)) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_bidirectional_ignores_padding_and_accepts_time_steps(name, u):
    layer = built(name, bidirectional=True)
    mask = np.arange(20)[None] < np.array([[20], [13]])
    padded = u.copy()
    padded[1, 13:] = np.nan  # what is masked may hold anything
    y = numpy(layer(padded, mask=mask))
    assert relative(y[0], layer(u[:1])[0]) <= 2e-5
    assert relative(y[1, :13], layer(u[1:, :13])[0]) <= 2e-5
    ones = np.ones((2, 20), "float32")
    assert relative(layer(u, time_steps=ones), layer(u)) <= 2e-5
    assert relative(layer(padded, mask=mask, time_steps=ones), y) <= 2e-5


@pytest.mark.parametrize("name", NAMES)
def test_masked_outputs_repeat_or_are_zero_as_in_keras(name, u):
    layer, zeroing = built(name), None
    zeroing = twin(name, layer, zero_output_for_mask=True)
    mask = np.random.default_rng(1).random((2, 20)) < 0.5
    mask[0, :3] = [False, False, True]
    y, z = numpy(layer(u, mask=mask)), numpy(zeroing(u, mask=mask))
    np.testing.assert_array_equal(y[0, :2], 0)
    for b in range(2):
        for k in range(1, 20):
            if not mask[b, k]:
                np.testing.assert_array_equal(y[b, k], y[b, k - 1])
    np.testing.assert_array_equal(z, np.where(mask[..., None], y, 0))
    last = twin(name, layer, return_sequences=False)
    np.testing.assert_array_equal(numpy(last(u, mask=mask)), y[:, -1])


@pytest.mark.skipif(
    keras.backend.backend() in ("jax", "numpy"),
    reason="Keras' own RNN there cannot mask a state of another width than the output",
)
def test_masks_mean_what_they_mean_to_a_keras_rnn(u):
    """The cell in `keras.layers.RNN`, which has Keras' own masking, gives the layer's numbers."""
    mask = np.random.default_rng(1).random((2, 20)) < 0.5
    for zero in (False, True):
        layer = built("S5-zoh", zero_output_for_mask=zero, return_state=True)
        rnn = keras.layers.RNN(
            SSMCell(S5(8, blocks=2), FEATURES),
            return_sequences=True,
            return_state=True,
            zero_output_for_mask=zero,
        )
        rnn.build(u.shape)
        rnn.set_weights(layer.get_weights())
        theirs, ours = rnn(u, mask=mask), layer(u, mask=mask)
        assert relative(ours[0], theirs[0]) <= 2e-5
        assert relative(ours[1], theirs[1]) <= 2e-5


@pytest.mark.parametrize("name", NAMES)
def test_all_steps_masked_leaves_zeros_and_the_state(name, u):
    layer = built(name, return_state=True)
    start = np.random.default_rng(0).standard_normal((2, layer.state_width)).astype("float32")
    nothing = np.zeros((2, 20), bool)
    for options in ({}, {"time_steps": np.ones((2, 20), "float32")}):
        y, state = layer(np.full_like(u, np.nan), mask=nothing, initial_state=start, **options)
        np.testing.assert_array_equal(numpy(y), 0)
        np.testing.assert_allclose(numpy(state), start, rtol=1e-6)


@pytest.mark.parametrize("name", PLAIN)
def test_masks_arrive_from_masking_and_embedding(name, u):
    layer = built(name)
    u[1, 12:] = 0
    inputs = keras.Input((None, FEATURES))
    model = keras.Model(inputs, layer(keras.layers.Masking(0.0)(inputs)))
    mask = np.arange(20)[None] < np.array([[20], [12]])
    np.testing.assert_allclose(numpy(model(u)), numpy(layer(u, mask=mask)), atol=1e-6)
    tokens = np.array([[3, 1, 2, 0, 0], [1, 1, 0, 0, 0]])
    inputs = keras.Input((None,), dtype="int32")
    embedding = keras.layers.Embedding(5, FEATURES, mask_zero=True)
    model = keras.Model(inputs, layer(embedding(inputs)))
    expected = layer(embedding(tokens), mask=tokens != 0)
    np.testing.assert_allclose(numpy(model(tokens)), numpy(expected), atol=1e-6)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize(
    "merge_mode", ["concat", "sum", "ave", "mul", None] if CHEAP else ["concat"]
)
def test_keras_bidirectional_runs_the_layer_both_ways(name, merge_mode, u):
    wrapper = keras.layers.Bidirectional(built(name), merge_mode=merge_mode)
    wrapper.build((None, None, FEATURES))
    mask = np.arange(20)[None] < np.array([[20], [13]])
    for options in ({}, {"mask": mask}):
        y = wrapper(u, **options)
        ahead = numpy(wrapper.forward_layer(u, **options))
        behind = numpy(wrapper.backward_layer(u, **options))[:, ::-1]
        merged = {
            "concat": lambda a, b: np.concatenate([a, b], axis=-1),
            "sum": np.add,
            "ave": lambda a, b: (a + b) / 2,
            "mul": np.multiply,
        }
        if merge_mode is None:
            assert relative(y[0], ahead) + relative(y[1], behind) <= 1e-6
        else:
            assert relative(y, merged[merge_mode](ahead, behind)) <= 1e-6


@pytest.mark.parametrize("name", PLAIN)
def test_go_backwards_reads_and_returns_the_reversed_sequence(name, u):
    layer = built(name, return_state=True)
    back = twin(name, layer, return_state=True, go_backwards=True)
    mask = np.random.default_rng(1).random((2, 20)) < 0.5
    steps = np.random.default_rng(1).uniform(0.5, 2, (2, 20)).astype("float32")
    y, state = back(u, mask=mask, time_steps=steps)
    y_flipped, state_flipped = layer(u[:, ::-1], mask=mask[:, ::-1], time_steps=steps[:, ::-1])
    assert relative(y, y_flipped) + relative(state, state_flipped) <= 1e-6
    last = twin(name, layer, return_state=True, return_sequences=False, go_backwards=True)
    y_last, state_last = last(u, mask=mask, time_steps=steps)
    assert relative(y_last, y[:, -1]) + relative(state_last, state) <= 1e-6


@pytest.mark.parametrize("name", PLAIN)
def test_stateful_batches_continue_each_other_in_predict(name, u):
    layer = built(name)
    expected = numpy(layer(u))
    inputs = keras.Input(batch_shape=(2, 10, FEATURES))
    stateful = LAYERS[name](stateful=True)
    model = keras.Model(inputs, stateful(inputs))
    for mine, theirs in zip(stateful.trainable_weights, layer.trainable_weights, strict=True):
        mine.assign(theirs)
    for _ in range(2):
        halves = [model.predict(u[:, k : k + 10], batch_size=2, verbose=0) for k in (0, 10)]
        assert relative(np.concatenate(halves, axis=1), expected) <= 2e-5
        stateful.reset_state()
    assert len(stateful.states) == 1
    np.testing.assert_array_equal(numpy(stateful.states[0]), 0)
    with pytest.raises(ValueError, match=r"batch size .* cannot change.*Received: 3"):
        stateful(np.zeros((3, 10, FEATURES), "float32"))


@pytest.mark.skipif(
    keras.backend.backend() == "numpy", reason="every tensor of NumPy is an array, which is checked"
)
@pytest.mark.parametrize("name", ["S4D-zoh", "S5-zoh", "DSS-exp"])
def test_time_steps_that_nothing_can_check_have_defined_results(name):
    """A tensor's: zero keeps the state, NaN spoils what follows and nothing before."""
    layer = built(name, return_state=True)
    rng = np.random.default_rng(0)
    u = rng.standard_normal((1, 20, FEATURES)).astype("float32")
    state = rng.standard_normal((1, layer.state_width)).astype("float32")
    zeros = ops.zeros((1, 20))
    _, kept = layer(u, initial_state=state, time_steps=zeros)
    assert relative(numpy(kept), state) <= 1e-6
    spoilt = np.ones((1, 20), "float32")
    spoilt[0, 17] = np.nan
    y, last = layer(u, time_steps=ops.convert_to_tensor(spoilt))
    finite = np.isfinite(numpy(y)).all(axis=(0, 2))
    assert finite[:17].all()
    assert not finite[17:].any()
    assert not np.isfinite(numpy(last)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_system_made_once_steps_as_the_weights_do(name):
    layer = built(name)
    rng = np.random.default_rng(0)
    u = rng.standard_normal((2, FEATURES)).astype("float32")
    state = rng.standard_normal((2, layer.state_width)).astype("float32")
    for rate in (None, 2.0):
        system = layer.system(rate)
        other = twin(name, layer, **({} if rate is None else {"rate": rate}))
        for expected, found in zip(
            other.step(u, state), layer.step(u, state, system=system), strict=True
        ):
            assert relative(numpy(found), numpy(expected)) <= 1e-6
    with pytest.raises(ValueError, match=r"`system` holds its rate.*rate=2\.0"):
        layer.step(u, state, rate=2.0, system=system)


def test_cells_stack(u):
    cells = keras.layers.StackedRNNCells([SSMCell(S5(8), FEATURES), SSMCell(S4D(8), FEATURES)])
    y = keras.layers.RNN(cells, return_sequences=True)(u)
    first, second = S5(8), S4D(8)
    first.build(u.shape)
    second.build(u.shape)
    first.set_weights(cells.cells[0].get_weights())
    second.set_weights(cells.cells[1].get_weights())
    assert relative(y, second(first(u))) <= 2e-5
    clone = SSMCell.from_config(cells.cells[1].get_config())
    assert clone.get_config() == cells.cells[1].get_config()


def test_a_hundred_thousand_steps_do_not_drift_and_do_not_grow():
    """On JAX, which compiles the step; `python tests/equivalences.py drift` is it for all."""
    error, grown = drift(100_000 if keras.backend.backend() == "jax" else 5_000)
    assert error <= 1e-3
    assert grown < 20_000


@pytest.mark.training
@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="TensorFlow does not tell what a tape holds, and XLA counts its working space with it",
)
@pytest.mark.parametrize("name", ["S4D-zoh", "S5-zoh", "DSS-softmax"])
def test_memory_of_irregular_time_is_linear_in_the_length(name):
    """What the backward pass needs, at four times the length; the log of it would show as 5."""
    layer = built(name)
    short, long = (kept_for_backward(layer, length) for length in (128, 512))
    assert long <= 4.1 * short


def kept_for_backward(layer, length):
    """Bytes that the gradient of a call with time_steps holds."""
    u = ops.ones((1, length, FEATURES))
    time_steps = ops.ones((1, length))
    import torch

    held = 0

    def count(tensor):
        nonlocal held
        held += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        layer(u, time_steps=time_steps)
    return held


def with_times(value):
    return lambda layer, u: layer(u, time_steps=value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda layer, u: layer(u, initial_state=np.zeros((2, 5), "float32")),
            r"state must have shape \(2, 8\)",
        ),
        (
            lambda layer, u: layer(u, initial_state=np.zeros((1, 8), "float32")),
            r"state must have shape \(2, 8\)",
        ),
        (
            lambda layer, u: layer.step(u[:, 0], np.zeros((1, 8), "float32")),
            r"state must have shape \(2, 8\)",
        ),
        (
            lambda layer, u: layer(u, initial_state=np.zeros((2, 8), "int32")),
            r"float dtype.*int32",
        ),
        (
            lambda layer, u: layer(u, mask=np.ones((2, 19), bool)),
            r"`mask` must have shape .*\(2, 19\)",
        ),
        (lambda layer, u: layer(u, mask=np.ones((2, 20, 3), bool)), r"`mask` must have shape"),
        (with_times(np.ones((2, 19))), r"`time_steps` must have shape"),
        (with_times(np.zeros((2, 20))), r"`time_steps` must be positive.*0\.0"),
        (with_times(-np.ones((2, 20))), r"`time_steps` must be positive.*-1\.0"),
        (with_times(np.full((2, 20), np.nan)), r"`time_steps` must be positive.*nan"),
        (
            lambda layer, u: layer.step(u, layer.get_initial_state(2)),
            r"step must have shape \(batch, 3\)",
        ),
        (
            lambda layer, u: layer.step(u[:, 0], np.zeros((2, 3), "float32")),
            r"\(2, 8\)",
        ),
    ],
)
def test_bad_state_masks_and_times_are_refused(call, message, u):
    with pytest.raises(ValueError, match=message):
        call(built("S5-zoh"), u)


def test_layers_without_a_state_refuse_one(u):
    both = built("S5-zoh", bidirectional=True)
    with pytest.raises(ValueError, match=r"bidirectional S5 cannot step"):
        both.step(u[:, 0], np.zeros((2, 8), "float32"))
    with pytest.raises(ValueError, match=r"bidirectional S5 takes no `initial_state`"):
        both(u, initial_state=np.zeros((2, 8), "float32"))
    for options in ({"return_state": True}, {"stateful": True}):
        with pytest.raises(ValueError, match=r"no final state"):
            S5(8, bidirectional=True, **options)
    softmax = DSS(8)
    softmax.build((None, None, FEATURES))
    with pytest.raises(ValueError, match=r"length is an argument.*length=None"):
        softmax.step(u[:, 0], softmax.get_initial_state(2))
    with pytest.raises(ValueError, match=r"at most 10 steps\. Received: 20 steps"):
        DSS(8, length=10)(u)
    with pytest.raises(ValueError, match=r"fixed batch size"):
        S5(8, stateful=True).build((None, None, 3))
