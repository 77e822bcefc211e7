"""`edgeasr lm`: language models from plain text: built, shown, scored, converted and mixed, without a toolchain."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeasr.cli.common import fail
from edgeasr.errors import ConfigError

if TYPE_CHECKING:
    from edgeasr.lm import LanguageModel, Perplexity
    from edgeasr.tokens import TokenTable

LN10 = math.log(10.0)
BITS = (2, 3, 4, 5, 6, 7, 8, 32)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the actions of this command."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    build = actions.add_parser("build", help="estimate a model from text (interpolated modified Kneser-Ney)")
    build.add_argument(
        "texts", nargs="+", metavar="TEXT", help="a sentence a line, UTF-8; .gz and .xz too; - for stdin"
    )
    build.add_argument(
        "--order", type=int, default=3, metavar="N", help="words of the longest n-grams, 1 to 6 (default: 3)"
    )
    build.add_argument(
        "--prune",
        type=_whole_numbers,
        default=(),
        metavar="N,...",
        help="leave out n-grams that occur at most so often: a number for each order, such as 0,0,1 (default: none)",
    )
    words = build.add_mutually_exclusive_group()
    words.add_argument("--vocab-size", type=int, default=0, metavar="N", help="only the N most frequent words")
    words.add_argument(
        "--vocab", type=Path, metavar="FILE", help="the words of the model, one a line (a lexicon will do)"
    )
    words.add_argument("--tokens", type=Path, metavar="FILE", help="a model over the tokens of this table, one a line")
    build.add_argument(
        "--word-delimiter", default="▁", metavar="TEXT", help="what stands for a space in the tokens (default: ▁)"
    )
    build.add_argument("--memory-mb", type=int, default=1000, metavar="MB", help="for sorting (default: 1000)")
    build.add_argument("--temp-folder", default="", metavar="DIR", help="for temporary files (default: TMPDIR or /tmp)")
    _add_threads(build)
    _add_output(build)

    info = actions.add_parser("info", help="show what a model is, and check that it is whole")
    info.add_argument("models", nargs="+", metavar="MODEL")

    score = actions.add_parser("score", help="the log10 probability of sentences, and the perplexity")
    score.add_argument("model", metavar="MODEL")
    score.add_argument("texts", nargs="*", default=["-"], metavar="TEXT", help="a sentence a line (default: stdin)")
    score.add_argument("--words", action="store_true", help="show the part of each word")
    score.add_argument("--summary", action="store_true", help="show the perplexity of each text only")

    convert = actions.add_parser("convert", help="ARPA to binary and back; fewer bits, fewer n-grams")
    convert.add_argument("model", metavar="MODEL")
    convert.add_argument(
        "--threshold",
        type=float,
        metavar="X",
        help="leave out n-grams whose loss raises the perplexity by less than this, relatively, such as 1e-8",
    )
    _add_output(convert)

    mix = actions.add_parser("mix", help="one model from several, interpolated linearly")
    mix.add_argument("models", nargs="+", metavar="MODEL")
    weights = mix.add_mutually_exclusive_group(required=True)
    weights.add_argument("--weights", type=_numbers, metavar="X,...", help="the weight of each model")
    weights.add_argument(
        "--held-out",
        nargs="+",
        metavar="TEXT",
        help="fit the weights on these texts, which count the same, however long they are",
    )
    _add_threads(mix)
    _add_output(mix)


def run(args: argparse.Namespace) -> int:
    """Does what is asked."""
    actions = {"build": build, "info": info, "score": score, "convert": convert, "mix": mix}
    return actions[args.action](args)


def build(args: argparse.Namespace) -> int:
    """Estimates a model."""
    from edgeasr.config import LmBuildConfig
    from edgeasr.lm import LanguageModel, read_lines

    config = LmBuildConfig(
        order=args.order,
        prune=args.prune,
        vocab_size=args.vocab_size,
        memory_bytes=args.memory_mb * 1_000_000,
        threads=args.threads,
        temp_folder=args.temp_folder,
    )
    vocabulary = None
    if args.vocab is not None:
        # The first field of a lexicon's line is the word.
        fields = [line.decode().split() for line in read_lines(args.vocab)]
        vocabulary = [line[0] for line in fields if line]
    tokens = None if args.tokens is None else _read_tokens(args.tokens, args.word_delimiter)
    model = LanguageModel.build(args.texts, config=config, vocabulary=vocabulary, tokens=tokens)
    report = model.report
    if report is not None:
        note(
            f"{report.num_words} words in {report.num_sentences} sentences, {report.num_types} different; "
            f"{report.num_unknown} are not in the model's vocabulary of {model.vocab_size}"
        )
        usual = [str(order + 1) for order, is_usual in enumerate(report.usual_discounts) if is_usual]
        if usual:
            fail(f"warning: too little text to estimate the discounts of order {', '.join(usual)}; took 0.5, 1 and 1.5")
    return _write(model, args)


def info(args: argparse.Namespace) -> int:
    """Prints what models are."""
    from edgeasr.lm import FLOAT_BITS, LanguageModel

    for name in args.models:
        model = LanguageModel.open(name)
        model.verify()
        found = model.info
        entries = {
            "model": name,
            "order": found.order,
            "words": f"{found.vocab_size}, with <unk>, <s> and </s>",
            "n-grams": ", ".join(map(str, found.num_ngrams)),
            "scores": "float32" if found.bits == FLOAT_BITS else f"{found.bits} bits",
            "size": f"{found.num_bytes / 1e6:.2f} MB",
        }
        for key, value in entries.items():
            print(f"{key + ':':9} {value}")
    return 0


def score(args: argparse.Namespace) -> int:
    """Prints the scores of sentences and the perplexity of each text."""
    from edgeasr.lm import LanguageModel, read_lines

    model = LanguageModel.open(args.model)
    for name in args.texts:
        lines = [line for line in read_lines(name) if line.strip()]
        if not args.summary:
            for line in lines:
                sentence = line.decode(errors="replace").strip()
                print(f"{model.score(sentence) / LN10:.6f}\t{sentence}")
                if args.words:
                    for word in model.score_words(sentence):
                        print(f"  {word.log_prob / LN10:.6f}\t{word.word}{'' if word.known else ' (unknown)'}")
        print(f"{'standard input' if name == '-' else name}: {describe(model.perplexity(lines))}")
    return 0


def convert(args: argparse.Namespace) -> int:
    """Writes a model in another form."""
    from edgeasr.lm import LanguageModel

    model = LanguageModel.open(args.model)
    if args.threshold is not None:
        model = model.pruned(args.threshold)
    return _write(model, args)


def mix(args: argparse.Namespace) -> int:
    """Writes one model that is the mixture of several."""
    from edgeasr.lm import LanguageModel, fit_weights, read_lines

    models = [LanguageModel.open(name) for name in args.models]
    weights = args.weights
    if args.held_out is not None:
        weights, perplexity = fit_weights(models, [list(read_lines(name)) for name in args.held_out])
        shown = ", ".join(f"{weight:.4f} {name}" for weight, name in zip(weights, args.models, strict=True))
        note(f"weights: {shown}; held-out perplexity without unknown words: {perplexity:.2f}")
    return _write(LanguageModel.mix(models, weights, threads=args.threads), args)


def describe(found: Perplexity) -> str:
    """A perplexity in a line."""
    return json.dumps(
        {
            "sentences": found.num_sentences,
            "words": found.num_words,
            "unknown": found.num_unknown,
            "perplexity": round(found.perplexity, 3),
            "perplexity_known": round(found.perplexity_known, 3),
        }
    )


def note(text: str) -> None:
    """Tells what goes on, beside the result."""
    print(text, file=sys.stderr)


def _write(model: LanguageModel, args: argparse.Namespace) -> int:
    from edgeasr.lm import DEFAULT_BITS, FLOAT_BITS

    is_arpa = ".arpa" in args.output.suffixes[-2:]
    bits = args.bits or (FLOAT_BITS if is_arpa else DEFAULT_BITS)
    if is_arpa and args.max_mb is not None:
        raise ConfigError("--max-mb is about the binary format; give the output another name than .arpa")
    model = model.quantised(bits) if args.max_mb is None else model.resized(args.max_mb, bits=bits)
    model.save(args.output)
    found = model.info
    counts = ", ".join(map(str, found.num_ngrams))
    note(f"{args.output}: {counts} n-grams, {args.output.stat().st_size / 1e6:.2f} MB")
    return 0


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="ARPA for .arpa, .arpa.gz, .arpa.xz, else binary",
    )
    parser.add_argument(
        "--bits", type=int, choices=BITS, metavar="N", help="of a score: 2 to 8, or 32 for float32 (default: 8)"
    )
    parser.add_argument(
        "--max-mb", type=float, metavar="MB", help="prune by entropy until the file has at most so many MB"
    )


def _add_threads(parser: argparse.ArgumentParser) -> None:
    threads = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=threads, metavar="N", help=f"(default: {threads}, all cores)")


def _read_tokens(path: Path, delimiter: str) -> TokenTable:
    from edgeasr.lm import read_lines
    from edgeasr.tokens import TokenTable

    # The blank is wanted in a table only, a model has none: tables name it in one of these ways.
    names = [line.decode().split(" ")[0].rstrip("\r") for line in read_lines(path) if line.strip()]
    blank = next((place for place, name in enumerate(names) if name in ("<blank>", "<blk>", "<pad>", "[PAD]")), None)
    if blank is None:
        names = ["<blank>", *names]
        blank = 0
    return TokenTable(names, blank_id=blank, word_delimiter=delimiter)


def _whole_numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(","))
