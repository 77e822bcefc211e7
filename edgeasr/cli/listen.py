"""`edgeasr listen`: live text from a microphone, until Ctrl-C."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import TextIO

from edgeasr.cli.common import (
    add_confidence_arguments,
    add_context_arguments,
    add_profile_argument,
    add_recognizer_arguments,
    fail,
    load_recognizer,
    positive,
)
from edgeasr.types import Partial, Word, shown

# A pause between words after which the text goes on in a new line.
LINE_PAUSE_S = 1.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument(
        "--device", metavar="NUMBER|NAME", help="the microphone, see `edgeasr devices` (default: the system's)"
    )
    parser.add_argument("--channel", type=positive, metavar="N", help="its channel N alone, counted from 1")
    add_recognizer_arguments(parser)
    add_context_arguments(parser)
    add_profile_argument(parser)
    add_confidence_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Listens until Ctrl-C."""
    import numpy as np

    from edgeasr.microphone import Microphone

    recognizer = load_recognizer(args)
    captions = LiveText(sys.stdout)
    with Microphone(args.device, channel=args.channel) as microphone:
        stream = recognizer.stream(sample_rate=microphone.sample_rate)
        print(f"Listening to {microphone.name}; Ctrl-C stops.", file=sys.stderr)
        try:
            for block in microphone.blocks():
                if isinstance(block, np.ndarray):
                    captions.show(stream.accept(block))
        except KeyboardInterrupt:
            pass
    stream.finish()
    captions.end(stream.partial)
    if microphone.num_lost:
        lost_s = microphone.num_lost / microphone.sample_rate
        return fail(f"{lost_s:.1f} s of sound were lost: this machine was too slow for the model")
    return 0


class LiveText:
    """Words as they come. On a terminal, words that may still change are shown dimmed and drawn anew each time."""

    def __init__(self, out: TextIO) -> None:
        """Writes to a terminal or a file."""
        self._out = out
        self._terminal = out.isatty()
        self._num_shown = 0
        self._column = 0
        self._last_end: float | None = None
        self._marked = False  # the last thing shown is the mark for words that are not accepted

    def show(self, partial: Partial) -> None:
        """Shows the words that have become final since the last call, and those that may still change."""
        if self._terminal:
            self._out.write("\x1b[K")
        if partial.num_committed_words > self._num_shown:
            for word in shown(partial.words[self._num_shown : partial.num_committed_words], partial.unsure_mark):
                if word.accepted or not self._marked:
                    self._write(word)
                self._marked = not word.accepted
            self._num_shown = partial.num_committed_words
        if self._terminal:
            tail = shown(partial.tentative, partial.unsure_mark)
            if self._marked and tail and not tail[0].accepted:
                del tail[0]  # the mark stands there already
            self._draw_tail(" ".join(word.text for word in tail))
        self._out.flush()

    def end(self, partial: Partial) -> None:
        """Shows the last words and ends the line."""
        self.show(partial)
        if self._column:
            self._out.write("\n")
            self._out.flush()

    def _write(self, word: Word) -> None:
        paused = self._last_end is not None and word.start - self._last_end > LINE_PAUSE_S
        if self._column and (paused or self._column + 1 + len(word.text) >= self._width()):
            self._out.write("\n")
            self._column = 0
        text = f" {word.text}" if self._column else word.text
        self._out.write(text)
        self._column += len(text)
        self._last_end = word.end

    def _draw_tail(self, text: str) -> None:
        """Draws what fits behind the cursor, dimmed, and puts the cursor back."""
        room = self._width() - self._column - 2
        if text and room > 0:
            shown = text if len(text) <= room else text[-room:]
            self._out.write(f"\x1b[2m {shown}\x1b[0m\x1b[{len(shown) + 1}D")

    def _width(self) -> int:
        return shutil.get_terminal_size().columns if self._terminal else 80
