"""A timer by voice: "set a timer for ten minutes", "stop the timer". It rings in the terminal.

python voice_timer.py
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence
from pathlib import Path

from edgeasr import Recognizer
from edgeasr.audio import open_audio
from edgeasr.events import Command
from edgeasr.grammar import Grammar
from edgeasr.microphone import Microphone

GRAMMAR = """
intent start:
  (set|start) [a|the] timer for {number} {unit}
  {number} {unit} timer
  (wake|call) me in {number} {unit}

intent stop:
  (stop|cancel) [the] timer

range number: 1 to 90

list unit:
  second[s] -> 1
  minute[s] -> 60
"""


class Timer:
    """Rings once, unless it is stopped or set anew."""

    def __init__(self) -> None:
        self._waiting: threading.Timer | None = None

    def start(self, seconds: float) -> None:
        self.stop()
        self._waiting = threading.Timer(seconds, print, ["\aThe time is up."], {"flush": True})
        self._waiting.daemon = True
        self._waiting.start()

    def stop(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    def wait(self) -> None:
        if self._waiting is not None:
            self._waiting.join()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A timer by voice.")
    parser.add_argument("--sound", help="a sound file instead of the microphone")
    parser.add_argument("--grammar", type=Path, help="other sentences, with the slots `number` and `unit`")
    args = parser.parse_args(argv)
    grammar = Grammar.from_text(GRAMMAR) if args.grammar is None else Grammar.from_file(args.grammar)
    recognizer = Recognizer()
    timer = Timer()
    with open_audio(args.sound, 16000) if args.sound else Microphone() as source:
        for event in recognizer.listen(source, grammar=grammar):
            if not isinstance(event, Command):
                continue
            if event.intent == "start":
                seconds = float(event.slots["number"]) * float(event.slots["unit"])
                timer.start(seconds)
                print(f"{seconds:g} seconds from now.", flush=True)
            else:
                timer.stop()
                print("The timer is off.", flush=True)
    timer.wait()


if __name__ == "__main__":
    main()
