"""What an ONNX graph gets after a framework has written it: metadata, and 8-bit weights."""

import json
import pathlib
from typing import Any

from keras_ssm_runner import METADATA

OPSET = 17


def finish(model: Any, path: pathlib.Path, metadata: dict[str, Any], int8: bool) -> None:
    """Write a model with its metadata, quantized if asked to."""
    import onnx

    if int8:
        model = _quantised(model, path.parent)
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(metadata)
    onnx.save(model, str(path))


def _quantised(model: Any, folder: pathlib.Path) -> Any:
    """The weights of matrix products as 8-bit integers: projections and dense layers.

    Only those with a constant matrix; the recurrence and its states stay float.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    matrices = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    nodes = [
        node.name
        for node in model.graph.node
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in matrices
    ]
    before, after = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(model, str(before))
    quantize_dynamic(
        str(before),
        str(after),
        op_types_to_quantize=["MatMul", "Gemm"],
        nodes_to_quantize=nodes,
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    quantised = onnx.load(str(after))
    before.unlink()
    after.unlink()
    return quantised
