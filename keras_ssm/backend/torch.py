"""PyTorch."""

from typing import Any

import torch


def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Product in full float32, which is PyTorch's default (`allow_tf32` is off)."""
    return torch.matmul(a, b)


def arctan2(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Angle of (x, y), in the precision of the inputs (`keras.ops` drops float64 in torch)."""
    return torch.atan2(y, x)


def compiled(model: Any) -> Any:
    """A Keras model in inference mode as a function of its inputs, without gradients."""

    def run(inputs: list[torch.Tensor]) -> Any:
        with torch.no_grad():
            return model(inputs, training=False)

    return run
