"""Timing, peak memory and a description of the machine: what every benchmark here measures with.

A call counts as done when its result is there: every measurement waits for it.
"""

import importlib.metadata
import os
import pathlib
import platform
import resource
import time
from collections.abc import Callable
from typing import Any

PACKAGES = ("keras", "keras-ssm", "numpy", "jax", "tensorflow", "torch", "s5-pytorch", "sktime")
_STATUS = pathlib.Path("/proc/self/status")
_RESET = pathlib.Path("/proc/self/clear_refs")


def synchronise(result: Any) -> None:
    """Wait for `result`: a tensor of any framework, or a nest of tuples and lists of them."""
    while isinstance(result, (tuple, list)):
        result = result[-1]
    if hasattr(result, "block_until_ready"):
        result.block_until_ready()
    else:
        float(result[(0,) * len(result.shape)])


def seconds(call: Callable[[], Any]) -> float:
    """Duration of one call, its result included."""
    start = time.perf_counter()
    synchronise(call())
    return time.perf_counter() - start


def repeated(call: Callable[[], Any], repeats: int, budget: float) -> list[float]:
    """Durations of `repeats` calls, or of fewer (one at least) once `budget` seconds are gone."""
    durations: list[float] = []
    while len(durations) < repeats and sum(durations) < budget:
        durations.append(seconds(call))
    return durations


def resident_mib() -> float:
    """Memory this process holds now."""
    return _status_mib("VmRSS")


def peak_mib() -> float:
    """The most memory this process has held since its start or the last `reset_peak`."""
    return _status_mib("VmHWM")


def reset_peak() -> None:
    """Let `peak_mib` start anew, where the system allows it (Linux)."""
    if _RESET.exists():
        _RESET.write_text("5")


def machine() -> dict[str, Any]:
    """The machine's kind and the versions of what runs on it."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: v for name in PACKAGES if (v := version(name))},
    }


def version(package: str) -> str | None:
    """Of an installed package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _status_mib(field: str) -> float:
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if platform.system() == "Darwin" else peak / 1024
