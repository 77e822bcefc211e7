"""`edgeasr evaluate`: what bundles, PyTorch students and peers make of the same clips, and what they cost."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeasr.cli.common import positive
from edgeasr.errors import ConfigError, EdgeAsrError

if TYPE_CHECKING:
    from edgeasr.train.evaluation.conditions import Condition
    from edgeasr.train.evaluation.evaluate import EvaluationSet, SystemResult
    from edgeasr.train.teachers.transcriber import Loader, Transcriber

GROUPINGS = ("gender", "age", "speaker")
OWN_LM = "own"
PEERS = ("sherpa-onnx", "pocketsphinx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.description = (
        "Measure error rates with bootstrap intervals, CPU time from the compressed file to the text, and more "
        "(docs/evaluation.md). Each system is loaded and measured in a process of its own."
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="SET|RECIPE",
        help="a set such as librispeech.dev, a manifest's path, or dev, test or train for all sets of that split; or a "
        "recipe, for its student and, where no set is named, its evaluation sets (default: dev)",
    )
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    systems = parser.add_argument_group("systems")
    systems.add_argument(
        "--model",
        action="append",
        metavar="NAME|PATH",
        help="a bundle by name, or its folder; may be repeated (default: the default bundle, if nothing else is named)",
    )
    systems.add_argument(
        "--run-dir",
        action="append",
        type=Path,
        metavar="DIR",
        help="a training run: its student in PyTorch, float32; may be repeated (default: runs/NAME of a recipe)",
    )
    systems.add_argument(
        "--peer", action="append", choices=PEERS, help="measure this too, where it is installed; may be repeated"
    )
    systems.add_argument(
        "--decoder",
        action="append",
        choices=("greedy", "beam"),
        help="how bundles and students decode; may be repeated (default: as the bundle wants; greedy)",
    )
    systems.add_argument("--beam-size", type=positive, metavar="N", help="texts that the beam search keeps")
    systems.add_argument(
        "--lm",
        action="append",
        metavar="FILE",
        help="of the beam search: a language model's file, 'none', or 'own', the bundle's; may be repeated "
        "(default: own)",
    )
    systems.add_argument("--lm-weight", type=float, metavar="W", help="weight of the language model")
    systems.add_argument("--word-bonus", type=float, metavar="B", help="added to the score for each word")
    systems.add_argument(
        "--closed",
        action="store_true",
        help="bundles and students may say nothing but the sentences of the sets: for sets of commands",
    )
    systems.add_argument("--threads", type=positive, default=1, metavar="N", help="of bundles, students (default: 1)")
    what = parser.add_argument_group("what is measured")
    what.add_argument("--limit", type=positive, metavar="N", help="only N clips of each set, evenly spread")
    what.add_argument(
        "--condition",
        action="append",
        metavar="NAME",
        help="how clips are heard: clean, 10dB (recorded noise at this ratio), room0.5 (a simulated room of this "
        "reverberation time in seconds), room0.5+10dB, and each with +denoise behind it; may be repeated (default: "
        "clean)",
    )
    what.add_argument(
        "--latency", type=positive, metavar="N", help="also feed N clips of each set piece by piece, and take the time"
    )
    what.add_argument("--language", metavar="TAG", help="how texts are normalised (default: the first system's, or en)")
    what.add_argument(
        "--against", type=Path, metavar="FILE", help="compare with the systems of an earlier run's --hypotheses"
    )
    what.add_argument(
        "--compare",
        action="append",
        nargs=2,
        metavar=("A", "B"),
        help="compare these two systems: their numbers in the order of the output, or parts of their names; may be "
        "repeated (default: all with the first, or with those of --against)",
    )
    what.add_argument(
        "--resample",
        choices=("utterance", "speaker"),
        default="utterance",
        help="what the bootstrap draws (default: utterance)",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--group",
        action="append",
        choices=GROUPINGS,
        help="also show groups of speakers; may be repeated (the JSON file has all of them)",
    )
    output.add_argument(
        "--confusions", type=positive, metavar="N", help="also show the N most frequent confusions of each kind"
    )
    output.add_argument("--report", type=Path, metavar="FILE", help="write a report with pictures, .html or .md")
    output.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured as JSON")
    output.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    output.add_argument(
        "--card", type=Path, metavar="BUNDLE", help="put what was measured into this bundle's model card"
    )
    output.add_argument(
        "--hypotheses", type=Path, metavar="FILE", help="write what was recognised in every clip as JSON Lines"
    )


def run(args: argparse.Namespace) -> int:
    """Measures and reports."""
    from edgeasr import __version__
    from edgeasr.train.evaluation.conditions import Condition
    from edgeasr.train.evaluation.evaluate import evenly, find_sets, normaliser, read_hypotheses, write_hypotheses
    from edgeasr.train.evaluation.evaluation_report import Evaluation
    from edgeasr.train.evaluation.labels import label_texts
    from edgeasr.train.evaluation.page import check_page, write_page
    from edgeasr.train.evaluation.tables import aligned, markdown
    from edgeasr.train.manifest import data_dir

    for path in (args.json, args.markdown, args.hypotheses):
        if path is not None and not path.parent.is_dir():  # told now, not after an hour of work
            raise ConfigError(f"{path} cannot be written: there is no folder {path.parent}")
    if args.report:
        check_page(args.report)
    if args.closed and (args.decoder or args.lm or args.beam_size):
        raise ConfigError("--closed decodes in a way of its own: it goes without --decoder, --lm and --beam-size")
    data = args.data or data_dir()
    wanted = _wanted(args, data)
    conditions = [Condition.parse(name, odd=True) for name in dict.fromkeys(args.condition or ["clean"])]
    normalise = normaliser(wanted.language)
    complete = find_sets(data, wanted.sets, normalise)
    sets = complete if args.limit is None else [evenly(s, args.limit) for s in complete]
    # What a few clips can be taken for are the commands of all clips.
    utterances = [utterance for s in complete for utterance in s.utterances]
    labels = label_texts(utterances, normalise)
    sentences = sorted({normalise(utterance.text or "") for utterance in utterances}) if args.closed else []
    earlier = read_hypotheses(args.against, sets) if args.against else []
    loaders = _loaders(args, wanted, data, sentences)
    systems = distinct(
        [
            measure_apart(
                loader,
                sets,
                wanted.language,
                label=f"system {number} of {len(loaders)}",
                conditions=conditions,
                data=data,
                live_clips=args.latency or 0,
            )
            for number, loader in enumerate(loaders, start=1)
        ]
    )
    if args.hypotheses:
        write_hypotheses(args.hypotheses, systems)

    everything = [*systems, *earlier]
    if args.compare:
        pairs = [(_find_system(everything, a), _find_system(everything, b)) for a, b in args.compare]
    else:
        pairs = [pair for pair in product(systems, earlier or systems[:1]) if pair[0] is not pair[1]]
    evaluation = Evaluation(everything, pairs, labels=labels, by_speaker=args.resample == "speaker")
    tables = [
        (f"{system.name}{_resources(system)}", evaluation.rate_table(number, args.group or ()))
        for number, system in enumerate(everything)
    ]
    several = [
        ("commands", evaluation.label_table()),
        ("differences, paired", evaluation.comparison_table()),
        ("cost", evaluation.cost_table() if args.latency else []),
    ]
    tables += [(heading, table) for heading, table in several if len(table) > 1]
    if args.confusions:
        for number, system in enumerate(everything):
            found = evaluation.confusion_tables(number, args.confusions)
            tables += [(f"{system.name}: {heading.lower().removesuffix(':')}", table) for heading, table in found]
    note = f"Intervals: 95 %, bootstrap by {args.resample}."

    def document(*, for_card: bool) -> dict[str, Any]:
        return evaluation.document(language=wanted.language, version=__version__, for_card=for_card)

    if args.card:
        from edgeasr.train.evaluation.card import write_card

        write_card(args.card, document(for_card=True), _command(args))
    if args.json:
        text = json.dumps(document(for_card=False), indent=2, ensure_ascii=False)
        args.json.write_text(text + "\n", encoding="utf-8")
    if args.markdown:
        parts = [f"### {heading}\n\n{markdown(table)}" for heading, table in tables]
        args.markdown.write_text("\n".join([*parts, note, ""]), encoding="utf-8")
    if args.report:
        from edgeasr.cli.bench import machine

        about = f"`{_command(args)}`, edgeasr {__version__}, on {machine()}."
        write_page(args.report, "Evaluation", evaluation.sections(about))
    for heading, table in tables:
        print(f"{heading}\n{aligned(table)}")
    print(note)
    return 0


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What the command line asks for.

    Attributes:
        sets: Names of sets, or paths of manifests.
        models: Bundles; None is the default one.
        run_dirs: Of students in PyTorch.
        language: How texts are normalised.
    """

    sets: Sequence[str]
    models: Sequence[str | None]
    run_dirs: Sequence[Path]
    language: str


def _wanted(args: argparse.Namespace, data: Path) -> _Wanted:
    """Tells sets from recipes, and finds out what a recipe means."""
    recipes = [name for name in args.names if _is_recipe(name)]
    sets: list[str] = [name for name in args.names if name not in recipes]
    run_dirs: list[Path] = list(args.run_dir or ())
    language = args.language
    if len(recipes) > 1:
        raise ConfigError(f"one recipe at a time, not {' and '.join(recipes)}; --run-dir names other runs beside it")
    for name in recipes:
        from edgeasr.cli.common import require_torch

        require_torch()
        from edgeasr.train.recipe import find_recipe, read_recipe

        recipe = read_recipe(find_recipe(name))
        language = language or recipe.release.language
        run_dirs = run_dirs or [Path("runs") / recipe.name]
        if not sets:
            sets = [str(data / manifest) for manifest in recipe.evaluation.manifests]
            if not sets:
                raise ConfigError(f"{name} has no evaluation manifests: name the sets to evaluate on")
    models = args.model or ([] if args.peer or run_dirs else [None])
    if language is None:
        language = _language(models, run_dirs)
    return _Wanted(sets=sets or ["dev"], models=models, run_dirs=run_dirs, language=language)


def _is_recipe(name: str) -> bool:
    if name.endswith(".toml"):
        return True
    if "." in name or "/" in name:  # a set, or the path of a manifest
        return False
    # The folder of the recipes, without what reads them: that imports torch.
    import edgeasr.train

    return (Path(edgeasr.train.__path__[0]) / "recipes" / f"{name}.toml").is_file()


def _language(models: Sequence[str | None], run_dirs: Sequence[Path]) -> str:
    """The language of the first bundle, else of the first run; English where only peers are measured."""
    if models:
        from edgeasr.bundle import find_bundle, read_bundle

        return read_bundle(find_bundle(models[0])).language
    if run_dirs:
        from edgeasr.cli.common import require_torch

        require_torch()
        from edgeasr.train.teachers.transcriber import run_language

        return run_language(run_dirs[0])
    return "en"


def _find_system(systems: Sequence[SystemResult], wanted: str) -> SystemResult:
    """A system by its number or by a part of its name.

    Raises:
        ConfigError: None is meant, or several.
    """
    if wanted.isdecimal():
        found = [systems[int(wanted) - 1]] if 1 <= int(wanted) <= len(systems) else []
    else:
        found = [system for system in systems if system.name == wanted]
        found = found or [system for system in systems if wanted in system.name]
    if len(found) != 1:
        names = ", ".join(f"{number} {system.name!r}" for number, system in enumerate(systems, start=1))
        raise ConfigError(f"--compare {wanted!r} means {'no' if not found else 'more than one'} system of {names}")
    return found[0]


def measure_apart(
    loader: Loader,
    sets: Sequence[EvaluationSet],
    language: str,
    *,
    label: str,
    conditions: Sequence[Condition] | None = None,
    data: Path = Path(),
    live_clips: int = 0,
) -> SystemResult:
    """Measures a system in a process of its own, so that its load time and its memory are its own.

    Args:
        loader: Loads the system; it travels to the process.
        sets: The clips.
        language: How texts are normalised.
        label: What the progress bar calls it.
        conditions: See `evaluate.measure`, as the others; None for clips as they are.
        data: The data folder.
        live_clips: How many clips of each set are also fed piece by piece.

    Raises:
        EdgeAsrError: As `evaluate.measure`.
        ConfigError: The process died.
    """
    from multiprocessing import get_context

    from edgeasr.train.evaluation.conditions import Condition

    conditions = [Condition()] if conditions is None else conditions
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    work = (sender, loader, sets, language, label, conditions, data, live_clips)
    process = context.Process(target=_measure, args=work, daemon=True)
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


def _measure(
    sender: Connection,
    loader: Loader,
    sets: Sequence[EvaluationSet],
    language: str,
    label: str,
    conditions: Sequence[Condition],
    data: Path,
    live_clips: int,
) -> None:
    """What the process of one system does."""
    from edgeasr.cli.progress import ProgressBar
    from edgeasr.train.evaluation.evaluate import measure, normaliser

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends this process
    progress = ProgressBar(label)
    parent = parent_process()

    def update(done_s: float, total_s: float) -> None:
        if parent is not None and not parent.is_alive():
            sys.exit(1)  # nobody waits for the result any more
        progress.update(done_s, total_s)

    try:
        outcome: SystemResult | Exception = measure(
            loader, sets, normaliser(language), update, conditions=conditions, data=data, live_clips=live_clips
        )
    except (EdgeAsrError, OSError) as error:
        outcome = error
    progress.clear()
    sender.send(outcome)


def _loaders(args: argparse.Namespace, wanted: _Wanted, data: Path, sentences: Sequence[str]) -> list[Loader]:
    from edgeasr.train.teachers.transcriber import StudentTranscriber, load_bundle, peer_loader

    loaders: list[Loader] = []
    systems: list[Callable[..., Transcriber]] = [
        *(partial(load_bundle, model) for model in wanted.models),
        *(partial(StudentTranscriber, run_dir) for run_dir in wanted.run_dirs),
    ]
    for system, decoder in product(systems, args.decoder or [None]):
        searches = decoder != "greedy"
        for lm in (args.lm or [None]) if searches else [None]:
            loaders.append(
                partial(
                    system,
                    decoder=decoder,
                    beam_size=args.beam_size if searches else None,
                    lm=None if lm == OWN_LM else lm,
                    lm_weight=args.lm_weight if searches else None,
                    word_bonus=args.word_bonus if searches else None,
                    num_threads=args.threads,
                    sentences=sentences,
                )
            )
    return loaders + [peer_loader(peer, data) for peer in args.peer or ()]


def _resources(system: SystemResult) -> str:
    if system.load_cpu_s is None or system.peak_memory_mb is None:
        return " (of an earlier run)"
    return f": loaded in {system.load_cpu_s:.2f} s of CPU, peak memory {system.peak_memory_mb:.0f} MB"


def _command(args: argparse.Namespace) -> str:
    """The command that measures the same again; of a folder far from here only the name, which is all that travels."""

    def brief(path: str | Path) -> str:
        return Path(path).name if Path(path).is_absolute() else str(path)

    words = ["edgeasr evaluate", *map(brief, args.names)]
    for option, values in (
        ("--model", map(brief, args.model or ())),
        ("--run-dir", map(brief, args.run_dir or ())),
        ("--decoder", args.decoder),
        ("--lm", map(brief, args.lm or ())),
        ("--peer", args.peer),
        ("--condition", args.condition),
    ):
        words += [f"{option} {value}" for value in values or ()]
    for option, value in (
        ("--beam-size", args.beam_size),
        ("--lm-weight", args.lm_weight),
        ("--word-bonus", args.word_bonus),
        ("--limit", args.limit),
        ("--latency", args.latency),
    ):
        words += [f"{option} {value}"] if value is not None else []
    words += ["--closed"] if args.closed else []
    words += ["--resample speaker"] if args.resample == "speaker" else []
    return " ".join(words)
