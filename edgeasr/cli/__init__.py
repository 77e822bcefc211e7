"""The command line: `edgeasr COMMAND ...`.

Each command is a module of this package with `add_arguments(parser)` and `run(args) -> exit status`, and a line in
`COMMANDS`. Only the module of the command that is asked for is imported, and a module imports what is heavy in `run`.

Exit status: 0 when all went well, 1 when `doctor` warns or `replay` finds a difference, 2 after an expected error (one
line on stderr), 130 after Ctrl-C, 141 when nobody reads the output any more, as usual for programs in a pipe.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from edgeasr import __version__
from edgeasr.cli.common import fail, printable
from edgeasr.errors import EdgeAsrError

COMMANDS = {
    "transcribe": "turn sound files into text",
    "listen": "turn what the microphone hears into text, live",
    "replay": "hear a recorded session again: is it the same, and which stage lost a word",
    "review": "correct what was kept of listening, for training",
    "devices": "list the microphones, and show how loud it is at one",
    "teach": "new words, phrases and sentences, which transcribe and listen take up",
    "doctor": "find out what is wrong here, and what to do",
    "models": "list, show and verify bundles",
    "decode": "turn saved log-probs of any CTC model into text",
    "lm": "build, show, score, convert and mix language models",
    "bench": "measure speed, latency, memory and start-up on this machine",
    "label": "write transcripts for recordings that have none, with a teacher",
    "distil": "let a recipe's teacher listen to its clips, and keep what it says",
    "train": "train a student from a recipe",
    "report": "show the curves, error rates and cost of a training run",
    "export": "write the bundle of a trained student",
    "tune": "fit the weights of the search on transcribed clips",
    "evaluate": "measure error rates, speed and more of bundles, students and peers",
    "calibrate": "make a bundle's confidences probabilities, and measure them",
}

# NumPy's BLAS would start a thread for each core at its import; the work here is in ONNX Runtime and the C++ core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: What follows the program's name; None for `sys.argv`.

    Returns:
        The exit status.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _note
            status = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Python flushes stdout once more at its end, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (EdgeAsrError, OSError) as error:
        return fail(error)


def _note(message: Warning | str, *_: object, **__: object) -> None:
    """Tells of a warning in one line, without the place in the program."""
    print(printable(f"edgeasr: note: {message}"), file=sys.stderr)


def _run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="edgeasr", description="Speech recognition for small computers.")
    parser.add_argument("--version", action="version", version=f"edgeasr {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    # No option before the command takes a value, so the first word is the command.
    wanted = next((word for word in argv if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if name == wanted:
            module = import_module(f"edgeasr.cli.{name}")
            module.add_arguments(command)
    args = parser.parse_args(argv)
    status: int = module.run(args)
    return status
