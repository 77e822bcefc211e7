"""Measures and tunes commands: how many orders are understood, and how much else is taken for an order.

    python tools/evaluate_commands.py tune examples/coffee.grammar --write     # thresholds into the bundle
    python tools/evaluate_commands.py report examples/coffee.grammar           # orders, other speech, noise

Clean and with recorded noise at 10 dB. `report` reads orders from a manifest with the `intent` and `slots` of each
clip (`speech/coffee.test.jsonl`); an order is right when the intent and every slot equal the label, with none missing
and none added. `tune` never hears a recorded order: it samples sentences of the grammar, has them spoken by synthetic
voices (tools/synthesise_speech.py), and takes the other speech from a development set. Each uses one half of the noise.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeasr.bundle import update_bundle
from edgeasr.cli.common import add_recognizer_arguments, fail, load_recognizer, positive
from edgeasr.cli.progress import ProgressBar
from edgeasr.command import COMMAND, DICTATION, REJECTED, CommandRecognizer, CommandResult
from edgeasr.config import CommandConfig
from edgeasr.decoder import Hypothesis
from edgeasr.errors import ConfigError, EdgeAsrError
from edgeasr.grammar import Grammar
from edgeasr.train.evaluate import EvaluationSet
from edgeasr.train.log_probs import NOISE_FOLDER, Condition, LogProbs
from edgeasr.train.manifest import Utterance, data_dir, read_manifest

# Share of other speech, and of noise, that may be taken for an order: what `tune` keeps to.
MAX_FALSE_COMMANDS = 0.005
# Share of other clean speech that may be rejected.
MAX_REJECTED_SPEECH = 0.02


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a clip asks for."""

    intent: str
    slots: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class OrderFigures:
    """How orders fared. Shares of all orders, or of all slots of all orders.

    Attributes:
        num_clips: Orders.
        right: Taken as a command with the right intent and exactly the right slots.
        right_slots: Slots that a command has, with the right value.
        dictation: Orders that were taken for dictation.
        rejected: Orders that were rejected.
        found: Orders whose meaning the grammar's best sentence has, whatever the thresholds made of it.
    """

    num_clips: int
    right: float
    right_slots: float
    dictation: float
    rejected: float
    found: float


@dataclass(frozen=True, kw_only=True)
class OtherFigures:
    """How everything else fared, in shares of all clips."""

    num_clips: int
    commands: float
    rejected: float


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tune", "report"))
    parser.add_argument("grammar", type=Path)
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--orders", default="coffee.test", metavar="SET", help="report: recorded orders (%(default)s)")
    parser.add_argument("--others", default="commonvoice.dev", metavar="SET", help="other speech (%(default)s)")
    parser.add_argument("--snr", type=float, default=10.0, metavar="DB", help="of the noisy condition (%(default)g)")
    parser.add_argument("--count", type=positive, default=120, metavar="N", help="tune: synthetic orders (%(default)s)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N clips of each set")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="log-probs and clips go here (%(default)s)")
    parser.add_argument("--write", action="store_true", help="tune: write the thresholds into the bundle")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    add_recognizer_arguments(parser)
    args = parser.parse_args(argv)
    try:
        measured = tune(args) if args.what == "tune" else report(args)
        if args.json is not None:
            args.json.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    except (EdgeAsrError, OSError) as error:
        return fail(error)
    print(table(measured))
    return 0


class Experiment:
    """One bundle, one grammar, and clips that are heard once."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.data: Path = args.data or data_dir()
        self.limit: int | None = args.limit
        self.snr_db: float = args.snr
        self.others: str = args.others
        self.recognizer = load_recognizer(args)
        self.grammar = Grammar.from_file(args.grammar)
        self.log_probs = LogProbs(self.recognizer, self.data, args.cache)

    def conditions(self, odd: bool) -> list[Condition]:
        """Clean, and with noise; what is tuned with one half of the noise is measured with the other."""
        return [Condition(odd=odd), Condition(snr_db=self.snr_db, odd=odd)]

    def clips(self, manifest: Path) -> EvaluationSet:
        """A set of clips, or its first ones."""
        utterances = read_manifest(manifest)[: self.limit]
        return EvaluationSet(name=manifest.name.removesuffix(".jsonl"), utterances=tuple(utterances))

    def other_speech(self) -> EvaluationSet:
        """What is said that is no order."""
        return self.clips(self.data / "speech" / f"{self.others}.jsonl")

    def noise(self, odd: bool) -> EvaluationSet:
        """Recordings of noise by itself: a quarter of all, and never the same for tuning and for the report."""
        paths = sorted((self.data / NOISE_FOLDER).glob("*.opus"))[int(odd) :: 4][: self.limit]
        if not paths:
            raise ConfigError(f"{self.data / NOISE_FOLDER} holds no recordings of noise")
        utterances = [Utterance(id=path.stem, audio=path, duration_s=5.0, text="", corpus="noise") for path in paths]
        return EvaluationSet(name=f"noise{int(odd)}", utterances=tuple(utterances))

    def decode(self, config: CommandConfig | None, clips: EvaluationSet, condition: Condition) -> list[CommandResult]:
        """Every clip as it is understood with these thresholds; with the bundle's for None."""
        decoder = CommandRecognizer(self.recognizer, self.grammar, config).decoder()
        progress = ProgressBar(f"{clips.name}, {condition.name}")
        results = [decoder.decode(clip.rows) for clip in self.log_probs.load(clips, condition, progress.update)]
        progress.clear()
        return results

    def figures(
        self, config: CommandConfig | None, orders: EvaluationSet, wanted: Sequence[Order], odd: bool
    ) -> dict[str, Any]:
        """How orders, other speech and noise fare, by set and condition."""
        figures: dict[str, Any] = {}
        for condition in self.conditions(odd):
            heard = self.decode(config, orders, condition)
            figures[f"{orders.name}, {condition.name}"] = asdict(judge_orders(self.grammar, heard, wanted))
        for condition in self.conditions(odd):
            others = self.other_speech()
            heard = self.decode(config, others, condition)
            figures[f"{others.name}, {condition.name}"] = asdict(judge_others(heard))
        noise = self.noise(odd)
        figures["noise alone"] = asdict(judge_others(self.decode(config, noise, Condition(odd=odd))))
        return figures


def tune(args: argparse.Namespace) -> dict[str, Any]:
    """Chooses thresholds from synthetic orders, other speech, and noise, and shows what they do to them."""
    experiment = Experiment(args)
    orders = experiment.clips(speak(experiment.grammar, args.count, args.cache))
    every = CommandConfig(min_llr=-np.inf, min_command_score=-np.inf, min_score=-np.inf)
    heard = [
        [experiment.decode(every, clips, condition) for condition in experiment.conditions(odd=False)]
        for clips in (orders, experiment.other_speech())
    ]
    noise = experiment.decode(every, experiment.noise(odd=False), Condition())
    all_orders = [result for results in heard[0] for result in results]
    all_others = [result for results in (*heard[1], noise) for result in results]
    config = choose_thresholds(
        orders=all_orders,
        others=all_others,
        clean_speech=heard[1][0],
        base=experiment.recognizer.bundle.decoder.command,
    )
    wanted = [what_is_asked(experiment.grammar, utterance) for utterance in orders.utterances]
    bundle = experiment.recognizer.bundle
    measured = {
        "bundle": bundle.name,
        "config": asdict(config),
        "figures": experiment.figures(config, orders, wanted, odd=False),
        "measures": compare_measures(all_orders, all_others),
    }
    if args.write:
        update_bundle(bundle.path, decoder=replace(bundle.decoder, command=config))
    return measured


def report(args: argparse.Namespace) -> dict[str, Any]:
    """Measures with the bundle's thresholds."""
    experiment = Experiment(args)
    manifest = experiment.data / "speech" / f"{args.orders}.jsonl"
    orders = experiment.clips(manifest)
    wanted = read_orders(manifest)[: len(orders.utterances)]
    figures = experiment.figures(None, orders, wanted, odd=True)
    bundle = experiment.recognizer.bundle
    return {"bundle": bundle.name, "config": asdict(bundle.decoder.command), "figures": figures}


def speak(grammar: Grammar, count: int, folder: Path) -> Path:
    """Has sentences of the grammar spoken; returns their manifest.

    Raises:
        ConfigError: The programs that speak are missing, or they failed.
    """
    chance = random.Random(0)
    sentences: dict[str, None] = {}
    for _ in range(100 * count):
        if len(sentences) == count:
            break
        sentences.setdefault(grammar.sample(chance))
    folder.mkdir(parents=True, exist_ok=True)
    texts = folder / f"{Path(grammar.name).stem}-orders.txt"
    texts.write_text("".join(f"{sentence}\n" for sentence in sentences), encoding="utf-8")
    name = texts.stem
    # Speakers enough that no voice decides, jobs few enough for a small computer.
    command = [sys.executable, str(Path(__file__).with_name("synthesise_speech.py")), str(texts), "-o", str(folder)]
    command += ["--name", name, "--speakers", "60", "--jobs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError((done.stderr.strip().splitlines() or ["no speech could be made"])[-1])
    return folder / f"{name}.train.jsonl"


def what_is_asked(grammar: Grammar, utterance: Utterance) -> Order:
    """What a synthetic order asks for: its text is known."""
    parse = grammar.parse(utterance.text or "")
    if parse is None:
        raise ConfigError(f"{utterance.audio}: {utterance.text!r} is no sentence of the grammar; remove the cache")
    return Order(intent=parse.intent, slots={name: str(value) for name, value in parse.slots.items()})


def read_orders(manifest: Path) -> list[Order]:
    """What the clips of a manifest ask for.

    Raises:
        ConfigError: A clip has no intent.
    """
    orders = []
    for number, line in enumerate(manifest.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        if not isinstance(row.get("intent"), str) or not isinstance(row.get("slots"), dict):
            raise ConfigError(f"{manifest}:{number} has no intent and slots")
        orders.append(Order(intent=row["intent"], slots={str(k): str(v) for k, v in row["slots"].items()}))
    return orders


def judge_orders(grammar: Grammar, results: Sequence[CommandResult], wanted: Sequence[Order]) -> OrderFigures:
    """Compares what was understood with what was asked for."""
    right = found = right_slots = num_slots = 0
    for result, order in zip(results, wanted, strict=True):
        slots = {name: str(value) for name, value in result.slots.items()}
        right += result.kind == COMMAND and result.intent == order.intent and slots == order.slots
        right_slots += sum(slots.get(name) == value for name, value in order.slots.items())
        num_slots += len(order.slots)
        best = grammar.parse(result.command.text) if result.command is not None else None
        if best is not None:
            slots = {name: str(value) for name, value in best.slots.items()}
            found += best.intent == order.intent and slots == order.slots
    kinds = [result.kind for result in results]
    return OrderFigures(
        num_clips=len(results),
        right=right / len(results),
        right_slots=right_slots / max(1, num_slots),
        dictation=kinds.count(DICTATION) / len(results),
        rejected=kinds.count(REJECTED) / len(results),
        found=found / len(results),
    )


def judge_others(results: Sequence[CommandResult]) -> OtherFigures:
    """Counts what was taken for an order, and what was rejected."""
    kinds = [result.kind for result in results]
    return OtherFigures(
        num_clips=len(results),
        commands=kinds.count(COMMAND) / len(results),
        rejected=kinds.count(REJECTED) / len(results),
    )


def choose_thresholds(
    *,
    orders: Sequence[CommandResult],
    others: Sequence[CommandResult],
    clean_speech: Sequence[CommandResult],
    base: CommandConfig,
) -> CommandConfig:
    """The thresholds that lose the fewest orders while few of the others are taken for one.

    Of thresholds that do equally well those are taken that leave the most room: the middle of their range.
    """
    llrs = np.array([result.llr for result in orders])
    scores = np.array([result.command_score for result in orders])
    other_llrs = np.array([result.llr for result in others])
    other_scores = np.array([result.command_score for result in others])
    grid = np.arange(-6.0, 0.0, 0.05)
    best: list[tuple[float, float]] = []
    fewest = np.inf
    for least_llr in grid:
        for least_score in grid:
            taken = np.mean((other_llrs >= least_llr) & (other_scores >= least_score))
            if taken > MAX_FALSE_COMMANDS:
                continue
            lost = np.mean((llrs < least_llr) | (scores < least_score))
            if lost < fewest:
                fewest, best = float(lost), []
            if lost == fewest:
                best.append((least_llr, least_score))
    if not best:
        raise ConfigError("no thresholds keep other speech from being taken for orders: the grammar allows too much")
    middle = np.median(np.array(best), axis=0)
    min_llr, min_command_score = min(best, key=lambda pair: float(np.abs(np.array(pair) - middle).sum()))
    # Where there is no text, the score is minus infinity.
    speech = np.maximum([result.score for result in clean_speech], -20.0)
    return replace(
        base,
        min_llr=round(float(min_llr), 2),
        min_command_score=round(float(min_command_score), 2),
        # Below it is the lowest share of clean speech, and room for what sounds otherwise: as much as to the median.
        min_score=round(float(2 * np.quantile(speech, MAX_REJECTED_SPEECH) - np.median(speech)), 2),
    )


def compare_measures(orders: Sequence[CommandResult], others: Sequence[CommandResult]) -> dict[str, float]:
    """How many orders each measure by itself loses, in shares, where it takes 1 % of everything else for an order."""

    def ratio(result: CommandResult, divisor: Callable[[Hypothesis, Hypothesis], float]) -> float:
        if result.command is None:
            return -np.inf
        difference = result.command.parts.acoustic - result.dictation.parts.acoustic
        return difference / max(1.0, divisor(result.command, result.dictation))

    measures: dict[str, Callable[[CommandResult], float]] = {
        "ratio": lambda result: ratio(result, lambda command, text: 1.0),
        "ratio / frame": lambda result: ratio(result, lambda command, text: command.token_end_frames[-1]),
        "ratio / token of the text": lambda result: ratio(result, lambda command, text: len(text.token_ids)),
        "ratio / token of the order": lambda result: result.llr,
        "order / token": lambda result: result.command_score,
    }
    lost = {}
    for name, measure in measures.items():
        values = sorted((measure(result) for result in others), reverse=True)
        threshold = values[int(0.01 * len(values))]
        lost[name] = float(np.mean([measure(result) <= threshold for result in orders]))
    return lost


def table(measured: Mapping[str, Any]) -> str:
    """The figures as a table in Markdown."""
    config = measured["config"]
    lines = [
        f"{measured['bundle']}: min_llr {config['min_llr']}, min_command_score {config['min_command_score']}, "
        f"min_score {config['min_score']}",
        "",
        "| orders | clips | all slots right | slots right | taken as dictation | rejected | found at all |",
        "|---|---|---|---|---|---|---|",
    ]
    other_lines = ["", "| other | clips | taken as an order | rejected |", "|---|---|---|---|"]
    for name, row in measured["figures"].items():
        shares = " | ".join(f"{100 * value:.1f} %" for key, value in row.items() if key != "num_clips")
        (lines if "right" in row else other_lines).append(f"| {name} | {row['num_clips']} | {shares} |")
    measures = measured.get("measures", {})
    if measures:
        other_lines += ["", "| measure by itself | orders lost where 1 % of the rest is taken |", "|---|---|"]
        other_lines += [f"| {name} | {100 * lost:.1f} % |" for name, lost in measures.items()]
    return "\n".join([*lines, *other_lines])


if __name__ == "__main__":
    sys.exit(main())
