"""ExportedProgram and ONNX by PyTorch."""

import contextlib
import io
import json
import logging
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from keras_ssm.export import onnx
from keras_ssm.export.program import Program
from keras_ssm_runner import METADATA


class _Module(torch.nn.Module):
    """A program as PyTorch exports it."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.model = program.source
        self.program = program

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.program.call(tensors))


def _exported(program: Program) -> Any:
    batch = torch.export.Dim("batch", min=1)
    samples, dynamic = [], []
    for _, shape, dtype in program.input_specs:
        # A sample of size 1 would be taken for a constant.
        sizes = (2, *(37 if size is None else size for size in shape))
        samples.append(torch.ones(sizes, dtype=getattr(torch, dtype)))
        free = {k + 1: torch.export.Dim.AUTO for k, size in enumerate(shape) if size is None}
        dynamic.append({0: batch, **free})
    module = _Module(program).eval()
    with _quiet(), torch.no_grad():
        return torch.export.export(
            module, tuple(samples), dynamic_shapes=(tuple(dynamic),), strict=False
        )


def write(
    path: pathlib.Path, program: Program, metadata: dict[str, Any], int8: bool = False
) -> None:
    """A program of ATen operations, with the metadata in an extra file."""
    with _quiet():
        exported = _exported(program).run_decompositions({})
        extra = {f"{METADATA}.json": json.dumps(metadata)}
        torch.export.save(exported, path, extra_files=extra)


def write_onnx(path: pathlib.Path, program: Program, metadata: dict[str, Any], int8: bool) -> None:
    """A graph of opset 18, the oldest of this exporter."""
    with _quiet():
        found: Any = torch.onnx.export(
            _exported(program),
            dynamo=True,
            verbose=False,
            input_names=[name for name, _, _ in program.input_specs],
            output_names=program.output_names,
        )
        found.optimize()
    onnx.finish(found.model_proto, path, metadata, int8)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporters say about modules that are not children of another."""
    level = logging.getLogger("torch").level
    logging.getLogger("torch").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.getLogger("torch").setLevel(level)
