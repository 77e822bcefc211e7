"""The report of a run: a page with its curves, error rates, confusions and cost, made of the run's files.

It does not need the data, and may be written while the run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edgeasr.train.evaluation.charts import COLOURS, Curve, curves
from edgeasr.train.evaluation.evaluate import SystemResult
from edgeasr.train.evaluation.evaluation_report import Evaluation
from edgeasr.train.evaluation.page import Section, write_page
from edgeasr.train.evaluation.tables import Table
from edgeasr.train.run_log import UNREADABLE, Measured, read_metrics, read_recipe_table, read_results, read_sessions

REPORT = "report.html"
NOT_MEASURED = "not measured"
# Points of a curve; more would not be seen.
MOST_POINTS = 300
MOST_CONFUSIONS = 20
MOST_UNREADABLE = 50

T = TypeVar("T")


def write_report(run_dir: Path, path: Path | None = None) -> Path:
    """Writes the report of a run, also of one that is still going or was interrupted.

    Args:
        run_dir: The run's folder.
        path: The page, `.html` or `.md`; None for `report.html` in the run's folder.

    Returns:
        Where it is.

    Raises:
        ConfigError: There is no run in the folder, or the page's name has another ending.
    """
    recipe = read_recipe_table(run_dir)
    metrics, sessions, measured = read_metrics(run_dir), read_sessions(run_dir), read_results(run_dir)
    step, steps = int(metrics[-1]["step"]) if metrics else 0, recipe["optimizer"]["steps"]
    state = "finished" if step >= steps else "not finished"
    sections = [
        Section(
            heading="Curves",
            text=f"Step {step:,} of {steps:,}: {state}. {recipe['release']['description']}",
            pictures=metric_charts(metrics),
        ),
        development_section(recipe["name"], measured),
        cost_section(sessions),
        *unreadable_sections(run_dir),
        Section(heading="Recipe", tables=[("", [("key", "value"), *flattened(recipe)])]),
    ]
    page = run_dir / REPORT if path is None else path
    write_page(page, f"{recipe['name']}, a training run", sections)
    return page


def metric_charts(metrics: Sequence[dict[str, float]]) -> list[tuple[str, str]]:
    """The curves of all metrics over the steps: names and SVG."""
    charts: list[tuple[str, str]] = []

    def chart(name: str, title: str, y_label: str, named: Sequence[tuple[str, str]]) -> None:
        # A chart holds as many curves as there are colours.
        for number, part in enumerate(pieces(named, len(COLOURS))):
            shown = [Curve(name=label, points=points_of(metrics, key)) for key, label in part]
            if any(curve.points for curve in shown):
                svg = curves(title, "step", y_label, [curve for curve in shown if curve.points])
                charts.append((f"{name}-{number + 1}" if number else name, svg))

    keys = list(dict.fromkeys(key for line in metrics for key in line))
    beside = [key for key in keys if key.endswith("_loss") and key != "side_loss"]
    chart("loss", "Loss on the transcripts", "CTC per token", [("loss", "last block"), ("side_loss", "inner block")])
    chart("losses", "Losses beside it", "before weighting", [(key, key.removesuffix("_loss")) for key in beside])
    for rate, what in (("cer", "Character error rate"), ("wer", "Word error rate")):
        sets = [key for key in keys if key.startswith(f"{rate} ")]
        chart(rate, f"{what} on the way", "%", [(key, key.removeprefix(f"{rate} ")) for key in sets])
    chart("rate", "Learning rate", "rate x 1000", [("rate", "learning rate")])
    chart("norm", "Norm of the gradient", "before clipping", [("norm", "norm")])
    chart("speed", "Speed", "seconds of sound per second", [("speed", "speed")])
    return charts


def points_of(metrics: Sequence[dict[str, float]], key: str) -> list[tuple[float, float]]:
    """A metric over the steps; where there are too many points, means of neighbours."""
    scale = 1000 if key == "rate" else 1
    points = [(line["step"], scale * line[key]) for line in metrics if key in line]
    size = -(-len(points) // MOST_POINTS) or 1
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in pieces(points, size)]


def pieces(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Items in pieces of so many; the last piece may be smaller."""
    return (items[begin : begin + size] for begin in range(0, len(items), size))


def development_section(name: str, measured: Measured | None) -> Section:
    """Error rates by set and group of speakers, and what is taken for what."""
    heading = "Development sets"
    if measured is None:
        return Section(heading=heading, text="Nothing has been measured yet.")
    which = "all clips of the sets" if measured.whole else "some clips of each set, as on the way"
    evaluation = Evaluation([SystemResult(name=name, results=measured.results)])
    return Section(
        heading=heading,
        text=f"After step {measured.step:,}, {which}; averaged weights in float, greedy, without a language model. "
        "Intervals are 95 %, by a bootstrap that draws each utterance anew.",
        tables=[
            ("", evaluation.rate_table(0, ("gender", "age"))),
            ("Speakers that are understood best and worst:", evaluation.speaker_table(0)),
            *evaluation.confusion_tables(0, MOST_CONFUSIONS),
        ],
    )


def cost_section(sessions: Sequence[dict[str, Any]]) -> Section:
    """What the run has cost, all sessions together and one by one."""
    if not sessions:
        return Section(heading="Cost", text=f"Time, CPU time and energy are {NOT_MEASURED}.")
    remarks = [
        "Of training, with the preparation of clips, the teacher's listening and evaluation on the way. What was lost "
        "by interruptions counts, too, up to the last line of metrics."
    ]
    if first := sessions[0]["first_step"]:
        remarks.append(f"What the {first:,} steps before the first session have cost is not known.")
    if meters := sorted({meter for session in sessions for meter in session["energy_meters"]}):
        remarks.append(f"Energy is that of the whole machine, measured by {', '.join(meters)}.")
    metered = [session["energy_j"] for session in sessions if session["energy_j"] is not None]
    energy = energy_text(sum(metered) if metered else None)
    if metered and len(metered) < len(sessions):
        energy += f" (in {len(metered)} of {len(sessions)} sessions)"
    total = (
        "together",
        "",
        "",
        f"{sum(session['heard_s'] for session in sessions) / 3600:.2f}",
        time_text(sum(session["wall_s"] for session in sessions)),
        time_text(sum(session["cpu_s"] for session in sessions)),
        energy,
    )
    table: Table = [("session", "steps", "processes", "speech heard, h", "time", "CPU time", "energy"), total]
    for session in sessions:
        table.append(
            (
                session["started"],
                f"{session['first_step']} to {session['last_step']}",
                str(session["processes"]),
                f"{session['heard_s'] / 3600:.2f}",
                time_text(session["wall_s"]),
                time_text(session["cpu_s"]),
                energy_text(session["energy_j"]),
            )
        )
    return Section(heading="Cost", text=" ".join(remarks), tables=[("", table)])


def time_text(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def energy_text(joules: float | None) -> str:
    """Energy in watt-hours."""
    return NOT_MEASURED if joules is None else f"{joules / 3600:.1f} Wh"


def unreadable_sections(run_dir: Path) -> list[Section]:
    """The sound files that were left out, if there are any."""
    path = run_dir / UNREADABLE
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    shown: Table = [("file", "reason"), *((row["audio"], row["reason"]) for row in rows[:MOST_UNREADABLE])]
    return [
        Section(
            heading="Sound files that cannot be read",
            text=f"{len(rows)} were left out; `{UNREADABLE}` has them all.",
            tables=[("", shown)],
        )
    ]


def flattened(recipe: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, str]]:
    """The keys of a recipe with their values, one by one."""
    for key, value in recipe.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", json.dumps(value, ensure_ascii=False)
