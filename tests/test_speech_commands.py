import io
import logging
import shutil
import tarfile

import numpy as np
import pytest

wavfile = pytest.importorskip("scipy.io.wavfile")
pytestmark = pytest.mark.backend_free

# The order of labels in the official code of S4 and S5.
SC35 = (
    *("bed", "cat", "down", "five", "forward", "go", "house", "left", "marvin", "no", "on"),
    *("right", "sheila", "tree", "up", "visual", "yes", "backward", "bird", "dog", "eight"),
    *("follow", "four", "happy", "learn", "nine", "off", "one", "seven", "six", "stop"),
    *("three", "two", "wow", "zero"),
)
SC10 = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
RATE = 16000


def clip(word, number, length=RATE):
    """Samples that tell which clip they are."""
    seed = 100 * SC35.index(word) + number
    return np.random.RandomState(seed).randint(-(2**15), 2**15, length).astype("int16")


def name(number):
    return f"{number:08x}_nohash_{number}.wav"


def length(word, number):
    return 12345 if number == 1 else RATE


def parts(word, numbers):
    """Number 2 of every word is for validation, number 3 for testing."""
    return {"validation": [2], "test": [3], "train": [i for i in numbers if i not in (2, 3)]}


NUMBERS = {word: range(12 if word in SC10 else 4) for word in SC35}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The layout of the archive: words, lists, noise; clip 1 of every word is short."""
    folder = tmp_path_factory.mktemp("original")
    for word, numbers in NUMBERS.items():
        (folder / word).mkdir()
        for number in numbers:
            samples = clip(word, number, length(word, number))
            wavfile.write(folder / word / name(number), RATE, samples)
    for file, number in (("validation_list.txt", 2), ("testing_list.txt", 3)):
        (folder / file).write_text("".join(f"{word}/{name(number)}\n" for word in SC35))
    (folder / "_background_noise_").mkdir()
    noise = np.zeros(60 * RATE, "int16")
    wavfile.write(folder / "_background_noise_" / "white_noise.wav", RATE, noise)
    (folder / "_background_noise_" / "README.md").write_text("noise")
    (folder / "LICENSE").write_text("CC BY 4.0")
    (folder / "README.md").write_text("words")
    return folder


@pytest.fixture
def copy(original, tmp_path):
    return shutil.copytree(original, tmp_path / "speech_commands_v0.02")


def load(folder, **options):
    from keras_ssm.datasets import speech_commands

    return speech_commands.load_data(data_dir=folder, **options)


def expected(part):
    clips = [(word, number) for word in SC35 for number in parts(word, NUMBERS[word])[part]]
    x = np.zeros((len(clips), RATE), "int16")
    for row, (word, number) in zip(x, clips, strict=True):
        row[: length(word, number)] = clip(word, number, length(word, number))
    return x, np.array([SC35.index(word) for word, _ in clips])


def check_sc35(loaded):
    for (x, y), part in zip(loaded, ("train", "validation", "test"), strict=True):
        np.testing.assert_array_equal(x, expected(part)[0])
        np.testing.assert_array_equal(y, expected(part)[1])
        assert (x.dtype, y.dtype) == ("int16", "int32")
        assert isinstance(x, np.memmap)
        assert not x.flags.writeable


@pytest.mark.parametrize(
    "place",
    [
        "",
        "SpeechCommands",
        "speech_commands",
        "speech_commands_v0.02",
        "SpeechCommands/speech_commands_v0.02",
    ],
)
def test_sc35_by_the_lists_wherever_the_words_are(original, tmp_path, caplog, place):
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    if place:
        (tmp_path / place).symlink_to(original)
        check_sc35(load(tmp_path))
    else:
        shutil.copytree(original, tmp_path / "words")
        check_sc35(load(tmp_path / "words"))
        load(tmp_path / "words", subset="sc10")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_the_archive_is_unpacked_once_and_may_go_then(original, tmp_path):
    archive = tmp_path / "speech_commands_v0.02.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as content:
        content.add(original, ".")
    check_sc35(load(tmp_path))
    archive.unlink()
    check_sc35(load(tmp_path))
    shutil.rmtree(tmp_path / "speech_commands_v0.02")
    check_sc35(load(tmp_path))
    with pytest.raises(
        ValueError, match=r"expected yes/, no/, \.\.\. or speech_commands_v0.02.tar"
    ):
        load(tmp_path, subset="sc10")


def test_a_member_that_leaves_the_folder(tmp_path):
    with tarfile.open(tmp_path / "speech_commands_v0.02.tar.gz", "w:gz") as content:
        member = tarfile.TarInfo("./yes/../../x.wav")
        member.size = 4
        content.addfile(member, io.BytesIO(b"RIFF"))
    with pytest.raises(ValueError, match=r"x\.wav"):
        load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["speech_commands_v0.02.tar.gz"]


def test_a_changed_folder_is_prepared_anew(copy, tmp_path):
    check_sc35(load(tmp_path))
    wavfile.write(copy / "bed" / name(9), RATE, clip("bed", 9))
    (x, y), _, _ = load(tmp_path)
    assert len(y) == len(expected("train")[1]) + 1
    assert (x == clip("bed", 9)).all(axis=1).sum() == 1


def test_sc10_has_whole_clips_only_split_by_class(copy, tmp_path):
    for file in ("validation_list.txt", "testing_list.txt"):
        (copy / file).unlink()
    loaded = load(tmp_path, subset="sc10")
    counts = [np.bincount(y).tolist() for _, y in loaded]
    assert counts == [[7] * 10, [2] * 10, [2] * 10]
    rows = {clip(word, n).tobytes(): SC10.index(word) for word in SC10 for n in range(12) if n != 1}
    found = {row.tobytes(): label for x, y in loaded for row, label in zip(x, y, strict=True)}
    assert found == rows
    again = load(tmp_path, subset="sc10")
    other = load(tmp_path, subset="sc10", seed=1)
    np.testing.assert_array_equal(again[2][0], loaded[2][0])
    assert not np.array_equal(other[2][0], loaded[2][0])


def test_sc10_without_a_seed_is_parted_by_the_lists(copy, tmp_path):
    for (x, y), number in zip(load(tmp_path, subset="sc10", seed=None)[1:], (2, 3), strict=True):
        np.testing.assert_array_equal(x, [clip(word, number) for word in SC10])
        np.testing.assert_array_equal(y, range(10))


def test_decimation_is_a_view_of_the_same_file(copy, tmp_path):
    whole, half = load(tmp_path), load(tmp_path, rate=2)
    for (x, y), (x_half, y_half) in zip(whole, half, strict=True):
        assert x_half.shape == (len(x), RATE // 2)
        np.testing.assert_array_equal(x_half, x[:, ::2])
        np.testing.assert_array_equal(y_half, y)
    assert len(list((tmp_path / "keras_ssm").rglob("*.h5"))) == 3


def test_other_folders_are_named_and_left_out(copy, tmp_path, caplog):
    for folder in ("processed_data", "maybe"):
        shutil.copytree(copy / "bed", copy / folder)
    check_sc35(load(tmp_path))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert warnings[0].endswith(": maybe, processed_data")


# What is missing or damaged.


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("validation_list.txt", r"expected validation_list\.txt in"),
        ("testing_list.txt", r"expected testing_list\.txt in"),
        (f"wow/{name(3)}", rf"testing_list\.txt, found all but 1, such as wow/{name(3)}"),
        ("marvin", r"expected clips of 35 words in .*, found none of marvin"),
    ],
)
def test_what_is_missing_is_named(copy, tmp_path, path, found):
    missing = copy / path
    shutil.rmtree(missing) if missing.is_dir() else missing.unlink()
    with pytest.raises(ValueError, match=found):
        load(tmp_path)
    assert not list(tmp_path.rglob("*.h5"))


def test_an_empty_folder_says_where_the_archive_comes_from(tmp_path):
    with pytest.raises(
        ValueError, match=r"found an empty folder.*http://download\.tensorflow\.org"
    ):
        load(tmp_path)


def cut(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


@pytest.mark.parametrize(
    "damage",
    [
        cut(0),
        cut(0.0005),
        cut(0.5),
        cut(0.99999),
        lambda path: path.write_bytes(b"<html>not found</html>"),
        lambda path: wavfile.write(path, 8000, clip("bed", 0)),
        lambda path: wavfile.write(path, RATE, clip("bed", 0).reshape(-1, 2)),
        lambda path: wavfile.write(path, RATE, clip("bed", 0, RATE + 1)),
        lambda path: wavfile.write(path, RATE, clip("bed", 0).astype("uint8")),
    ],
    ids=["empty", "header", "half", "last byte", "html", "8 kHz", "stereo", "long", "8 bit"],
)
def test_a_damaged_clip_is_named(copy, tmp_path, damage):
    path = copy / "zero" / name(0)
    damage(path)
    with pytest.raises(ValueError) as error:
        load(tmp_path)
    assert str(path) in str(error.value)
    assert "train.h5" not in [entry.name for entry in tmp_path.rglob("*")]
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"subset": "sc12"}, "subset='sc12'"),
        ({"rate": 0}, "rate=0"),
        ({"mfcc": True, "rate": 2}, "mfcc=True, rate=2"),
    ],
)
def test_wrong_arguments(tmp_path, options, found):
    with pytest.raises(ValueError, match=rf"Received: .*{found}"):
        load(tmp_path, **options)


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("testing_list.txt", f"bed/{name(2)}", "every clip once in .*found bed/.* again in .*test"),
        ("validation_list.txt", f"bed/{name(2)}", "every clip once in .* again in .*validation"),
        ("testing_list.txt", "../../secret.wav", "clips inside .*testing_list.txt, found '../.."),
        ("testing_list.txt", "/etc/passwd", "clips inside .*testing_list.txt, found '/etc"),
        ("testing_list.txt", "a" * 5000, "testing_list.txt, found all but 1"),
        ("testing_list.txt", "a\0b", "testing_list.txt, found 'a"),
    ],
)
def test_lists_that_cannot_be_right_are_named(copy, tmp_path, file, line, found):
    with open(copy / file, "a") as content:
        content.write(f"{line}\n")
    with pytest.raises(ValueError, match=found):
        load(tmp_path)


def test_a_list_that_is_empty_or_no_text(copy, tmp_path):
    (copy / "testing_list.txt").write_text("")
    with pytest.raises(ValueError, match=r"every part in .*none of them for test by"):
        load(tmp_path)
    (copy / "testing_list.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"UTF-8 in .*testing_list.txt"):
        load(tmp_path)


# Coefficients.


def test_coefficients_are_those_of_torchaudio():
    """torchaudio 2.11: MFCC(log_mels=True, n_mfcc=20, melkwargs={"n_fft": 200, "n_mels": 64})."""
    from keras_ssm.datasets.speech import features

    i = np.arange(RATE)
    tone = 9000 * np.sin(2 * np.pi * 440 * i / RATE)
    sweep = 6000 * np.sin(2e-5 * i * i) * np.exp(-i / 8000)
    found = features.mfcc(np.round(tone + sweep).astype("int16"))
    assert (found.shape, found.dtype) == ((161, 20), "float32")
    for frame, coefficients in TORCHAUDIO.items():
        np.testing.assert_allclose(found[frame], coefficients, atol=1e-3)


# fmt: off
TORCHAUDIO = {
    0: [-20.5758, 20.1206, -2.3317, -6.2876, -7.8493, -7.4153, -6.0066, -4.4714, -3.1065, -2.2864,
        -1.8091, -1.6127, -1.347, -0.9805, -0.4454, 0.0343, 0.3779, 0.4443, 0.3439, 0.0308],
    80: [-72.4349, 38.2763, 6.6352, -16.0366, -20.0784, -12.9035, -5.0846, -1.6989, -2.0177,
         -2.7754, -1.5511, 1.3115, 3.57, 3.2629, 0.6611, -2.1682, -3.2444, -2.1234, 0.1518, 1.7988],
}
# fmt: on


def test_coefficients_of_the_clips(copy, tmp_path):
    from keras_ssm.datasets.speech import features

    audio, coefficients = load(tmp_path), load(tmp_path, mfcc=True)
    for (x, y), (found, labels) in zip(audio, coefficients, strict=True):
        assert (found.shape, found.dtype) == ((len(x), 161, 20), "float32")
        np.testing.assert_allclose(found[-1], features.mfcc(x[-1]), atol=1e-4)
        np.testing.assert_array_equal(labels, y)
        assert isinstance(found, np.memmap)


# Scaling.


def scaled(x, normalize):
    from keras_ssm.datasets import SequenceBatches
    from keras_ssm.datasets.speech.scaling import mean_and_std

    mean, std = mean_and_std(x, normalize)
    ((batch, _),) = SequenceBatches(x, np.zeros(len(x)), len(x), mean=mean, std=std)
    return batch.astype("float64")


@pytest.fixture
def audio():
    random = np.random.RandomState(0)
    loudness = np.linspace(100, 5000, 50)
    return (300 + loudness * random.standard_normal((700, 50))).astype("int16")


def test_global_scaling(audio):
    x = scaled(audio, "global")
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-4)
    np.testing.assert_allclose(np.corrcoef(x.ravel(), audio.ravel())[0, 1], 1)
    features = np.random.RandomState(1).standard_normal((300, 7, 3)).astype("float32") * [1, 5, 9]
    x = scaled(features.astype("float32"), "global")
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-4)


def test_official_scaling_divides_twice_and_takes_every_step_by_itself(audio, caplog):
    waveform = (audio / 2.0**15) / 2.0**15
    for step in range(50):
        values = waveform[:, step].copy()
        waveform[:, step] = (values - values.mean()) / (values.std(ddof=1) + 1e-5)
    with caplog.at_level(logging.INFO):
        x = scaled(audio, "official")
    np.testing.assert_allclose(x[:, :, 0], waveform, atol=1e-5)
    assert f"standard deviation {waveform.std(axis=0).mean():.2f}" in caplog.text


def test_official_scaling_takes_every_feature_by_itself():
    features = np.random.RandomState(1).standard_normal((300, 7, 3)) * [1, 5, 9] + [7, 8, 9]
    features = features.astype("float32")
    flat = features.reshape(-1, 3).astype("float64")
    expected = (features - flat.mean(axis=0)) / (flat.std(axis=0, ddof=1) + 1e-5)
    np.testing.assert_allclose(scaled(features, "official"), expected, atol=1e-5)


def test_no_scaling_is_that_of_audio_files(audio):
    np.testing.assert_allclose(scaled(audio, "none")[:, :, 0], audio / 2**15, atol=1e-7)
    features = np.ones((3, 7, 3), "float32")
    np.testing.assert_array_equal(scaled(features, "none"), features)


def test_scaling_of_the_decimated_is_the_decimated_scaling(audio):
    from keras_ssm.datasets.speech.scaling import mean_and_std

    for whole, half in zip(
        mean_and_std(audio, "official"), mean_and_std(audio[:, ::2], "official"), strict=True
    ):
        np.testing.assert_allclose(half, whole[::2], rtol=1e-6)


def test_wrong_scaling(audio):
    from keras_ssm.datasets.speech.scaling import mean_and_std

    with pytest.raises(ValueError, match="Received: normalize='per step'"):
        mean_and_std(audio, "per step")
    with pytest.raises(ValueError, match=r"at least two sequences.*\(1, 50\)"):
        mean_and_std(audio[:1])
