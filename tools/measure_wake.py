"""Measures the search of wake phrases: how many are found, and how often one is found that was not said.

    python tools/measure_wake.py --model en-small

Phrases are pairs of words that are said once in the English development sets; each is searched in all of these clips,
in which nobody else says it. `--noise` adds recorded noise at a signal-to-noise ratio. Log-probs are computed once.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from edgeasr.cli.calibrate import FIT_SETS
from edgeasr.cli.common import fail, positive
from edgeasr.cli.progress import ProgressBar
from edgeasr.errors import ConfigError, EdgeAsrError
from edgeasr.recognizer import Recognizer
from edgeasr.train.evaluation.conditions import Condition
from edgeasr.train.evaluation.evaluate import find_sets, normaliser
from edgeasr.train.evaluation.log_probs import LogProbs
from edgeasr.train.manifest import data_dir
from edgeasr.wake import KeywordSpotter, WakeConfig

LETTERS = range(8, 15)  # of both words
COSTS = (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.4)
SEED = 1
# After a clip, so that a phrase at its end is settled.
SILENCE_S = 1.0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="NAME|PATH", help="a bundle (default: en-small)")
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--cache", type=Path, default=Path("build/log-probs"), help="where log-probs are kept")
    parser.add_argument("--phrases", type=positive, default=50, metavar="N", help="how many (default: 50)")
    parser.add_argument("--clips", type=positive, metavar="N", help="only N clips of each set, to try it out")
    parser.add_argument("--noise", type=float, metavar="DB", help="with noise at this signal-to-noise ratio")
    args = parser.parse_args(argv)
    try:
        measure(args)
    except (EdgeAsrError, OSError) as error:
        return fail(error)
    return 0


def measure(args: argparse.Namespace) -> None:
    """Prints the table."""
    recognizer = Recognizer(args.model, lm="none")
    bundle = recognizer.bundle
    data = args.data or data_dir()
    sets = find_sets(data, FIT_SETS, normaliser("en"), limit=args.clips)
    progress = ProgressBar("listening")
    store, condition = LogProbs(recognizer, data, args.cache), Condition(snr_db=args.noise)
    clips = [clip for found in sets for clip in store.load(found, condition, progress.update)]
    progress.clear()
    texts = [clip.utterance.text or "" for clip in clips]
    hours = sum(clip.utterance.duration_s for clip in clips) / 3600
    phrases = choose_phrases(texts, args.phrases)
    silence = np.full((round(SILENCE_S / bundle.frame_s), len(bundle.tokens)), -20.0, np.float32)
    silence[:, bundle.tokens.blank_id] = 0.0
    said: list[float] = []
    others: list[float] = []
    progress = ProgressBar("searching")
    for number, phrase in enumerate(phrases, 1):
        config = WakeConfig(phrase=phrase, max_letter_cost=COSTS[-1])
        spotter = KeywordSpotter(config, tokens=bundle.tokens, frame_s=bundle.frame_s)
        for clip, text in zip(clips, texts, strict=True):
            spotter.reset()
            costs = [found.letter_cost for found in spotter.accept(np.concatenate([clip.rows, silence]))]
            if f" {phrase} " in f" {text} ":
                said.append(min(costs, default=np.inf))
            else:
                others += costs
        progress.update(number, len(phrases))
    progress.clear()
    print(f"{bundle.name}: {len(phrases)} phrases, {hours:.2f} hours of speech\n")
    print("| max_letter_cost | found % | false alarms an hour |\n|---|---|---|")
    for cost in COSTS:
        found = 100 * np.mean(np.array(said) <= cost)
        alarms = np.sum(np.array(others) <= cost) / hours / len(phrases)
        print(f"| {cost:.1f} | {found:.0f} | {alarms:.2f} |")


def choose_phrases(texts: list[str], count: int) -> list[str]:
    """Pairs of words that are said once.

    Raises:
        ConfigError: There are too few.
    """
    pairs = Counter(
        pair
        for text in texts
        for first, second in zip(text.split(), text.split()[1:], strict=False)
        if len(pair := f"{first} {second}") - 1 in LETTERS
    )
    single = sorted(pair for pair, number in pairs.items() if number == 1)
    if len(single) < count:
        raise ConfigError(f"these clips have {len(single)} phrases, fewer than {count}")
    return [str(pair) for pair in np.random.default_rng(SEED).choice(single, count, replace=False)]


if __name__ == "__main__":
    sys.exit(main())
