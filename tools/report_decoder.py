"""Measures what the decoder makes of a bundle's log-probs, and writes the figures with their pictures.

    python tools/report_decoder.py --model en-small -o docs

Four parts: word errors with and without a language model; hotwords that are said and hotwords that are not; orders of
the coffee grammar, and what else is taken for an order; and how honest confidences are, before and after calibration.
Nothing is tuned here: weights and thresholds are the bundle's. The network hears each clip once; its output is kept in
the cache, by what it depends on, so that a second run only decodes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeasr.cli.calibrate import (
    DEFAULT_HOTWORDS,
    FIT_SETS,
    REPORT_SETS,
    REPORT_SNRS_DB,
    draw,
    hear,
    report_tables,
    reports_of,
)
from edgeasr.cli.common import fail, positive
from edgeasr.cli.tune import BOOSTS
from edgeasr.command import CommandRecognizer, CommandResult
from edgeasr.errors import ConfigError, EdgeAsrError
from edgeasr.grammar import Grammar
from edgeasr.recognizer import NO_LM, Recognizer
from edgeasr.train.evaluation.bootstrap import Interval
from edgeasr.train.evaluation.calibrate import COMMAND_WORDS, LEXICON_WORDS, report_hotwords, ways_of_decoding
from edgeasr.train.evaluation.charts import Curve, bars, curves
from edgeasr.train.evaluation.commands import (
    judge_orders,
    judge_others,
    noise_clips,
    operating_points,
    read_orders,
    some_clips,
    understand,
)
from edgeasr.train.evaluation.conditions import Condition
from edgeasr.train.evaluation.evaluate import (
    EvaluationSet,
    SystemResult,
    compare,
    find_sets,
    make_result,
    normaliser,
    summarise,
)
from edgeasr.train.evaluation.hotwords import LEAST_LETTERS, choose_hotwords, model_vocabulary, texts_elsewhere
from edgeasr.train.evaluation.log_probs import HeardClip, LogProbs
from edgeasr.train.evaluation.tables import Table, markdown
from edgeasr.train.evaluation.tune import TuningClips, measure_hotwords
from edgeasr.train.manifest import data_dir

ORDERS = "coffee.test"
ORDER_SNRS_DB = (10.0, 5.0)
OTHERS = "commonvoice.test"
FILE = "decoder-figures.md"
PICTURES = "decoder-figures"
# Thresholds on the curve of commands.
MIN_LLRS = np.arange(-6.0, 1.01, 0.1)


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report.

    Attributes:
        heading: What it is about.
        text: How to read it, in Markdown.
        tables: The figures, each with a sentence before it.
        pictures: SVG by the name of its file.
    """

    heading: str
    text: str
    tables: Sequence[tuple[str, Table]]
    pictures: Sequence[Path]


class Report:
    """One bundle and the clips that it is measured on."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.model: str | None = args.model
        self.limit: int | None = args.limit
        self.data: Path = args.data or data_dir()
        self.pictures: Path = args.output / PICTURES
        self.greedy = Recognizer(self.model, decoder="greedy")
        self.default = Recognizer(self.model, decoder="beam")
        self.bundle = self.greedy.bundle
        if self.default.context is None or not self.default.context.lm:
            raise ConfigError(f"{self.bundle.name} has no language model: there is nothing to report")
        self.normalise = normaliser(self.bundle.language)
        self.grammar = Grammar.from_file(args.grammar)
        self.log_probs = LogProbs(self.greedy, self.data, args.cache)

    def draw(self, name: str, svg: str) -> Path:
        """Writes a picture."""
        path = self.pictures / f"{name}.svg"
        path.write_text(svg, encoding="utf-8")
        return path

    def words(self) -> Section:
        """Word errors by decoder."""
        heard = hear(self.log_probs, find_sets(self.data, FIT_SETS, self.normalise, limit=self.limit), Condition())
        size = self.default.decoder.beam.beam_size
        ways = {
            "greedy": self.greedy,
            f"beam of {size}": Recognizer(self.model, decoder="beam", lm=NO_LM),
            "with the language model": self.default,
        }
        systems = [self._decoded(name, way, heard) for name, way in ways.items()]
        groups: dict[str, dict[str, Interval]] = {}
        table: Table = [("set", "clips", "words", "decoder", "WER %", "95 %", "CER %", "CPU ms for a second of sound")]
        for system in systems:
            for row in summarise(system.results):
                in_percent = _percent(row.wer)
                groups.setdefault(row.set_name, {})[system.name] = in_percent
                cells = (row.set_name, str(row.utterances), str(row.words.reference), system.name)
                rates = (f"{in_percent.value:.1f}", _range(in_percent), f"{100 * row.cer.value:.1f}")
                table.append((*cells, *rates, f"{1000 * (row.real_time_factor or 0.0):.2f}"))
        table[1:] = sorted(table[1:], key=lambda row: list(groups).index(row[0]))
        gains: Table = [("set", "WER with the language model less that without", "95 %")]
        for difference in compare(systems[2], systems[1]):
            gain = _percent(difference.wer)
            gains.append((difference.set_name, f"{gain.value:+.1f}", _range(gain, "+.1f")))
        return Section(
            heading="Words",
            text=(
                "The development sets, as recorded. The weights of the search were tuned on these sets: four numbers "
                "on thousands of words. CPU time is that of search and confidences, without the network."
            ),
            tables=[("", table), ("In points, clip by clip:", gains)],
            pictures=[self.draw("words", bars("Word error rate", "WER %", groups))],
        )

    def _decoded(self, name: str, way: Recognizer, heard: Sequence[HeardClip]) -> SystemResult:
        decoder = way.word_decoder()
        results = []
        for clip in heard:
            begun_s = time.process_time()
            decoder.reset()
            decoder.accept(clip.rows)
            decoder.finish()
            cpu_s = time.process_time() - begun_s
            results.append(
                make_result(
                    clip.set_name,
                    clip.utterance,
                    reference=self.normalise(clip.utterance.text or ""),
                    hypothesis=self.normalise(" ".join(word.text for word in decoder.committed)),
                    cpu_s=cpu_s,
                )
            )
        return SystemResult(name=name, results=tuple(results))

    def hotwords(self) -> Section:
        """What a boost finds, and what it makes up."""
        context = self.default.context
        assert context is not None
        heard = hear(self.log_probs, find_sets(self.data, FIT_SETS, self.normalise, limit=self.limit), Condition())
        logits = self.bundle.model.output_kind == "logits"
        clips = TuningClips(heard, self.bundle.tokens, self.normalise, logits=logits)
        vocabulary = model_vocabulary(context.lm[0][0], self.bundle.tokens)
        elsewhere = texts_elsewhere(self.data, self.normalise)
        present, absent = choose_hotwords(clips.references, elsewhere, vocabulary, DEFAULT_HOTWORDS)
        beam = self.default.decoder.beam
        boosts = sorted({*BOOSTS, beam.hotword_boost})
        counts = [
            measure_hotwords(clips, replace(beam, hotword_boost=boost), context, present, absent) for boost in boosts
        ]
        table: Table = [
            ("boost", "said", "found", "recall %", "false alarms an hour: too often", "never said", "WER %")
        ]
        for row in counts:
            alarms = (f"{row.false_present / row.hours:.1f}", f"{row.false_absent / row.hours:.1f}")
            shares = (f"{100 * row.recall:.1f}", *alarms, f"{100 * row.words.rate:.2f}")
            table.append((f"{row.boost:g}", str(row.said), str(row.found), *shares))
        new, new_absent = (len(set(words) - set(vocabulary)) for words in (present, absent))
        points = [((row.false_present + row.false_absent) / row.hours, 100 * row.recall) for row in counts]
        curve = Curve(
            name="all hotwords at once",
            points=points,
            labels=[f"{boost:g}" for boost in boosts],
            marked=boosts.index(beam.hotword_boost),
        )
        svg = curves("Hotwords: recall against false alarms", "false alarms an hour", "recall %", [curve])
        return Section(
            heading="Hotwords",
            text=(
                f"The development sets, {counts[0].hours:.2f} hours, with {len(present)} words of at least "
                f"{LEAST_LETTERS} letters to listen for that are said and {len(absent)} that nobody says; all of them "
                f"at once, for all clips. {new} and {new_absent} of them are not in the language model, the others are "
                "the rarest of it that are said, and others as rare. A boost of 0 is decoding without hotwords: what "
                "is found then, the beam finds by itself. Too often: beyond the times that they are said in the clip. "
                f"The bundle's boost is {beam.hotword_boost:g} (circle); it was chosen on these sets."
            ),
            tables=[("", table)],
            pictures=[self.draw("hotwords", svg)],
        )

    def commands(self) -> Section:
        """Orders, and what is taken for one."""
        manifest = self.data / "speech" / f"{ORDERS}.jsonl"
        orders, others = (some_clips(self.data / "speech" / f"{name}.jsonl", self.limit) for name in (ORDERS, OTHERS))
        wanted = read_orders(manifest)[: len(orders.utterances)]
        commands = CommandRecognizer(self.default, self.grammar)
        config = commands.config
        ours: Table = [("orders", "clips", "right %", "slots right %", "taken as dictation %", "rejected %", "found %")]
        rest: Table = [("anything else", "clips", "taken as an order %", "rejected %")]
        shown = []
        cpu_s = sound_s = 0.0

        def understood(clips: EvaluationSet, condition: Condition) -> list[CommandResult]:
            nonlocal cpu_s, sound_s
            heard = hear(self.log_probs, [clips], condition)
            begun_s = time.process_time()
            results = understand(commands, heard)
            cpu_s += time.process_time() - begun_s
            sound_s += sum(clip.utterance.duration_s for clip in heard)
            return results

        noise = understood(noise_clips(self.data, odd=True, limit=self.limit), Condition(odd=True))
        noise_db = " and ".join(f"{snr_db:g}" for snr_db in ORDER_SNRS_DB)
        for condition in (Condition(odd=True), *(Condition(snr_db=snr_db, odd=True) for snr_db in ORDER_SNRS_DB)):
            heard, speech = (understood(clips, condition) for clips in (orders, others))
            found = judge_orders(self.grammar, heard, wanted)
            shares = (found.right, found.right_slots, found.dictation, found.rejected, found.found)
            ours.append((f"{ORDERS}, {condition.name}", str(found.num_clips), *_shares(shares)))
            taken = judge_others(speech)
            rest.append(
                (f"{OTHERS}, {condition.name}", str(taken.num_clips), *_shares((taken.commands, taken.rejected)))
            )
            points = operating_points(self.grammar, config, heard, wanted, [*speech, *noise], MIN_LLRS)
            marked = int(np.argmin(np.abs(MIN_LLRS - config.min_llr)))
            shown.append(
                Curve(
                    name=f"orders, {condition.name}",
                    points=[(100 * point.commands, 100 * point.right) for point in points],
                    marked=marked,
                )
            )
        alone = judge_others(noise)
        rest.append(("noise alone", str(alone.num_clips), *_shares((alone.commands, alone.rejected))))
        svg = curves(
            "Orders understood against false ones", "speech and noise taken for an order, %", "orders right, %", shown
        )
        return Section(
            heading="Commands",
            text=(
                f"Recorded orders of coffee (`{ORDERS}`) and other people's sentences (`{OTHERS}`), with "
                f"`{self.grammar_name}`, as recorded and with noise at {noise_db} dB. The thresholds are "
                f"the bundle's: `min_llr` {config.min_llr:g}, `min_command_score` {config.min_command_score:g}, "
                f"`min_score` {config.min_score:g}; they were chosen on synthetic orders and `commonvoice.dev`, with "
                "the other half of the noise. An order is right when the intent and every slot are right, with none "
                "missing and none added. *Found* is what thresholds that let everything pass would reach. The curve "
                "shows what other values of `min_llr` would do; the circle is the bundle's. Both searches, with "
                f"confidences, take {1000 * cpu_s / sound_s:.1f} ms of CPU time for a second of sound."
            ),
            tables=[("", ours), ("", rest)],
            pictures=[self.draw("commands", svg)],
        )

    @property
    def grammar_name(self) -> str:
        """What the grammar's file is called, without the folders above this one."""
        return Path(self.grammar.name).name

    def confidence(self) -> Section:
        """How honest confidences are."""
        sets = find_sets(self.data, REPORT_SETS, self.normalise, limit=self.limit)
        unsaid = find_sets(self.data, FIT_SETS, self.normalise)
        # The noise of the fit was the other half.
        conditions = [Condition(odd=True), *(Condition(snr_db=snr_db, odd=True) for snr_db in REPORT_SNRS_DB)]
        heard = {condition: hear(self.log_probs, sets, condition) for condition in conditions}
        ways = ways_of_decoding(self.greedy, sets, self.normalise)
        hotwords = report_hotwords(self.bundle, sets, unsaid, self.normalise, DEFAULT_HOTWORDS)
        reports = reports_of(ways, heard, self.normalise, hotwords, COMMAND_WORDS)
        drawn = [row for row in reports if row.condition == conditions[0].name and "," not in row.system]
        return Section(
            heading="Confidence",
            text=(
                f"The test sets ({', '.join(s.name for s in sets)}), of which nothing was fitted; "
                "[confidence.md](confidence.md) says what the columns are. *Before* is the product of the posteriors "
                f"of a word's tokens. The lexicon is the {LEXICON_WORDS} most frequent words of the language model. "
                f"The grammar has every other sentence of at most {COMMAND_WORDS} words of these sets, with a slot for "
                "every third word, and hears all sentences of this length; those count that it takes for commands. "
                "Rows with hotwords have as many that are said as that are not."
            ),
            tables=[(f"{heading}:", table) for heading, table in report_tables(reports)],
            pictures=draw(self.pictures, drawn),
        )


def _percent(interval: Interval) -> Interval:
    low, high = (None if value is None else 100 * value for value in (interval.low, interval.high))
    return Interval(value=100 * interval.value, low=low, high=high)


def _range(interval: Interval, style: str = ".1f") -> str:
    if interval.low is None or interval.high is None:
        return "-"
    return f"{interval.low:{style}} to {interval.high:{style}}"


def _shares(values: Sequence[float]) -> list[str]:
    return [f"{100 * value:.1f}" for value in values]


def write(report: Report, sections: Sequence[Section], path: Path, command: str) -> None:
    """Writes the document."""
    bundle = report.bundle
    parts = [
        "# The decoder: figures\n",
        f"Of the bundle {bundle.name}, version {bundle.version}, measured and written by\n",
        f"```sh\n{command}\n```\n",
    ]
    for section in sections:
        parts += [f"## {section.heading}\n", f"{section.text}\n"]
        for sentence, table in section.tables:
            parts += [*([f"{sentence}\n"] if sentence else []), markdown(table)]
        for picture in section.pictures:
            parts.append(f"![{picture.stem}]({os.path.relpath(picture, path.parent)})\n")
    path.write_text("\n".join(parts), encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="NAME|PATH", help="a bundle of the package by name, or a bundle's folder")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs"), help="folder of the report (%(default)s)")
    parser.add_argument("--grammar", type=Path, default=Path("examples/coffee.grammar"), help="commands (%(default)s)")
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="log-probs go here (%(default)s)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only N clips of each set, to try it")
    args = parser.parse_args(argv)
    try:
        report = Report(args)
        report.pictures.mkdir(parents=True, exist_ok=True)
        sections = []
        for measure in (report.words, report.hotwords, report.commands, report.confidence):
            begun_s = time.process_time()
            sections.append(measure())
            print(f"{sections[-1].heading}: {time.process_time() - begun_s:.0f} s of CPU time", file=sys.stderr)
        model = report.bundle.path.name
        limit = "" if args.limit is None else f" --limit {args.limit}"
        write(report, sections, args.output / FILE, f"python tools/report_decoder.py --model {model} -o docs{limit}")
    except (EdgeAsrError, OSError) as error:
        return fail(error)
    print(f"{args.output / FILE}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
