"""What every recipe of a task shares: shapes, classes, and the scale of raw values."""

from typing import Any

# `mean` and `std` are those of raw pixels, 0 to 255.
_PATHFINDER = {"num_classes": 2, "mean": 127.5, "std": 127.5}
_MNIST = {"input_shape": [784, 1], "num_classes": 10, "mean": 0.0, "std": 255.0}

TASKS: dict[str, dict[str, Any]] = {
    "lra-listops": {"input_shape": [2048], "num_classes": 10},
    "lra-text": {"input_shape": [4096], "num_classes": 2},
    "lra-retrieval": {"input_shape": [2, 4000], "num_classes": 2},
    "lra-image": {"input_shape": [1024, 1], "num_classes": 10, "mean": 122.6, "std": 61.0},
    "lra-pathfinder": {"input_shape": [1024, 1], **_PATHFINDER},
    "lra-pathx": {"input_shape": [16384, 1], **_PATHFINDER},
    "sc35": {"input_shape": [16000, 1], "num_classes": 35},
    "sc10": {"input_shape": [16000, 1], "num_classes": 10},
    "scifar": {"input_shape": [1024, 3], "num_classes": 10},
    "smnist": _MNIST,
    "psmnist": _MNIST,
    "fashion-mnist": _MNIST,
    "digits": {"input_shape": [64, 1], "num_classes": 10},
}
