"""Builds the language model of the English bundles from the texts and the training transcripts of the data folder.

    python tools/build_english_lm.py -o lm.bin                          # at most 10 MB
    python tools/build_english_lm.py -o lm.bin --bundle models/en-small # and puts it into the bundle

Texts of one kind make one model each; the models are mixed with the weights that predict the transcripts of the
development sets best, each set counting the same, and the mixture is pruned to its size. No sentence of a development
or test set is in the training material.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeasr.bundle import update_bundle
from edgeasr.cli.common import fail, positive
from edgeasr.config import LmBuildConfig
from edgeasr.errors import ConfigError, EdgeAsrError
from edgeasr.lm import LanguageModel, fit_weights, read_lines
from edgeasr.train.evaluation.evaluate import EvaluationSet, find_sets, normaliser
from edgeasr.train.manifest import data_dir, read_manifest

KINDS = {
    "books": ("gutenberg_books", "us_presidential"),
    "sentences": ("common_voice_cc0", "tatoeba_en", "harvard_sentences"),
    "commands": (
        "assistant_templates",
        "clinc150",
        "commands",
        "ha_intents_tests",
        "nlu_evaluation_data",
        "polyai_task_specific",
        "slurp",
        "snips_nlu_benchmark",
    ),
}
TRANSCRIPTS = "transcripts"
DEV_SETS = ("librispeech.dev", "commonvoice.dev", "speechocean.dev")
# A word of everyday sentences counts as much as so many of old books when the most frequent words are chosen.
SENTENCE_SHARE = 10


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the binary model")
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--order", type=positive, default=3, help="words of the longest n-grams (default: 3)")
    parser.add_argument("--vocab-size", type=positive, default=60_000, metavar="N", help="words (default: 60000)")
    parser.add_argument("--max-mb", type=float, default=10.0, metavar="MB", help="size of the file (default: 10)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only N lines of each text, to try it out")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="put the model into this bundle")
    args = parser.parse_args(argv)
    try:
        return build(args)
    except (EdgeAsrError, OSError) as error:
        return fail(error)


def build(args: argparse.Namespace) -> int:
    data = args.data or data_dir()
    normalise = normaliser("en")
    left_out = {normalise(u.text or "") for s in find_sets(data, ["dev", "test"], normalise) for u in s.utterances}
    dev = find_sets(data, DEV_SETS, normalise)
    held_out = [[normalise(u.text or "") for u in s.utterances] for s in dev]
    texts = {kind: text_files(data, names) for kind, names in KINDS.items()}

    vocabulary = choose_words(data, texts, left_out, args.vocab_size, args.limit)
    models = {}
    for kind in [*KINDS, TRANSCRIPTS]:
        lines = transcripts(data, left_out) if kind == TRANSCRIPTS else sentences(texts[kind], left_out, args.limit)
        # Of books, what was seen once says little for its size.
        prune = (0, 0, 1) if kind == "books" and args.limit is None else ()
        config = LmBuildConfig(order=args.order, prune=prune[: args.order])
        models[kind] = LanguageModel.build(lines=lines, config=config, vocabulary=vocabulary)
        print(f"{kind}: {models[kind].info.num_ngrams} n-grams", file=sys.stderr)
    weights, _ = fit_weights(list(models.values()), held_out)
    print("weights: " + ", ".join(f"{kind} {weight:.3f}" for kind, weight in zip(models, weights, strict=True)))
    mixture = LanguageModel.mix(list(models.values()), weights)
    report("mixture", mixture, dev, held_out)
    model = mixture.resized(args.max_mb)
    model.save(args.output)
    model = LanguageModel.open(args.output)
    report(str(args.output), model, dev, held_out)
    if args.bundle is not None:
        update_bundle(args.bundle, language_model=args.output)
    return 0


def text_files(data: Path, names: Sequence[str]) -> list[Path]:
    paths = [data / "text" / f"{name}.txt.xz" for name in names]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise ConfigError(f"{', '.join(missing)} not found (the folder of the data is {data})")
    return paths


def sentences(paths: Sequence[Path], left_out: set[str], limit: int | None = None) -> Iterator[str]:
    """The lines of texts, without those to be left out."""
    for path in paths:
        for number, line in enumerate(read_lines(path)):
            if limit is not None and number >= limit:
                break
            text = line.decode()
            if text not in left_out:
                yield text


def transcripts(data: Path, left_out: set[str]) -> Iterator[str]:
    """What the training clips say, in English."""
    normalise = normaliser("en")
    for path in sorted((data / "speech").glob("*.train.jsonl")):
        for utterance in read_manifest(path):
            text = normalise(utterance.text or "")
            if text and text not in left_out:
                yield text


def choose_words(
    data: Path, texts: dict[str, list[Path]], left_out: set[str], size: int, limit: int | None
) -> list[str]:
    """The words that matter most, by how often they occur in each kind of text."""
    counts: Counter[str] = Counter()
    for kind, paths in texts.items():
        share = 1 if kind == "books" else SENTENCE_SHARE
        found: Counter[str] = Counter()
        for line in sentences(paths, left_out, limit):
            found.update(line.split())
        for word, count in found.items():
            counts[word] += share * count
    for line in transcripts(data, left_out):
        counts.update(dict.fromkeys(line.split(), SENTENCE_SHARE))
    return sorted(word for word, _ in counts.most_common(size))


def report(name: str, model: LanguageModel, dev: Sequence[EvaluationSet], held_out: Sequence[Sequence[str]]) -> None:
    """Prints what the model makes of each development set."""
    info = model.info
    print(f"{name}: {info.num_bytes / 1e6:.2f} MB, {'/'.join(map(str, info.num_ngrams))} n-grams")
    for evaluation_set, lines in zip(dev, held_out, strict=True):
        found = model.perplexity(lines)
        unknown = 100 * found.num_unknown / found.num_words
        print(
            f"  {evaluation_set.name}: perplexity {found.perplexity:.0f}, {found.perplexity_known:.0f} of known words; "
            f"{unknown:.2f} % unknown"
        )


if __name__ == "__main__":
    sys.exit(main())
