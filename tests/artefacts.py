"""Models whose files are tested, and files in their runtimes without anything of ours."""

import importlib

import keras
import numpy as np

from keras_ssm.layers import DSS, LRU, S4, S4D, S5, SequencePooling, SSMBlock

FEATURES = 4
LAYERS = {
    "S5": lambda: S5(4),
    "S4D": lambda: S4D(4),
    "S4": lambda: S4(4),
    "DSS": lambda: DSS(4, length=100),
    "LRU": lambda: LRU(2),
}


def classifier(layers=tuple(LAYERS), length=70, norm="layer", bidirectional=False):
    """A block around each layer, and what a classifier ends with."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((length, 2))
    x = keras.layers.Dense(FEATURES)(x)
    for name in layers:
        layer = LAYERS[name]()
        if bidirectional:
            layer = type(layer).from_config({**layer.get_config(), "bidirectional": True})
        x = SSMBlock(layer, norm=norm)(x)
    outputs = keras.layers.Dense(3)(SequencePooling()(x))
    return keras.Model(inputs, outputs, name="classifier")


def sequences(batch, length, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, length, 2)).astype("float32")


def run(path, format, x):
    """The only output of a file with one input, in its runtime."""
    if format == "onnx":
        session = importlib.import_module("onnxruntime").InferenceSession(path)
        return session.run(None, {session.get_inputs()[0].name: x})[0]
    if format == "litert":
        interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter(path)
        index = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(index, x.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(index, x)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    if format == "torch":
        torch = importlib.import_module("torch")
        return torch.export.load(path).module()(torch.from_numpy(x)).detach().numpy()
    model = importlib.import_module("tensorflow").saved_model.load(path)
    return model.serve(x).numpy()
