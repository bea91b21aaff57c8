"""Initial values: HiPPO tables of the official code, and distributions by their moments."""

import math

import keras
import numpy as np
import pytest
from golden_cases import FOLDER
from keras import ops

from keras_ssm import initializers
from keras_ssm.layers import DSS, S4D, S5
from keras_ssm.ops import hippo


@pytest.fixture(scope="module")
def tables():
    with np.load(FOLDER / "s4__init_tables.npz") as arrays:
        return {key: arrays[key] for key in arrays.files if key != "meta"}


@pytest.fixture(scope="module")
def s5_tables():
    with np.load(FOLDER / "s5__init_dplr_hippo.npz") as arrays:
        return {key: arrays[key] for key in arrays.files if key != "meta"}


def values(initializer, shape):
    return np.asarray(ops.convert_to_numpy(initializer(shape)), "float64")


@pytest.mark.parametrize("measure", ["legs", "legt", "fourier"])
def test_hippo_matrices_equal_the_official(tables, measure):
    for N in (4, 8, 16):
        A, B, P = hippo.transition(measure, N)
        np.testing.assert_allclose(A, tables[f"transition.{measure}.{N}.A"], rtol=1e-12)
        np.testing.assert_allclose(B, tables[f"transition.{measure}.{N}.B"][:, 0], rtol=1e-12)
        # The low-rank part is recorded in the basis of the eigenvectors.
        V = tables[f"nplr.{measure}.{N}.V"]
        zero_pair = np.abs(tables[f"nplr.{measure}.{N}.W"]) < 1e-4
        expected = tables[f"nplr.{measure}.{N}.P"][:, ~zero_pair]
        np.testing.assert_allclose((P @ V.conj())[:, ~zero_pair], expected, atol=1e-6)


@pytest.mark.parametrize("measure", ["legs", "legt", "fourier"])
@pytest.mark.parametrize("N", [4, 16, 64])
def test_hippo_eigenvalues_equal_the_official(tables, measure, N):
    expected = tables[f"nplr.{measure}.{N}.W"]
    Lambda, B = hippo.hippo_diagonal(measure, N)
    np.testing.assert_allclose(Lambda, expected, rtol=1e-9, atol=1e-9)
    # Eigenvectors have an arbitrary phase, and the clip to |Im| <= 2 depends on it.
    assert np.all(np.abs(B.imag) <= 2)
    if measure == "legs":
        unclipped = np.abs(B.imag) < 2
        expected_B = np.abs(tables[f"nplr.legs_noclip.{N}.B"])
        np.testing.assert_allclose(np.abs(B)[unclipped], expected_B[unclipped], rtol=1e-6)


@pytest.mark.parametrize("name", ["lin", "inv", "inv2", "quad", "real", "legs"])
@pytest.mark.parametrize("N", [4, 64])
def test_diagonal_eigenvalues_equal_the_official(tables, name, N):
    expected = tables[f"dplr.{name}.{N}.A"]
    pairs = values(initializers.DiagonalEigenvalues(name), (1, N // 2, 2))
    np.testing.assert_allclose(pairs[..., 0] + 1j * pairs[..., 1], expected, rtol=1e-6)
    if name != "legs":
        ones = values(initializers.DiagonalInput(name), (1, N // 2, 2))
        np.testing.assert_array_equal(
            ones[..., 0] + 1j * ones[..., 1], tables[f"dplr.{name}.{N}.B"]
        )


def test_combinations_are_concatenated_in_equal_parts():
    pairs = values(initializers.DiagonalEigenvalues("all"), (8, 4, 2))
    for row, name in zip(range(0, 8, 2), ("legs", "fourier", "inv", "lin"), strict=True):
        single = values(initializers.DiagonalEigenvalues(name), (1, 4, 2))
        np.testing.assert_array_equal(pairs[row : row + 2], np.repeat(single, 2, axis=0))
    listed = values(initializers.DiagonalEigenvalues(["inv", "lin"]), (4, 4, 2))
    np.testing.assert_array_equal(
        listed, values(initializers.DiagonalEigenvalues("diag"), (4, 4, 2))
    )
    with pytest.raises(ValueError, match="n_ssm=3"):
        S4D(8, initialization="diag", n_ssm=3).build((None, None, 6))


def test_random_frequencies_are_log_normal():
    pairs = values(initializers.DiagonalEigenvalues("random", seed=1), (64, 256, 2))
    assert np.all(pairs[..., 0] == -0.5)
    logs = np.log(-pairs[..., 1])
    assert abs(logs.mean()) < 0.03
    assert abs(logs.std() - 1) < 0.03


@pytest.mark.parametrize("N", [4, 8, 16, 32, 64])
def test_dss_eigenvalues_equal_the_official(N):
    with np.load(FOLDER / "dss__init_hippo_skew.npz") as arrays:
        expected = arrays[f"f64.hippo_skew_evals.{2 * N}"][:N] - 0.5
    np.testing.assert_allclose(hippo.skew_hippo(N).imag, expected.imag, rtol=1e-9)
    np.testing.assert_allclose(hippo.skew_hippo(N).real, -0.5)
    layer = DSS(N, kernel="exp-re-im")
    layer.build((None, None, 2))
    (re, im), _ = layer.continuous()
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.stop_gradient(im)), expected.imag, rtol=1e-5
    )
    np.testing.assert_allclose(ops.convert_to_numpy(ops.stop_gradient(re)), -0.5, rtol=1e-6)


@pytest.mark.parametrize("N", [4, 8, 16, 64])
def test_s5_eigenvalues_equal_the_official(s5_tables, N):
    Lambda, V, B = hippo.normal_eigenvalues("legs", N)
    np.testing.assert_allclose(Lambda, s5_tables[f"f64.{N}.Lambda"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.abs(V.conj().T @ B), np.abs(s5_tables[f"f64.{N}.B"]), rtol=1e-6)
    for blocks in (1, 2):
        pairs = values(initializers.S5Eigenvalues(blocks), (N * blocks // 2, 2))
        expected = np.tile(s5_tables[f"f64.{N}.Lambda"][: N // 2], blocks)
        np.testing.assert_allclose(pairs[..., 0] + 1j * pairs[..., 1], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("case", "blocks", "conjugate"),
    [
        ("H3_N8_J1_cs1", 1, True),
        ("H3_N8_J2_cs1", 2, True),
        ("H3_N8_J2_cs0", 2, False),
        ("H4_N16_J4_cs1", 4, True),
    ],
)
def test_s5_projection_equals_the_official_up_to_the_phase_of_eigenvectors(case, blocks, conjugate):
    with np.load(FOLDER / "s5__init_transforms.npz") as arrays:
        z = {k.removeprefix(f"{case}."): arrays[k] for k in arrays.files if k.startswith(case)}
    Lambda, V = hippo.s5_blocks(z["Lambda"].size, blocks, conjugate)
    np.testing.assert_allclose(Lambda, z["Lambda"], atol=1e-6)
    B = V.conj().T @ z["B_raw"]
    C = (z["C_raw"][..., 0] + 1j * z["C_raw"][..., 1]) @ V
    expected_B = z["B_param"][..., 0] + 1j * z["B_param"][..., 1]
    expected_C = z["C_param"][..., 0] + 1j * z["C_param"][..., 1]
    np.testing.assert_allclose(np.abs(B), np.abs(expected_B), rtol=1e-5)
    # The phases cancel in C B, the product that the layer computes with.
    np.testing.assert_allclose(
        np.einsum("hp,pj->phj", C, B), np.einsum("hp,pj->phj", expected_C, expected_B), rtol=1e-5
    )


def test_s5_distributions_have_the_official_moments():
    with np.load(FOLDER / "s5__init_stats.npz") as arrays:
        official = {key: float(arrays[key]) for key in arrays.files if key.startswith("std")}
    H, R = 64, 256
    draw = initializers._S5Projected(seed=1)
    B0 = keras.ops.convert_to_numpy(draw.draw((R, H), 1 / R, "float32"))
    assert B0.std() == pytest.approx(official["std.B_raw.localP256.H64"], rel=0.03)
    assert np.abs(B0).max() <= 2 / math.sqrt(R) / 0.8796 + 1e-6
    for name in ("trunc_standard_normal", "lecun_normal"):
        C = values(initializers.S5Output(name, seed=1), (H, R // 2, 2))
        # V has orthonormal columns: each part of C0 V keeps the variance of a part of C0.
        assert C.std() == pytest.approx(official[f"std.C_{name}.H64.localP256"], rel=0.03)
    C = values(initializers.get("complex_normal"), (H, R, 2))
    assert C.std() == pytest.approx(official["std.C_complex_normal"], rel=0.03)
    B = values(initializers.S5Input(seed=1), (R // 2, H, 2))
    # |V^H B0|^2 keeps half of the energy of B0 in its half of the spectrum.
    assert np.sum(B**2) == pytest.approx(np.sum(B0**2) / 2, rel=0.05)


@pytest.mark.parametrize("transform", ["exp", "softplus"])
def test_steps_are_log_uniform(transform):
    layer = S4D(4, parametrization={"step": transform}, step_min=1e-3, step_max=1e-1)
    layer.build((None, None, 4096))
    step = np.asarray(ops.convert_to_numpy(ops.stop_gradient(layer.continuous()[1][0])), "float64")
    logs = np.log(step)
    low, high = math.log(1e-3), math.log(1e-1)
    assert low - 1e-3 <= logs.min()
    assert logs.max() <= high + 1e-3
    assert logs.mean() == pytest.approx((low + high) / 2, abs=0.1)
    assert logs.std() == pytest.approx((high - low) / math.sqrt(12), rel=0.05)


def test_dss_starts_with_equal_steps_for_both_parts():
    layer = DSS(4)
    layer.build((None, None, 16))
    log_step = ops.convert_to_numpy(layer.log_step)
    np.testing.assert_array_equal(log_step[:, 0], log_step[:, 1])
    assert len(np.unique(log_step[:, 0])) == 16


@pytest.mark.parametrize(
    ("layer", "weight", "variance"),
    [
        (DSS(64), "W", 1.0),
        (S4D(64), "C", 0.5),
        (DSS(64), "D", 1.0),
        (S4D(64), "D", 1.0),
        (S5(64), "D", 1.0),
    ],
)
def test_normal_weights_have_the_official_variance(layer, weight, variance):
    layer = type(layer).from_config(layer.get_config())
    layer.build((None, None, 4096 if weight == "D" else 128))
    value = ops.convert_to_numpy(getattr(layer, weight))
    assert abs(value.mean()) < 0.06
    assert value.var() == pytest.approx(variance, rel=0.08)


def test_the_zero_frequency_of_lin_is_raised_to_the_official_floor():
    layer = S4D(8)
    layer.build((None, None, 2))
    expected = np.maximum(np.pi * np.arange(4), 1e-4)
    np.testing.assert_allclose(ops.convert_to_numpy(layer.Lambda_im)[0], expected, rtol=1e-6)


def test_layers_draw_different_values_and_a_seed_repeats_them():
    def weights(seed):
        keras.utils.set_random_seed(seed)
        layer = S5(8, bidirectional=True)
        layer.build((None, None, 4))
        return [ops.convert_to_numpy(w) for w in layer.weights]

    for first, again, other in zip(weights(1), weights(1), weights(2), strict=True):
        np.testing.assert_array_equal(first, again)
        assert first.shape == (4,) or not np.array_equal(first, other)  # Lambda is not random
    layer = S5(8, bidirectional=True)
    layer.build((None, None, 4))
    C, C_backward = ops.convert_to_numpy(layer.C), ops.convert_to_numpy(layer.C_backward)
    assert not np.allclose(C, C_backward)


@pytest.mark.parametrize(
    "initializer",
    [
        initializers.LogStep(1e-4, 1e-2, "softplus", seed=3),
        initializers.DiagonalEigenvalues(["legs", "random"], seed=3),
        initializers.DiagonalInput("hippo"),
        initializers.SkewHippoEigenvalues(),
        initializers.S5Eigenvalues(2, False),
        initializers.S5Input(2, seed=3),
        initializers.S5Output("lecun_normal", 2, seed=3),
        initializers.Alternating(),
    ],
)
def test_initializers_survive_serialisation(initializer):
    clone = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(initializer))
    shape = (4, 4, 2)
    if isinstance(initializer, (initializers.SkewHippoEigenvalues, initializers.S5Eigenvalues)):
        shape = (4, 2)
    np.testing.assert_array_equal(values(initializer, shape), values(clone, shape))


def test_unknown_names_are_refused():
    for wrong in (lambda: S4D(8, initialization="legz"), lambda: DSS(8, initialization="legs")):
        with pytest.raises(ValueError, match=r"must be .*Received: initialization="):
            wrong()
