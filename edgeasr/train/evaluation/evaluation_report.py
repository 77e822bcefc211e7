"""What an evaluation measured, worked out: tables, pictures and JSON of any number of systems on the same clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edgeasr.errors import ConfigError
from edgeasr.train.evaluation.bootstrap import LEVEL, RESAMPLES, Interval
from edgeasr.train.evaluation.charts import bars, matrix
from edgeasr.train.evaluation.conditions import CLEAN
from edgeasr.train.evaluation.confusions import Confusions, confusions
from edgeasr.train.evaluation.evaluate import (
    POOLED,
    Difference,
    Row,
    SystemResult,
    compare,
    extreme_speakers,
    split,
    summarise,
)
from edgeasr.train.evaluation.labels import NONE, LabelScores, score_labels
from edgeasr.train.evaluation.page import Section
from edgeasr.train.evaluation.reliability import Judged, Reliability, diagram, judge_results, measure
from edgeasr.train.evaluation.score import ErrorCounts
from edgeasr.train.evaluation.tables import Table

GROUPINGS = ("gender", "age", "speaker")
# Kept of each kind of confusion.
MOST_CONFUSIONS = 20
# Shown of the best and of the worst speakers.
MOST_SPEAKERS = 5
# As many fit into a picture.
MOST_BARS = 8


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two systems side by side.

    Attributes:
        system: The one.
        base: The other.
        by_utterance: On each set, clips drawn; how the difference would wander with other clips of these speakers.
        by_speaker: The same, speakers drawn.
    """

    system: str
    base: str
    by_utterance: Sequence[Difference]
    by_speaker: Sequence[Difference]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one system did in one condition.

    Attributes:
        rows: Error rates of sets and groups.
        labels: Of each set that has labels.
        confidence: Of each set and of all together, where the system says how sure it is.
        judged: The words that `confidence` is of, of all sets.
        words: What is taken for what.
        characters: The same.
    """

    rows: Sequence[Row]
    labels: Mapping[str, LabelScores]
    confidence: Mapping[str, Reliability]
    judged: Judged | None
    words: Confusions
    characters: Confusions


class Evaluation:
    """Everything that a run of `edgeasr evaluate` measured."""

    def __init__(
        self,
        systems: Sequence[SystemResult],
        pairs: Sequence[tuple[SystemResult, SystemResult]] = (),
        *,
        labels: Mapping[str, str] | None = None,
        by_speaker: bool = False,
    ) -> None:
        """Works it out.

        Args:
            systems: All of them.
            pairs: Those to compare, each with the one beside it.
            labels: The label that each normalised sentence stands for, of sets of commands.
            by_speaker: Intervals for other speakers, not only for other utterances of the same ones.
        """
        self.systems = tuple(systems)
        self.by_speaker = by_speaker
        self._labels = labels or {}
        self.measured = [self._measure(system) for system in systems]
        self.comparisons = [
            Comparison(
                system=system.name,
                base=base.name,
                by_utterance=compare(system, base),
                by_speaker=compare(system, base, by_speaker=True),
            )
            for system, base in pairs
        ]

    @cached_property
    def conditions(self) -> list[str]:
        """The conditions of all systems, in their order."""
        return list(dict.fromkeys(condition for measured in self.measured for condition in measured))

    def _measure(self, system: SystemResult) -> dict[str, Measured]:
        found = {}
        for condition, results in split(system.results, lambda result: result.condition).items():
            by_set = split(results, lambda result: result.set_name)
            scores = {
                name: score_labels(members, self._labels, by_speaker=self.by_speaker)
                for name, members in by_set.items()
            }
            pooled = {**by_set, POOLED: results} if len(by_set) > 1 else by_set
            judged = {name: judge_results(members) for name, members in pooled.items()}
            reliabilities = {name: measure(words) for name, words in judged.items() if words is not None}
            found[condition] = Measured(
                rows=summarise(results, groupings=GROUPINGS, by_speaker=self.by_speaker),
                labels={name: score for name, score in scores.items() if score is not None},
                confidence={name: r for name, r in reliabilities.items() if r is not None},
                judged=judged[POOLED] if POOLED in judged else next(iter(judged.values())),
                words=confusions(results, unit="word", most=MOST_CONFUSIONS),
                characters=confusions(results, unit="character", most=MOST_CONFUSIONS),
            )
        return found

    def rate_table(self, number: int, groupings: Sequence[str] = ()) -> Table:
        """Error rates of a system: of its sets, and of the groups that are asked for."""
        several = len(self.conditions) > 1
        head = ("WER %", "95 %", "sub", "ins", "del", "CER %", "95 %", "CPU s/s")
        table: Table = [(*(("condition",) if several else ()), "set", "group", "clips", "words", *head)]
        for condition, measured in self.measured[number].items():
            for row in measured.rows:
                if row.grouping and row.grouping not in groupings:
                    continue
                counts = (row.words.substitutions, row.words.insertions, row.words.deletions)
                table.append(
                    (
                        *((condition,) if several else ()),
                        row.set_name,
                        f"{row.grouping} {row.group}".strip(),
                        str(row.utterances),
                        str(row.words.reference),
                        *shown(row.wer),
                        *map(str, counts),
                        *shown(row.cer),
                        "" if row.real_time_factor is None else f"{row.real_time_factor:.4f}",
                    )
                )
        return table

    def set_table(self) -> Table:
        """Word error rates of all systems side by side."""
        names = [system.name for system in self.systems]
        table: Table = [("condition", "set", "clips", "words", *names)]
        for condition in self.conditions:
            known = [{r.set_name: r for r in m[condition].rows if not r.grouping} for m in self._in(condition)]
            for name, row in known[0].items():
                cells = [_with_interval(rows[name].wer) if name in rows else "" for rows in known]
                table.append((condition, name, str(row.utterances), str(row.words.reference), *cells))
        return table

    def _in(self, condition: str) -> list[dict[str, Measured]]:
        return [measured for measured in self.measured if condition in measured]

    def comparison_table(self) -> Table:
        """Differences of pairs of systems, with p values by utterance and by speaker."""
        head = ("WER %", "95 %", "relative %", "95 %", "p", "p, by speaker", "CER %", "95 %", "p", "p, by speaker")
        table: Table = [("system", "minus", "condition", "set", *head)]
        for comparison in self.comparisons:
            chosen = comparison.by_speaker if self.by_speaker else comparison.by_utterance
            for part, apart, speakers in zip(chosen, comparison.by_utterance, comparison.by_speaker, strict=True):
                relative = ("-", "-") if part.relative_wer is None else shown(part.relative_wer, "+.1f")
                table.append(
                    (
                        comparison.system,
                        comparison.base,
                        part.condition,
                        part.set_name,
                        *shown(part.wer, "+.2f"),
                        *relative,
                        _p(apart.wer_p),
                        _p(speakers.wer_p),
                        *shown(part.cer, "+.2f"),
                        _p(apart.cer_p),
                        _p(speakers.cer_p),
                    )
                )
        return table

    def label_table(self) -> Table:
        """Accuracy and F1 of sets of commands."""
        head = ("accuracy %", "95 %", "macro F1 %", "95 %", "precision %", "recall %", "no command %")
        table: Table = [("system", "condition", "set", "labels", *head)]
        for system, conditions in zip(self.systems, self.measured, strict=True):
            for condition, measured in conditions.items():
                for name, scores in measured.labels.items():
                    shares = (scores.macro_precision, scores.macro_recall, scores.none)
                    table.append(
                        (
                            system.name,
                            condition,
                            name,
                            str(len(scores.labels)),
                            *shown(scores.accuracy),
                            *shown(scores.macro_f1),
                            *(f"{100 * share:.2f}" for share in shares),
                        )
                    )
        return table

    def confidence_table(self) -> Table:
        """How honest confidences are."""
        head = ("words", "right %", "mean %", "ECE", "95 %", "by chance", "NCE", "AUPRC errors")
        table: Table = [("system", "calibrated", "condition", "set", *head)]
        for system, conditions in zip(self.systems, self.measured, strict=True):
            for condition, measured in conditions.items():
                for name, found in measured.confidence.items():
                    table.append(
                        (
                            system.name,
                            "yes" if system.calibrated else "no",
                            condition,
                            name,
                            str(found.words),
                            f"{100 * found.right:.1f}",
                            f"{100 * found.mean:.1f}",
                            f"{found.ece.value:.3f}",
                            "-" if found.ece.low is None else f"{found.ece.low:.3f} to {found.ece.high:.3f}",
                            f"{found.noise:.3f}",
                            f"{found.nce:.3f}",
                            f"{found.errors_found:.3f}",
                        )
                    )
        return table

    def cost_table(self) -> Table:
        """Speed, memory and, where clips were fed live, latency."""
        head = ("CPU s/s", "x real time", "load, CPU s", "peak memory, MB")
        live = (
            "clips fed live",
            "last sample to final text, ms: median",
            "95 %",
            "first text after, s: median",
            "95 %",
        )
        table: Table = [("system", *head, *(live if any(s.live for s in self.systems) else ()))]
        for system, measured in zip(self.systems, self.measured, strict=True):
            factor = _real_time_factor(measured)
            cells = [
                "-" if factor is None else f"{factor:.4f}",
                "-" if factor is None else f"{1 / factor:.0f}",
                "-" if system.load_cpu_s is None else f"{system.load_cpu_s:.2f}",
                "-" if system.peak_memory_mb is None else f"{system.peak_memory_mb:.0f}",
            ]
            if len(table[0]) > 1 + len(head):
                latency = json_latency(system)
                final_ms, first_s = (
                    ({}, {}) if latency is None else (latency["final_ms"], latency["first_text_s"] or {})
                )
                cells += [
                    str(len(system.live)),
                    *(f"{final_ms[key]:.1f}" if final_ms else "-" for key in ("p50", "p95")),
                    *(f"{first_s[key]:.2f}" if first_s else "-" for key in ("p50", "p95")),
                ]
            table.append((system.name, *cells))
        return table

    def confusion_tables(self, number: int, most: int, condition: str = CLEAN) -> list[tuple[str, Table]]:
        """The most frequent confusions of a system: a sentence and a table for each kind."""
        measured = self.measured[number].get(condition)
        tables: list[tuple[str, Table]] = []
        for unit, found in (("word", measured.words), ("character", measured.characters)) if measured else ():
            head: tuple[str, ...] = ("said", "recognised", "times", "of")
            substitutions = [(_visible(a), _visible(b), str(n), str(of)) for a, b, n, of in found.substitutions[:most]]
            deletions = [(_visible(a), "", str(n), str(of)) for a, n, of in found.deletions[:most]]
            insertions = [("", _visible(b), str(n), "") for b, n in found.insertions[:most]]
            for kind, rows in (
                (f"{unit}s taken for others", substitutions),
                (f"{unit}s left out", deletions),
                (f"{unit}s added", insertions),
            ):
                if rows:
                    tables.append((f"{kind.capitalize()}:", [head, *rows]))
        return tables

    def speaker_table(self, number: int) -> Table:
        """Whom a system understands best and worst."""
        table: Table = [("", "set", "speaker", "clips", "words", "WER %", "95 %")]
        measured = self.measured[number].get(CLEAN)
        best, worst = extreme_speakers(measured.rows, MOST_SPEAKERS) if measured else ([], [])
        for kind, rows in (("best", best), ("worst", worst)):
            for row in rows:
                numbers = (str(row.utterances), str(row.words.reference))
                table.append((kind, row.set_name, row.group, *numbers, *shown(row.wer)))
        return table

    def sections(self, about: str) -> list[Section]:
        """The report.

        Args:
            about: What was measured, and by which command.
        """
        resampled = "speaker" if self.by_speaker else "utterance"
        found = [
            Section(
                heading="Word error rates",
                text=f"{about} Intervals are 95 %, by a bootstrap that draws each {resampled} anew.",
                tables=[("", self.set_table()), *((s.name, self.rate_table(i)) for i, s in enumerate(self.systems))],
                pictures=self._rate_pictures(),
            )
        ]
        if self.comparisons:
            text = (
                "Both systems are drawn together, clip by clip or speaker by speaker. The p value is two-sided: how "
                "often the difference would lie on the other side of 0."
            )
            found.append(Section(heading="Differences, paired", text=text, tables=[("", self.comparison_table())]))
        if len(labels := self.label_table()) > 1:
            text = "A text counts as the label whose sentence it is, letter by letter. Means are over labels."
            confused, pictures = self._label_details()
            found.append(Section(heading="Commands", text=text, tables=[("", labels), *confused], pictures=pictures))
        if len(confidence := self.confidence_table()) > 1:
            text = (
                "ECE is the calibration error; by chance, honest confidences would show as much on so few words. NCE "
                "is 1 for perfect knowledge and 0 for none."
            )
            found.append(
                Section(
                    heading="Confidence", text=text, tables=[("", confidence)], pictures=self._reliability_pictures()
                )
            )
        text = (
            "CPU time from the compressed file to the text, and the peak memory of a process that did nothing else. "
            "Latency is on the clock, of clips that are fed in pieces of 100 ms."
        )
        found.append(Section(heading="Cost", text=text, tables=[("", self.cost_table())]))
        for number, system in enumerate(self.systems):
            groups = [self._group_table(number, grouping) for grouping in ("gender", "age")]
            speakers = self.speaker_table(number)
            tables: list[tuple[str, Table]] = [("", table) for table in groups if len(table) > 1]
            tables += [("Speakers:", speakers)] if len(speakers) > 1 else []
            tables += self.confusion_tables(number, MOST_CONFUSIONS // 2)
            if tables:
                found.append(Section(heading=system.name, text="Groups of speakers, and confusions.", tables=tables))
        return found

    def _group_table(self, number: int, grouping: str) -> Table:
        table: Table = [("set", grouping, "clips", "speakers", "WER %", "95 %", "CER %", "95 %")]
        measured = self.measured[number].get(CLEAN)
        for row in measured.rows if measured else ():
            if row.grouping == grouping:
                numbers = (str(row.utterances), str(row.speakers))
                table.append((row.set_name, row.group, *numbers, *shown(row.wer), *shown(row.cer)))
        return table

    def _rate_pictures(self) -> list[tuple[str, str]]:
        """Error rates by set, and pooled by condition where there are several."""
        chosen = list(zip(self.systems, self.measured, strict=True))[:MOST_BARS]
        pictures = []
        first = self.conditions[0]
        by_set: dict[str, dict[str, Interval]] = {}
        by_condition: dict[str, dict[str, Interval]] = {}
        for system, measured in chosen:
            for condition, found in measured.items():
                rows = [row for row in found.rows if not row.grouping]
                by_condition.setdefault(condition, {})[system.name] = _percent(
                    rows[-1].wer
                )  # the last is the pooled one
                for row in rows if condition == first else ():
                    by_set.setdefault(row.set_name, {})[system.name] = _percent(row.wer)
        names = {system.name for system, _ in chosen}
        for name, title, groups in (
            ("sets", f"Word error rate, {first}", by_set),
            ("conditions", "Word error rate by condition", by_condition),
        ):
            whole = {group: members for group, members in groups.items() if members.keys() == names}
            if whole and (name == "sets" or len(whole) > 1):
                pictures.append((name, bars(title, "WER %", whole)))
        return pictures

    def _label_details(self) -> tuple[list[tuple[str, Table]], list[tuple[str, str]]]:
        """What labels are confused, those that fare worst, and matrices; of the first condition."""
        tables: list[tuple[str, Table]] = []
        pictures = []
        for number, (system, measured) in enumerate(zip(self.systems, self.measured, strict=True)):
            found = measured.get(self.conditions[0])
            for name, scores in found.labels.items() if found else ():
                worst = sorted(scores.labels, key=lambda figures: (figures.f1, figures.label))[:MOST_CONFUSIONS]
                rows: Table = [("label", "clips", "precision %", "recall %", "F1 %")]
                rows += [
                    (f.label, str(f.clips), *(f"{100 * share:.1f}" for share in (f.precision, f.recall, f.f1)))
                    for f in worst
                    if f.f1 < 1 and (f.clips or f.found)
                ]
                if len(rows) > 1:
                    tables.append((f"{system.name}, {name}: labels with errors, the worst first.", rows))
                labels = [figures.label for figures in scores.labels]
                picture = matrix(f"{system.name}, {name}", labels, [*labels, NONE], scores.matrix.tolist())
                pictures.append((f"labels-{number + 1}-{name}", picture))
        return tables, pictures

    def _reliability_pictures(self) -> list[tuple[str, str]]:
        pictures = []
        for number, (system, measured) in enumerate(zip(self.systems, self.measured, strict=True)):
            judged = {name: found.judged for name, found in measured.items() if found.judged is not None}
            if judged:
                curves = dict(list(judged.items())[:3])
                pictures.append((f"reliability-{number + 1}", diagram(system.name, curves)))
        return pictures

    def document(self, *, language: str, version: str, for_card: bool = False) -> dict[str, Any]:
        """Everything as JSON.

        Args:
            language: How texts were normalised.
            version: Of the program.
            for_card: Only what a model card shows: the systems that were measured now with clips as they are, without
                single speakers and confusions. A card is read whenever the bundle is loaded.

        Raises:
            ConfigError: A card without figures of clips as they are.
        """
        chosen = list(zip(self.systems, self.measured, strict=True))
        if for_card:
            chosen = [(system, measured) for system, measured in chosen if system.load_cpu_s is not None]
            if any(CLEAN not in measured for _, measured in chosen):
                raise ConfigError(f"a card needs the condition {CLEAN!r}")
        names = {system.name for system, _ in chosen}
        return {
            "edgeasr": version,
            "language": language,
            "intervals": {
                "level": LEVEL,
                "resampled": "speaker" if self.by_speaker else "utterance",
                "resamples": RESAMPLES,
            },
            "systems": [_json_system(system, measured, for_card) for system, measured in chosen],
            "differences": [
                _json_comparison(comparison, self.by_speaker, for_card)
                for comparison in self.comparisons
                if {comparison.system, comparison.base} <= names
            ],
        }


def shown(interval: Interval, style: str = ".2f") -> tuple[str, str]:
    """A share in percent, and its interval."""
    value = format(100 * interval.value, style)
    if interval.low is None or interval.high is None:
        return value, "-"
    return value, f"{format(100 * interval.low, style)} to {format(100 * interval.high, style)}"


def _with_interval(interval: Interval) -> str:
    value, bounds = shown(interval, ".1f")
    return value if bounds == "-" else f"{value} ({bounds})"


def _percent(interval: Interval) -> Interval:
    low, high = (None if bound is None else 100 * bound for bound in (interval.low, interval.high))
    return Interval(value=100 * interval.value, low=low, high=high)


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _visible(text: str) -> str:
    return "(space)" if text == " " else text


def _real_time_factor(measured: Mapping[str, Measured]) -> float | None:
    """CPU time for a second of sound, of all sets together."""
    rows = [row for row in measured[CLEAN].rows if not row.grouping] if CLEAN in measured else []
    return rows[-1].real_time_factor if rows else None


def json_latency(system: SystemResult) -> dict[str, Any] | None:
    """Latency of clips that were fed live; None where none was."""
    if not system.live:
        return None
    first = [clip.first_text_s for clip in system.live if clip.first_text_s is not None]

    def percentiles(values: Sequence[float], digits: int) -> dict[str, float]:
        return {f"p{rank}": round(float(np.percentile(values, rank)), digits) for rank in (50, 95)}

    return {
        "clips": len(system.live),
        "final_ms": percentiles([1000 * clip.final_s for clip in system.live], 3),
        "clips_with_partial_text": len(first),
        "first_text_s": percentiles(first, 4) if first else None,
    }


def _json_system(system: SystemResult, measured: Mapping[str, Measured], for_card: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": system.name,
        "load_cpu_s": _rounded(system.load_cpu_s),
        "peak_memory_mb": _rounded(system.peak_memory_mb),
        "calibrated": system.calibrated,
        "latency": json_latency(system),
        **(_json_measured(measured[CLEAN], for_card) if CLEAN in measured else {"sets": {}}),
    }
    others = {name: _json_measured(found, for_card) for name, found in measured.items() if name != CLEAN}
    return document if for_card or not others else {**document, "conditions": others}


def _json_measured(measured: Measured, for_card: bool) -> dict[str, Any]:
    sets: dict[str, Any] = {}
    for row in measured.rows:
        if not row.grouping:
            sets[row.set_name] = _json_row(row)
        elif row.grouping != "speaker" or not for_card:
            sets[row.set_name].setdefault(row.grouping, {})[row.group] = _json_row(row)
    document: dict[str, Any] = {"sets": sets}
    if measured.labels:
        document["labels"] = {name: _json_labels(scores, for_card) for name, scores in measured.labels.items()}
    if not for_card:
        document["confidence"] = {name: _json_reliability(found) for name, found in measured.confidence.items()}
        document["confusions"] = {"words": asdict(measured.words), "characters": asdict(measured.characters)}
    return document


def _json_row(row: Row) -> dict[str, Any]:
    return {
        "clips": row.utterances,
        "speakers": row.speakers,
        "audio_s": round(row.audio_s, 3),
        "wer_percent": json_interval(row.wer),
        "cer_percent": json_interval(row.cer),
        "words": _json_counts(row.words),
        "characters": _json_counts(row.characters),
        "real_time_factor": None if row.real_time_factor is None else round(row.real_time_factor, 5),
    }


def _json_labels(scores: LabelScores, for_card: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "accuracy_percent": json_interval(scores.accuracy),
        "macro_f1_percent": json_interval(scores.macro_f1),
        "macro_precision_percent": round(100 * scores.macro_precision, 3),
        "macro_recall_percent": round(100 * scores.macro_recall, 3),
        "none_percent": round(100 * scores.none, 3),
    }
    if not for_card:
        document["labels"] = {
            figures.label: {
                "clips": figures.clips,
                "precision_percent": round(100 * figures.precision, 3),
                "recall_percent": round(100 * figures.recall, 3),
                "f1_percent": round(100 * figures.f1, 3),
            }
            for figures in scores.labels
        }
        document["confused"] = [{"label": a, "recognised": b, "clips": n} for a, b, n in scores.confused]
    return document


def _json_reliability(found: Reliability) -> dict[str, Any]:
    numbers = {name: round(getattr(found, name), 5) for name in ("right", "mean", "noise", "nce")}
    ece = {key: _rounded(value, 5) for key, value in asdict(found.ece).items()}
    return {"words": found.words, **numbers, "ece": ece, "errors_found": round(found.errors_found, 5)}


def _json_comparison(comparison: Comparison, by_speaker: bool, for_card: bool) -> dict[str, Any]:
    conditions: dict[str, dict[str, Any]] = {}
    chosen = comparison.by_speaker if by_speaker else comparison.by_utterance
    for part, apart, speakers in zip(chosen, comparison.by_utterance, comparison.by_speaker, strict=True):
        conditions.setdefault(part.condition, {})[part.set_name] = {
            "wer_percent": json_interval(part.wer),
            "cer_percent": json_interval(part.cer),
            "relative_wer_percent": None if part.relative_wer is None else json_interval(part.relative_wer),
            "relative_cer_percent": None if part.relative_cer is None else json_interval(part.relative_cer),
            "wer_p": {"utterance": _rounded(apart.wer_p, 5), "speaker": _rounded(speakers.wer_p, 5)},
            "cer_p": {"utterance": _rounded(apart.cer_p, 5), "speaker": _rounded(speakers.cer_p, 5)},
        }
    document: dict[str, Any] = {"system": comparison.system, "minus": comparison.base}
    document["sets"] = conditions.pop(CLEAN, {})
    return document if for_card or not conditions else {**document, "conditions": conditions}


def json_interval(interval: Interval) -> dict[str, float | None]:
    """A share in percent with its interval."""
    numbers = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {key: None if number is None else round(100 * number, 3) for key, number in numbers.items()}


def _json_counts(counts: ErrorCounts) -> dict[str, int]:
    return {
        "reference": counts.reference,
        "substitutions": counts.substitutions,
        "insertions": counts.insertions,
        "deletions": counts.deletions,
    }


def _rounded(number: float | None, digits: int = 3) -> float | None:
    return None if number is None else round(number, digits)
