"""Archives of NumPy arrays whose headers are compared with what the file holds."""

import math
import os
import pathlib
import zipfile

import numpy as np

# The compression of the format makes a file smaller by this factor at most.
_LARGEST_RATIO = 1032
_LEAST_LIMIT = 1 << 16


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file by name.

    Unlike `np.load`, it does not make room for more than the file can hold, and
    takes only numbers.

    Args:
        path: path of the file, compressed or not.

    Returns:
        Arrays of numbers or booleans, in the byte order of this machine.

    Raises:
        ValueError: for a file that is cut short, damaged or something else, or
            that has other arrays: names it.
    """
    path = pathlib.Path(path)
    try:
        with zipfile.ZipFile(path) as content:
            members = content.infolist()
            arrays = {info.filename.removesuffix(".npy"): _array(content, info) for info in members}
            if len(arrays) < len(members):
                raise ValueError("a name is there twice")
            return arrays
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged archives fail in many ways
        raise ValueError(
            f"expected arrays of numbers in {path}, found {path.stat().st_size} bytes that cannot "
            f"be read as such ({error or type(error).__name__})"
        ) from error


def _array(content: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    if info.file_size > _LEAST_LIMIT + _LARGEST_RATIO * info.compress_size:
        raise ValueError(f"{info.filename} says that it has {info.file_size} bytes")
    with content.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{info.filename} is of version {version} of NumPy's format")
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
        if dtype.hasobject or dtype.kind not in "buif":
            raise ValueError(f"{info.filename} is an array of {dtype}, not of numbers")
        size = math.prod(shape) * dtype.itemsize
        rest = info.file_size - stream.tell()
        if min(shape, default=0) < 0 or size != rest:
            raise ValueError(f"{info.filename} is a {dtype} array {shape} in {rest} bytes")
        data = stream.read(size)  # to the end, where the checksum is compared
        if len(data) != size:
            raise ValueError(f"{info.filename} has {len(data)} bytes for {size}")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)
