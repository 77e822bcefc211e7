"""Dictation into a file: each utterance becomes a line, as soon as it has ended.

python dictate.py notes.txt
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from edgeasr import Recognizer
from edgeasr.audio import open_audio
from edgeasr.events import Final
from edgeasr.microphone import Microphone


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Dictation into a file.")
    parser.add_argument("file", type=Path, help="the text is added at its end")
    parser.add_argument("--times", action="store_true", help="begin each line with the time of day")
    parser.add_argument("--sound", help="a sound file instead of the microphone")
    args = parser.parse_args(argv)
    recognizer = Recognizer()
    with (
        args.file.open("a", encoding="utf-8", buffering=1) as file,
        open_audio(args.sound, 16000) if args.sound else Microphone() as source,
    ):
        for event in recognizer.listen(source):
            if isinstance(event, Final):
                stamp = f"{datetime.now():%H:%M:%S} " if args.times else ""
                file.write(f"{stamp}{event.text}\n")


if __name__ == "__main__":
    main()
