"""Checkpoints as arrays under official names: files, nested variables, tensors of any framework."""

import importlib
import os
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

# Where training code keeps the model in what it saves: lightning, and example.py.
_MODEL_KEYS = ("state_dict", "model")
# What flax' training state has besides the variables of the model.
_TRAINING_STATE = ("step", "opt_state", "apply_fn", "tx")


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a checkpoint file into arrays by name, without running code that is in it.

    Args:
        path: by its ending, `.pt`, `.pth`, `.ckpt` or `.bin` (torch, which
            must be installed; read with `weights_only=True`), `.safetensors`,
            `.npz`, or `.msgpack` (flax; needs `msgpack`).

    Returns:
        NumPy arrays by name, nested names joined by dots: of the model alone,
        without the state of optimizer and training. bfloat16 becomes
        float32.

    Raises:
        ValueError: for another ending, a file that is not of its format or holds
            more than tensors, or a reader that is not installed.

    Example:

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "layer.npz")
    >>> np.savez(path, D=np.ones(3, "float32"))
    >>> keras_ssm.converters.read_checkpoint(path)
    {'D': array([1., 1., 1.], dtype=float32)}
    """
    path = os.fspath(path)
    ending = os.path.splitext(path)[1].lower()
    if ending not in _READERS:
        raise ValueError(
            f"A checkpoint file must end in one of {sorted(_READERS)}. Received: path={path!r}"
        )
    if not os.path.isfile(path):
        raise ValueError(f"There is no checkpoint file at this path. Received: path={path!r}")
    return flat_arrays(_READERS[ending](path))


def flat_arrays(checkpoint: Any) -> dict[str, np.ndarray]:
    """The arrays of a model by name, nested names joined by dots.

    Args:
        checkpoint: a mapping of arrays or tensors, which may be nested; of what
            lightning, the example of state-spaces/s4 and flax save, only the
            model is taken.
    """
    if not isinstance(checkpoint, Mapping):
        raise ValueError(
            "expected a mapping from official names to arrays; `read_checkpoint(path)` reads a "
            f"file. Received: {type(checkpoint).__name__}"
        )
    for key in _MODEL_KEYS:
        if isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
    if isinstance(checkpoint.get("params"), Mapping):
        checkpoint = {k: v for k, v in checkpoint.items() if k not in _TRAINING_STATE}
    found: dict[str, np.ndarray] = {}
    for name, value in _leaves(checkpoint):
        name = name.removeprefix("params.")
        if name in found:
            raise ValueError(f"A checkpoint has every name once. Received: {name!r} twice")
        found[name] = as_array(name, value)
    return found


def as_array(name: str, value: Any) -> np.ndarray:
    """A tensor of any framework as a NumPy array; bfloat16 and smaller floats become float32."""
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        value = (tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy()
    array = np.asarray(value)
    if array.dtype.name.startswith(("bfloat16", "float8")):
        array = array.astype("float32")
    if array.dtype.kind not in "fiu":
        raise ValueError(
            f"A checkpoint holds real numbers. Received: {name!r} of dtype {array.dtype}, "
            f"{type(value).__name__}"
        )
    return array


def _leaves(tree: Any, prefix: str = "") -> Any:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _module(name: str, path: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise ValueError(
            f"Reading this file needs the package {package!r}: `pip install {package}`. "
            f"Received: path={path!r}"
        ) from error


def _read_torch(path: str) -> Any:
    torch = _module("torch", path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise ValueError(
            "A torch checkpoint must hold tensors, numbers and strings alone: anything else in it "
            "is code that would run. Of a checkpoint with more in it, save the state_dict by "
            "itself where you trust it. "
            f"Received: path={path!r}: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from error


def _read_safetensors(path: str) -> dict[str, np.ndarray]:
    safetensors = _module("safetensors", path)
    dtypes = _module("safetensors.numpy", path)._TYPES
    with open(path, "rb") as file:
        content = file.read()
    try:
        entries = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise ValueError(f"Not a safetensors file. Received: path={path!r}: {error}") from error
    found = {}
    for name, entry in entries:
        if entry["dtype"] == "BF16":
            # The upper half of a float32.
            half = np.frombuffer(entry["data"], "<u2").astype("<u4")
            found[name] = (half << 16).view("<f4").reshape(entry["shape"])
        else:
            dtype = dtypes[entry["dtype"]]
            found[name] = np.frombuffer(entry["data"], dtype).reshape(entry["shape"])
    return found


def _read_npz(path: str) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError, AttributeError) as error:
        raise ValueError(
            f"An .npz checkpoint must be an archive of plain arrays. Received: path={path!r}: "
            f"{error}"
        ) from error


def _read_msgpack(path: str) -> Any:
    msgpack = _module("msgpack", path)

    def extension(code: int, data: bytes) -> Any:
        if code not in (1, 3):
            raise ValueError(f"an entry of kind {code} instead of an array")
        shape, dtype, buffer = msgpack.unpackb(data, raw=True)
        name = dtype.decode()
        if name == "bfloat16":
            half = np.frombuffer(buffer, "<u2").astype("<u4")
            return (half << 16).view("<f4").reshape(shape)
        return np.frombuffer(buffer, np.dtype(name)).reshape(shape)

    with open(path, "rb") as file:
        content = file.read()
    try:
        return msgpack.unpackb(content, ext_hook=extension, raw=False)
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise ValueError(
            f"Not a file of flax' serialization. Received: path={path!r}: {error}"
        ) from error


_READERS = {
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin"), _read_torch),
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".msgpack": _read_msgpack,
}
