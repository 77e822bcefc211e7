"""How `edgeasr listen` shows events: finished text scrolls; below it, on a terminal, what is being said and a status.

Where the output is no terminal, each utterance is a plain line and nothing else is written.
"""

from __future__ import annotations

import shutil
import sys
import time
import unicodedata
from typing import TextIO

from edgeasr.cli.common import printable
from edgeasr.events import Command, DeviceLost, DeviceRestored, Event, Final, Overflow, Partial, Rejected, Woken
from edgeasr.types import shown

DIM, PLAIN = "\x1b[2m", "\x1b[0m"
METER_CHARS = 8
QUIETEST_DB = -60.0
REFRESH_S = 0.1


class LiveView:
    """Shows events as they come."""

    def __init__(self, out: TextIO, notes: TextIO | None = None) -> None:
        """Writes to a terminal or a file.

        Args:
            out: Where text goes.
            notes: Where notes go if `out` is no terminal; None for stderr.
        """
        self._out = out
        self._notes = sys.stderr if notes is None else notes
        self._terminal = out.isatty()
        self._num_lines = 0  # that are drawn below the text
        self._spoken: list[tuple[str, bool]] = []  # characters, and whether they may still change
        self._status = ""
        self._next_draw = 0.0

    def show(self, event: Event) -> None:
        """Shows an event."""
        match event:
            case Partial():
                self._spoken = _characters(event)
                self._draw()
            case Final():
                self._end_with(event.text)
            case Command():
                slots = "".join(f" {name}={value}" for name, value in event.slots.items())
                self._end_with(f"{event.text} [{event.intent}{slots}]")
            case Rejected():
                self._end_with("")
            case Woken():
                self.note(f"{event.phrase}: listening")
            case Overflow():
                self.note(f"{event.lost_s:.1f} s of sound were lost: this machine is too slow or too busy")
            case DeviceLost():
                self.note(event.message)
            case DeviceRestored():
                self.note(f"{event.name} is back after {event.lost_s:.0f} s")

    def note(self, text: str) -> None:
        """Tells of something that is not speech."""
        if not self._terminal:
            self._notes.write(f"edgeasr: {printable(text)}\n")
            self._notes.flush()
            return
        self._clear()
        lines = _wrapped(printable(text), shutil.get_terminal_size().columns)
        self._out.write(DIM + "".join(f"{line}\n" for line in lines) + PLAIN)
        self._draw()

    def status(self, level_dbfs: float, real_time_factor: float, heard_s: float) -> None:
        """Shows how loud it is, how busy the machine is, and for how long one has listened."""
        now = time.monotonic()
        if not self._terminal or now < self._next_draw:
            return
        self._next_draw = now + REFRESH_S
        filled = round(METER_CHARS * min(1.0, max(0.0, 1 - level_dbfs / QUIETEST_DB)))
        meter = f"[{'#' * filled}{' ' * (METER_CHARS - filled)}]"
        minutes, seconds = divmod(int(heard_s), 60)
        clock = f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
        self._status = f"{meter} {max(level_dbfs, -99.0):3.0f} dB  RTF {real_time_factor:.3f}  {clock}"
        self._draw()

    def close(self) -> None:
        """Takes away what is not finished text."""
        self._spoken, self._status = [], ""
        self._draw()

    def _end_with(self, text: str) -> None:
        """An utterance has ended with a text; nothing is shown of an empty one."""
        self._spoken = []
        self._clear()
        if text:
            lines = (
                _wrapped(printable(text), shutil.get_terminal_size().columns) if self._terminal else [printable(text)]
            )
            self._out.write("".join(f"{line}\n" for line in lines))
        self._draw()

    def _draw(self) -> None:
        if self._terminal:
            self._clear()
            width = shutil.get_terminal_size().columns - 1
            lines = [_styled(_last(self._spoken, width))] if self._spoken else []
            if self._status:
                lines.append(f"{DIM}{self._status[:width]}{PLAIN}")
            self._out.write("\n".join(lines))
            self._num_lines = len(lines)
        self._out.flush()

    def _clear(self) -> None:
        """Takes the lines below the text away."""
        if self._num_lines:
            up = f"\x1b[{self._num_lines - 1}A" if self._num_lines > 1 else ""
            self._out.write(f"\r{up}\x1b[J")
            self._num_lines = 0


def _characters(partial: Partial) -> list[tuple[str, bool]]:
    """The text of a partial result, by character: and whether it may still change."""
    committed = shown(partial.committed, partial.unsure_mark)
    tentative = shown(partial.tentative, partial.unsure_mark)
    if committed and tentative and not committed[-1].accepted and not tentative[0].accepted:
        del tentative[0]  # the mark stands there already
    characters: list[tuple[str, bool]] = []
    for words, may_change in ((committed, False), (tentative, True)):
        for word in words:
            text = printable(word.text)
            characters += [(character, may_change) for character in (f" {text}" if characters else text)]
    return characters


def _last(characters: list[tuple[str, bool]], width: int) -> list[tuple[str, bool]]:
    """As many of the last characters as fit into a line, behind an ellipsis if they are not all."""
    if sum(_width(character) for character, _ in characters) <= width:
        return characters
    room = width - 1
    begin = len(characters)
    while begin and (room := room - _width(characters[begin - 1][0])) >= 0:
        begin -= 1
    return [("…", True), *characters[begin:]]


def _wrapped(text: str, width: int) -> list[str]:
    """Lines that break between words, where they can."""
    lines: list[str] = []
    used = 0
    for word in text.split(" "):
        cells = sum(map(_width, word))
        if lines and used + 1 + cells <= width:
            lines[-1] += f" {word}"
            used += 1 + cells
        else:
            lines.append(word)
            used = cells
    return lines


def _styled(characters: list[tuple[str, bool]]) -> str:
    text, dim = "", False
    for character, tentative in characters:
        if tentative != dim:
            text += DIM if tentative else PLAIN
            dim = tentative
        text += character
    return text + (PLAIN if dim else "")


def _width(character: str) -> int:
    """Columns that a terminal gives a character."""
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
