"""A progress bar on the terminal, for work that takes longer than a moment."""

from __future__ import annotations

import sys
import time

PATIENCE_S = 1.0
REFRESH_S = 0.2
BAR_CHARS = 24
LABEL_CHARS = 30


class ProgressBar:
    """A line on stderr that is drawn over and over and is gone at the end; nothing where stderr is no terminal.

    Pass `update` as `on_progress` to `Recognizer.transcribe`.
    """

    def __init__(self, label: str) -> None:
        """Starts the clock."""
        # The end of a path tells files apart, and a line that wraps could not be drawn over.
        self._label = label[-LABEL_CHARS:]
        self._terminal = sys.stderr.isatty()
        self._started = time.monotonic()
        self._next_draw = self._started + PATIENCE_S
        self._drawn = False

    def update(self, done: float, total: float | None) -> None:
        """Takes how many seconds of sound are done, of how many, if known."""
        now = time.monotonic()
        if not self._terminal or now < self._next_draw:
            return
        self._next_draw = now + REFRESH_S
        self._drawn = True
        speed = f"{done / (now - self._started):.0f} x real time"
        share = f"{_bar(done / total)} {_clock(done)} of {_clock(total)}" if total else _clock(done)
        sys.stderr.write(f"\r\x1b[K{self._label} {share}, {speed}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Takes the line away."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _bar(share: float) -> str:
    filled = round(BAR_CHARS * min(share, 1.0))
    return f"[{'=' * filled}{' ' * (BAR_CHARS - filled)}] {min(share, 1.0):4.0%}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
