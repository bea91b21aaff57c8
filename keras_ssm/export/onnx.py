"""What an ONNX graph gets after a framework has written it: metadata, and 8-bit weights."""

import json
import pathlib
from typing import Any

import numpy as np

from keras_ssm_runner import METADATA

OPSET = 17


def finish(model: Any, path: pathlib.Path, metadata: dict[str, Any], int8: bool) -> None:
    """Write a model with its metadata, quantized if asked to."""
    import onnx

    if int8:
        _quantize(model.graph)
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(metadata)
    onnx.save(model, str(path))


def _quantize(graph: Any) -> None:
    """Store the constant matrices of products as 8-bit integers: projections and dense layers.

    Each output of a matrix has a scale, by which the runtime makes floats of it. Inputs stay as
    they are: with a scale for a whole batch, a soft sound next to a loud one would be lost. The
    tables of a recurrence have more than two axes, and stay float as well.
    """
    from onnx import TensorProto, helper, numpy_helper

    matrices = {
        tensor.name: tensor
        for tensor in graph.initializer
        if len(tensor.dims) == 2 and tensor.data_type == TensorProto.FLOAT
    }
    for node in list(graph.node):
        if node.op_type not in ("MatMul", "Gemm"):
            continue
        transposed = {entry.name: entry.i for entry in node.attribute}
        # Where the outputs of the product lie in its left and in its right factor.
        axes = transposed.get("transA", 0), 1 - transposed.get("transB", 0)
        for name, axis in zip(node.input, axes, strict=False):
            if name not in matrices:
                continue
            tensor = matrices.pop(name)
            matrix = numpy_helper.to_array(tensor)
            largest = np.abs(matrix).max(axis=1 - axis)
            scale = np.where(largest > 0, largest / 127, 1).astype("float32")
            rounded = np.round(matrix / np.expand_dims(scale, 1 - axis)).astype("int8")
            graph.initializer.remove(tensor)
            parts = (rounded, f"{name}_int8"), (scale, f"{name}_scale")
            graph.initializer.extend(numpy_helper.from_array(*part) for part in parts)
            names = [part[1] for part in parts]
            graph.node.insert(0, helper.make_node("DequantizeLinear", names, [name], axis=axis))
