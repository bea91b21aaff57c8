"""The layer's one promise, as numbers: the same sequence in every way of running it.

Each function returns the largest relative error of an equivalence. The tests
assert them; `python tests/equivalences.py [LENGTH ...]` prints a table of docs/equivalences.md
and `python tests/equivalences.py drift` the error after 100,000 steps.
"""

import resource
import sys

import keras
import numpy as np
from gradients import relative_error, value_and_gradients
from keras import ops
from state_cases import FEATURES, LAYERS, LONGEST, as_complex, built, discrete, loop

from keras_ssm.layers import S4D, SSMCell
from keras_ssm.ops.systems.softmax import normalised

CHUNKS = (1, 7, 64)
BATCH = 2


def numpy(x):
    return np.asarray(ops.convert_to_numpy(ops.stop_gradient(ops.convert_to_tensor(x))))


def relative(value, reference):
    value, reference = numpy(value), numpy(reference)
    return relative_error(value, reference) if np.any(reference) else float(np.abs(value).max())


def compiled(function):
    """A function compiled by the backends that compile, and without gradients on torch."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()(function)
    return function


class Sequence:
    """A random sequence and start for one layer, and what the layer makes of them as a whole."""

    def __init__(self, name, length, seed=0):
        rng = np.random.default_rng(seed)
        self.name, self.length = name, length
        self.layer = built(name, return_state=True)
        self.u = rng.standard_normal((BATCH, length, FEATURES)).astype("float32")
        self.mask = rng.random((BATCH, length)) < 0.6
        self.start = rng.standard_normal((BATCH, self.layer.state_width)).astype("float32")
        if self.layer.state_width % 2:
            self.start[:, -1] = 5  # a softmax state counts its steps last
        if name == "DSS-softmax-random" and length + 5 > LONGEST:
            self.start[:, -1] = 0
        self.run = compiled(self.layer.__call__)
        self.y, self.state = self.run(self.u, initial_state=self.start)

    def steps(self):
        """Sequence = step loop, in outputs and final state."""
        step, state, y = compiled(self.layer.step), self.start, []
        for k in range(self.length):
            y_k, state = step(self.u[:, k], state)
            y.append(numpy(y_k))
        return max(relative(np.stack(y, axis=1), self.y), relative(state, self.state))

    def chunks(self):
        """Sequence = chunks with the state carried over."""
        errors = []
        for size in CHUNKS:
            state, y = self.start, []
            for k in range(0, self.length, size):
                y_k, state = self.run(self.u[:, k : k + size], initial_state=state)
                y.append(numpy(y_k))
            errors += [relative(np.concatenate(y, axis=1), self.y), relative(state, self.state)]
        return max(errors)

    def rnn(self):
        """Sequence = `keras.layers.RNN` of the cell."""
        config = {**self.layer.get_config(), "return_state": False}
        cell = SSMCell(type(self.layer).from_config(config), FEATURES)
        rnn = keras.layers.RNN(cell, return_sequences=True, return_state=True)
        rnn.build(self.u.shape)
        cell.set_weights(self.layer.get_weights())
        y, state = compiled(rnn.__call__)(self.u, initial_state=[self.start])
        return max(relative(y, self.y), relative(state, self.state))

    def masked(self):
        """Masked with holes = the sequence cut out, and the state as it was there."""
        y, state = (numpy(z) for z in self.run(self.u, mask=self.mask, initial_state=self.start))
        errors = []
        for b in range(BATCH):
            kept = np.flatnonzero(self.mask[b])
            if kept.size == 0:
                errors += [float(np.abs(y[b]).max()), relative(state[b], self.start[b])]
                continue
            start = self.start[b : b + 1]
            y_cut, state_cut = self.run(self.u[b : b + 1, kept], initial_state=start)
            errors += [relative(y[b, kept], y_cut[0]), relative(state[b], state_cut[0])]
        return max(errors)

    def time_steps(self):
        """time_steps of ones = no time_steps."""
        ones = np.ones((BATCH, self.length), "float32")
        y, state = self.run(self.u, initial_state=self.start, time_steps=ones)
        return max(relative(y, self.y), relative(state, self.state))

    def float64(self):
        """A float64 NumPy loop over the discretised system, from a zero state."""
        y = self.run(self.u)[0]
        if self.layer.state_width % 2 == 0:
            return relative(y, loop(self.layer, self.u))
        return relative(y, softmax_loop(self.layer, self.u))


def softmax_loop(layer, u):
    """The double sum over a softmax kernel, which is made in float64 from its definition."""
    system = layer.system()
    rows = normalised(system.Lambda, system.dt_Lambda, layer.length)
    log_lam, r, W = (as_complex(z) for z in (rows.log_lam, rows.reciprocal, system.W))
    backwards, W = numpy(rows.backwards), W[0]
    length = u.shape[1]
    lag = np.arange(length)
    exponent = np.where(backwards[..., None] > 0, layer.length - 1 - lag, lag)
    rows = np.expm1(log_lam)[..., None] * r[..., None] * np.exp(log_lam[..., None] * exponent)
    K = np.einsum("chn,hnl->chl", W, rows).real
    u = np.asarray(u, "float64")
    y = np.stack(
        [
            np.einsum("chl,blh->bch", K[..., : t + 1], u[:, t::-1] if t else u[:, :1])
            for t in range(length)
        ],
        axis=1,
    )
    D = numpy(layer.D).reshape(-1, u.shape[-1])
    return (y + u[:, :, None] * D).reshape(*u.shape[:2], -1)


def gradients(name, length=17):
    """Gradients through outputs and final state: sequence = step loop, for inputs and weights."""
    case = Sequence(name, length)
    layer = case.layer
    rng = np.random.default_rng(1)
    gy = rng.standard_normal(case.y.shape).astype("float32")
    gs = rng.standard_normal(case.state.shape).astype("float32")
    if layer.state_width % 2:
        gs[:, -1] = 0  # the count of steps is no function of the weights

    def loss(y, state, gy, gs):
        return ops.sum(y * gy) + ops.sum(state * gs)

    def whole(u, start, gy, gs):
        return loss(*layer(u, initial_state=start), gy, gs)

    def masked(u, start, gy, gs):
        padded = ops.pad(u, ((0, 0), (0, 3), (0, 0)), constant_values=7.0)
        mask = np.arange(length + 3)[None] < np.full((BATCH, 1), length)
        y, state = layer(padded, initial_state=start, mask=mask)
        return loss(y[:, :length], state, gy, gs)

    def irregular(u, start, gy, gs):
        ones = np.ones((BATCH, length), "float32")
        return loss(*layer(u, initial_state=start, time_steps=ones), gy, gs)

    def stepwise(u, start, gy, gs):
        state, y = start, []
        for k in range(length):
            y_k, state = layer.step(u[:, k], state)
            y.append(y_k)
        return loss(ops.stack(y, axis=1), state, gy, gs)

    arrays = [case.u, case.start, gy, gs]
    _, dv, dx = value_and_gradients(stepwise, layer.trainable_variables, arrays)
    expected = [*dv, dx[0], drop_count(layer, dx[1])]
    errors = {}
    for function in (whole, masked, irregular):
        _, dv, dx = value_and_gradients(function, layer.trainable_variables, arrays)
        found = [*dv, dx[0], drop_count(layer, dx[1])]
        errors[function.__name__] = max(map(relative, found, expected))
    return errors


def drop_count(layer, state):
    return state[:, :-1] if layer.state_width % 2 else state


def drift(steps):
    """Error of slow modes stepped in float32, and memory grown meanwhile.

    Returns:
        The largest deviation from a float64 loop relative to the largest
        output, and the growth of the process in KiB after the first 1000 steps.
    """
    layer = S4D(4, step_min=1e-4, step_max=1e-3)
    layer.build((None, None, 2))
    log_lam, B, C = discrete(layer)
    D, lam, x = numpy(layer.D), np.exp(log_lam), np.zeros(log_lam.shape, complex)
    step, state = compiled(layer.step), layer.get_initial_state(1)
    u = np.random.default_rng(0).standard_normal((steps, 1, 2)).astype("float32") + 1
    worst = largest = 0.0
    for k in range(steps):
        y, state = step(u[k], state)
        x = lam * x + B * u[k, 0, :, None]
        if k == 1000:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if k % 1000 == 999:
            expected = (np.einsum("chn,hn->ch", C, x).real + D * u[k, 0]).reshape(-1)
            worst = max(worst, float(np.max(np.abs(numpy(y)[0] - expected))))
            largest = max(largest, float(np.max(np.abs(expected))))
    return worst / largest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


EQUIVALENCES = ("steps", "chunks", "rnn", "masked", "time_steps", "float64")
LENGTHS = (1, 2, 3, 64, 100, 257, 1024)


def table(lengths):
    """Print the largest relative error over the lengths, for each layer and equivalence."""
    print(f"| {keras.backend.backend()} | " + " | ".join(EQUIVALENCES) + " | gradients |")
    print("|---" * (len(EQUIVALENCES) + 2) + "|")
    for name in LAYERS:
        keras.utils.set_random_seed(0)
        worst = dict.fromkeys(EQUIVALENCES, 0.0)
        for length in lengths:
            case = Sequence(name, length)
            for kind in EQUIVALENCES:
                worst[kind] = max(worst[kind], getattr(case, kind)())
        cells = [f"{worst[kind]:.1e}" for kind in EQUIVALENCES]
        trains = keras.backend.backend() != "numpy"
        cells.append(f"{max(gradients(name).values()):.1e}" if trains else "-")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
        assert max(worst.values()) <= 2e-5, (name, worst)


if __name__ == "__main__":
    if sys.argv[1:] == ["drift"]:
        keras.utils.set_random_seed(0)
        error, grown = drift(100_000)
        print(f"{keras.backend.backend()}: error {error:.1e}, memory grown by {grown} KiB")
    else:
        table([int(length) for length in sys.argv[1:]] or LENGTHS)
