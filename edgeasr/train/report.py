"""The report of a run: a page of HTML with its curves, error rates, confusions and cost, made of the run's files.

It needs neither torch nor the data, and may be written while the run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, TypeVar

from edgeasr.errors import ConfigError
from edgeasr.files import write_whole
from edgeasr.train.bootstrap import Interval
from edgeasr.train.charts import COLOURS, Curve, curves
from edgeasr.train.confusions import confusions
from edgeasr.train.evaluate import Result, Row, summarise
from edgeasr.train.run_log import (
    RECIPE,
    UNREADABLE,
    Measured,
    read_metrics,
    read_results,
    read_sessions,
)

REPORT = "report.html"
NOT_MEASURED = "not measured"
# Points of a curve; more would not be seen.
MOST_POINTS = 300
MOST_CONFUSIONS = 20
MOST_UNREADABLE = 50

STYLE = """
body { font-family: sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: 0.2em 0.8em; border-bottom: 1px solid #ddd; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.charts, .tables { display: flex; flex-wrap: wrap; gap: 1em 3em; align-items: flex-start; }
pre { overflow-x: auto; background: #f6f6f6; padding: 1em; }
"""

T = TypeVar("T")
Cell = str | int | float


def write_report(run_dir: Path, path: Path | None = None) -> Path:
    """Writes the report of a run, also of one that is still going or was interrupted.

    Args:
        run_dir: The run's folder.
        path: The page; None for `report.html` in the run's folder.

    Returns:
        Where it is.

    Raises:
        ConfigError: There is no run in the folder.
    """
    if not (run_dir / RECIPE).is_file():
        raise ConfigError(f"no run in {run_dir}: it has no {RECIPE}")
    recipe = json.loads((run_dir / RECIPE).read_text(encoding="utf-8"))
    metrics, sessions, measured = read_metrics(run_dir), read_sessions(run_dir), read_results(run_dir)
    step, steps = int(metrics[-1]["step"]) if metrics else 0, recipe["optimizer"]["steps"]
    state = "finished" if step >= steps else "not finished"
    body = [
        f"<h1>{escape(recipe['name'])}</h1>",
        f"<p>Step {step:,} of {steps:,}: {state}. {escape(recipe['release']['description'])}</p>",
        "<h2>Curves</h2>",
        '<div class="charts">',
        *metric_charts(metrics),
        "</div>",
        "<h2>Development sets</h2>",
        *(development_part(measured) if measured else ["<p>Nothing has been measured yet.</p>"]),
        "<h2>Cost</h2>",
        *cost_part(sessions),
        *unreadable_part(run_dir),
        "<h2>Recipe</h2>",
        f"<pre>{escape(json.dumps(recipe, ensure_ascii=False, indent=1))}</pre>",
    ]
    title = escape(f"{recipe['name']}, step {step}")
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    page = run_dir / REPORT if path is None else path
    opening = f'<!doctype html><html lang="en"><head>{head}</head><body>'
    write_whole(page, "\n".join([opening, *body, "</body></html>\n"]))
    return page


def metric_charts(metrics: Sequence[dict[str, float]]) -> list[str]:
    """The curves of all metrics over the steps, as SVG."""
    charts = []

    def chart(title: str, y_label: str, named: Sequence[tuple[str, str]]) -> None:
        # A chart holds as many curves as there are colours.
        for part in pieces(named, len(COLOURS)):
            shown = [Curve(name=name, points=points_of(metrics, key)) for key, name in part]
            if any(curve.points for curve in shown):
                charts.append(curves(title, "step", y_label, [curve for curve in shown if curve.points]))

    keys = list(dict.fromkeys(key for line in metrics for key in line))
    chart("Loss on the transcripts", "CTC, nats per token", [("loss", "last block"), ("side_loss", "inner block")])
    beside = [key for key in keys if key.endswith("_loss") and key != "side_loss"]
    chart("Losses beside it", "before weighting", [(key, key.removesuffix("_loss")) for key in beside])
    for rate, name in (("cer", "Character error rate"), ("wer", "Word error rate")):
        found = [key for key in keys if key.startswith(f"{rate} ")]
        chart(f"{name} on the way", "%", [(key, key.removeprefix(f"{rate} ")) for key in found])
    chart("Learning rate", "rate x 1000", [("rate", "learning rate")])
    chart("Norm of the gradient", "before clipping", [("norm", "norm")])
    chart("Speed", "seconds of sound heard per second", [("speed", "speed")])
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


def development_part(measured: Measured) -> list[str]:
    """Error rates by set and group of speakers, and what is taken for what."""
    which = "all clips of the sets" if measured.whole else "some clips of each set, as on the way"
    parts = [
        f"<p>After step {measured.step:,}, {which}; averaged weights in float, greedy, without a language model. "
        "Intervals: 95 %, bootstrap by utterance.</p>"
    ]
    rows = summarise(measured.results, groupings=("gender", "age"))
    parts.append(rates_table(["set"], [([row.set_name], row) for row in rows if not row.grouping]))
    groups = [([row.set_name, f"{row.grouping} {row.group}"], row) for row in rows if row.grouping]
    if groups:
        parts += ["<h3>By group of speakers</h3>", rates_table(["set", "group"], groups)]
    return [*parts, *confusion_part(measured.results)]


def rates_table(head: Sequence[str], rows: Iterable[tuple[Sequence[str], Row]]) -> str:
    """A table of error rates."""
    return table(
        [*head, "clips", "speakers", "minutes", "WER %", "95 %", "CER %", "95 %"],
        [
            [*names, row.utterances, row.speakers, f"{row.audio_s / 60:.1f}", *percent(row.wer), *percent(row.cer)]
            for names, row in rows
        ],
    )


def percent(interval: Interval) -> tuple[str, str]:
    """A rate in percent, and its interval."""
    if interval.low is None or interval.high is None:
        return f"{100 * interval.value:.1f}", ""
    return f"{100 * interval.value:.1f}", f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def confusion_part(results: Sequence[Result]) -> list[str]:
    """The most frequent confusions of words and of characters."""
    parts = []
    for unit in ("word", "character"):
        found = confusions(results, unit=unit, most=MOST_CONFUSIONS)
        parts += [
            f"<h3>Confusions of {unit}s</h3>",
            '<div class="tables">',
            table(
                ["said", "recognised", "times", "of"],
                [[seen(a), seen(b), count, said] for a, b, count, said in found.substitutions],
            ),
            table(["missing", "times", "of"], [[seen(a), count, said] for a, count, said in found.deletions]),
            table(["added", "times"], [[seen(a), count] for a, count in found.insertions]),
            "</div>",
        ]
    return parts


def seen(text: str) -> str:
    """A word or a character; a space gets a name."""
    return "(space)" if text == " " else text


def cost_part(sessions: Sequence[dict[str, Any]]) -> list[str]:
    """What the run has cost, all sessions together and one by one."""
    if not sessions:
        return [f"<p>{NOT_MEASURED}</p>"]
    metered = [session["energy_j"] for session in sessions if session["energy_j"] is not None]
    energy = energy_text(sum(metered) if metered else None)
    if metered and len(metered) < len(sessions):
        energy += f" (in {len(metered)} of {len(sessions)} sessions)"
    first = sessions[0]["first_step"]
    meters = sorted({meter for session in sessions for meter in session["energy_meters"]})
    remarks = [
        "Of training, with the preparation of clips, the teacher's listening and evaluation on the way. What was lost "
        "by interruptions counts, too, up to the last line of metrics."
    ]
    if first:
        remarks.append(f"What the {first:,} steps before the first session have cost is not known.")
    if meters:
        remarks.append(f"Energy is that of the whole machine, measured by {escape(', '.join(meters))}.")
    return [
        table(
            ["", ""],
            [
                ["speech heard", f"{sum(s['heard_s'] for s in sessions) / 3600:.2f} h, repetitions included"],
                ["time", time_text(sum(session["wall_s"] for session in sessions))],
                ["CPU time", time_text(sum(session["cpu_s"] for session in sessions))],
                ["energy", energy],
            ],
        ),
        f"<p>{' '.join(remarks)}</p>",
        table(
            ["session", "steps", "processes", "speech, h", "time", "CPU time", "energy"],
            [
                [
                    session["started"],
                    f"{session['first_step']} to {session['last_step']}",
                    session["processes"],
                    f"{session['heard_s'] / 3600:.2f}",
                    time_text(session["wall_s"]),
                    time_text(session["cpu_s"]),
                    energy_text(session["energy_j"]),
                ]
                for session in sessions
            ],
        ),
    ]


def time_text(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def energy_text(joules: float | None) -> str:
    """Energy in watt-hours."""
    return NOT_MEASURED if joules is None else f"{joules / 3600:.1f} Wh"


def unreadable_part(run_dir: Path) -> list[str]:
    """The clips that were left out, if there are any."""
    path = run_dir / UNREADABLE
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    more = f"<p>{len(rows)} clips, all of them in {UNREADABLE}.</p>"
    shown = [[row["id"], row["audio"], row["reason"]] for row in rows[:MOST_UNREADABLE]]
    return ["<h2>Clips that cannot be read</h2>", more, table(["clip", "file", "reason"], shown)]


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table; whatever begins with a digit stands right."""
    lines = ["<table>"]
    if any(head):
        lines.append(f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>")
    for row in rows:
        numeric = [str(cell)[:1].isdigit() for cell in row]
        opening = ['<td class="number">' if number else "<td>" for number in numeric]
        cells = [f"{tag}{escape(str(cell))}</td>" for tag, cell in zip(opening, row, strict=True)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</table>"])
