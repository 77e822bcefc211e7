"""What the commands share: arguments that choose a recogniser, and how errors are told."""

from __future__ import annotations

import argparse
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from edgeasr.endpoint import EndpointConfig
    from edgeasr.recognizer import Recognizer

EXIT_ERROR = 2
# What stands in place of a profile's folder for none.
NO_PROFILE = "none"
# Characters that a terminal obeys instead of showing them.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def add_recognizer_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `load_recognizer` reads."""
    parser.add_argument("--model", metavar="NAME|PATH", help="a bundle of the package by name, or a bundle's folder")
    parser.add_argument("--decoder", choices=("greedy", "beam"), help="how to decode (default: the bundle's choice)")
    parser.add_argument(
        "--beam-size", type=positive, metavar="N", help="prefixes of the beam search (default: the bundle's choice)"
    )
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads of the model (default: 1)")


def add_context_arguments(
    parser: argparse.ArgumentParser,
    *,
    lm_help: str = "a language model, or 'none' (default: the one of the bundle, if there is one)",
) -> None:
    """Adds the options that tell what a search may know besides the sound; `load_recognizer` reads them."""
    parser.add_argument("--lm", metavar="FILE", help=lm_help)
    parser.add_argument("--lm-weight", type=float, metavar="W", help="weight of the language model")
    parser.add_argument("--word-bonus", type=float, metavar="B", help="added to the score for each word")
    parser.add_argument(
        "--lexicon", metavar="FILE", help="the words that are known, one a line, with extra spellings after tabs"
    )
    parser.add_argument(
        "--hotwords",
        metavar="FILE",
        help="phrases to listen for, one a line, each with its boost after a tab if wanted",
    )
    parser.add_argument("--hotword-boost", type=float, metavar="B", help="boost of phrases without one of their own")
    parser.add_argument("--nbest", type=positive, metavar="N", help="also give the N best readings (in json)")


def add_profile_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the option for what the user has taught; `load_recognizer` and `profile_folder` read it."""
    parser.add_argument(
        "--profile",
        metavar="DIR",
        help="what has been taught, see `edgeasr teach`; 'none' for nothing (default: your own, for the beam search)",
    )


def profile_folder(args: argparse.Namespace) -> Path | None:
    """The folder of what the user has taught; None if it is not to be used."""
    wanted = getattr(args, "profile", NO_PROFILE)
    if wanted == NO_PROFILE or (wanted is None and args.decoder == "greedy"):
        return None
    from edgeasr.profile import profile_dir

    return profile_dir() if wanted is None else Path(wanted)


def add_confidence_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that tell from which confidence on a recogniser may speak up; `load_recognizer` reads them."""
    parser.add_argument(
        "--min-confidence",
        type=probability,
        default=0.0,
        metavar="P",
        help="show a mark instead of words whose confidence is below P, 0 to 1; json and tsv keep the words",
    )
    parser.add_argument(
        "--min-segment-confidence",
        type=probability,
        default=0.0,
        metavar="P",
        help="show the mark alone for a segment of which less than P of the words are expected to be right",
    )
    parser.add_argument(
        "--unsure-mark", metavar="TEXT", help="what to show instead; '' to leave such words out (default: [?])"
    )


def add_endpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that tell when an utterance ends; `endpoint_config` reads them."""
    parser.add_argument(
        "--min-silence", type=float, metavar="S", help="an utterance ends when nothing was said for S seconds"
    )
    parser.add_argument(
        "--longest-utterance", type=float, metavar="S", help="or at a word boundary when it lasts longer than S seconds"
    )


def endpoint_config(args: argparse.Namespace, default: EndpointConfig | None = None) -> EndpointConfig:
    """When an utterance ends.

    Args:
        args: What was asked for.
        default: The rest; None for the defaults of listening.

    Raises:
        ConfigError: A value that cannot work.
    """
    from edgeasr.endpoint import LONGEST_SILENCE_S, EndpointConfig

    config = EndpointConfig() if default is None else default
    if args.min_silence is not None:
        # In noise it takes as much longer as by default.
        longer_s = config.min_silence_in_noise_s - config.min_silence_s
        in_noise_s = max(args.min_silence, min(args.min_silence + longer_s, LONGEST_SILENCE_S))
        config = replace(config, min_silence_s=args.min_silence, min_silence_in_noise_s=in_noise_s)
    if args.longest_utterance is not None:
        config = replace(config, longest_utterance_s=args.longest_utterance)
    return config


def load_recognizer(args: argparse.Namespace) -> Recognizer:
    """Loads the recogniser that the arguments ask for."""
    with dying_of_ctrl_c():
        from edgeasr.profile import read_profile
        from edgeasr.recognizer import Recognizer
        from edgeasr.types import UNSURE_MARK

        mark = getattr(args, "unsure_mark", None)
        folder = profile_folder(args)
        profile = None if folder is None else read_profile(folder)
        recognizer = Recognizer(
            args.model,
            decoder=args.decoder,
            beam_size=args.beam_size,
            **context_options(args),
            profile=profile,
            num_threads=args.threads,
            min_confidence=getattr(args, "min_confidence", 0.0),
            min_segment_confidence=getattr(args, "min_segment_confidence", None) or 0.0,
            unsure_mark=UNSURE_MARK if mark is None else mark,
        )
    for warning in () if profile is None else profile.warnings:
        print(f"edgeasr: note: {warning}", file=sys.stderr)
    if not recognizer.calibrated and (recognizer.min_confidence or recognizer.min_segment_confidence):
        print(
            f"edgeasr: note: {recognizer.bundle.name} has no calibration for decoding with {recognizer.mode}: "
            "confidences are the model's own belief, not the share of words that are right",
            file=sys.stderr,
        )
    return recognizer


def context_options(args: argparse.Namespace) -> dict[str, Any]:
    """What `add_context_arguments` reads, as arguments of `Recognizer`; none for a command without these options."""
    if not hasattr(args, "hotwords"):
        return {}
    from edgeasr.decoder import Hotwords, Lexicon

    return {
        "nbest": args.nbest,
        "lm": args.lm,
        "lm_weight": args.lm_weight,
        "word_bonus": args.word_bonus,
        "lexicon": None if args.lexicon is None else Lexicon.read(args.lexicon),
        "hotwords": None if args.hotwords is None else Hotwords.read(args.hotwords),
        "hotword_boost": args.hotword_boost,
    }


@contextmanager
def dying_of_ctrl_c() -> Iterator[None]:
    """Lets Ctrl-C end the process at once while modules are imported.

    A KeyboardInterrupt inside the import of a C extension comes out as an ImportError and a page of text.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps C libraries off stderr: PortAudio and ALSA would write into the middle of a line when a device goes away.

    What their notes are about comes as an event or an error. Python's own stderr works on.
    """
    before = sys.stderr
    try:
        stderr = os.dup(2)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        if _is_stderr(before):
            before.flush()
            sys.stderr = os.fdopen(
                stderr, "w", buffering=1, encoding=before.encoding, errors=before.errors, closefd=False
            )
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = before
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def _is_stderr(file: TextIO) -> bool:
    try:
        return file.fileno() == 2
    except (AttributeError, OSError, ValueError):  # a file made of Python, or none
        return False


def require_torch() -> None:
    """Checks that what the training commands need is installed.

    Raises:
        MissingDependencyError: It is not; the message names the command that installs it.
    """
    from importlib.util import find_spec

    from edgeasr.errors import MissingDependencyError

    missing = [name for name in ("torch", "onnx") if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"training needs {' and '.join(missing)}: pip install 'edgeasr[train]'")


def positive(text: str) -> int:
    """A whole number of at least one, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def duration(text: str) -> float:
    """A number of seconds above zero, for argparse."""
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return seconds


def probability(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a probability, 0 to 1")
    return number


def fail(problem: Exception | str, label: str | None = None) -> int:
    """Tells of an expected error in one line on stderr.

    Args:
        problem: The error, or a sentence.
        label: The file that it is about.

    Returns:
        The exit status for it.
    """
    parts = ["edgeasr", *([label] if label else []), _sentence(problem)]
    print(printable(": ".join(parts)), file=sys.stderr)
    return EXIT_ERROR


def printable(text: str) -> str:
    r"""Text on one line that any terminal takes: file names may hold bytes that are no characters, or that command it.

    Example:
        >>> printable("a\x1b[2J\n b")
        'a?[2J b'
    """
    return _CONTROL.sub("?", " ".join(text.encode("utf-8", "replace").decode().split()))


def _sentence(problem: Exception | str) -> str:
    if isinstance(problem, OSError) and problem.strerror:
        return f"{problem.filename}: {problem.strerror}" if problem.filename else problem.strerror
    return str(problem)
