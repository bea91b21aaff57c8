import io
import pickle
import struct

import numpy as np
import pytest
from test_lra import pack, write

pytestmark = pytest.mark.backend_free


class Python2Pickler(pickle._Pickler):
    """Byte strings as Python 2 wrote them, in which the official batches are."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_bytes(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes


def batch(seed, count=20):
    random = np.random.RandomState(seed)
    data = random.randint(0, 256, (count, 3072)).astype("uint8")
    labels = [index % 10 for index in range(count)]
    content = {b"batch_label": b"one", b"labels": labels, b"data": data, b"filenames": [b"a.png"]}
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    # As the module was called when the batches were made.
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


NAMES = [*(f"data_batch_{index}" for index in range(1, 6)), "test_batch"]


def files(folder="cifar-10-batches-py"):
    return {f"{folder}/{name}": batch(seed) for seed, name in enumerate(NAMES)}


def table(x, y):
    return sorted((*row.reshape(-1).tolist(), label) for row, label in zip(x, y, strict=True))


def original(names):
    """Pixels as `pickle` and a loop over the documented layout give them."""
    rows = []
    for name in names:
        content = pickle.loads(batch(NAMES.index(name)), encoding="bytes")
        for pixels, label in zip(content[b"data"], content[b"labels"], strict=True):
            rows.append(
                ([(pixels[i], pixels[1024 + i], pixels[2048 + i]) for i in range(1024)], label)
            )
    return np.array([x for x, _ in rows]), [label for _, label in rows]


@pytest.mark.parametrize("place", ["folder", "archive", "keras"])
def test_the_batches_are_read_and_split(tmp_path, place):
    from keras_ssm.datasets import cifar10

    if place == "archive":
        pack(tmp_path / "cifar-10-python.tar.gz", files())
    else:
        keras = "cifar-10-batches-py-target/" * (place == "keras")
        write(tmp_path, files(f"{keras}cifar-10-batches-py"))
    train, validation, test = cifar10.load_data(data_dir=tmp_path)
    assert [x.shape for x, _ in (train, validation, test)] == [
        (90, 1024, 3),
        (10, 1024, 3),
        (20, 1024, 3),
    ]
    assert [array.dtype for array in train] == ["uint8", "int32"]
    assert np.bincount(validation[1]).tolist() == [1] * 10
    together = [np.concatenate(pair) for pair in zip(train, validation, strict=True)]
    assert table(*together) == table(*original(NAMES[:5]))
    np.testing.assert_array_equal(test[0], original(NAMES[5:])[0])


def test_grey_values_are_those_of_pillow(tmp_path):
    from keras_ssm.datasets import cifar10, lra_image

    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    write(tmp_path, files())
    coloured, grey = (module.load_data(data_dir=tmp_path) for module in (cifar10, lra_image))
    for (x, y), (expected, labels) in zip(grey, coloured, strict=True):
        assert y.tolist() == labels.tolist()
        assert (x.shape, x.dtype) == ((len(y), 1024), "uint8")
        for row, pixels in zip(x, expected, strict=True):
            picture = image.fromarray(pixels.reshape(32, 32, 3), "RGB").convert("L")
            np.testing.assert_array_equal(row, np.asarray(picture).reshape(-1))


def test_the_seed_decides_the_split_of_the_training_images_alone(tmp_path):
    from keras_ssm.datasets import cifar10

    write(tmp_path, files())
    one, two = (cifar10.load_data(seed=seed, data_dir=tmp_path) for seed in (1, 2))
    assert table(*one[1]) != table(*two[1])
    np.testing.assert_array_equal(one[2][0], two[2][0])
    whole = cifar10.load_data(validation_fraction=0, data_dir=tmp_path)
    assert [len(y) for _, y in whole] == [100, 0, 20]
    with pytest.raises(ValueError, match="Received: validation_fraction=1"):
        cifar10.load_data(1, data_dir=tmp_path)


class Harmful:
    def __reduce__(self):
        return print, ("this pickle was run",)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (batch(2)[:-500], r"found \d+ bytes that cannot be read"),
        (b"", "found 0 bytes"),
        (pickle.dumps({b"data": np.zeros((2, 5), "uint8"), b"labels": [0, 1]}, 2), r"\(2, 5\)"),
        (pickle.dumps({b"labels": [0, 1]}, 2), "KeyError"),
        (pickle.dumps({b"data": Harmful(), b"labels": [0]}, 2), "print is no part of an array"),
    ],
)
def test_a_batch_that_is_none_is_named_and_never_run(tmp_path, content, found, capsys):
    from keras_ssm.datasets import cifar10

    write(tmp_path, {**files(), "cifar-10-batches-py/data_batch_3": content})
    with pytest.raises(ValueError, match=rf"data_batch_3.*{found}"):
        cifar10.load_data(data_dir=tmp_path)
    assert capsys.readouterr().out == ""


def test_batches_that_are_missing(tmp_path):
    from keras_ssm.datasets import cifar10

    with pytest.raises(ValueError, match=r"cifar-10-batches-py/ or cifar-10-python.tar.gz .*kriz"):
        cifar10.load_data(data_dir=tmp_path)
    write(tmp_path, files())
    (tmp_path / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(ValueError, match=r"expected data_batch_4 in .*found data_batch_1"):
        cifar10.load_data(data_dir=tmp_path)
