"""`edgeasr tune`: the weights of the beam search that make the fewest errors, and the boost for hotwords."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeasr.cli.common import positive
from edgeasr.errors import ConfigError

if TYPE_CHECKING:
    from edgeasr.config import CtcBeamConfig
    from edgeasr.decoder import DecodingContext
    from edgeasr.recognizer import Recognizer
    from edgeasr.train.evaluation.log_probs import HeardClip
    from edgeasr.train.evaluation.tune import HotwordCounts, TuningClips

SETS = ("librispeech.dev", "commonvoice.dev", "speechocean.dev")
LM_WEIGHTS = (0.3, 0.5, 0.7, 0.9, 1.1, 1.3)
WORD_BONUSES = (-1.0, 0.0, 1.0, 2.0, 3.0)
OOV_COSTS = (2.0, 5.0, 8.0, 12.0)
OOV_CHAR_COSTS = (0.0, 0.5, 1.0, 2.0)
# What --write writes.
WEIGHTS = ("lm_weight", "word_bonus", "oov_cost", "oov_char_cost")
BOOST = ("hotword_boost",)
BOOSTS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.description = (
        "Find the language model's weight, the word bonus and the cost of unknown words that make the fewest word "
        "errors on transcribed clips; or, with --hotwords N, the boost that finds the most hotwords without making "
        "more errors in all words than there are without hotwords. Writes nothing without --write."
    )
    parser.add_argument("model", nargs="?", metavar="BUNDLE", help="a bundle by name, or its folder")
    parser.add_argument("--sets", nargs="+", default=SETS, metavar="SET", help=f"clips (default: {' '.join(SETS)})")
    parser.add_argument("--lm", metavar="FILE", help="another language model than the bundle's")
    parser.add_argument(
        "--beam-size", type=positive, metavar="N", help="prefixes of the search (default: the bundle's)"
    )
    parser.add_argument(
        "--hotwords", type=positive, metavar="N", help="tune the boost with N hotwords said and N not said"
    )
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="log-probs go here (%(default)s)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only N clips of each set, evenly spread")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the error rates over weight and bonus (SVG)")
    parser.add_argument("--write", action="store_true", help="make the best values the bundle's own")


def run(args: argparse.Namespace) -> int:
    """Tunes and reports."""
    from edgeasr.bundle import update_bundle
    from edgeasr.cli.progress import ProgressBar
    from edgeasr.recognizer import Recognizer
    from edgeasr.train.evaluation.conditions import Condition
    from edgeasr.train.evaluation.evaluate import find_sets, normaliser
    from edgeasr.train.evaluation.log_probs import LogProbs
    from edgeasr.train.evaluation.tune import TuningClips
    from edgeasr.train.manifest import data_dir

    if args.picture is not None and not args.picture.parent.is_dir():  # told now, not after minutes of work
        raise ConfigError(f"{args.picture} cannot be written: there is no folder {args.picture.parent}")
    recognizer = Recognizer(args.model, decoder="beam", beam_size=args.beam_size, lm=args.lm)
    context = recognizer.context
    if context is None or not context.lm:
        raise ConfigError(f"{recognizer.bundle.name} has no language model to tune for: give one with --lm")
    if args.write and (args.lm or args.beam_size):
        raise ConfigError("--write is for what the bundle has: leave out --lm and --beam-size")
    data = args.data or data_dir()
    normalise = normaliser(recognizer.bundle.language)
    log_probs = LogProbs(recognizer, data, args.cache)
    heard: list[HeardClip] = []
    for evaluation_set in find_sets(data, args.sets, normalise, limit=args.limit):
        progress = ProgressBar(evaluation_set.name)
        heard += log_probs.load(evaluation_set, Condition(), progress.update)
        progress.clear()
    bundle = recognizer.bundle
    clips = TuningClips(heard, bundle.tokens, normalise, logits=bundle.model.output_kind == "logits")
    start = recognizer.decoder.beam
    tuned = (
        tune_boost(args, recognizer, context, clips, start)
        if args.hotwords
        else tune_weights(args, context, clips, start)
    )
    if args.write:
        weights = {name: getattr(tuned, name) for name in (BOOST if args.hotwords else WEIGHTS)}
        beam = replace(bundle.decoder.beam, **weights)
        update_bundle(bundle.path, decoder=replace(bundle.decoder, beam=beam))
        print(f"{bundle.path}: written; its confidences are to be calibrated anew: edgeasr calibrate {bundle.path}")
    return 0


def tune_weights(
    args: argparse.Namespace, context: DecodingContext, clips: TuningClips, start: CtcBeamConfig
) -> CtcBeamConfig:
    """Weight and bonus first, then what unknown words cost."""
    from edgeasr.cli.progress import ProgressBar
    from edgeasr.train.evaluation.tune import Axis, picture, scan

    config = start
    for x, y in (
        (Axis(field="lm_weight", values=LM_WEIGHTS), Axis(field="word_bonus", values=WORD_BONUSES)),
        (Axis(field="oov_cost", values=OOV_COSTS), Axis(field="oov_char_cost", values=OOV_CHAR_COSTS)),
    ):
        progress = ProgressBar(f"{x.field}, {y.field}")
        surface = scan(lambda c: clips.measure(c, context), config, x, y, progress.update)
        progress.clear()
        if args.picture is not None and x.field == "lm_weight":
            title = f"mean word error rate, %, beam of {config.beam_size}"
            args.picture.write_text(picture(title, surface), encoding="utf-8")
        config = surface.best.config
        rates = ", ".join(f"{name} {100 * counts.rate:.2f}" for name, counts in surface.best.words.items())
        x_value, y_value = getattr(config, x.field), getattr(config, y.field)
        print(f"{x.field} {x_value:g}, {y.field} {y_value:g}: WER % {rates}")
    return config


def tune_boost(
    args: argparse.Namespace,
    recognizer: Recognizer,
    context: DecodingContext,
    clips: TuningClips,
    start: CtcBeamConfig,
) -> CtcBeamConfig:
    """The boost that finds most hotwords and makes no more word errors than decoding without them."""
    from edgeasr.train.evaluation.evaluate import normaliser
    from edgeasr.train.evaluation.hotwords import choose_hotwords, model_vocabulary, texts_elsewhere
    from edgeasr.train.evaluation.tune import measure_hotwords
    from edgeasr.train.manifest import data_dir

    vocabulary = model_vocabulary(context.lm[0][0], recognizer.bundle.tokens)
    elsewhere = texts_elsewhere(args.data or data_dir(), normaliser(recognizer.bundle.language))
    present, absent = choose_hotwords(clips.references, elsewhere, vocabulary, args.hotwords)
    print(f"{len(present)} hotwords that are said, {len(absent)} that are not")
    measured: list[HotwordCounts] = []
    print(f"{'boost':>6} {'recall %':>9} {'false: said':>12} {'not said':>9} {'WER %':>7}")
    for boost in BOOSTS:
        counts = measure_hotwords(clips, replace(start, hotword_boost=boost), context, present, absent)
        measured.append(counts)
        print(
            f"{boost:6g} {100 * counts.recall:9.1f} {counts.false_present:12} {counts.false_absent:9} "
            f"{100 * counts.words.rate:7.2f}"
        )
    return replace(start, hotword_boost=best_boost(measured).boost)


def best_boost(measured: Sequence[HotwordCounts]) -> HotwordCounts:
    """The one with most hotwords found, of those that leave no more errors in all words than there are without."""
    base = min(measured, key=lambda counts: counts.boost)
    allowed = [counts for counts in measured if counts.words.rate <= base.words.rate]
    return min(allowed, key=lambda counts: (-counts.found, counts.words.rate))
