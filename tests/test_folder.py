import wave

import numpy as np
import pytest

pytestmark = pytest.mark.backend_free


def sound(path, samples, rate=8000, width=2):
    """A wav file by the standard library; samples (frames,) or (frames, channels)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1] if samples.ndim > 1 else 1)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.astype(f"<i{width}").tobytes())


def clip(seed, shape):
    return np.random.RandomState(seed).randint(-(2**15), 2**15, shape)


@pytest.fixture
def words(tmp_path):
    """Two classes of ten clips of 50 to 69 samples, and what is not a class."""
    for index in range(20):
        word = ("yes", "no")[index % 2]
        suffix = "WAV" if index == 3 else "wav"
        sound(tmp_path / "words" / word / f"{index}.{suffix}", clip(index, 50 + index))
    sound(tmp_path / "words" / "_background_noise_" / "hum.wav", clip(99, 5000))
    (tmp_path / "words" / "README.md").write_text("about")
    (tmp_path / "words" / "yes" / "notes.txt").write_text("about")
    return tmp_path / "words"


def load(path, tmp_path, **options):
    from keras_ssm.datasets import folder

    return folder.load_data(path, data_dir=tmp_path / "data", **options)


def test_a_folder_per_class(words, tmp_path):
    from keras_ssm.datasets import folder

    assert folder.classes(words) == ("no", "yes")
    for _ in range(2):
        parts = load(words, tmp_path, validation_fraction=0.1, test_fraction=0.2)
        assert [x.shape for x, _, _ in parts] == [(14, 69), (2, 69), (4, 69)]
        seen = {}
        for x, y, lengths in parts:
            assert [array.dtype for array in (x, y, lengths)] == ["int16", "int32", "int32"]
            for row, label, length in zip(x, y, lengths, strict=True):
                seen[int(length) - 50] = label
                np.testing.assert_array_equal(row[:length], clip(length - 50, length))
                assert not row[length:].any()
        assert seen == {index: int(index % 2 == 0) for index in range(20)}
    assert np.bincount(parts[2][1]).tolist() == [2, 2]


def test_several_channels(tmp_path):
    for index in range(8):
        sound(tmp_path / "words" / f"{index % 2}" / f"{index}.wav", clip(index, (40 + index, 2)))
    parts = load(tmp_path / "words", tmp_path, validation_fraction=0.25, test_fraction=0.25)
    assert [x.shape for x, _, _ in parts] == [(4, 47, 2), (2, 47, 2), (2, 47, 2)]
    for row, length in zip(parts[0][0], parts[0][2], strict=True):
        np.testing.assert_array_equal(row[:length], clip(length - 40, (length, 2)))


def test_a_new_clip_is_seen(words, tmp_path):
    load(words, tmp_path)
    sound(words / "no" / "new.wav", clip(50, 100))
    assert sum(len(y) for _, y, _ in load(words, tmp_path)) == 21


@pytest.mark.parametrize(
    "damage", ["rubbish", "empty", "cut", "bits", "rate", "channels", "silent"]
)
def test_a_sound_that_does_not_fit_is_named(words, tmp_path, damage):
    path = words / "no" / "7.wav"
    whole = path.read_bytes()
    if damage in ("rubbish", "empty", "cut"):
        path.write_bytes({"rubbish": b"x" * 99, "empty": b"", "cut": whole[:-20]}[damage])
    elif damage == "bits":
        sound(path, clip(0, 20), width=4)
    else:
        shape = {"channels": (20, 2), "silent": 0}.get(damage, 20)
        sound(path, clip(0, shape), rate=8001 if damage == "rate" else 8000)
    found = {
        "rubbish": "7.wav, found 99 bytes",
        "empty": "7.wav, found 0 bytes",
        "cut": "expected 57 frames of .*7.wav, found 47",
        "bits": "16-bit samples in .*7.wav, found 32-bit",
        "rate": "8000 Hz and 1 .* but 8001 Hz and 1 in .*7.wav",
        "channels": "8000 Hz and 1 .* but 8000 Hz and 2 in .*7.wav",
        "silent": "sound in .*7.wav, found 0 frames",
    }
    with pytest.raises(ValueError, match=found[damage]):
        load(words, tmp_path, validation_fraction=0, test_fraction=0)
    assert not list(tmp_path.rglob("*.partial"))


def test_folders_without_sounds(tmp_path):
    (tmp_path / "words").mkdir()
    with pytest.raises(ValueError, match=r"a folder per class, or a .npz file, in .*empty folder"):
        load(tmp_path / "words", tmp_path)
    (tmp_path / "words" / "yes").mkdir()
    with pytest.raises(ValueError, match=r"sounds \(\*.wav\) in .*yes, found an empty folder"):
        load(tmp_path / "words", tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        load(tmp_path / "nothing.npz", tmp_path)


# Archives of NumPy.

Y = np.arange(20) % 2
LENGTHS = np.arange(1, 21)
TOKENS = np.arange(20 * 30, dtype="uint8").reshape(20, 30)


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "mine.npz", **arrays)
    return tmp_path / "mine.npz"


def test_sequences_of_a_numpy_archive(tmp_path):
    from keras_ssm.datasets import folder

    path = saved(tmp_path, x=TOKENS, y=Y, lengths=LENGTHS)
    parts = load(path, tmp_path)
    assert folder.classes(path) == ("0", "1")
    assert [x.shape for x, _, _ in parts] == [(16, 30), (2, 30), (2, 30)]
    for x, y, lengths in parts:
        assert [array.dtype for array in (x, y, lengths)] == ["uint8", "int32", "int32"]
        np.testing.assert_array_equal(TOKENS[lengths - 1], x)
        np.testing.assert_array_equal(Y[lengths - 1], y)


def test_features_of_a_numpy_archive(tmp_path):
    x = np.linspace(0, 1, 20 * 30 * 2).reshape(20, 30, 2)
    for values, shape in ((x, (16, 30, 2)), (x[:, :, 0], (16, 30, 1))):
        train, *_ = load(saved(tmp_path, x=values, y=Y), tmp_path)
        assert (len(train), train[0].shape, train[0].dtype) == (2, shape, "float32")


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ({"x": TOKENS}, r"found x uint8\(20, 30\)"),
        ({"x": TOKENS, "y": Y, "z": Y}, "found .*z int64"),
        ({"x": TOKENS[0], "y": Y}, "expected x as"),
        ({"x": TOKENS > 1, "y": Y}, "expected x as .*found x bool"),
        ({"x": TOKENS.astype("int32") - 5, "y": Y}, "tokens from 0 in .*, found -5"),
        ({"x": TOKENS, "y": Y[:19]}, r"expected y as 20 whole numbers"),
        ({"x": TOKENS, "y": Y - 1}, "expected y as 20 whole numbers from 0"),
        ({"x": TOKENS, "y": Y / 2}, "found .*y float64"),
        ({"x": TOKENS[:0], "y": Y[:0]}, "at least one"),
        ({"x": TOKENS, "y": Y, "lengths": LENGTHS - 1}, "from 0 to 19"),
        ({"x": TOKENS, "y": Y, "lengths": LENGTHS + 11}, "from 12 to 31"),
        ({"x": TOKENS, "y": Y, "lengths": LENGTHS[:1]}, "expected lengths"),
        ({"x": np.where(TOKENS == 65, np.nan, 1.0), "y": Y}, r"others in x\[2\]"),
        ({"x": np.array([[{}]]), "y": Y[:1]}, "cannot be read as arrays .*pickle"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, arrays, found):
    with pytest.raises(ValueError, match=found):
        load(saved(tmp_path, **arrays), tmp_path)


def test_a_numpy_archive_that_was_cut_short(tmp_path):
    path = saved(tmp_path, x=TOKENS, y=Y)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"mine.npz, found 300 bytes"):
        load(path, tmp_path)
