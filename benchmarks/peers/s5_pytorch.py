"""S5 of the package s5-pytorch (`pip install s5-pytorch`)."""

# ruff: noqa: TID251

from typing import Any

import torch
from s5 import S5


def module(H: int, P: int) -> Any:
    """Its layer with P complex modes. It keeps no conjugate pairs: they are its whole state."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return S5(H, state_width=P).to(device)
