"""The official models in NumPy, from checkpoints under official names, in float64.

Written from the published definitions (recurrences and sums over taps), without
a layer or conversion of this package. An array is what the state_dict or the
flax variables hold.
"""

import math

import numpy as np

erf = np.vectorize(math.erf)


def gelu(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def glu(x):
    value, gate = np.split(x, 2, axis=-1)
    return value * sigmoid(gate)


def layer_norm(x, scale, bias, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * scale + bias


def batch_norm(x, scale, bias, mean, var):
    return (x - mean) / np.sqrt(var + 1e-5) * scale + bias


class Weights(dict):
    """Arrays by official name, in float64."""

    def below(self, prefix):
        found = {k.removeprefix(prefix): v for k, v in self.items() if k.startswith(prefix)}
        return Weights(found)

    def complex(self, name):
        return self[name][..., 0] + 1j * self[name][..., 1]


# torch: state-spaces/s4 and ag1988/dss.


def linear(p, name, x):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def torch_norm(p, name, x):
    q = p.below(f"{name}.")
    if "running_mean" in q:
        return batch_norm(x, q["weight"], q["bias"], q["running_mean"], q["running_var"])
    return layer_norm(x, q["weight"], q["bias"], 1e-5)


def taps(coefficients, dtA, length):
    """sum_n c[c, h, n] exp(dtA[h, n] k), complex (c, h, k)."""
    powers = np.exp(dtA[..., None] * np.arange(length))
    return np.einsum("chn,hnk->chk", coefficients, powers)


def convolved(x, kernel, bidirectional):
    """(batch, length, channels * features) of `x` with kernels (channels, features, taps)."""
    batch, length, features = x.shape
    forward, backward = np.split(kernel, 2) if bidirectional else (kernel, None)
    y = np.zeros((batch, length, len(forward), features))
    for t in range(length):
        for s in range(length):
            if s <= t:
                y[:, t] += forward[:, :, t - s] * x[:, None, s]
            elif bidirectional:
                y[:, t] += backward[:, :, s - t - 1] * x[:, None, s]
    return y


def s4_block(p, x, bidirectional=False, step=np.exp):
    """`S4Block` around `FFTConv` with `SSMKernelDiag`, zero-order hold."""
    A = -np.exp(p["layer.kernel.A_real"]) - 1j * p["layer.kernel.A_imag"]
    B, C = p.complex("layer.kernel.B")[0], p.complex("layer.kernel.C")
    repeats = C.shape[1] // len(A)
    A, B = np.tile(A, (repeats, 1)), np.tile(B, (repeats, 1))
    dtA = step(p["layer.kernel.inv_dt"]) * A
    kernel = 2 * taps(B * C * (np.exp(dtA) - 1) / A, dtA, x.shape[1]).real
    y = convolved(x, kernel, bidirectional) + x[:, :, None] * p["layer.D"]
    y = gelu(y.reshape(*x.shape[:2], -1))
    if "output_linear.0.weight" in p:
        return glu(linear(p, "output_linear.0", y))
    return y


def minimal_s4d(p, x):
    A = -np.exp(p["kernel.log_A_real"]) + 1j * p["kernel.A_imag"]
    dtA = np.exp(p["kernel.log_dt"])[:, None] * A
    C = p.complex("kernel.C") * (np.exp(dtA) - 1) / A
    kernel = 2 * taps(C[None], dtA, x.shape[1]).real
    y = gelu(convolved(x, kernel, False)[:, :, 0] + x * p["D"])
    return glu(y @ p["output_linear.0.weight"][..., 0].T + p["output_linear.0.bias"])


def dss_exp(p, x):
    """`DSS` with version='exp'."""
    Lambda = -np.exp(p["kernel.Lambda_log_neg_re"]) + 1j * p["kernel.Lambda_im"]
    dt = np.exp(p["kernel.log_dt"])
    dtL = dt[:, :1] * Lambda.real + 1j * dt[:, 1:] * Lambda.imag
    W = p.complex("kernel.W") * (np.exp(dtL) - 1) / Lambda
    y = convolved(x, taps(W, dtL, x.shape[1]).real, False)[:, :, 0] + x * p["D"][0]
    return gelu(y) @ p["output_linear.weight"].T + p["output_linear.bias"][:, 0]


def example_model(p, x, layer, prenorm=False):
    """`S4Model` of example.py."""
    x = linear(p, "encoder", x)
    for i in range(2):
        module = p.below(f"s4_layers.{i}.")
        z = torch_norm(p, f"norms.{i}", x) if prenorm else x
        x = x + layer(module, z)
        x = x if prenorm else torch_norm(p, f"norms.{i}", x)
    return linear(p, "decoder", x.mean(1))


def sequence_backbone(p, x, layer, prenorm):
    """`SequenceModel` with an encoder, and residual connections."""
    embedding = "encoder.0.bias" not in p
    x = p["encoder.0.weight"][x] if embedding else linear(p, "encoder.0", x)
    for i in range(2):
        q = p.below(f"model.layers.{i}.")
        y = torch_norm(q, "norm.norm", x) if prenorm else x
        x = x + layer(q.below("layer."), y)
        x = x if prenorm else torch_norm(q, "norm.norm", x)
    return torch_norm(p, "model.norm.norm", x) if prenorm else x


def retrieval_head(p, pooled):
    a, b = pooled
    x = np.concatenate([a, b, a - b, a * b], -1)
    hidden = gelu(linear(p, "decoder.0.retrieval.classifier.0", x))
    return linear(p, "decoder.0.retrieval.classifier.2", hidden)


# flax: lindermanlab/S5.


def dense(p, name, x):
    return x @ p[f"{name}.kernel"] + p[f"{name}.bias"]


def s5_ssm(p, x):
    Lambda = p["Lambda_re"] + 1j * p["Lambda_im"]
    lam = np.exp(Lambda * np.exp(p["log_step"][:, 0]))
    Bu = x @ (((lam - 1) / Lambda)[:, None] * p.complex("B")).T
    states = [Bu[:, 0]]
    for t in range(1, x.shape[1]):
        states.append(lam * states[-1] + Bu[:, t])
    states, C = np.stack(states, 1), p.complex("C1" if "C1" in p else "C")
    if "C1" in p:
        backward = [Bu[:, -1]]
        for t in range(x.shape[1] - 2, -1, -1):
            backward.append(lam * backward[-1] + Bu[:, t])
        states = np.concatenate([states, np.stack(backward[::-1], 1)], -1)
        C = np.concatenate([C, p.complex("C2")], -1)
    return 2 * (states @ C.T).real + p["D"] * x


def s5_encoder(p, x, gating, prenorm=True):
    """`StackedEncoderModel`; tokens are one-hot vectors."""
    x = dense(p, "encoder.encoder", x)
    for i in range(2):
        name = f"encoder.layers_{i}."
        q, averages = p.below(name), p.below(f"batch_stats.{name}norm.")

        def norm(x, q=q, averages=averages):
            if averages:
                return batch_norm(
                    x, q["norm.scale"], q["norm.bias"], averages["mean"], averages["var"]
                )
            return layer_norm(x, q["norm.scale"], q["norm.bias"], 1e-6)

        y = s5_ssm(q.below("seq."), norm(x) if prenorm else x)
        g = tanh_gelu(y)
        if gating == "full_glu":
            y = dense(q, "out1", g) * sigmoid(dense(q, "out2", g))
        else:
            y = (g if gating == "half_glu1" else y) * sigmoid(dense(q, "out2", g))
        x = x + y
        x = x if prenorm else norm(x)
    return x
