"""What the published training runs of several layers have in common."""

from typing import Any

# nn.Linear of PyTorch: uniform within the inverse square root of the number of inputs.
TORCH_LINEAR = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1 / 3, "mode": "fan_in", "distribution": "uniform"},
}
# The model of the S4 code, whose configurations DSS and S4D changed.
S4_MODEL: dict[str, Any] = {
    # PyTorch's batch norm: its momentum of 0.1 is the share of the new average.
    "norm": "batch",
    "norm_epsilon": 1e-5,
    "norm_momentum": 0.9,
    "dropout": 0.0,
    "pooling": "mean",
    "step_min": 0.001,
    "step_max": 0.1,
    "encoder_initializer": TORCH_LINEAR,
}
PRENORM = {"prenorm": True, "final_norm": True}
POSTNORM = {"prenorm": False}
TOKENS = {
    "masked": "pooling",
    "pooling": "mean",
    "encoder_initializer": "standard_normal",
}


def rates(rest: float, *, ssm: float, step: float, weight_decay: float) -> dict[str, float]:
    """Learning rates and decay of the three groups of the S4 code."""
    return {
        "learning_rate": rest,
        "ssm_learning_rate": ssm,
        "step_learning_rate": step,
        "weight_decay": weight_decay,
    }


def cosine(total_steps: int, *, warmup_steps: int) -> dict[str, Any]:
    """A schedule that counts in steps."""
    return {"name": "cosine", "total_steps": total_steps, "warmup_steps": warmup_steps}


def plateau(*, patience: int) -> dict[str, Any]:
    """Rates that fall to a fifth when the validation accuracy stops growing."""
    return {"name": "plateau", "factor": 0.2, "patience": patience}
