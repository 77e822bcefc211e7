"""Live captions on the last lines of a terminal: the newest text below, what may still change dimmed.

python captions.py --lines 4
"""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Sequence

from edgeasr import Recognizer
from edgeasr.audio import open_audio
from edgeasr.events import Final, Partial, Rejected
from edgeasr.microphone import Microphone


class Captions:
    """A window of a few lines that is drawn over and over."""

    def __init__(self, num_lines: int) -> None:
        self._num_lines = num_lines
        self._said = ""
        self._drawn = 0

    def show(self, text: str, *, final: bool) -> None:
        width = shutil.get_terminal_size().columns - 1
        lines = textwrap.wrap(f"{self._said} {text}".strip(), width)[-self._num_lines :]
        if final:
            self._said = f"{self._said} {text}".strip()[-width * self._num_lines :]
        if self._drawn:
            sys.stdout.write(f"\x1b[{self._drawn}A\r\x1b[J")
        dim, normal = ("", "") if final else ("\x1b[2m", "\x1b[0m")
        sys.stdout.write("".join(f"{dim}{line}{normal}\n" for line in lines))
        sys.stdout.flush()
        self._drawn = len(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Live captions.")
    parser.add_argument("--lines", type=int, default=3, help="height of the captions (default: 3)")
    parser.add_argument("--sound", help="a sound file instead of the microphone")
    args = parser.parse_args(argv)
    recognizer = Recognizer()
    captions = Captions(args.lines)
    with open_audio(args.sound, 16000) if args.sound else Microphone() as source:
        for event in recognizer.listen(source):
            if isinstance(event, Partial):
                captions.show(event.text, final=False)
            elif isinstance(event, Final):
                captions.show(event.text, final=True)
            elif isinstance(event, Rejected):
                captions.show("", final=True)


if __name__ == "__main__":
    main()
