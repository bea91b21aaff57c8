"""OpenVINO, from an ONNX graph, whose names it keeps."""

import hashlib
import json
import pathlib
from typing import Any

from keras_ssm.export.program import Program
from keras_ssm_runner import METADATA


def writer(write_onnx: Any) -> Any:
    """What writes a `.xml` and a `.bin` file, with what writes ONNX."""

    def write(
        path: pathlib.Path, program: Program, metadata: dict[str, Any], int8: bool = False
    ) -> None:
        import openvino

        graph = path.with_suffix(".onnx")
        write_onnx(graph, program, metadata, False)
        model = openvino.convert_model(graph)
        graph.unlink()
        # The graph first, to know the weights, which the metadata are to name.
        openvino.save_model(model, path, compress_to_fp16=False)
        weights = hashlib.sha256(path.with_suffix(".bin").read_bytes()).hexdigest()
        model.set_rt_info(json.dumps({**metadata, "weights": weights}), [METADATA])
        openvino.save_model(model, path, compress_to_fp16=False)

    return write
