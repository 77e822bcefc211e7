"""Lets one hear what the augmentation of a recipe does to a clip: a file for each transform, and some with all.

    python tools/hear_augmentation.py en-small samples/austen-0870.flac -o heard
    python tools/hear_augmentation.py en-small samples/austen-0870.flac -o heard --all

Files are named `TRANSFORM-1.flac` and so on: what this transform alone makes of the clip as the recipe sets it, each
time. `all-1.flac` has all of the recipe's, with their probabilities. SpecAugment works on features and makes no sound.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import soundfile

from edgeasr.audio import AUDIO_SUFFIXES
from edgeasr.cli.common import fail, positive
from edgeasr.errors import EdgeAsrError, MissingDependencyError
from edgeasr.train.augmentation.augment import Augmentation, one_transform
from edgeasr.train.augmentation.rooms import prepare_response
from edgeasr.train.clips import read_audio, resample
from edgeasr.train.manifest import data_dir
from edgeasr.train.recipe import find_recipe, read_recipe
from edgeasr.waveform import Waveform

# More would only take time to read.
RECORDINGS = 20


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a recipe's file, or the name of one that ships with the package")
    parser.add_argument("clip", type=Path, help="a sound file")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="gets the files")
    parser.add_argument("--all", action="store_true", help="also what the recipe does not use, with its defaults")
    parser.add_argument("--count", type=positive, default=3, metavar="N", help="files of each transform (default: 3)")
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        return hear(args)
    except (EdgeAsrError, OSError) as error:
        return fail(error)


def hear(args: argparse.Namespace) -> int:
    recipe = read_recipe(find_recipe(args.recipe))
    augmentation, sample_rate = recipe.data.augmentation, recipe.frontend.sample_rate
    clip = resample(*read_audio(args.clip), sample_rate)
    data = args.data or data_dir()
    noise = recordings(data / recipe.data.noise_dir, sample_rate) if recipe.data.noise_dir else []
    rooms = recordings(data / recipe.data.room_dir, sample_rate) if recipe.data.room_dir else []
    rooms = [room for room in map(prepare_response, rooms) if room.size]
    names = [field.name for field in fields(Augmentation) if field.name != "spec_augment"]
    chosen = {
        name: one_transform(name, augmentation) for name in names if args.all or getattr(augmentation, name) is not None
    }
    args.output.mkdir(parents=True, exist_ok=True)
    soundfile.write(args.output / "clip.flac", clip, sample_rate)
    for name, transform in {**chosen, "all": augmentation}.items():
        try:
            for number in range(1, args.count + 1):
                random = np.random.default_rng([args.seed, number])
                heard = transform.waveform(clip, sample_rate, noise, random, rooms)
                soundfile.write(args.output / f"{name}-{number}.flac", np.clip(heard, -1, 1), sample_rate)
        except MissingDependencyError as error:
            print(f"{name}: left out, {error}", file=sys.stderr)
            continue
        print(f"{name}: {transform if name == 'all' else getattr(transform, name)}")
    return 0


def recordings(folder: Path, sample_rate: int) -> list[Waveform]:
    """Some of the recordings in a folder, spread evenly."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    return [resample(*read_audio(path), sample_rate) for path in paths[:: -(-len(paths) // RECORDINGS) or 1]]


if __name__ == "__main__":
    sys.exit(main())
