"""`edgeasr calibrate`: makes a bundle's confidences probabilities, and measures how honest they are."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeasr.cli.common import positive
from edgeasr.errors import ConfigError
from edgeasr.train.evaluation.tables import Table, aligned, markdown

if TYPE_CHECKING:
    from edgeasr.decoder import Hotwords
    from edgeasr.train.evaluation.bootstrap import Interval
    from edgeasr.train.evaluation.calibrate import Report, WayOfDecoding
    from edgeasr.train.evaluation.conditions import Condition
    from edgeasr.train.evaluation.evaluate import EvaluationSet, Normaliser
    from edgeasr.train.evaluation.log_probs import HeardClip, LogProbs
    from edgeasr.train.evaluation.reliability import Reliability

FIT_SETS = ("librispeech.dev", "commonvoice.dev", "speechocean.dev")
FIT_SNRS_DB = (20.0, 10.0, 5.0)
REPORT_SETS = ("librispeech.test", "commonvoice.test", "speechocean.test")
REPORT_SNRS_DB = (10.0,)
DEFAULT_HOTWORDS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.description = (
        "Fit the confidences of a bundle on transcribed clips, clean and with recorded noise, for each way of "
        "decoding, and write the calibration into the bundle. With --report, measure them instead."
    )
    parser.add_argument("model", metavar="BUNDLE", help="the bundle's folder, or the name of one of the package")
    parser.add_argument(
        "--report",
        nargs="*",
        metavar="SET",
        help=f"change nothing, measure the calibration on these sets (default: {' '.join(REPORT_SETS)})",
    )
    parser.add_argument(
        "--sets", nargs="+", default=FIT_SETS, metavar="SET", help=f"fit on these (default: {' '.join(FIT_SETS)})"
    )
    parser.add_argument(
        "--mode", action="append", metavar="MODE", help="only this way of decoding; may be repeated (default: all)"
    )
    parser.add_argument(
        "--snr",
        nargs="*",
        type=float,
        metavar="DB",
        help="signal-to-noise ratios beside clean sound (default: 20 10 5 to fit, 10 to report)",
    )
    parser.add_argument(
        "--lexicon",
        type=Path,
        metavar="FILE",
        help="of decoding with a lexicon (default: the 10,000 most frequent words of the language model)",
    )
    parser.add_argument(
        "--grammar",
        type=Path,
        metavar="FILE",
        help="of commands (default: made of every other short sentence of the clips)",
    )
    parser.add_argument(
        "--hotwords",
        type=int,
        default=DEFAULT_HOTWORDS,
        metavar="N",
        help="with --report: measure also with N rare words that are said and N that are not (default: 100; 0: not)",
    )
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="log-probs go here (%(default)s)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only N clips of each set, evenly spread")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="with --report: write a reliability diagram (SVG) for each row of the report",
    )


def run(args: argparse.Namespace) -> int:
    """Fits, or reports."""
    from edgeasr.bundle import find_bundle, read_bundle
    from edgeasr.recognizer import Recognizer
    from edgeasr.train.evaluation.calibrate import report_hotwords, takes_hotwords, ways_of_decoding
    from edgeasr.train.evaluation.conditions import Condition
    from edgeasr.train.evaluation.evaluate import find_sets, normaliser
    from edgeasr.train.evaluation.log_probs import LogProbs
    from edgeasr.train.manifest import data_dir

    for path in (args.json, args.markdown):
        if path is not None and not path.parent.is_dir():  # told now, not after minutes of work
            raise ConfigError(f"{path} cannot be written: there is no folder {path.parent}")
    reporting = args.report is not None
    if args.pictures is not None and not reporting:
        raise ConfigError("--pictures goes with --report: the diagrams are of what it measures")
    folder = find_bundle(args.model)
    normalise = normaliser(read_bundle(folder).language)
    data = args.data or data_dir()
    names = (args.report or REPORT_SETS) if reporting else args.sets
    sets = find_sets(data, names, normalise, limit=args.limit)
    greedy = Recognizer(folder, decoder="greedy")
    ways = ways_of_decoding(greedy, sets, normalise, args.mode, args.lexicon, args.grammar)
    snrs_db = args.snr if args.snr is not None else (REPORT_SNRS_DB if reporting else FIT_SNRS_DB)
    # What is fitted with one half of the recorded noise is measured with the other.
    conditions = [Condition(odd=reporting), *(Condition(snr_db=snr_db, odd=reporting) for snr_db in snrs_db)]
    log_probs = LogProbs(greedy, data, args.cache)
    heard = {condition: hear(log_probs, sets, condition) for condition in conditions}
    if reporting:
        hotwords = None
        if args.hotwords > 0 and any(takes_hotwords(mode) for mode in ways):
            hotwords = report_hotwords(
                greedy.bundle, sets, find_sets(data, args.sets, normalise), normalise, args.hotwords
            )
        return _report(args, ways, heard, normalise, hotwords)
    return _fit(args, folder, ways, [clip for clips in heard.values() for clip in clips], normalise)


def hear(log_probs: LogProbs, sets: Sequence[EvaluationSet], condition: Condition) -> list[HeardClip]:
    """The clips of some sets as the network heard them, with a bar while it does."""
    from edgeasr.cli.progress import ProgressBar

    clips: list[HeardClip] = []
    for evaluation_set in sets:
        progress = ProgressBar(f"{evaluation_set.name}, {condition.name}")
        clips += log_probs.load(evaluation_set, condition, progress.update)
        progress.clear()
    return clips


def _fit(
    args: argparse.Namespace,
    folder: Path,
    ways: dict[str, WayOfDecoding],
    clips: Sequence[HeardClip],
    normalise: Normaliser,
) -> int:
    from edgeasr.bundle import read_bundle, update_bundle
    from edgeasr.train.evaluation.calibrate import COMMAND_WORDS, clips_for, fit

    most_words = COMMAND_WORDS if args.grammar is None else None
    calibration = dict(read_bundle(folder).calibration)
    table: Table = [("mode", "condition", *RELIABILITY_HEADER)]
    document: dict[str, Any] = {}
    for mode, way in ways.items():
        try:
            fitted = fit(way, clips_for(way, clips, normalise, most_words), normalise)
        except ConfigError as error:
            if args.mode:
                raise
            print(f"edgeasr: note: {mode} is left out: {error}", file=sys.stderr)
            continue
        calibration[mode] = fitted.calibration
        document[mode] = {
            "calibration": asdict(fitted.calibration),
            "before": {name or "all": asdict(found) for name, found in fitted.before.items()},
            "after": {name or "all": asdict(found) for name, found in fitted.after.items()},
        }
        for condition, after in fitted.after.items():
            table.append((mode, condition or "all", *_reliability_cells(fitted.before[condition], after)))
    if not document:
        raise ConfigError("the clips are too few to calibrate anything on")
    update_bundle(folder, calibration=calibration)
    _write(args, [("Cross-validated by speaker", table)], document)
    print(f"{folder}: calibrated for {', '.join(document)}", file=sys.stderr)
    return 0


def _report(
    args: argparse.Namespace,
    ways: dict[str, WayOfDecoding],
    heard: dict[Condition, list[HeardClip]],
    normalise: Normaliser,
    hotwords: Hotwords | None,
) -> int:
    from edgeasr.train.evaluation.calibrate import COMMAND_WORDS

    reports = reports_of(ways, heard, normalise, hotwords, COMMAND_WORDS if args.grammar is None else None)
    document = {
        f"{row.system}, {row.condition}": {
            "before": None if row.before is None else asdict(row.before),
            "after": None if row.after is None else asdict(row.after),
            "segments": None if row.segments is None else asdict(row.segments),
            "abstention": [asdict(line) for line in row.abstention],
        }
        for row in reports
    }
    if args.pictures:
        draw(args.pictures, reports)
    _write(args, report_tables(reports), document)
    return 0


def reports_of(
    ways: Mapping[str, WayOfDecoding],
    heard: Mapping[Condition, Sequence[HeardClip]],
    normalise: Normaliser,
    hotwords: Hotwords | None,
    most_words: int | None,
) -> list[Report]:
    """Measures each way of decoding in each condition, without and then with hotwords where they matter."""
    from edgeasr.train.evaluation.calibrate import clips_for, report, takes_hotwords

    return [
        report(way, clips_for(way, clips, normalise, most_words), normalise, hotwords=chosen)
        for mode, way in ways.items()
        for chosen in ((None, hotwords) if hotwords is not None and takes_hotwords(mode) else (None,))
        for clips in heard.values()
    ]


def report_tables(reports: Sequence[Report]) -> list[tuple[str, Table]]:
    """What was measured, as tables with headings."""
    words: Table = [("mode", "condition", *RELIABILITY_HEADER)]
    segments: Table = [("mode", "condition", "clips", "expected - true", "error", "error of a constant")]
    abstention: Table = [
        ("mode", "condition", "min_confidence", "words kept %", "right among them %", "right kept %", "wrong kept %")
    ]
    for row in reports:
        if row.before is None:
            continue
        words.append((row.system, row.condition, *_reliability_cells(row.before, row.after)))
        if row.segments is not None:
            numbers = (row.segments.bias, row.segments.error, row.segments.guess)
            segments.append(
                (row.system, row.condition, str(row.segments.clips), *(f"{number:.3f}" for number in numbers))
            )
        for line in row.abstention:
            shares = (line.kept, line.right_among_kept, line.right_kept, line.wrong_kept)
            cells = (f"{100 * share:.1f}" for share in shares)
            abstention.append((row.system, row.condition, f"{line.min_confidence:.1f}", *cells))
    sections = [("Confidence of words", words)]
    if len(segments) > 1:
        sections.append(("Confidence of whole clips", segments))
        sections.append(("Abstention", abstention))
    return sections


def draw(folder: Path, reports: Sequence[Report]) -> list[Path]:
    """Writes a reliability diagram for each row into a folder; returns the files."""
    from edgeasr.train.evaluation.reliability import diagram

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for row in reports:
        curves = {"uncalibrated": row.uncalibrated}
        if row.calibrated is not None:
            curves["calibrated"] = row.calibrated
        name = f"reliability-{row.system}-{row.condition}".replace("+", "-").replace(", ", "-").replace(" ", "")
        paths.append(folder / f"{name}.svg")
        paths[-1].write_text(diagram(f"{row.system}, {row.condition}", curves), encoding="utf-8")
    return paths


RELIABILITY_HEADER = (
    *("words", "right %", "ECE before", "ECE", "95 %", "by chance", "NCE before", "NCE"),
    *("AUPRC errors before", "AUPRC errors", "AUPRC right before", "AUPRC right"),
)


def _reliability_cells(before: Reliability, after: Reliability | None) -> tuple[str, ...]:
    def change(name: str) -> tuple[str, str]:
        return f"{getattr(before, name):.3f}", "-" if after is None else f"{getattr(after, name):.3f}"

    return (
        str(before.words),
        f"{100 * before.right:.1f}",
        f"{before.ece.value:.3f}",
        "-" if after is None else f"{after.ece.value:.3f}",
        "-" if after is None else _shown(after.ece),
        "-" if after is None else f"{after.noise:.3f}",
        *change("nce"),
        *change("errors_found"),
        *change("right_found"),
    )


def _shown(interval: Interval) -> str:
    return "-" if interval.low is None else f"{interval.low:.3f} to {interval.high:.3f}"


def _write(args: argparse.Namespace, sections: Sequence[tuple[str, Table]], document: dict[str, Any]) -> None:
    """Prints the tables, and writes the files that were asked for."""
    for heading, table in sections:
        print(f"{heading}\n{aligned(table)}")
    if args.markdown:
        parts = [f"# Confidence: figures\n\nMeasured by `{_command(args)}`.\n"]
        parts += [f"## {heading}\n\n{markdown(table)}" for heading, table in sections]
        if args.pictures:
            parts.append("## Reliability\n")
            folder = os.path.relpath(args.pictures, args.markdown.parent)
            pictures = sorted(path.name for path in args.pictures.glob("reliability-*.svg"))
            parts += [*(f"![{name}]({folder}/{name})" for name in pictures), ""]
        args.markdown.write_text("\n".join(parts), encoding="utf-8")
    if args.json:
        args.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _command(args: argparse.Namespace) -> str:
    """The command that measures the same again; of a folder far from here only the name, which is all that travels."""
    model = Path(args.model)
    words = ["edgeasr calibrate", model.name if model.is_absolute() else args.model]
    if args.report is not None:
        words += ["--report", *args.report]
    elif tuple(args.sets) != FIT_SETS:
        words += ["--sets", *args.sets]
    words += [f"--mode {mode}" for mode in args.mode or ()]
    if args.snr is not None:
        words += ["--snr", *(f"{snr_db:g}" for snr_db in args.snr)]
    if args.lexicon is not None:
        words.append(f"--lexicon {args.lexicon.name}")
    if args.grammar is not None:
        words.append(f"--grammar {args.grammar.name}")
    if args.report is not None and args.hotwords != DEFAULT_HOTWORDS:
        words.append(f"--hotwords {args.hotwords}")
    if args.limit is not None:
        words.append(f"--limit {args.limit}")
    return " ".join(words)
