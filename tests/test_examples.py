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
    from keras_ssm.datasets.speech_commands import CLASSES

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
    sizes.update(depth=1, width=2, state_size=2)
    results = load("speech_commands").main(words, 3, **sizes)
    check_loss(results)
    # The tones are low: half the sampling rate has all of them.
    assert results["agreement"] >= 0.9


def test_keyword_spotting(words):
    sizes = {"depth": 1, "width": 8, "state_size": 8}
    results = load("keyword_spotting").main(words, 4, **sizes)
    check_loss(results)
    assert results["error"] < 2e-5


def test_forecasting():
    pytest.importorskip("statsmodels", reason="the extra `examples` is not installed")
    sizes = {"horizon": 4, "length": 20, "held_out": 1000, "batch_size": 100}
    sizes.update(depth=1, width=4, state_size=2)
    results = load("forecasting").main(4, **sizes)
    check_loss(results)
    from statsmodels.datasets import co2

    series = co2.load_pandas().data["co2"].interpolate().to_numpy()
    origins = range(len(series) - 1000, len(series) - 4)
    errors = [abs(series[k + h] - series[k + h - 52]) for k in origins for h in range(1, 5)]
    assert results["seasonal naive"] == pytest.approx(np.mean(errors), rel=1e-4)


def test_forecasts_are_of_the_weeks_after_their_own():
    pytest.importorskip("statsmodels", reason="the extra `examples` is not installed")
    x, y = load("forecasting").windows(np.arange(12.0), 5, 3)
    assert (x.shape, y.shape) == ((5, 5, 1), (5, 5, 3))
    np.testing.assert_array_equal(y, x + np.arange(1, 4))
    assert y.max() == 11
