import pathlib
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


def test_a_clip_that_moves_to_another_class_gets_its_label(words, tmp_path):
    def labels():
        return {
            int(n): int(y) for part in load(words, tmp_path) for _, y, n in zip(*part, strict=True)
        }

    before = labels()
    (words / "no" / "7.wav").rename(words / "yes" / "7.wav")
    assert labels() == {**before, 57: 1}
    assert before[57] == 0
    # The names of the classes decide the labels, too.
    (words / "no").rename(words / "zero")
    assert labels() == {length: 1 - label for length, label in {**before, 57: 1}.items()}


def test_a_clip_that_moves_is_seen_though_no_name_size_or_order_changes(tmp_path):
    for number in range(1, 7):
        word = "cat" if number <= 3 else "dog"
        sound(tmp_path / "words" / word / f"{number}.wav", clip(number, 50))

    def labels():
        x, y, _ = load(tmp_path / "words", tmp_path, validation_fraction=0, test_fraction=0)[0]
        return {int(row[0]): int(label) for row, label in zip(x, y, strict=True)}

    moved = int(clip(3, 50)[0])
    assert labels()[moved] == 0
    (tmp_path / "words/cat/3.wav").rename(tmp_path / "words/dog/3.wav")
    assert labels()[moved] == 1


def test_a_folder_that_moves_as_a_whole_is_still_prepared(words, tmp_path, monkeypatch):
    from keras_ssm.datasets import cache

    one = cache._stamp(sorted(words.rglob("*.wav")))
    words.rename(tmp_path / "other")
    assert cache._stamp(sorted((tmp_path / "other").rglob("*.wav"))) == one
    monkeypatch.chdir(tmp_path)
    assert cache._stamp(sorted(pathlib.Path("other").rglob("*.wav"))) == one


def test_one_sound_in_two_files_is_refused(words, tmp_path):
    (words / "yes" / "copy.wav").write_bytes((words / "no" / "7.wav").read_bytes())
    with pytest.raises(ValueError, match=r"found that of .*no/7.wav in .*yes/copy.wav too$"):
        load(words, tmp_path)


def test_a_part_that_would_be_empty_is_refused(words, tmp_path):
    with pytest.raises(ValueError, match=r"a part of every 0.01, found 20 samples of 2 classes"):
        load(words, tmp_path, validation_fraction=0.01)
    parts = load(words, tmp_path, validation_fraction=0, test_fraction=0)
    assert [len(y) for _, y, _ in parts] == [20, 0, 0]
    for wrong in ({"seed": -1}, {"seed": 2**32}, {"seed": "1"}, {"seed": 1.0}, {"seed": True}):
        with pytest.raises(ValueError, match=r"`seed` must be .*Received: seed="):
            load(words, tmp_path, **wrong)
    for wrong in ("0.1", None, -0.1, 1, float("nan")):
        with pytest.raises(ValueError, match="Received: test_fraction="):
            load(words, tmp_path, test_fraction=wrong)


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
        ({"x": TOKENS.astype("int32") - 5, "y": Y}, r"tokens from 0 to .*mine.npz, found -5 to"),
        ({"x": TOKENS, "y": Y[:19]}, r"expected y as 20 whole numbers"),
        ({"x": TOKENS, "y": Y - 1}, "expected y as 20 whole numbers from 0"),
        ({"x": TOKENS, "y": Y / 2}, "found .*y float64"),
        ({"x": TOKENS[:0], "y": Y[:0]}, "at least one"),
        (
            {"x": TOKENS, "y": Y, "lengths": LENGTHS - 1},
            "mine.npz, found 0 to 19",
        ),
        ({"x": TOKENS, "y": Y, "lengths": LENGTHS + 11}, "mine.npz, found 12 to 31"),
        ({"x": TOKENS, "y": Y, "lengths": LENGTHS[:1]}, "expected lengths"),
        ({"x": np.where(TOKENS == 65, np.nan, 1.0), "y": Y}, r"others in x\[2\]"),
        ({"x": np.array([[{}]]), "y": Y[:1]}, "mine.npz.*array of object, not of numbers"),
        ({"x": TOKENS, "y": Y + 2**32}, "labels below 20.*mine.npz, found 4294967297"),
        ({"x": TOKENS, "y": Y + 19}, "labels below 20"),
        ({"x": TOKENS.astype("int64") + 2**31, "y": Y}, "tokens from 0 to .*found 2147483648"),
        ({"x": TOKENS[:, :0], "y": Y}, "expected x as"),
        ({"x": TOKENS * 1e300, "y": Y}, "finite numbers of float32"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, arrays, found):
    with pytest.raises(ValueError, match=found):
        load(saved(tmp_path, **arrays), tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_numpy_archive_that_was_cut_short_or_changed(tmp_path, save):
    path = tmp_path / "mine.npz"
    save(path, x=TOKENS, y=Y)
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    with pytest.raises(ValueError, match=r"mine.npz, found 300 bytes"):
        load(path, tmp_path)
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    with pytest.raises(ValueError, match=rf"mine.npz, found {len(whole)} bytes"):
        load(path, tmp_path)
