"""`edgeasr export`: writes the bundle of a trained student."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("recipe", help="the recipe that the student was trained with: a file or a shipped name")
    parser.add_argument("--run-dir", type=Path, help="where the checkpoint is (runs/NAME)")
    parser.add_argument("-o", "--output", type=Path, help="the bundle's folder (bundle in the run's folder)")
    parser.add_argument(
        "--precision", choices=("int8", "float32"), default="int8", help="of the matrices (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from edgeasr.cli.common import require_torch

    require_torch()
    from edgeasr.train.workflow import export

    bundle = export(args.recipe, args.output, run_dir=args.run_dir, precision=args.precision)
    size = sum(file.bytes for file in bundle.files.values())
    print(f"{bundle.path}: {bundle.name} after {bundle.card['updates']} updates, {args.precision}, {size / 1e6:.2f} MB")
    return 0
