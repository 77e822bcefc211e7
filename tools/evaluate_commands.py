"""Measures and tunes commands: how many orders are understood, and how much else is taken for an order.

    python tools/evaluate_commands.py tune examples/coffee.grammar --write     # thresholds into the bundle
    python tools/evaluate_commands.py report examples/coffee.grammar           # orders, other speech, noise

Clean and with recorded noise at 10 and 5 dB. `report` reads orders from a manifest with the `intent` and `slots` of
each clip (`speech/coffee.test.jsonl`); an order is right when the intent and every slot equal the label, with none
missing and none added. `tune` never hears a recorded order: it samples sentences of the grammar, has them spoken by
synthetic voices (tools/synthesise_speech.py), and takes the other speech from a development set. Each uses one half of
the noise.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeasr.bundle import update_bundle
from edgeasr.cli.calibrate import hear
from edgeasr.cli.common import add_recognizer_arguments, fail, load_recognizer, positive
from edgeasr.command import CommandRecognizer, CommandResult
from edgeasr.config import CommandConfig
from edgeasr.errors import ConfigError, EdgeAsrError
from edgeasr.grammar import Grammar
from edgeasr.train.evaluation.commands import (
    Order,
    choose_thresholds,
    compare_measures,
    judge_orders,
    judge_others,
    noise_clips,
    read_orders,
    some_clips,
    understand,
)
from edgeasr.train.evaluation.conditions import Condition
from edgeasr.train.evaluation.evaluate import EvaluationSet
from edgeasr.train.evaluation.log_probs import LogProbs
from edgeasr.train.manifest import Utterance, data_dir


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tune", "report"))
    parser.add_argument("grammar", type=Path)
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--orders", default="coffee.test", metavar="SET", help="report: recorded orders (%(default)s)")
    parser.add_argument("--others", default="commonvoice.dev", metavar="SET", help="other speech (%(default)s)")
    parser.add_argument(
        "--snr", type=float, nargs="+", default=[10.0, 5.0], metavar="DB", help="of the noisy conditions (10 and 5)"
    )
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
        self.snrs_db: list[float] = args.snr
        self.others: str = args.others
        self.recognizer = load_recognizer(args)
        self.grammar = Grammar.from_file(args.grammar)
        self.log_probs = LogProbs(self.recognizer, self.data, args.cache)

    def conditions(self, odd: bool) -> list[Condition]:
        """Clean, and with noise; what is tuned with one half of the noise is measured with the other."""
        return [Condition(odd=odd), *(Condition(snr_db=snr_db, odd=odd) for snr_db in self.snrs_db)]

    def other_speech(self) -> EvaluationSet:
        """What is said that is no order."""
        return some_clips(self.data / "speech" / f"{self.others}.jsonl", self.limit)

    def decode(self, config: CommandConfig | None, clips: EvaluationSet, condition: Condition) -> list[CommandResult]:
        """Every clip as it is understood with these thresholds; with the bundle's for None."""
        commands = CommandRecognizer(self.recognizer, self.grammar, config)
        return understand(commands, hear(self.log_probs, [clips], condition))

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
        noise = noise_clips(self.data, odd=odd, limit=self.limit)
        figures["noise alone"] = asdict(judge_others(self.decode(config, noise, Condition(odd=odd))))
        return figures


def tune(args: argparse.Namespace) -> dict[str, Any]:
    """Chooses thresholds from synthetic orders, other speech, and noise, and shows what they do to them."""
    experiment = Experiment(args)
    orders = some_clips(speak(experiment.grammar, args.count, args.cache), args.limit)
    every = CommandConfig(min_llr=-np.inf, min_command_score=-np.inf, min_score=-np.inf)
    heard = [
        [experiment.decode(every, clips, condition) for condition in experiment.conditions(odd=False)]
        for clips in (orders, experiment.other_speech())
    ]
    noise = experiment.decode(every, noise_clips(experiment.data, odd=False, limit=args.limit), Condition())
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
    orders = some_clips(manifest, args.limit)
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
