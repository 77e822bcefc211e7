"""Two sources of sound at once in one asyncio program, with one recogniser between them.

python two_streams.py left.wav right.wav
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from edgeasr import Recognizer
from edgeasr.audio import open_audio
from edgeasr.events import Final


async def follow(name: str, recognizer: Recognizer) -> int:
    """Prints what is said in a file; returns how many utterances there were."""
    num_utterances = 0
    with open_audio(name, 16000) as source:
        async for event in recognizer.listen(source):
            if isinstance(event, Final):
                print(f"{name} {event.start:7.2f} {event.text}", flush=True)
                num_utterances += 1
    return num_utterances


async def follow_all(names: Sequence[str]) -> None:
    recognizer = Recognizer()  # immutable: the streams share it
    counts = await asyncio.gather(*(follow(name, recognizer) for name in names))
    print(f"{sum(counts)} utterances from {len(names)} sources")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Several sources of sound at once.")
    parser.add_argument("files", nargs="+", help="sound files")
    asyncio.run(follow_all(parser.parse_args(argv).files))


if __name__ == "__main__":
    main()
