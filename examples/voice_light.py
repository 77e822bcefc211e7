"""A light that listens: "turn on the light", "switch the light off". For a Raspberry Pi with an LED at GPIO 17.

pip install edgeasr gpiozero lgpio
python voice_light.py
python voice_light.py --pin 27 --sound recording.wav   # from a file instead of the microphone
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from gpiozero import LED

from edgeasr import Recognizer
from edgeasr.audio import open_audio
from edgeasr.events import Command
from edgeasr.grammar import Grammar
from edgeasr.microphone import Microphone

GRAMMAR = """
intent light:
  state = on
  [please] (turn|switch) on the light [please]
  [please] (turn|switch) the light on [please]
  light on

intent light:
  state = off
  [please] (turn|switch) off the light [please]
  [please] (turn|switch) the light off [please]
  light off
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A light that listens.")
    parser.add_argument("--pin", type=int, default=17, help="GPIO of the light (default: 17)")
    parser.add_argument("--sound", help="a sound file instead of the microphone")
    parser.add_argument("--grammar", type=Path, help="other sentences; their slot `state` is on or off")
    args = parser.parse_args(argv)
    grammar = Grammar.from_text(GRAMMAR) if args.grammar is None else Grammar.from_file(args.grammar)
    recognizer = Recognizer()
    with LED(args.pin) as light, open_audio(args.sound, 16000) if args.sound else Microphone() as source:
        for event in recognizer.listen(source, grammar=grammar):
            if isinstance(event, Command):
                light.value = event.slots["state"] == "on"
                print(f"{event.text}: the light is {'on' if light.value else 'off'}", flush=True)


if __name__ == "__main__":
    main()
