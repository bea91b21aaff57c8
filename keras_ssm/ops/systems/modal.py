"""A system as groups of independent complex modes in float64 NumPy, for `analysis`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops


class Modal(NamedTuple):
    """A discretized system, x_k = lam x_(k-1) + B u_k and y_k = Re(C x_k) + D u_k.

    A system with one state for each channel is a group for every feature, with
    one input each; one with a shared state is one group with all features in
    and out. Letters: G groups, N modes, I inputs and O outputs of a group.

    With a shared state, both directions see the present sample; otherwise the
    backward one begins with the next.

    Attributes:
        log_lam: (G, N) complex.
        B: (G, N, I) complex.
        C: (directions, G, O, N) complex, the backward direction second.
        D: (G, O, I), the skip.
        shared: whether it is one group of all features.
        origin: (G, N), where the powers of a mode count from: its kernel is
            lam^(l - origin). 0 except for growing modes of a softmax kernel,
            which end at 1 instead of starting there.
        length: the steps beyond which a softmax kernel is not defined, or None.
    """

    log_lam: np.ndarray
    B: np.ndarray
    C: np.ndarray
    D: np.ndarray
    shared: bool
    origin: np.ndarray
    length: int | None = None

    def part(self, group: Any, output: Any, source: Any) -> "Modal":
        """The part of some groups, outputs and inputs, given as slices."""
        return self._replace(
            log_lam=self.log_lam[group],
            B=self.B[group, :, source],
            C=self.C[:, group, output],
            D=self.D[group, output, source],
            origin=self.origin[group],
        )

    @property
    def unbounded(self) -> np.ndarray:
        """Which modes (G, N) do not decay, so that their kernel has no finite sum."""
        return self.log_lam.real >= 0

    def kernels(self, length: int) -> np.ndarray:
        """The first `length` values of the kernel of every direction: (directions, G, O, I, L)."""
        driven = self.B[..., None] * self._powers(length)[:, :, None]
        return np.einsum("dgon,gnil->dgoil", self.C, driven, optimize=True).real

    def transfer(self, omega: np.ndarray, direction: int) -> np.ndarray:
        """sum_l K[l] exp(-i omega l) of one direction, without the skip: (G, O, I, omega)."""

        def one_sided(omega: np.ndarray) -> np.ndarray:
            # 1 / (1 - lam / z) without the cancellation near a slow mode.
            poles = -1 / np.expm1(self.log_lam[..., None] - 1j * omega)  # (G, N, F)
            driven = self.B[..., None] * poles[:, :, None]
            return np.einsum("gon,gnif->goif", self.C[direction], driven, optimize=True)

        # The real part of a sum of modes is half of it and its conjugate.
        return (one_sided(omega) + np.conj(one_sided(-omega))) / 2

    def tail(self) -> Callable[[np.ndarray], np.ndarray]:
        """The energy of the kernel from a step (G, O) on, over all inputs and directions."""
        if self.length is not None:
            return finite_tail(self.kernels(self.length))
        finite = np.all(self.log_lam.real < 0, axis=-1)  # (G,)
        log_lam, B = np.where(finite[:, None], self.log_lam, -1.0), self.B
        # sum_l Re(w lam^l)^2 holds the product of every two modes, and of one with another's
        # conjugate.
        pairs = np.einsum("gni,gmi->gnm", B, B), np.einsum("gni,gmi->gnm", B, B.conj())
        sums = log_lam[:, :, None] + log_lam[:, None], log_lam[:, :, None] + log_lam[:, None].conj()
        plain, mixed = (-p / np.expm1(s) for p, s in zip(pairs, sums, strict=True))

        def energy(start: np.ndarray) -> np.ndarray:
            c = self.C * np.exp(log_lam[:, None] * start[..., None])  # (directions, G, O, N)
            found = np.einsum("dgon,gnm,dgom->go", c, plain, c, optimize=True)
            found += np.einsum("dgon,gnm,dgom->go", c, mixed, c.conj(), optimize=True)
            # Rounding may leave a little less than zero.
            return np.where(finite[:, None], np.maximum(found.real, 0), np.inf)

        return energy

    def strength(self) -> np.ndarray:
        """How much of each input an output reads, the energy of every mode by itself: (G, O, I)."""
        decay = np.exp(np.minimum(self.log_lam.real, -1e-6))
        size = np.abs(self.B) ** 2 / (1 - decay**2)[..., None]
        return np.einsum("gon,gni->goi", np.abs(self.C[0]) ** 2, size)

    def real_form(self, direction: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Real A, B, C of x_k = A x_(k-1) + B u_k, y_k = C x_k for all groups side by side."""
        (G, N, I), O = self.B.shape, self.C.shape[2]  # noqa: E741
        one_group = np.eye(G)
        B = np.einsum("gni,gf->gnfi", self.B, one_group).reshape(G * N, G * I)
        C = np.einsum("gon,gf->ofgn", self.C[direction], one_group).reshape(O * G, G * N)
        log_lam = self.log_lam.reshape(-1)
        lam, B = np.exp(log_lam), B * np.exp(-log_lam * self.origin.reshape(-1))[:, None]
        # A mode is two real states, [[Re, -Im], [Im, Re]], and a real one is one.
        keep = np.ones(2 * len(lam), bool)
        keep[1::2] = (lam.imag != 0) | np.any(B.imag != 0, axis=1)
        A = np.zeros((2 * len(lam), 2 * len(lam)))
        real, imag = np.arange(0, 2 * len(lam), 2), np.arange(1, 2 * len(lam), 2)
        A[real, real] = A[imag, imag] = lam.real
        A[real, imag], A[imag, real] = -lam.imag, lam.imag
        B = np.stack([B.real, B.imag], axis=1).reshape(-1, B.shape[1])
        C = np.stack([C.real, -C.imag], axis=2).reshape(C.shape[0], -1)
        return A[np.ix_(keep, keep)], B[keep], C[:, keep]

    def states(self, u: np.ndarray) -> np.ndarray:
        """The states after every step of u (L, features), from zero: (L, G, N) complex."""
        Bu = (
            np.einsum("gni,li->lgn", self.B, u)
            if self.shared
            else self.B[None, :, :, 0] * u[:, :, None]
        )
        x = np.empty_like(Bu)
        lam = np.where(self.origin > 0, 0, np.exp(self.log_lam))
        state = np.zeros(lam.shape, complex)
        for now, driven in zip(x, Bu, strict=True):
            now[...] = state = lam * state + driven
        g, n = np.nonzero(self.origin)
        if len(g):
            # A growing mode overflows as a recurrence, so it is a sum read with a growing factor.
            k = np.arange(len(u))[:, None]
            log_lam, origin = self.log_lam[g, n], self.origin[g, n]
            summed = np.cumsum(np.exp(-log_lam * k) * Bu[:, g, n], axis=0)
            x[:, g, n] = np.exp(log_lam * (k - origin)) * summed
        return x

    def _powers(self, length: int) -> np.ndarray:
        """lam^(l - origin) for l = 0 .. length - 1: (G, N, length)."""
        return np.exp(self.log_lam[..., None] * (np.arange(length) - self.origin[..., None]))


def finite_tail(kernels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """`Modal.tail` of a kernel (directions, G, O, I, L) that ends."""
    length = kernels.shape[-1]
    energy = np.sum(kernels**2, axis=(0, 3))  # (G, O, L)
    rest = np.cumsum(energy[..., ::-1], axis=-1)[..., ::-1]
    rest = np.concatenate([rest, np.zeros_like(rest[..., :1])], axis=-1)

    def tail(start: np.ndarray) -> np.ndarray:
        index = np.minimum(start, length).astype(int)
        return np.take_along_axis(rest, index[..., None], axis=-1)[..., 0]

    return tail


def as_float(tensor: Any) -> np.ndarray:
    """A weight or tensor in float64."""
    detached = ops.stop_gradient(ops.convert_to_tensor(tensor))
    return np.asarray(ops.convert_to_numpy(detached), "float64")


def as_complex(pair: Any) -> np.ndarray:
    """A pair of tensors as complex128."""
    return as_float(pair[0]) + 1j * as_float(pair[1])
