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


def test_pixels_are_scaled_as_by_the_official_code(tmp_path):
    """src/dataloaders/basic.py of state-spaces/s4, CIFAR10.setup: ToTensor and Normalize."""
    from keras_ssm.datasets import SequenceBatches, cifar10, lra_image

    write(tmp_path, files())
    cases = (
        (cifar10, (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)),
        (lra_image, 122.6 / 255.0, 61.0 / 255.0),
    )
    for module, mean, std in cases:
        x, y = module.load_data(data_dir=tmp_path)[2]
        batches = SequenceBatches(x, y, len(y), mean=module.MEAN, std=module.STD)
        tensors = (x if x.ndim == 3 else x[..., None]) / 255.0
        np.testing.assert_allclose(batches[0][0], (tensors - mean) / std, atol=1e-5)


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


class Pointers:
    """An array whose pickle says that its bytes are objects, as no array would pickle itself."""

    def __reduce__(self):
        reconstruct, arguments, _ = np.empty(0).__reduce__()
        state = (1, (1, 3072), np.dtype("O"), False, b"\x01" * 8 * 3072)
        return reconstruct, arguments, state


class Whole:
    """An array with a state of its own choice."""

    def __init__(self, *state):
        self.state = state

    def __reduce__(self):
        reconstruct, arguments, _ = np.empty(0).__reduce__()
        return reconstruct, arguments, self.state


def dumped(data, labels):
    return pickle.dumps({b"data": data, b"labels": labels}, 2)


PIXELS = np.arange(2 * 3072).astype("uint8").reshape(2, 3072)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (batch(2)[:-500], r"found \d+ bytes that cannot be read"),
        (b"", "found 0 bytes"),
        (dumped(np.zeros((2, 5), "uint8"), [0, 1]), r"\(2, 5\)"),
        (pickle.dumps({b"labels": [0, 1]}, 2), "KeyError"),
        (dumped(Harmful(), [0]), "print is not part of an array"),
        (dumped(Pointers(), [0]), "the pixels are not bytes"),
        (dumped(PIXELS.astype("int16"), [0, 1]), "the pixels are not bytes"),
        (dumped(PIXELS.copy("F"), [0, 1]), "the pixels are not bytes"),
        (dumped(Whole(1, ("a" * 99, 3072), np.dtype("u1"), False, bytes(3072)), [0]), "shape"),
        (dumped(Whole(1, (-2, -3072), np.dtype("u1"), False, bytes(6144)), [0, 1]), "shape"),
        (dumped(b"bytes", [0]), "AttributeError"),
        (dumped(PIXELS, [0, 1, 2]), "found 3 and 2"),
        (dumped(PIXELS[:0], []), "cannot be read"),
        (dumped(PIXELS, [0, 10]), "labels from 0 to 9 .*found 0 to 10"),
        (dumped(PIXELS, [-1, 0]), "found -1 to 0"),
        (dumped(PIXELS, [0, 2**32]), "found 0 to 4294967296"),
        (dumped(PIXELS, [0, 1.0]), "not a list of whole numbers"),
        (dumped(PIXELS, np.array([0, 1])), "not a list of whole numbers"),
        # Room for 2^31 entries of the memo, and for a text of as many bytes.
        (b"\x80\x02]r\xff\xff\xff\x7f.", "cannot be read"),
        (b"\x80\x02T\xff\xff\xff\x7fabc.", "cannot be read"),
        (batch(0), "found that of .*data_batch_1 in .*data_batch_3 too"),
    ],
)
def test_a_batch_that_is_none_is_named_and_never_run(tmp_path, content, found, capsys):
    from keras_ssm.datasets import cifar10

    write(tmp_path, {**files(), "cifar-10-batches-py/data_batch_3": content})
    with pytest.raises(ValueError, match=rf"data_batch_3.*{found}|{found}"):
        cifar10.load_data(data_dir=tmp_path)
    assert capsys.readouterr().out == ""


def test_no_room_is_made_for_a_number_in_a_pickle(tmp_path):
    resource = pytest.importorskip("resource", reason="memory cannot be measured on this system")
    from keras_ssm.datasets import cifar10

    # A list that is remembered as number 2^26: a table up to there would take a gigabyte.
    content = b"\x80\x02]r" + (2**26).to_bytes(4, "little") + b"."
    write(tmp_path, {**files(), "cifar-10-batches-py/data_batch_3": content})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"data_batch_3, found 9 bytes"):
        cifar10.load_data(data_dir=tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300e3  # kilobytes


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_batches_pickled_by_python_3_are_read(tmp_path, protocol):
    from keras_ssm.datasets import cifar10

    content = pickle.loads(batch(5), encoding="bytes")
    write(tmp_path, {**files(), "cifar-10-batches-py/test_batch": pickle.dumps(content, protocol)})
    test = cifar10.load_data(data_dir=tmp_path)[2]
    np.testing.assert_array_equal(test[0], original(NAMES[5:])[0])
    assert test[1].tolist() == original(NAMES[5:])[1]


def test_batches_that_are_missing(tmp_path):
    from keras_ssm.datasets import cifar10

    with pytest.raises(ValueError, match=r"cifar-10-batches-py/ or cifar-10-python.tar.gz .*kriz"):
        cifar10.load_data(data_dir=tmp_path)
    write(tmp_path, files())
    (tmp_path / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(ValueError, match=r"expected data_batch_4 in .*found data_batch_1"):
        cifar10.load_data(data_dir=tmp_path)
