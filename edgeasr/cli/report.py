"""`edgeasr report`: a page with the curves, error rates and cost of a run."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = (
        "Write a page about a run of `edgeasr train`: curves, error rates by set and by group of speakers, "
        "confusions, and what it has cost. `train` writes it at its end; this command does while a run still goes on."
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN", help="the run's folder, such as runs/NAME")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the page, .html or .md (default: report.html in the folder)"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from edgeasr.train.report import write_report

    print(write_report(args.run_dir, args.output))
    return 0
