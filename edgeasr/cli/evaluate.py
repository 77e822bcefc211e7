"""`edgeasr evaluate`: error rates with intervals, and speed, of bundles and of peers on sets of transcribed clips."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeasr.cli.common import positive
from edgeasr.cli.tables import Table, aligned, markdown
from edgeasr.errors import ConfigError, EdgeAsrError

if TYPE_CHECKING:
    from edgeasr.train.bootstrap import Interval
    from edgeasr.train.evaluate import Difference, EvaluationSet, Row, SystemResult
    from edgeasr.train.score import ErrorCounts
    from edgeasr.train.transcriber import Loader

GROUPINGS = ("gender", "age", "speaker")
OWN_LM = "own"
PEERS = ("sherpa-onnx", "pocketsphinx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.description = (
        "Measure error rates with bootstrap intervals, and CPU time from the compressed file to the text. Each system "
        "is loaded and measured in a process of its own."
    )
    parser.add_argument(
        "sets",
        nargs="*",
        default=["dev"],
        metavar="SET",
        help="a set such as librispeech.dev, a manifest's path, or dev, test or train for all sets of that split "
        "(default: dev)",
    )
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME|PATH",
        help="a bundle by name, or its folder; may be repeated (default: the default bundle, unless there is a --peer)",
    )
    parser.add_argument(
        "--decoder",
        action="append",
        choices=("greedy", "beam"),
        help="how to decode; may be repeated (default: as the bundle wants)",
    )
    parser.add_argument("--beam-size", type=positive, metavar="N", help="texts that the beam search keeps")
    parser.add_argument(
        "--lm",
        action="append",
        metavar="FILE",
        help="of the beam search: a language model's file, 'none', or 'own', the bundle's; may be repeated "
        "(default: own)",
    )
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads of a bundle (default: 1)")
    parser.add_argument(
        "--peer", action="append", choices=PEERS, help="measure this too, where it is installed; may be repeated"
    )
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="compare with the systems of an earlier run's --hypotheses"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="only N clips of each set, evenly spread")
    parser.add_argument(
        "--group",
        action="append",
        choices=GROUPINGS,
        help="also show groups of speakers; may be repeated (the JSON file has all of them)",
    )
    parser.add_argument(
        "--resample",
        choices=("utterance", "speaker"),
        default="utterance",
        help="what the bootstrap draws (default: utterance)",
    )
    parser.add_argument("--language", metavar="TAG", help="how texts are normalised (default: the bundle's, or en)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    parser.add_argument(
        "--card", type=Path, metavar="BUNDLE", help="put what was measured into this bundle's model card"
    )
    parser.add_argument(
        "--hypotheses", type=Path, metavar="FILE", help="write what was recognised in every clip as JSON Lines"
    )


def run(args: argparse.Namespace) -> int:
    """Measures and reports."""
    from edgeasr.train.evaluate import (
        compare,
        find_sets,
        normaliser,
        read_hypotheses,
        summarise,
        write_hypotheses,
    )
    from edgeasr.train.manifest import data_dir

    for path in (args.json, args.markdown, args.hypotheses):
        if path is not None and not path.parent.is_dir():  # told now, not after an hour of work
            raise ConfigError(f"{path} cannot be written: there is no folder {path.parent}")
    data = args.data or data_dir()
    models = args.model or ([] if args.peer else [None])
    language = args.language or _language(models)
    sets = find_sets(data, args.sets, normaliser(language), limit=args.limit)
    earlier = read_hypotheses(args.against, sets) if args.against else []
    loaders = _loaders(args, models, data)
    systems = distinct(
        [
            measure_apart(loader, sets, language, label=f"system {number} of {len(loaders)}")
            for number, loader in enumerate(loaders, start=1)
        ]
    )
    if args.hypotheses:
        write_hypotheses(args.hypotheses, systems)

    by_speaker = args.resample == "speaker"
    everything = [*systems, *earlier]
    rows = [summarise(system.results, groupings=GROUPINGS, by_speaker=by_speaker) for system in everything]
    differences = [
        (system.name, base.name, compare(system, base, by_speaker=by_speaker))
        for system, base in product(systems, earlier or systems[:1])
        if system is not base
    ]
    shown = set(args.group or ())
    headings = [f"{system.name}{_resources(system)}" for system in everything]
    tables = [_rate_table([row for row in part if not row.grouping or row.grouping in shown]) for part in rows]
    if differences:
        headings.append("differences, paired")
        tables.append(_difference_table(differences))
    note = f"Intervals: 95 %, bootstrap by {args.resample}."
    if args.card:
        from edgeasr.train.card import write_card

        # A card is read whenever the bundle is loaded: rows of hundreds of speakers would only slow that down.
        short = [[row for row in part if row.grouping != "speaker"] for part in rows[: len(systems)]]
        write_card(args.card, _json(args, language, systems, short, differences), _command(args))
    if args.json:
        document = _json(args, language, everything, rows, differences)
        args.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if args.markdown:
        sections = [f"### {h}\n\n{markdown(t)}" for h, t in zip(headings, tables, strict=True)]
        args.markdown.write_text("\n".join([*sections, note, ""]), encoding="utf-8")
    for heading, table in zip(headings, tables, strict=True):
        print(f"{heading}\n{aligned(table)}")
    print(note)
    return 0


def measure_apart(loader: Loader, sets: Sequence[EvaluationSet], language: str, *, label: str) -> SystemResult:
    """Measures a system in a process of its own, so that its load time and its memory are its own.

    Raises:
        EdgeAsrError: As `evaluate.measure`.
        ConfigError: The process died.
    """
    from multiprocessing import get_context

    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, loader, sets, language, label), daemon=True)
    process.start()
    sender.close()
    try:
        outcome: SystemResult | Exception = receiver.recv()
    except EOFError:
        process.join()
        raise ConfigError(f"{label} died while it was measured (exit status {process.exitcode})") from None
    finally:
        process.terminate()
        process.join()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def distinct(systems: Sequence[SystemResult]) -> list[SystemResult]:
    """Numbers systems of the same name, such as two versions of one bundle, in the order of the command line."""
    names = [system.name for system in systems]
    numbers = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [
        replace(system, name=f"{system.name} #{number}") if names.count(system.name) > 1 else system
        for system, number in zip(systems, numbers, strict=True)
    ]


def _measure(sender: Connection, loader: Loader, sets: Sequence[EvaluationSet], language: str, label: str) -> None:
    """What the process of one system does."""
    from edgeasr.cli.progress import ProgressBar
    from edgeasr.train.evaluate import measure, normaliser

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends this process
    progress = ProgressBar(label)
    parent = parent_process()

    def update(done_s: float, total_s: float) -> None:
        if parent is not None and not parent.is_alive():
            sys.exit(1)  # nobody waits for the result any more
        progress.update(done_s, total_s)

    try:
        outcome: SystemResult | Exception = measure(loader, sets, normaliser(language), update)
    except (EdgeAsrError, OSError) as error:
        outcome = error
    progress.clear()
    sender.send(outcome)


def _loaders(args: argparse.Namespace, models: Sequence[str | None], data: Path) -> list[Loader]:
    from edgeasr.train.transcriber import load_bundle, peer_loader

    loaders: list[Loader] = []
    for model, decoder in product(models, args.decoder or [None]):
        beam_size = None if decoder == "greedy" else args.beam_size
        for lm in [None] if decoder == "greedy" else args.lm or [None]:
            loaders.append(
                partial(
                    load_bundle,
                    model,
                    decoder=decoder,
                    beam_size=beam_size,
                    lm=None if lm == OWN_LM else lm,
                    num_threads=args.threads,
                )
            )
    return loaders + [peer_loader(peer, data) for peer in args.peer or ()]


def _language(models: Sequence[str | None]) -> str:
    """The language of the first bundle; English where only peers are measured."""
    if not models:
        return "en"
    from edgeasr.bundle import find_bundle, read_bundle

    return read_bundle(find_bundle(models[0])).language


def _resources(system: SystemResult) -> str:
    if system.load_cpu_s is None or system.peak_memory_mb is None:
        return " (of an earlier run)"
    return f": loaded in {system.load_cpu_s:.2f} s of CPU, peak memory {system.peak_memory_mb:.0f} MB"


def _rate_table(rows: Sequence[Row]) -> Table:
    table: Table = [
        ("set", "group", "clips", "words", "WER %", "95 %", "sub", "ins", "del", "CER %", "95 %", "CPU s/s")
    ]
    for row in rows:
        factor = "" if row.real_time_factor is None else f"{row.real_time_factor:.4f}"
        words = row.words
        counts = (words.substitutions, words.insertions, words.deletions)
        table.append(
            (
                row.set_name,
                f"{row.grouping} {row.group}".strip(),
                str(row.utterances),
                str(words.reference),
                *_shown(row.wer),
                *map(str, counts),
                *_shown(row.cer),
                factor,
            )
        )
    return table


def _difference_table(differences: Sequence[tuple[str, str, Sequence[Difference]]]) -> Table:
    table: Table = [("system", "minus", "set", "WER %", "95 %", "CER %", "95 %")]
    for system, base, parts in differences:
        for part in parts:
            table.append((system, base, part.set_name, *_shown(part.wer, "+.2f"), *_shown(part.cer, "+.2f")))
    return table


def _shown(interval: Interval, style: str = ".2f") -> tuple[str, str]:
    value = format(100 * interval.value, style)
    if interval.low is None or interval.high is None:
        return value, "-"
    return value, f"{format(100 * interval.low, style)} to {format(100 * interval.high, style)}"


def _json(
    args: argparse.Namespace,
    language: str,
    systems: Sequence[SystemResult],
    rows: Sequence[Sequence[Row]],
    differences: Sequence[tuple[str, str, Sequence[Difference]]],
) -> dict[str, Any]:
    from edgeasr import __version__
    from edgeasr.train.bootstrap import LEVEL, RESAMPLES

    return {
        "edgeasr": __version__,
        "language": language,
        "intervals": {"level": LEVEL, "resampled": args.resample, "resamples": RESAMPLES},
        "systems": [
            {
                "name": system.name,
                "load_cpu_s": _rounded(system.load_cpu_s),
                "peak_memory_mb": _rounded(system.peak_memory_mb),
                "sets": _json_sets(part),
            }
            for system, part in zip(systems, rows, strict=True)
        ],
        "differences": [
            {
                "system": system,
                "minus": base,
                "sets": {
                    part.set_name: {"wer_percent": _json_interval(part.wer), "cer_percent": _json_interval(part.cer)}
                    for part in parts
                },
            }
            for system, base, parts in differences
        ],
    }


def _json_sets(rows: Sequence[Row]) -> dict[str, Any]:
    sets: dict[str, Any] = {}
    for row in rows:
        if row.grouping:
            sets[row.set_name].setdefault(row.grouping, {})[row.group] = _json_row(row)
        else:
            sets[row.set_name] = _json_row(row)
    return sets


def _json_row(row: Row) -> dict[str, Any]:
    return {
        "clips": row.utterances,
        "speakers": row.speakers,
        "audio_s": round(row.audio_s, 3),
        "wer_percent": _json_interval(row.wer),
        "cer_percent": _json_interval(row.cer),
        "words": _json_counts(row.words),
        "characters": _json_counts(row.characters),
        "real_time_factor": None if row.real_time_factor is None else round(row.real_time_factor, 5),
    }


def _command(args: argparse.Namespace) -> str:
    """The command that measures the same again; of a folder far from here only the name, which is all that travels."""
    models = [Path(model).name if Path(model).is_absolute() else model for model in args.model or ()]
    words = ["edgeasr evaluate", *args.sets]
    for option, values in (("--model", models), ("--decoder", args.decoder), ("--lm", args.lm), ("--peer", args.peer)):
        words += [f"{option} {value}" for value in values or ()]
    for option, value in (("--beam-size", args.beam_size), ("--limit", args.limit)):
        words += [f"{option} {value}"] if value else []
    return " ".join(words)


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)


def _json_interval(interval: Interval) -> dict[str, float | None]:
    numbers = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {key: None if number is None else round(100 * number, 3) for key, number in numbers.items()}


def _json_counts(counts: ErrorCounts) -> dict[str, int]:
    return {
        "reference": counts.reference,
        "substitutions": counts.substitutions,
        "insertions": counts.insertions,
        "deletions": counts.deletions,
    }
