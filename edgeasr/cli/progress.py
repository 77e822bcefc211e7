"""A progress bar on the terminal, for work that takes longer than a moment."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeasr.train.loop import StepReport

PATIENCE_S = 1.0
REFRESH_S = 0.2
BAR_CHARS = 24
LABEL_CHARS = 30


class ProgressBar:
    """A line on stderr that is drawn over and over and is gone at the end; nothing where stderr is no terminal.

    Pass `update` as `on_progress` to `Recognizer.transcribe`, and `step` as `on_step` to `train`.
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
        if not self._due():
            return
        speed = f"{done / (time.monotonic() - self._started):.0f} x real time"
        share = f"{_bar(done / total)} {_clock(done)} of {_clock(total)}" if total else _clock(done)
        self._draw(f"{share}, {speed}")

    def step(self, report: StepReport) -> None:
        """Takes how far a training run has come."""
        if not self._due():
            return
        left_s = (report.steps - report.step) * report.wall_s / (report.step - report.first_step)
        self._draw(
            f"{_bar(report.step / report.steps)} step {report.step} of {report.steps}, loss {report.loss:.3f}, "
            f"{report.heard_s / report.wall_s:.0f} x real time, {_clock(left_s)} left"
        )

    def _due(self) -> bool:
        return self._terminal and time.monotonic() >= self._next_draw

    def _draw(self, text: str) -> None:
        self._next_draw = time.monotonic() + REFRESH_S
        self._drawn = True
        sys.stderr.write(f"\r\x1b[K{self._label} {text}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Takes the line away."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class LogAbove(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes log lines to stderr, above a progress bar."""

    def __init__(self, progress: ProgressBar) -> None:
        """Goes with this bar."""
        super().__init__()
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line where the bar was; the bar is drawn anew below it."""
        self._progress.clear()
        super().emit(record)


def _bar(share: float) -> str:
    filled = round(BAR_CHARS * min(share, 1.0))
    return f"[{'=' * filled}{' ' * (BAR_CHARS - filled)}] {min(share, 1.0):4.0%}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
