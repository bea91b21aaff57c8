"""A measurement in a process of its own, so that its first call and its memory are its own.

The process gives itself a time limit for every call, by an alarm that ends it.
`run` starts it, watches its memory, and returns its record or the reason why
there is none.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

MEMORY_LIMIT_GIB = 16
_HERE = pathlib.Path(__file__).parent


def run(script: str, arguments: list[Any], backend: str, limit: float) -> dict[str, Any]:
    """The JSON that `script` prints last, or {"skipped": reason}.

    `limit`, the seconds that a call may take, is the script's last argument.
    """
    command = [sys.executable, _HERE / script, *map(str, arguments), str(limit)]
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    memory = min(MEMORY_LIMIT_GIB, 0.9 * _available_gib())
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=out, stderr=errors, env=environment) as process:
            while process.poll() is None:
                time.sleep(0.05)
                if _held_gib(process.pid) > memory:
                    process.kill()
                    return {"skipped": f"more than {memory:.1f} GiB of memory"}
        if process.returncode == -signal.SIGALRM:
            return {"skipped": f"a call took more than {limit:g} s"}
        if process.returncode:
            errors.seek(0)
            lines = errors.read().strip().splitlines()
            return {"skipped": lines[-1][:300] if lines else f"exit code {process.returncode}"}
        out.seek(0)
        return json.loads(out.read().splitlines()[-1])


def limited(call: Callable[[], Any], limit: float) -> Callable[[], Any]:
    """`call`, which ends its process when it takes more than `limit` seconds."""

    def alarmed() -> Any:
        signal.setitimer(signal.ITIMER_REAL, limit)
        return call()

    return alarmed


def report(record: dict[str, Any]) -> None:
    """Hand a record to the process that waits for it."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps(record))


def _available_gib() -> float:
    info = pathlib.Path("/proc/meminfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) / 1024**2
    return MEMORY_LIMIT_GIB


def _held_gib(pid: int) -> float:
    try:
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # ended in the meantime, or no Linux
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**3
