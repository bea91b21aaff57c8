"""Callbacks for `model.fit`, and what a stopped training run goes on from."""

from keras_ssm.callbacks.checkpoint import BestCheckpoint, Checkpoint
from keras_ssm.callbacks.finite import not_finite
from keras_ssm.callbacks.history import CSVHistory, Row
from keras_ssm.callbacks.monitor import SSMMonitor
from keras_ssm.callbacks.plateau import ReduceOnPlateau
from keras_ssm.callbacks.seeds import SeededEpochs
from keras_ssm.callbacks.training_checkpoint import TrainingCheckpoint, load_training

__all__ = [
    "BestCheckpoint",
    "CSVHistory",
    "Checkpoint",
    "ReduceOnPlateau",
    "Row",
    "SSMMonitor",
    "SeededEpochs",
    "TrainingCheckpoint",
    "load_training",
    "not_finite",
]
