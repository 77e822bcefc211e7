"""Measures what each transform costs: CPU time in ms per second of sound, on one core, as a table for the docs.

python tools/measure_augmentation.py
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from edgeasr.cli.common import fail, positive
from edgeasr.config import LogMelConfig
from edgeasr.errors import EdgeAsrError, MissingDependencyError
from edgeasr.features import log_mel
from edgeasr.train.augmentation.augment import Augmentation, Room, one_transform
from edgeasr.train.augmentation.codecs import CODECS, Codec
from edgeasr.train.clips import read_audio, resample
from edgeasr.waveform import Waveform

SAMPLE_RATE = 16_000
CLIP = Path(__file__).parents[1] / "samples" / "austen-0870.flac"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, default=CLIP, help="a sound file (default: one of the samples)")
    parser.add_argument("--repeats", type=positive, default=10, metavar="N", help="how often each (default: 10)")
    args = parser.parse_args(argv)
    try:
        clip = resample(*read_audio(args.clip), SAMPLE_RATE)
        print("| transform | ms per second of sound |\n|---|---|")
        for name, augmentation in transforms().items():
            print(f"| {name} | {cost(augmentation, clip, args.repeats)} |")
        begin = time.process_time()
        for _ in range(args.repeats):
            log_mel(clip, LogMelConfig())
        print(f"| (log-mel features) | {per_second(time.process_time() - begin, clip, args.repeats):.2f} |")
    except (EdgeAsrError, OSError) as error:
        return fail(error)
    return 0


def transforms() -> dict[str, Augmentation]:
    """What is measured, by the name that it has in a recipe."""
    found: dict[str, Augmentation] = {}
    for field in fields(Augmentation):
        one = one_transform(field.name)
        if field.name == "codec":
            for codec in CODECS:
                found[f"`codec`, {codec}"] = replace(one, codec=Codec(probability=1.0, codecs=(codec,)))
        elif field.name == "room":
            found["`room`, statistical"] = one
            found["`room`, shoebox"] = replace(one, room=Room(probability=1.0, simulation="shoebox"))
        else:
            found[f"`{field.name}`"] = one
    return found


def cost(augmentation: Augmentation, clip: Waveform, repeats: int) -> str:
    """CPU time in ms per second of sound."""
    noise = [np.random.default_rng(0).standard_normal(5 * SAMPLE_RATE).astype(np.float32)]
    features = log_mel(clip, LogMelConfig())
    frames_per_s = SAMPLE_RATE / LogMelConfig().hop_length
    try:
        augmentation.waveform(clip, SAMPLE_RATE, noise, np.random.default_rng(0))
    except MissingDependencyError:
        return "not measured (not installed)"
    begin = time.process_time()
    for number in range(repeats):
        random = np.random.default_rng(number)
        augmentation.waveform(clip, SAMPLE_RATE, noise, random)
        augmentation.features(features, frames_per_s, random)
    return f"{per_second(time.process_time() - begin, clip, repeats):.2f}"


def per_second(cpu_s: float, clip: Waveform, repeats: int) -> float:
    """Of the time for so many clips, the part in ms for a second of sound."""
    return 1000 * cpu_s / repeats / (len(clip) / SAMPLE_RATE)


if __name__ == "__main__":
    sys.exit(main())
