"""`edgeasr distil`: a recipe's teacher listens to its clips, and what it says is kept for `edgeasr train`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = (
        "Let a recipe's teacher listen to all clips. What it says is kept in the cache, so that training does not run "
        "it again; interrupted, a second run goes on. `train` does the same at its start: this command is for doing it "
        "beforehand."
    )
    parser.add_argument("recipe", help="a TOML file, or the name of a recipe that ships with the package")
    parser.add_argument("--data", type=Path, help="folder of the manifests ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="the same as of train (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from edgeasr.cli.common import require_torch
    from edgeasr.cli.progress import ProgressBar

    require_torch()
    from edgeasr.train.workflow import distil, open_recipe

    recipe = open_recipe(args.recipe)
    progress = ProgressBar("teacher")
    try:
        dataset = distil(recipe, data_dir=args.data, cache_dir=args.cache, on_progress=progress.update)
    finally:
        progress.clear()
    for folder in dataset.targets.folders if dataset.targets else ():
        size = sum(path.stat().st_size for path in folder.iterdir())
        hours = dataset.durations_s.sum() / 3600
        print(f"{folder}: {len(dataset.clips)} clips, {hours:.2f} h, {size / 1e6:.1f} MB")
    if dataset.targets and recipe.losses.readings:
        print(recipe.losses.readings.sift(dataset.targets, dataset.transcribed))
    return 0
