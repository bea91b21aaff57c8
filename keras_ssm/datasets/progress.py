"""The progress of something that takes long, in one line of a terminal."""

import sys
import time
from types import TracebackType

_WIDTH = 24
# Seconds before the line appears, and between two of its states.
_DELAY, _PERIOD = 1.0, 0.2


class Progress:
    """Shows how many items are done, on standard error if that is a terminal.

    Nothing is written without a terminal, or for what takes less than a second.

    Args:
        title: what is being done.
        total: number of items; None if it is not known.
        unit: `"B"` for bytes, which are shown as MB; otherwise items are counted.
    """

    def __init__(self, title: str, total: int | None = None, unit: str = "") -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = 0
        self._shown = False
        self._next = time.monotonic() + _DELAY if sys.stderr.isatty() else float("inf")

    def __enter__(self) -> "Progress":
        return self

    def add(self, count: int = 1) -> None:
        """Say that more items are done.

        Args:
            count: number of items.
        """
        self.done += count
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PERIOD
            self._show()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            self._show()
            sys.stderr.write("\n")

    def _show(self) -> None:
        self._shown = True
        # Back to the start of the line; what was longer before is cleared.
        sys.stderr.write(f"\r{self._line()}\x1b[K")
        sys.stderr.flush()

    def _line(self) -> str:
        done = self._amount(self.done)
        if not self.total:
            return f"{self.title}: {done}"
        filled = min(_WIDTH, _WIDTH * self.done // self.total)
        bar = "=" * filled + " " * (_WIDTH - filled)
        return f"{self.title}: [{bar}] {done} of {self._amount(self.total)}"

    def _amount(self, count: int) -> str:
        return f"{count / 1e6:,.1f} MB" if self.unit == "B" else f"{count:,}"
