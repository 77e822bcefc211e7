"""`edgeasr transcribe`: files, folders and standard input to text, JSON, captions or tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from edgeasr.cli.common import (
    add_confidence_arguments,
    add_context_arguments,
    add_endpoint_arguments,
    add_profile_argument,
    add_recognizer_arguments,
    dying_of_ctrl_c,
    endpoint_config,
    fail,
    load_recognizer,
    printable,
)
from edgeasr.cli.progress import ProgressBar
from edgeasr.errors import AudioFormatError, EdgeAsrError
from edgeasr.files import write_whole
from edgeasr.output import FORMATS, command_to_json, command_to_text, to_json
from edgeasr.types import Transcript

SUFFIXES = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt", "tsv": ".tsv"}
# Formats of which several make no sense one after the other on stdout.
WHOLE_FILE_FORMATS = ("srt", "vtt", "tsv")
COMMAND_FORMATS = ("text", "json")


@dataclass(frozen=True)
class Source:
    """Something to transcribe.

    Attributes:
        label: What people call it.
        path: The file; None for standard input.
        output: Where its transcript goes inside the output folder, without the format's suffix.
    """

    label: str
    path: Path | None
    output: Path

    @property
    def audio(self) -> Path | BinaryIO:
        """What a recogniser takes."""
        return sys.stdin.buffer if self.path is None else self.path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="sound files, folders of them, or - for stdin")
    parser.add_argument(
        "--format",
        choices=tuple(FORMATS),
        default="text",
        help="text; json or tsv, with word times and confidences; srt or vtt captions (default: text)",
    )
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="write a file for each input into this folder")
    parser.add_argument(
        "--grammar",
        metavar="FILE",
        help="commands to understand: each file is one of them, with its meaning, or dictation, or rejected",
    )
    add_endpoint_arguments(parser)
    parser.add_argument("--no-endpoints", action="store_true", help="one segment, whatever pauses there are")
    add_recognizer_arguments(parser)
    add_context_arguments(parser)
    add_profile_argument(parser)
    add_confidence_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Transcribes all there is; what cannot be transcribed is told, and the rest is."""
    status = 0
    sources: list[Source] = []
    for name in args.files:
        try:
            sources += find_sources(name)
        except (EdgeAsrError, OSError) as error:
            status = fail(error, name)
    if len(sources) > 1 and args.format in WHOLE_FILE_FORMATS and args.output_dir is None:
        return fail(f"--format {args.format} with several files needs --output-dir")
    if args.grammar is not None and args.format not in COMMAND_FORMATS:
        return fail(f"--format {args.format} does not go with --grammar: commands are written as text or json")
    if not sources:
        return status
    if args.output_dir is not None:  # what cannot be made is told before the work
        args.output_dir.mkdir(parents=True, exist_ok=True)
    recognise = command_writer(args) if args.grammar is not None else transcript_writer(args)
    for source in distinct(sources):
        progress = ProgressBar(source.label)
        try:
            text, warnings = recognise(source, progress)
        except (EdgeAsrError, OSError) as error:
            progress.clear()
            status = fail(error.strerror or error if isinstance(error, OSError) else error, source.label)
            continue
        progress.clear()
        for warning in warnings:
            status = fail(warning, source.label)
        if args.output_dir is not None:
            path = args.output_dir / f"{source.output}{SUFFIXES[args.format]}"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, text)
            except OSError as error:
                status = fail(f"{path} cannot be written: {error.strerror or error}", source.label)
        else:
            if len(sources) > 1 and args.format == "text":
                text = "".join(f"{printable(source.label)}: {line}\n" for line in text.splitlines())
            print(text, end="", flush=True)
    return status


# Recognises a source: what to write, and what there is to say of the sound.
Writer = Callable[[Source, ProgressBar], tuple[str, tuple[str, ...]]]


def transcript_writer(args: argparse.Namespace) -> Writer:
    """Transcribes, in the format that was asked for."""
    recognizer = load_recognizer(args)
    from edgeasr.recognizer import FILE_ENDPOINT

    endpoint = None if args.no_endpoints else endpoint_config(args, FILE_ENDPOINT)

    def recognise(source: Source, progress: ProgressBar) -> tuple[str, tuple[str, ...]]:
        transcript = recognizer.transcribe(source.audio, endpoint=endpoint, on_progress=progress.update)
        return write(transcript, source, args.format), transcript.warnings

    return recognise


def command_writer(args: argparse.Namespace) -> Writer:
    """Understands commands."""
    recognizer = load_recognizer(args)
    from edgeasr.command import CommandRecognizer
    from edgeasr.grammar import Grammar

    commands = CommandRecognizer(recognizer, Grammar.from_file(args.grammar))

    def recognise(source: Source, progress: ProgressBar) -> tuple[str, tuple[str, ...]]:
        result = commands.recognize(source.audio, on_progress=progress.update)
        if args.format == "json":
            return command_to_json(result, source=printable(source.label)), result.warnings
        return command_to_text(result, recognizer.unsure_mark), result.warnings

    return recognise


def write(transcript: Transcript, source: Source, format_name: str) -> str:
    """The transcript in one of the formats."""
    if format_name == "json":
        return to_json(transcript, source=printable(source.label))
    return FORMATS[format_name](transcript)


def find_sources(name: str) -> list[Source]:
    """What a name on the command line stands for.

    Raises:
        AudioFormatError: It is a folder without sound files.
    """
    if name == "-":
        return [Source("standard input", None, Path("stdin"))]
    path = Path(name)
    if not path.is_dir():
        return [Source(name, path, Path(path.stem))]
    with dying_of_ctrl_c():
        from edgeasr.audio import AUDIO_SUFFIXES
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file())
    if not files:
        raise AudioFormatError("the folder holds no sound files")
    return [Source(str(file), file, file.relative_to(path).with_suffix("")) for file in files]


def distinct(sources: list[Source]) -> list[Source]:
    """Gives sources that would write to the same file (a.wav and a.flac) names of their own (a.wav.txt)."""
    outputs = [source.output for source in sources]
    kept: list[Source] = []
    taken: set[Path] = set()
    for source in sources:
        output = source.output
        if outputs.count(output) > 1 and source.path is not None:
            output = output.with_name(source.path.name)
        number = 2
        while output in taken:
            output = source.output.with_name(f"{source.output.name}-{number}")
            number += 1
        taken.add(output)
        kept.append(replace(source, output=output))
    return kept
