"""Custom gradients in PyTorch, where nothing but a gradient is asked for."""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad


def custom_gradient(
    plain: Callable[..., Any],
    gradient: Callable[..., Any],
    forward: Callable[..., Any] | None = None,
    shared: Callable[[], bool] | None = None,
    keeps_output: bool = True,
) -> Callable[..., torch.Tensor]:
    """`plain` with a gradient of its own, see `keras_ssm.backend`.

    The plain function alone runs under `torch.compile`, which sees through it, where it is
    traced for export, under the transforms of `torch.func` and in forward mode.
    """

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        if is_transformed(*inputs):
            return plain(*inputs)
        return _CustomGradient.apply((plain, gradient, forward, keeps_output), *inputs)

    return run


def is_transformed(*inputs: torch.Tensor) -> bool:
    """Whether more is asked of these tensors than values and gradients."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
        or any(forward_ad.unpack_dual(x).tangent is not None for x in inputs)
    )


class _CustomGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, functions: Any, *inputs: torch.Tensor) -> torch.Tensor:
        plain, gradient, forward, keeps_output = functions
        y, kept = forward(*inputs) if forward else (plain(*inputs), ())
        ctx.gradient, ctx.plain, ctx.count = gradient, plain, len(inputs)
        ctx.save_for_backward(*inputs, y if keeps_output else None, *kept)
        return y

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[Any, ...]:
        inputs = ctx.saved_tensors[: ctx.count]
        y, *kept = ctx.saved_tensors[ctx.count :]
        if torch.is_grad_enabled():  # the gradient will be differentiated
            gradients = _differentiable_gradient(ctx.plain, inputs, ctx.needs_input_grad[1:], g)
        else:
            gradients = ctx.gradient(inputs, y, g, *kept)
        return None, *gradients


def _differentiable_gradient(plain: Any, inputs: Any, needed: Any, g: torch.Tensor) -> list[Any]:
    """PyTorch's own gradients of the plain function."""
    # Aliases, so that an input computed from another one does not count for that one too.
    inputs = [x.view_as(x) for x in inputs]
    wanted = [x for x, need in zip(inputs, needed, strict=True) if need]
    found = iter(
        torch.autograd.grad(plain(*inputs), wanted, g, create_graph=True, materialize_grads=True)
    )
    return [next(found) if need else None for need in needed]
