"""Measures one case on the accelerator of this process: `gpu_process.py CASE DTYPE B H N L ...`.

Forward with backward: the first call, the repeated calls, the most memory the
framework held on the device during them, and the kernels it started, which
PyTorch alone tells. Without an accelerator, the same runs on the CPU, where no
memory of a device is told.
"""

# ruff: noqa: TID251

import argparse
import statistics
from typing import Any

import catalogue
import isolated
import keras
import measure
from cases import build
from compiled import compiled


class Device:
    """Where a framework computes, and what it tells of it."""

    name = "cpu"

    def peak_mib(self) -> float | None:
        """The most memory since the process began, or None."""
        return None

    def kernels(self, call: Any) -> int | None:
        """Kernels that one call starts, or None."""
        return None


class Jax(Device):
    """The first device of JAX."""

    def __init__(self) -> None:
        import jax

        self._device = jax.devices()[0]
        self.name = self._device.device_kind

    def peak_mib(self) -> float | None:
        """The most memory since the process began."""
        stats = self._device.memory_stats() or {}
        peak = stats.get("peak_bytes_in_use")
        return None if peak is None else peak / 1024**2


class Tensorflow(Device):
    """The first GPU of TensorFlow."""

    def __init__(self) -> None:
        import tensorflow as tf

        self._tf, self._found = tf, bool(tf.config.list_physical_devices("GPU"))
        if self._found:
            gpu = tf.config.list_physical_devices("GPU")[0]
            self.name = tf.config.experimental.get_device_details(gpu).get("device_name", "gpu")

    def peak_mib(self) -> float | None:
        """The most memory since the process began."""
        if not self._found:
            return None
        return self._tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1024**2


class Torch(Device):
    """The first GPU of PyTorch."""

    def __init__(self) -> None:
        import torch

        self._torch, self._found = torch, torch.cuda.is_available()
        self.name = torch.cuda.get_device_name() if self._found else "cpu"

    def peak_mib(self) -> float | None:
        """The most memory since the process began."""
        return self._torch.cuda.max_memory_allocated() / 1024**2 if self._found else None

    def kernels(self, call: Any) -> int | None:
        """Kernels that one call starts; on a CPU, operations."""
        activities = self._torch.profiler.ProfilerActivity
        kinds = [activities.CPU, activities.CUDA] if self._found else [activities.CPU]
        with self._torch.profiler.profile(activities=kinds) as profile:
            measure.synchronise(call())
        kind = "CUDA" if self._found else "CPU"
        return sum(kind in str(event.device_type) for event in profile.events())


_DEVICES: dict[str, Any] = {"jax": Jax, "tensorflow": Tensorflow, "torch": Torch}


def record(name: str, dtype: str, shape: catalogue.Shape, repeats: int) -> dict[str, Any]:
    """Times, memory and kernels of forward with backward.

    `dtype` is what layers of Keras compute in: "float32", or "bfloat16" with
    weights in float32.
    """
    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else dtype)
    device = _DEVICES[keras.backend.backend()]()
    _, call = compiled(build(name, shape))
    first = measure.seconds(call)
    measure.seconds(call)
    times = measure.repeated(call, repeats, budget=10.0)
    return {
        "device": device.name,
        "first_s": first,
        "times_s": times,
        "median_ms": 1e3 * statistics.median(times),
        "peak_mib": device.peak_mib(),
        "kernels": device.kernels(call),
    }


def main() -> None:
    """Read the case from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=catalogue.NAMES)
    parser.add_argument("dtype", choices=("float32", "bfloat16"))
    parser.add_argument("sizes", type=int, nargs=4, metavar="SIZE", help="B H N L")
    parser.add_argument("repeats", type=int)
    parser.add_argument("limit", type=float, help="seconds for a call")
    options = parser.parse_args()
    shape = catalogue.Shape(*options.sizes)
    measured = isolated.limited(
        lambda: record(options.case, options.dtype, shape, options.repeats), options.limit
    )
    isolated.report(measured())


if __name__ == "__main__":
    main()
