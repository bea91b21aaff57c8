"""Processes that wait for questions, so that what they measure can take turns.

On a machine that others use as well, only what ran side by side in time
compares. Each process holds one thing to measure and does nothing until it is
asked; all are asked in turn, again and again.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from typing import Any

_HERE = pathlib.Path(__file__).parent


class Worker:
    """A script that prints a line of JSON when it is ready and for every line of its input.

    Attributes:
        ready: its first record, or {"skipped": reason}.
    """

    def __init__(self, script: str, arguments: list[Any], backend: str, limit: float) -> None:
        self._limit = limit
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, _HERE / script, *map(str, arguments), str(limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        self.ready = self._answer()

    def ask(self, question: str) -> dict[str, Any]:
        """What it answers."""
        try:
            self._process.stdin.write(f"{question}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the reason is found below
        return self._answer()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        code = self._process.wait()
        if code == -signal.SIGALRM:
            return {"skipped": f"a step took more than {self._limit:g} s"}
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return {"skipped": lines[-1][:300] if lines else f"exit code {code}"}
