"""SavedModel, ONNX and LiteRT by TensorFlow."""

import io
import json
import logging
import pathlib
import tempfile
import zipfile
from typing import Any

import tensorflow as tf

from keras_ssm.export import onnx
from keras_ssm.export.program import Program
from keras_ssm_runner import EXTRA, METADATA


def _function(program: Program) -> Any:
    """The program as a function of TensorFlow with named inputs and outputs, and its signature."""

    def run(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(program.output_names, program.call(tensors), strict=True))

    signature = [
        tf.TensorSpec((None, *shape), dtype, name) for name, shape, dtype in program.input_specs
    ]
    # Without autograph: there is no control flow to convert, and layers of users may not convert.
    return tf.function(run, input_signature=signature, autograph=False), signature


def write_saved_model(
    path: pathlib.Path, program: Program, metadata: dict[str, Any], int8: bool = False
) -> None:
    """A folder with the signature `serving_default`, and the metadata in `assets.extra`."""
    function, _ = _function(program)
    module = tf.Module()
    module.variables_of_the_model = [v.value for v in program.source.variables]
    concrete = function.get_concrete_function()
    tf.saved_model.save(module, str(path), signatures={"serving_default": concrete})
    (path / EXTRA).parent.mkdir(exist_ok=True)
    (path / EXTRA).write_text(json.dumps(metadata), "utf-8")


def write_litert(
    path: pathlib.Path, program: Program, metadata: dict[str, Any], int8: bool
) -> None:
    """A flat buffer of builtin operations, with the metadata in a zip behind it.

    With `int8`, the weights of matrix products, which are the projections and
    the dense layers, are 8-bit integers with one scale for each row.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_saved_model(pathlib.Path(folder) / "model", program, metadata)
        converter = tf.lite.TFLiteConverter.from_saved_model(f"{folder}/model")
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.experimental_enable_resource_variables = True
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        content = converter.convert()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        # A time of its own would make two exports of one model differ.
        entry = zipfile.ZipInfo(f"{METADATA}.json", (1980, 1, 1, 0, 0, 0))
        file.writestr(entry, json.dumps(metadata))
    path.write_bytes(content + archive.getvalue())


def write_onnx(path: pathlib.Path, program: Program, metadata: dict[str, Any], int8: bool) -> None:
    """A graph of opset 17."""
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    function, signature = _function(program)
    model, _ = tf2onnx.convert.from_function(function, signature, opset=onnx.OPSET)
    onnx.finish(model, path, metadata, int8)
