"""Runs experiments: trains what is missing, one run after the other, and writes what was found.

    python experiments/run.py --list
    python experiments/run.py distilled
    python experiments/run.py distilled noise --scale tiny

Interrupted, the same command goes on where it stopped. What the default scale finds goes to `docs/experiments.md`, what
others find lies beside the runs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiment import FOLDER, experiment_names, find_places, read_experiment, read_scale, run
from findings import draw, section, write_section

from edgeasr.cli.common import fail
from edgeasr.errors import EdgeAsrError

PAGE = FOLDER.parent / "docs" / "experiments.md"


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments; all if none is named")
    parser.add_argument("--list", action="store_true", help="tell what there is, and what each run changes")
    parser.add_argument("--scale", default="default", help="a file in experiments/scales (%(default)s)")
    parser.add_argument("--initial", type=Path, metavar="FILE", help="a checkpoint that all arms start from")
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--work", type=Path, default=Path("runs/experiments"), help="runs go here (%(default)s)")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="the same as of train (%(default)s)")
    parser.add_argument("--threads", type=int, help="threads of torch (all cores)")
    args = parser.parse_args(argv)
    try:
        scale = read_scale(args.scale)
        chosen = [read_experiment(name) for name in args.names or experiment_names()]
        if args.list:
            for experiment in chosen:
                print(f"{experiment.name}: {experiment.title}, {len(experiment.seeds)} x {len(experiment.arms)} runs")
                print(*(f"  {arm.name}{': ' if arm.about else ''}{arm.about}" for arm in experiment.arms), sep="\n")
            return 0
        work = args.work.resolve()
        places = find_places(scale, work, args.cache, args.data)
        page = PAGE if scale.name == "default" else work / f"experiments.{scale.name}.md"
        for experiment in chosen:
            runs = run(experiment, scale, places, start=args.initial, num_threads=args.threads, on_run=print)
            charts = {}
            for number, (shown, svg) in enumerate(draw(experiment, runs).items()):
                path = page.with_suffix("") / f"{experiment.name}{f'-{number}' if number else ''}.svg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(svg, encoding="utf-8")
                charts[shown] = path.relative_to(page.parent).as_posix()
            command = f"python experiments/run.py {experiment.name}" + (
                "" if scale.name == "default" else f" --scale {scale.name}"
            )
            write_section(page, experiment.name, section(experiment, scale, runs, command, charts))
            print(f"{page}: {experiment.title}")
    except (EdgeAsrError, OSError) as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
