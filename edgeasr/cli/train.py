"""`edgeasr train`: trains a student from a recipe, going on where an earlier run stopped."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = (
        "Train a student from a recipe. Interrupted at any moment, even by a power cut, a second run goes on from the "
        "last checkpoint as if nothing had happened. At the end a report is written into the run's folder."
    )
    parser.add_argument("recipe", help="a TOML file, or the name of a recipe that ships with the package")
    parser.add_argument("--run-dir", type=Path, help="checkpoints, metrics and report go here (runs/NAME)")
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
    import os

    from edgeasr.cli.common import require_torch
    from edgeasr.cli.progress import LogAbove, ProgressBar

    require_torch()
    from edgeasr.train.report import REPORT
    from edgeasr.train.workflow import open_recipe, run_folder, train

    recipe = open_recipe(args.recipe)
    progress = ProgressBar(recipe.name)
    handlers: list[logging.Handler] = [LogAbove(progress)]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers)
    try:
        train(
            recipe,
            run_dir=args.run_dir,
            data_dir=args.data,
            cache_dir=args.cache,
            num_threads=args.threads,
            initial=args.initial,
            on_progress=progress.update,
            on_step=progress.step,
        )
    finally:
        progress.clear()
    if int(os.environ.get("RANK", 0)) == 0:
        print(run_folder(recipe, args.run_dir) / REPORT)
    return 0
