"""What experiments have found: paired comparisons, tables and charts, as sections of a page that are written anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from experiment import Arm, Experiment, Run, Scale

from edgeasr.train.evaluation.bootstrap import FloatArray, Interval, p_value, relative_change, resampled_sums
from edgeasr.train.evaluation.charts import Curve, bars, curves
from edgeasr.train.evaluation.conditions import CLEAN, Condition

SIGNIFICANT = 0.05
POOLED = "all sets"
HEAD = """# Experiments

Students of one size, trained one after another from one start, that differ in a few settings of their recipes. Each
section is written by the command in it, and tells what came out, whatever that is. `experiments/README.md` tells how it
is done.

Word error rates are greedy, without a language model, and means over the seeds; in brackets the smallest and the
largest. Intervals (95 %) and p values are those of a paired bootstrap over clips, those of each set by themselves, the
sets pooled; a p value is that of one comparison, not of all in a table.
"""


@dataclass(frozen=True, kw_only=True)
class Change:
    """An arm compared with its base, clip by clip, over the seeds that both have.

    Attributes:
        relative: Word error rate over that of the base, minus one; None where the base has no errors.
        p: Two-sided; None where there is nothing to draw from.
        worse: The sets in which the arm has more errors.
    """

    relative: Interval | None
    p: float | None
    worse: tuple[str, ...]


def rate(runs: Sequence[Run], condition: str, set_name: str = POOLED) -> float:
    """The word error rate of runs together."""
    clips = [
        clip
        for run in runs
        for clip in run.clips
        if clip.condition == condition and set_name in (POOLED, clip.set_name)
    ]
    return sum(clip.errors for clip in clips) / max(1, sum(clip.words for clip in clips))


def interval(runs: Sequence[Run], condition: str) -> Interval:
    """The word error rate of runs together, and how far it would wander with other clips."""
    sums = resampled_sums(_strata([runs], condition))
    return Interval.of(rate(runs, condition), None if sums is None else sums[:, 0] / np.maximum(sums[:, 1], 1))


def compare(ours: Sequence[Run], theirs: Sequence[Run], condition: str) -> Change:
    """Compares an arm with its base."""
    seeds = {run.seed for run in ours} & {run.seed for run in theirs}
    pair = [[run for run in runs if run.seed in seeds] for runs in (ours, theirs)]
    strata = _strata(pair, condition)
    sums = resampled_sums(strata)
    differing = sum(int(np.count_nonzero(units[:, 0] != units[:, 2])) for units in strata)
    rates = [rate(runs, condition) for runs in pair]
    both = None if sums is None else np.stack([sums[:, 0] / sums[:, 1], sums[:, 2] / sums[:, 3]], 1)
    return Change(
        relative=relative_change(rates[0], rates[1], both),
        p=None if both is None else p_value(both[:, 0] - both[:, 1], differing),
        worse=tuple(
            name
            for name in _sets(ours)
            if rate(pair[0], condition, name) > rate(pair[1], condition, name) and rates[0] < rates[1]
        ),
    )


def section(experiment: Experiment, scale: Scale, runs: Sequence[Run], command: str, charts: Mapping[str, str]) -> str:
    """What an experiment has found, in Markdown.

    Args:
        experiment: What was done.
        scale: How big.
        runs: All its runs.
        command: Which makes it again.
        charts: Paths of the charts, as the page sees them, by what they show.
    """
    by_arm = {arm.name: [run for run in runs if run.arm == arm.name] for arm in experiment.arms}
    first = _name(experiment.conditions[0])
    parts = [f"## {experiment.title}", experiment.question.strip(), f"```sh\n{command}\n```"]
    rows = [["", *_sets(runs), POOLED, "against", "hours heard", "minutes"]]
    for arm in experiment.arms:
        mine = by_arm[arm.name]
        base = experiment.base_of(arm)
        rows.append(
            [
                arm.name + (f": {arm.about}" if arm.about else ""),
                *(_spread(mine, first, name) for name in _sets(runs)),
                _spread(mine, first, POOLED),
                f"{base.name}: {_told(compare(mine, by_arm[base.name], first))}" if base else "",
                f"{sum(run.heard_h for run in mine) / len(mine):.1f}",
                f"{sum(run.wall_s for run in mine) / len(mine) / 60:.1f}",
            ]
        )
    parts += ["Word error rates in %" + ("" if first == CLEAN else f", {first}") + ":", _table(rows)]
    if len(experiment.conditions) > 1:
        names = [_name(condition) for condition in experiment.conditions]
        rows = [["all sets, %", *names]]
        for arm in experiment.arms:
            rows.append([arm.name, *(_spread(by_arm[arm.name], name, POOLED) for name in names)])
            base = experiment.base_of(arm)
            if base:
                changes = [_told(compare(by_arm[arm.name], by_arm[base.name], name)) for name in names]
                rows.append([f"… against {base.name}", *changes])
        parts.append(_table(rows))
    parts += [f"![{shown}]({path})" for shown, path in charts.items()]
    verdicts = [_verdict(arm, base, by_arm, first) for arm in experiment.arms if (base := experiment.base_of(arm))]
    parts.append("\n".join(f"- {verdict}" for verdict in verdicts))
    listening = sum(run.prepare_s for run in runs) / 60
    seeds = len({run.seed for run in runs})
    counts = sorted({run.updates for run in runs})
    updates = " or ".join(f"{count:,}" for count in counts)
    parts.append(
        f"{len(runs)} runs of {updates} updates from one start, scale `{scale.name}`, "
        f"{seeds} seed{'s' if seeds > 1 else ''}. Hours and minutes, on the clock, are those of a run. Before it "
        f"clips are decoded and the teacher listens, once: {listening:.1f} minutes for all runs together."
    )
    return "\n\n".join(parts) + "\n"


def draw(experiment: Experiment, runs: Sequence[Run]) -> dict[str, str]:
    """The charts of an experiment as SVG, by what they show."""
    by_arm = {arm.name: [run for run in runs if run.arm == arm.name] for arm in experiment.arms}
    first = _name(experiment.conditions[0])
    label = "word error rate (%)"
    if experiment.chart == "arms":
        groups = {arm.name: {"all sets": _percent(interval(by_arm[arm.name], first))} for arm in experiment.arms}
        return {experiment.title: bars(experiment.title, label, groups)}
    if experiment.chart == "hours":
        families: dict[str, list[tuple[float, float]]] = {}
        for arm in experiment.arms:
            point = by_arm[arm.name][0].transcribed_h, 100 * rate(by_arm[arm.name], first)
            families.setdefault(arm.name.split(",")[0], []).append(point)
        shown = [Curve(name=name, points=sorted(points)) for name, points in families.items()]
        return {experiment.title: curves(experiment.title, "transcribed speech (h)", label, shown)}
    shown = []
    for arm in experiment.arms:
        noisy = [_name(condition) for condition in experiment.conditions if condition != CLEAN]
        points = [(float(name.split()[0]), 100 * rate(by_arm[arm.name], name)) for name in noisy]
        shown.append(Curve(name=arm.name, points=sorted(points)))
    return {experiment.title: curves(experiment.title, "signal-to-noise ratio (dB)", label, shown)}


def write_section(page: Path, name: str, text: str) -> None:
    """Puts a section into the page, in the place of the one of the same name, or at the end."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    old = page.read_text(encoding="utf-8") if page.is_file() else HEAD
    new = f"{begin}\n{text}\n{end}"
    if begin in old:
        head, _, rest = old.partition(begin)
        old = head + new + rest.partition(end)[2]
    else:
        old = f"{old.rstrip()}\n\n{new}"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(old, encoding="utf-8")


def _strata(systems: Sequence[Sequence[Run]], condition: str) -> list[FloatArray]:
    """For each set (num_clips, 2 x num_systems): errors and words of each clip, added up over the seeds."""
    strata: dict[str, dict[str, FloatArray]] = {}
    for column, runs in enumerate(systems):
        for clip in (clip for run in runs for clip in run.clips if clip.condition == condition):
            units = strata.setdefault(clip.set_name, {})
            counts = units.setdefault(clip.id, np.zeros(2 * len(systems)))
            counts[2 * column : 2 * column + 2] += (clip.errors, clip.words)
    return [np.stack(list(units.values())) for units in strata.values()]


def _sets(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(clip.set_name for run in runs for clip in run.clips))


def _name(condition: str) -> str:
    """What results call a condition."""
    return Condition.parse(condition).name


def _spread(runs: Sequence[Run], condition: str, set_name: str) -> str:
    rates = sorted(100 * rate([run], condition, set_name) for run in runs)
    mean = 100 * rate(runs, condition, set_name)
    return f"{mean:.1f}" if len(rates) == 1 else f"{mean:.1f} ({rates[0]:.1f} to {rates[-1]:.1f})"


def _percent(found: Interval) -> Interval:
    low, high = (None if bound is None else 100 * bound for bound in (found.low, found.high))
    return Interval(value=100 * found.value, low=low, high=high)


def _told(change: Change) -> str:
    if change.relative is None or change.p is None:
        return "too little to compare"
    found = change.relative
    between = "" if found.low is None or found.high is None else f" ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    return f"{100 * found.value:+.1f} %{between}, p = {change.p:.3f}"


def _verdict(arm: Arm, base: Arm, by_arm: Mapping[str, Sequence[Run]], condition: str) -> str:
    change = compare(by_arm[arm.name], by_arm[base.name], condition)
    pair = f"**{arm.name}** against {base.name}"
    if change.relative is None or change.p is None:
        return f"{pair}: too little to compare."
    if change.p >= SIGNIFICANT:
        return f"{pair}: no difference that these sets could show (p = {change.p:.2f})."
    size = abs(100 * change.relative.value)
    if change.relative.value > 0:
        return f"{pair}: {size:.1f} % **more** word errors."
    worse = f", but more in {', '.join(change.worse)}" if change.worse else ", and more in no set"
    return f"{pair}: {size:.1f} % fewer word errors{worse}."


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])
