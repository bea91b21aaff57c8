"""Training on several devices, with the engine of the running framework."""

from keras_ssm.distribution.layouts import layout_map
from keras_ssm.distribution.parallel import data_parallel, several_processes
from keras_ssm.distribution.replicas import LostProcessError, Replicas
from keras_ssm.distribution.sequence import sequence_parallel

__all__ = [
    "LostProcessError",
    "Replicas",
    "data_parallel",
    "layout_map",
    "sequence_parallel",
    "several_processes",
]
