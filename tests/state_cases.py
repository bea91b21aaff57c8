"""The layers whose equivalences are tested, and their float64 loop."""

import numpy as np
from keras import ops

from keras_ssm.layers import DSS, LRU, S4, S4D, S5
from keras_ssm.ops.complex import exp

FEATURES = 3
LONGEST = 1024

# `randomised` gives DSS-softmax modes of either sign; `length` normalises its kernel.
LAYERS = {
    "DSS-softmax": lambda **k: DSS(8, length=LONGEST, **k),
    "DSS-softmax-random": lambda **k: DSS(8, initialization="random", length=LONGEST, **k),
    "DSS-exp": lambda **k: DSS(8, kernel="exp", channels=2, **k),
    "S4D-zoh": lambda **k: S4D(8, n_ssm=1, channels=2, **k),
    "S4D-bilinear": lambda **k: S4D(8, discretization="bilinear", **k),
    "S4D-softmax": lambda **k: S4D(8, discretization="softmax", length=LONGEST, **k),
    "S4D-real": lambda **k: S4D(
        4, initialization="real", parametrization={"real_valued": True}, **k
    ),
    "S5-zoh": lambda **k: S5(8, blocks=2, **k),
    "S5-bilinear": lambda **k: S5(8, discretization="bilinear", **k),
    "S4": lambda **k: S4(8, channels=2, **k),
    "LRU": lambda **k: LRU(4, r_min=0.5, r_max=0.999, **k),
}


def built(name, **options):
    """A layer with `FEATURES` inputs; `options` are further arguments."""
    layer = LAYERS[name](**options)
    layer.build((None, None, FEATURES))
    return layer


def twin(name, layer, **options):
    """The same weights in a layer with further arguments."""
    other = built(name, **options)
    for mine, theirs in zip(other.trainable_weights, layer.trainable_weights, strict=True):
        mine.assign(theirs)
    return other


def loop(layer, u, time_steps=None):
    """Outputs of a layer in float64, one step after the other, without our fast forms.

    From the discretised system in complex128; for softmax kernels by the sum
    over the kernel's definition.
    """
    u = np.asarray(u, "float64")
    D = np.asarray(ops.convert_to_numpy(layer.D), "float64").reshape(-1, u.shape[-1])
    skip = (u[:, :, None] * D).reshape(*u.shape[:2], -1)
    if isinstance(layer, S4):
        return dense_loop(layer, u) + skip
    log_lam, B, C = discrete(layer)
    lam = np.exp(log_lam)
    x = np.zeros((u.shape[0], *lam.shape), complex)
    y = []
    for k in range(u.shape[1]):
        if isinstance(layer, (S5, LRU)):
            x = lam * x + u[:, k] @ B.T
            y.append((x @ C.T).real)
        else:
            x = lam * x + B * u[:, k, :, None]
            y.append(np.einsum("chn,bhn->bch", C, x).real.reshape(u.shape[0], -1))
    return np.stack(y, axis=1) + skip


def dense_loop(layer, u):
    """S4 without its skip, from the dense matrix of every channel and the bilinear rule."""
    system = layer.system()
    Lambda, P, B, C = (
        np.concatenate([z, z.conj()], axis=-1)
        for z in map(as_complex, (system.Lambda, system.P, system.B, system.C))
    )
    dt = np.asarray(ops.convert_to_numpy(ops.stop_gradient(system.dt)), "float64")
    y = np.zeros((*u.shape[:2], C.shape[1], u.shape[2]))
    for h, step in enumerate(dt):
        A = np.diag(Lambda[h]) - np.einsum("rn,rm->nm", P[:, h], P[:, h].conj())
        inverse = np.linalg.inv(np.eye(len(A)) - step / 2 * A)
        A_bar, B_bar = inverse @ (np.eye(len(A)) + step / 2 * A), step * inverse @ B[h]
        x = np.zeros((len(u), len(A)), complex)
        for k in range(u.shape[1]):
            x = x @ A_bar.T + u[:, k, h, None] * B_bar
            y[:, k, :, h] = (x @ C[0, :, h].T).real
    return y.reshape(*u.shape[:2], -1)


def discrete(layer, rate=None):
    """log lam, B and the forward C of a layer in complex128, from its system."""
    system = layer.system(rate)
    if hasattr(system, "P"):
        raise TypeError("S4 is no diagonal system; see `loop`")
    B = as_complex(system.B)
    if hasattr(system, "gamma"):
        B = as_complex(system.gamma)[:, None] * B
    return as_complex(system.log_lam), B, as_complex(system.C)[0]


def as_complex(z):
    re, im = (np.asarray(ops.convert_to_numpy(ops.stop_gradient(p)), "float64") for p in z)
    return re + 1j * im


__all__ = [
    "FEATURES",
    "LAYERS",
    "LONGEST",
    "as_complex",
    "built",
    "discrete",
    "exp",
    "loop",
    "twin",
]
