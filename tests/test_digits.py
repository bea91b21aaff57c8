import sys

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytestmark = pytest.mark.backend_free


def test_the_parts_are_all_images_once():
    from sklearn.datasets import load_digits

    from keras_ssm.datasets import digits

    parts = digits.load_data()
    images, labels = load_digits(return_X_y=True)
    rows = [np.column_stack([16 * x[:, :, 0], y]) for x, y in parts]
    together = np.concatenate(rows)
    original = np.column_stack([images, labels])
    order = [np.lexsort(table.T) for table in (together, original)]
    np.testing.assert_array_equal(together[order[0]], original[order[1]])
    for x, y in parts:
        assert x.shape == (len(y), 64, 1)
        assert (x.dtype, y.dtype) == ("float32", "int32")
        assert (x.min(), x.max()) == (0, 1)


def test_every_class_is_split_alike():
    from keras_ssm.datasets import digits

    parts = digits.load_data(validation_fraction=0.1, test_fraction=0.2)
    counts = np.stack([np.bincount(y, minlength=10) for _, y in parts])
    shares = counts / counts.sum(axis=0)
    np.testing.assert_allclose(shares.T, np.tile([0.7, 0.1, 0.2], (10, 1)), atol=0.005)


def test_the_seed_decides_the_split():
    from keras_ssm.datasets import digits

    def test_part(seed):
        return digits.load_data(seed=seed)[2][0]

    np.testing.assert_array_equal(test_part(1), test_part(1))
    assert not np.array_equal(test_part(1), test_part(2))
    # The split of seed 0 is part of what a run folder means, so it must not move.
    assert digits.load_data()[2][1][:12].tolist() == [1, 4, 8, 6, 5, 9, 9, 1, 3, 2, 2, 2]


def test_the_validation_part_does_not_move_the_test_part():
    from keras_ssm.datasets import digits

    small, large = (digits.load_data(validation_fraction=share) for share in (0.1, 0.3))
    np.testing.assert_array_equal(small[2][0], large[2][0])
    assert len(small[1][1]) < len(large[1][1])


def test_zero_fractions_leave_everything_to_train_on():
    from keras_ssm.datasets import digits

    train, validation, test = digits.load_data(validation_fraction=0, test_fraction=0)
    assert [len(y) for _, y in (train, validation, test)] == [1797, 0, 0]


@pytest.mark.parametrize(
    "fractions", [{"test_fraction": 1.0}, {"validation_fraction": -0.1}, {"test_fraction": 0.95}]
)
def test_fractions_that_leave_nothing(fractions):
    from keras_ssm.datasets import digits

    with pytest.raises(ValueError, match=r"Received: .*_fraction="):
        digits.load_data(**fractions)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    from keras_ssm.datasets import digits

    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "keras-ssm\[data\]"'):
        digits.load_data()
