import re
import wave

import numpy as np
import pytest

pytestmark = pytest.mark.backend_free


@pytest.fixture(scope="module")
def espeak():
    from keras_ssm.datasets.generators import espeak

    if not espeak.available():
        pytest.skip("eSpeak NG, a program of the system, is not installed")
    return espeak


@pytest.fixture(scope="module")
def corpus(espeak, tmp_path_factory):
    from keras_ssm.datasets.generators import speech

    folder = tmp_path_factory.mktemp("corpus")
    return speech.generate(folder, clips=60, words=["yes", "backward"], seed=5, workers=1)


def read(path):
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")


def test_the_corpus_is_laid_out_as_speech_commands(corpus):
    from keras_ssm.datasets.generators import speech

    assert corpus.name == "SpeechCommands"
    assert len(speech.WORDS) == len(set(speech.WORDS)) == 35
    assert sorted(entry.name for entry in corpus.iterdir()) == [
        *("README.md", "backward", "testing_list.txt", "validation_list.txt", "yes"),
    ]
    assert "not the Speech Commands data set" in (corpus / "README.md").read_text()
    for word in ("yes", "backward"):
        paths = list((corpus / word).iterdir())
        assert len(paths) == 60
        for path in paths:
            assert re.fullmatch(r"[0-9a-f]{8}_nohash_\d+\.wav", path.name)
            assert len(read(path)) == 16000


def test_no_voice_is_in_two_parts(corpus, espeak):
    import hashlib

    variants = {
        hashlib.sha256(f"{accent}+{variant}".encode()).hexdigest()[:8]: variant
        for accent in espeak.ACCENTS
        for variant in espeak.variants()
    }
    everything = {f"{path.parent.name}/{path.name}" for path in corpus.rglob("*.wav")}
    lists = [
        (corpus / f"{part}_list.txt").read_text().splitlines() for part in ("validation", "testing")
    ]
    parts = [everything - set().union(*lists), *map(set, lists)]
    assert sum(map(len, parts)) == len(everything) == 120
    voices = [{variants[name.split("/")[1][:8]] for name in part} for part in parts]
    assert all(voices)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert not voices[first] & voices[second]


def test_clips_differ_in_place_and_loudness_and_nothing_is_cut_off(corpus):
    starts, ends, peaks = [], [], []
    for path in corpus.rglob("*.wav"):
        sound = read(path).astype(float)
        loud = np.flatnonzero(np.abs(sound) > 0.02 * np.abs(sound).max())
        starts.append(loud[0])
        ends.append(loud[-1])
        peaks.append(np.abs(sound).max())
    lengths = np.array(ends) - starts
    assert lengths.min() > 0.15 * 16000
    assert lengths.max() < 16000
    # From the very beginning to the very end, and from 5 to 95 % of full scale.
    assert np.std(starts) > 0.1 * 16000
    assert min(peaks) < 0.1 * 32767
    assert 0.6 * 32767 < max(peaks) <= 0.95 * 32767 + 1


def test_words_sound_like_themselves(espeak):
    """Spectra of one word in two speeds are closer to each other than to another word's."""

    def spectrum(word, speed):
        sound, rate = espeak.say(word, "en-us", "m3", speed, 50)
        assert rate == 22050
        frames = np.lib.stride_tricks.sliding_window_view(sound.astype(float), 512)[::256]
        power = np.abs(np.fft.rfft(frames * np.hanning(512)))[:, 4:120].mean(axis=0)
        return np.log(power + 1) - np.log(power + 1).mean()

    for word, other in (("yes", "no"), ("six", "wow")):
        same = np.linalg.norm(spectrum(word, 150) - spectrum(word, 200))
        assert same < 0.7 * np.linalg.norm(spectrum(word, 150) - spectrum(other, 150))


def test_the_number_of_processes_changes_nothing(corpus, tmp_path):
    from keras_ssm.datasets.generators import speech

    again = speech.generate(tmp_path, clips=60, words=["yes", "backward"], seed=5, workers=2)
    files = sorted(path.relative_to(corpus) for path in corpus.rglob("*.*"))
    assert files == sorted(path.relative_to(again) for path in again.rglob("*.*"))
    for name in files:
        assert (corpus / name).read_bytes() == (again / name).read_bytes()


def test_resampling_keeps_a_tone_and_drops_what_16_khz_cannot_hold():
    from keras_ssm.datasets.generators import speech

    # A second with silence at both ends.
    envelope = np.hanning(22050)
    low, high = (
        envelope * np.sin(2 * np.pi * hertz * np.arange(22050) / 22050) for hertz in (1000, 9500)
    )
    expected = np.hanning(16001)[:-1] * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    np.testing.assert_allclose(speech.resampled(low + high, 22050), expected, atol=2e-3)
    assert speech.resampled(low[:1000], 16000).shape == (1000,)


def test_without_espeak_the_error_names_its_package(tmp_path, monkeypatch):
    import ctypes.util

    from keras_ssm.datasets.generators import espeak, speech

    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    espeak._library.cache_clear()
    espeak.variants.cache_clear()
    assert not espeak.available()
    with pytest.raises(ImportError, match="apt install espeak-ng"):
        speech.generate(tmp_path, clips=1)
    assert not list(tmp_path.iterdir())
    espeak._library.cache_clear()


@pytest.mark.parametrize(
    "wrong",
    [
        {"clips": 0},
        {"clips": 1.5},
        {"words": []},
        {"words": ["yes", "yes"]},
        {"words": "yes"},
        {"words": ["../yes"]},
        {"words": ["yes", 3]},
        {"words": [""]},
        {"seed": -1},
    ],
)
def test_arguments_that_are_refused_before_anything_is_said(tmp_path, wrong):
    from keras_ssm.datasets.generators import speech

    ((name, _),) = wrong.items()
    with pytest.raises(ValueError, match=rf"Received: .*{name}="):
        speech.generate(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_wrong_arguments(corpus, espeak, tmp_path):
    from keras_ssm.datasets.generators import speech

    with pytest.raises(ValueError, match=r"said in a second.*word='one two three"):
        speech.samples("one two three four five six seven eight nine ten eleven twelve", 1)
    with pytest.raises(ValueError, match=r"Received: en\+nobody"):
        espeak.say("yes", "en", "nobody", 175, 50)
    with pytest.raises(ValueError, match="nothing is overwritten"):
        speech.generate(corpus.parent, clips=1)
    assert not list(tmp_path.iterdir())
