"""`edgeasr train`: trains a student from a recipe, going on where an earlier run stopped."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("recipe", help="a TOML file, or the name of a recipe that ships with the package")
    parser.add_argument("--run-dir", type=Path, help="checkpoints and metrics go here (runs/NAME)")
    parser.add_argument("--data", type=Path, help="folder of the manifests ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument(
        "--cache", type=Path, default=Path("cache"), help="decoded clips and what teachers say go here (%(default)s)"
    )
    parser.add_argument(
        "--initial", type=Path, metavar="FILE", help="a new run starts from the averaged weights of this checkpoint"
    )
    parser.add_argument("--threads", type=int, help="threads of torch (all cores)")


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    import logging

    from edgeasr.cli.common import require_torch
    from edgeasr.cli.progress import ProgressBar

    require_torch()
    from edgeasr.train.loop import train
    from edgeasr.train.manifest import data_dir
    from edgeasr.train.recipe import find_recipe, read_recipe

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    recipe = read_recipe(find_recipe(args.recipe))
    progress = ProgressBar("teacher")

    def on_progress(done_s: float, total_s: float) -> None:
        progress.update(done_s, total_s)
        if done_s >= total_s:
            progress.clear()

    train(
        recipe,
        run_dir=args.run_dir or Path("runs") / recipe.name,
        data_dir=args.data or data_dir(),
        cache_dir=args.cache,
        num_threads=args.threads,
        initial=args.initial,
        on_progress=on_progress,
    )
    return 0
