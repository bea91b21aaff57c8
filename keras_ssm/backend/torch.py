"""PyTorch."""

import torch


def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Product in full float32, which is PyTorch's default (`allow_tf32` is off)."""
    return torch.matmul(a, b)
