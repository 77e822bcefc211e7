"""`edgeasr teach`: words, phrases and sentences for this user's profile, which `transcribe` and `listen` take up."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgeasr.cli.common import fail
from edgeasr.errors import ConfigError, InputError

if TYPE_CHECKING:
    from edgeasr.profile import Profile
    from edgeasr.tokens import TokenTable

# Marks that no model here writes and that people put at the ends of words.
PUNCTUATION = '.,;:!?"()[]“”„«»…'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the actions of this command."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    word = actions.add_parser("add-word", help="a new word, such as a name")
    word.add_argument("word", metavar="WORD")
    word.add_argument(
        "--spelling",
        action="append",
        default=[],
        metavar="TEXT",
        help="how the model writes what it hears, if it is another way; may be given several times",
    )

    phrases = actions.add_parser("add-phrases", help="phrases to listen for")
    phrases.add_argument("texts", nargs="*", metavar="PHRASE")
    phrases.add_argument("--file", type=Path, help="phrases, one a line; - for standard input")
    phrases.add_argument("--boost", type=_finite, metavar="X", help="added to the score (default: the decoder's)")

    sentences = actions.add_parser("add-sentences", help="sentences as they will be said")
    sentences.add_argument("texts", nargs="*", metavar="SENTENCE")
    sentences.add_argument("--file", type=Path, help="sentences, one a line; - for standard input")

    show = actions.add_parser("list", help="show what has been taught")
    show.add_argument("--json", action="store_true", help="as JSON")

    remove = actions.add_parser("remove", help="forget words, phrases or sentences")
    remove.add_argument("texts", nargs="+", metavar="TEXT")

    for action in actions.choices.values():
        action.add_argument("--profile", type=Path, metavar="DIR", help="another folder than the user's own")
    for action in (word, phrases, sentences):
        action.add_argument("--model", metavar="NAME|PATH", help="the bundle that shall hear it (default: en-small)")


def run(args: argparse.Namespace) -> int:
    """Changes or shows the profile."""
    from edgeasr import profile

    folder = profile.profile_dir() if args.profile is None else args.profile
    if args.action == "list":
        return show_profile(profile.read_profile(folder), folder, as_json=args.json)
    if args.action == "remove":
        missing = profile.remove(args.texts, folder=folder)
        return fail(f"{folder} does not have {', '.join(map(repr, missing))}") if missing else 0
    tokens = read_tokens(args.model)
    if args.action == "add-word":
        word, spellings = spelled_word(args.word, args.spelling, tokens)
        profile.add_word(word, spellings, folder=folder)
        return 0
    texts = [spelled(text, tokens) for text in _given(args)]
    if args.action == "add-phrases":
        profile.add_phrases(dict.fromkeys(texts, args.boost), folder=folder)
    else:
        profile.add_sentences(texts, folder=folder)
    return 0


def show_profile(taught: Profile, folder: Path, *, as_json: bool) -> int:
    """Prints a profile; its warnings go to stderr, and make the exit status 2."""
    if as_json:
        print(
            json.dumps(
                {"words": taught.words, "phrases": taught.phrases, "sentences": taught.sentences}, ensure_ascii=False
            )
        )
    elif not taught and not taught.warnings:
        print(f"nothing has been taught yet; the profile is {folder}")
    else:
        for word, spellings in taught.words.items():
            print("word     ", word, f"(spelled {', '.join(spellings)})" if spellings else "")
        for phrase, boost in taught.phrases.items():
            print("phrase   ", phrase, "" if boost is None else f"(boost {boost:g})")
        for sentence in taught.sentences:
            print("sentence ", sentence)
    status = 0
    for warning in taught.warnings:
        status = fail(warning)
    return status


def spelled(text: str, tokens: TokenTable) -> str:
    """A text as the model writes it: without punctuation, and in small letters where it has no capitals.

    Raises:
        ConfigError: It has no words, or words that the model's tokens cannot spell.
    """
    words = plain_words(text, tokens)
    if not words:
        raise ConfigError(f"there is no word in {text!r}")
    for word in words:
        if not can_spell(word, tokens):
            raise ConfigError(f"the tokens of the model cannot spell {word!r}: write it as it is said")
    return " ".join(words)


def plain_words(text: str, tokens: TokenTable) -> list[str]:
    """The words of a text as the model writes them, as far as it can write them."""
    words = [word for part in text.split() if (word := part.strip(PUNCTUATION))]
    return [word if can_spell(word, tokens) else word.lower() for word in words]


def spelled_word(word: str, spellings: Iterable[str], tokens: TokenTable) -> tuple[str, list[str]]:
    """A word and its spellings. It keeps the letters that it is to be written with if a spelling can be heard.

    Raises:
        ConfigError: The model's tokens cannot spell it, and it has no spelling; or a spelling that they cannot spell.
    """
    heard = [spelled(spelling, tokens) for spelling in spellings]
    if not can_spell(word, tokens):
        if can_spell(word.lower(), tokens):
            heard.insert(0, word.lower())
        elif not heard:
            heard.append(spelled(word, tokens))
    return word, list(dict.fromkeys(heard))


def can_spell(word: str, tokens: TokenTable) -> bool:
    """Whether any sequence of tokens spells a word."""
    from edgeasr.decoder import Lexicon

    return not Lexicon([word]).unspellable(tokens.names, word_delimiter=tokens.word_delimiter, blank_id=tokens.blank_id)


def _given(args: argparse.Namespace) -> list[str]:
    """The texts of the command line and of the file."""
    texts = list(args.texts)
    if args.file is not None:
        try:
            content = sys.stdin.buffer.read() if str(args.file) == "-" else args.file.read_bytes()
            texts += content.decode().splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{args.file}: {error}") from error
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise ConfigError("there is no text: give it as arguments or by --file")
    return texts


def read_tokens(model: str | None) -> TokenTable:
    """The tokens of a bundle.

    Raises:
        BundleError: There is no such bundle, or it is damaged.
    """
    from edgeasr.bundle import find_bundle, read_bundle

    return read_bundle(find_bundle(model)).tokens


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return number
