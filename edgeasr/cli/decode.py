"""`edgeasr decode`: log-probs of anybody's CTC model to text."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgeasr.cli.common import add_context_arguments, context_options, fail, positive, printable
from edgeasr.errors import EdgeAsrError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeasr.decoder import Hypothesis

BLANKS = ("<blank>", "<blk>", "<pad>", "[PAD]", "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.description = (
        "Decode log-probs of a CTC model that were saved with numpy.save: (num_frames, vocab_size), float32, natural "
        "logarithms. Needs no model."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="log-probs, .npy")
    parser.add_argument(
        "--tokens",
        type=Path,
        required=True,
        metavar="FILE",
        help="names of the tokens: one a line, with or without ids",
    )
    parser.add_argument(
        "--blank-id", type=int, metavar="ID", help=f"default: the token named {' or '.join(BLANKS[:3])}"
    )
    parser.add_argument("--word-delimiter", metavar="TEXT", help="what stands for a space in tokens (default: | or ▁)")
    parser.add_argument("--logits", action="store_true", help="the rows are not normalised")
    parser.add_argument("--beam-size", type=positive, metavar="N", help="texts that the search keeps (default: 8)")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json has all that is known")
    add_context_arguments(parser, lm_help="a language model (default: none)")


def run(args: argparse.Namespace) -> int:
    """Decodes each file; one that cannot be read is told, and the others are decoded."""
    from edgeasr.config import CtcBeamConfig
    from edgeasr.decoder import CtcBeamDecoder, DecodingContext
    from edgeasr.lm import LanguageModel

    tokens = read_tokens(args.tokens)
    blank_id = find_blank(tokens) if args.blank_id is None else args.blank_id
    delimiter = find_delimiter(tokens) if args.word_delimiter is None else args.word_delimiter
    options = {**context_options(args), "beam_size": args.beam_size}
    lm = options.pop("lm")
    parts = {
        "lm": None if lm in (None, "none") else LanguageModel.open(lm),
        "lexicon": options.pop("lexicon"),
        "hotwords": options.pop("hotwords"),
    }
    decoder = CtcBeamDecoder(
        tokens,
        CtcBeamConfig(blank_id=blank_id, **{name: value for name, value in options.items() if value is not None}),
        context=None if all(part is None for part in parts.values()) else DecodingContext(**parts),
        logits=args.logits,
        word_delimiter=delimiter,
    )
    status = 0
    for path in args.files:
        try:
            hypotheses = decoder.decode(read_rows(path))
        except (EdgeAsrError, OSError) as error:
            status = fail(error, printable(str(path)))
            continue
        if args.format == "json":
            print(json.dumps({"file": printable(str(path)), "hypotheses": list(map(as_json, hypotheses))}))
        else:
            label = f"{printable(str(path))}: " if len(args.files) > 1 else ""
            for hypothesis in hypotheses:
                print(f"{label}{hypothesis.text}")
    return status


def read_tokens(path: Path) -> list[str]:
    """Reads names of tokens: a token a line in the order of their ids, or `TOKEN ID` in any order.

    Raises:
        InputError: The file cannot be read, or its ids are not 0, 1, 2, ...
    """
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from error
    numbered = [re.fullmatch(r"(.*?)[ \t]+(\d+)", line) for line in lines]
    if not all(numbered):
        return lines
    # A line that is only an id names the space.
    names = {int(match[2]): match[1] or " " for match in numbered if match}
    if sorted(names) != list(range(len(lines))):
        raise InputError(f"{path}: the ids of {len(lines)} tokens are not 0 to {len(lines) - 1}, each once")
    return [names[token_id] for token_id in range(len(lines))]


def find_blank(tokens: list[str]) -> int:
    """The id of the token that is named like a blank; 0 if none is."""
    return next((tokens.index(name) for name in BLANKS if name in tokens), 0)


def find_delimiter(tokens: list[str]) -> str:
    """What stands for a space: `|` as a token, SentencePiece's mark in some, or a space."""
    if "|" in tokens:
        return "|"
    return "▁" if any("▁" in token for token in tokens) else " "


def read_rows(path: Path) -> NDArray[np.float32]:
    """Reads log-probs.

    Raises:
        InputError: It is not a file of NumPy.
        OSError: There is no such file, or it must not be read.
    """
    import numpy as np

    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"not a .npy file: {error}") from error
    if not isinstance(rows, np.ndarray):
        raise InputError("the file holds several arrays, expected one saved with numpy.save")
    return rows


def as_json(hypothesis: Hypothesis) -> dict[str, object]:
    """A hypothesis with its words, times in frames, and what its score is made of."""
    parts = hypothesis.parts
    return {
        "text": hypothesis.text,
        "score": round(hypothesis.score, 4),
        "complete": hypothesis.complete,
        "score_parts": {
            "acoustic": round(parts.acoustic, 4),
            "lm": round(parts.lm, 4),
            "num_words": parts.num_words,
            "boost": round(parts.boost, 4),
            "oov": round(parts.oov, 4),
        },
        "words": [
            {
                "text": word.text,
                "start_frame": word.start_frame,
                "end_frame": word.end_frame,
                "posterior": round(word.posterior, 4),
            }
            for word in hypothesis.words
        ],
    }
