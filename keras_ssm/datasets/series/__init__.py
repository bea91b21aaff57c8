"""Time series: the problems of the UEA and UCR archives, files of your own, hourly weather."""

from keras_ssm.datasets.series import weather
from keras_ssm.datasets.series.problems import available, classes, load_data

__all__ = ["available", "classes", "load_data", "weather"]
