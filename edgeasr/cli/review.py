"""`edgeasr review`: what `edgeasr listen --save` has kept is heard and corrected, the least certain first."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgeasr.cli.common import fail, printable, probability
from edgeasr.errors import InputError, MicrophoneError, MissingDependencyError

REVIEWED_FILE = "reviewed.jsonl"
# What is no speech does not belong to what training reads.
DROPPED_FILE = "dropped.jsonl"
HELP = "Enter: it is right; a text: what was said; p: play again; s: later; d: it is no speech; q: stop"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="where `edgeasr listen --save DIR` has kept utterances"
    )
    parser.add_argument(
        "--max-confidence",
        type=probability,
        default=0.8,
        metavar="P",
        help="only utterances below this (default: 0.8); 1 for all of them",
    )
    parser.add_argument("--no-play", action="store_true", help="do not play the sound")
    parser.add_argument("--list", action="store_true", help="only show what there is to review")


def run(args: argparse.Namespace) -> int:
    """Walks through the utterances."""
    waiting = open_entries(args.folder, args.max_confidence)
    if args.list:
        for entry in waiting:
            print(f"{entry['confidence']:.2f}  {entry['audio']}  {entry['text']}")
        return 0
    if not waiting:
        print("nothing is left to review", file=sys.stderr)
        return 0
    play = _silent if args.no_play else play_sound
    print(f"{len(waiting)} utterances, the least certain first. {HELP}", file=sys.stderr)
    num_done = 0
    for entry in waiting:
        answer = ask(entry, args.folder, play)
        if answer is None:
            break
        if answer:
            write_reviewed(args.folder, answer)
            num_done += 1
    print(f"{num_done} reviewed; training reads {args.folder / REVIEWED_FILE}", file=sys.stderr)
    return 0


def open_entries(folder: Path, max_confidence: float) -> list[dict[str, Any]]:
    """Utterances that have not been reviewed, the least certain first.

    Raises:
        InputError: There is no manifest, or it is damaged.
    """
    from edgeasr.saving import MANIFEST_FILE

    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise InputError(f"{path} not found: keep utterances with `edgeasr listen --save {folder}` first")
    done = {entry["id"] for name in (REVIEWED_FILE, DROPPED_FILE) for entry in _entries(folder / name)}
    waiting = [
        entry
        for entry in _entries(path)
        if entry["id"] not in done and (max_confidence >= 1.0 or entry["confidence"] < max_confidence)
    ]
    return sorted(waiting, key=lambda entry: float(entry["confidence"]))


def ask(entry: dict[str, Any], folder: Path, play: Callable[[Path], None]) -> dict[str, Any] | None:
    """Asks about one utterance.

    Returns:
        Its line for the reviewed manifest; empty to leave it for later; None to stop.
    """
    path = folder / entry["audio"]
    heard = str(entry["text"])
    play(path)
    while True:
        try:
            answer = input(f"{entry['confidence']:.2f}  {printable(heard)}\n> ").strip()
        except EOFError:
            return None
        if answer == "p":
            play(path)
            continue
        if answer == "q":
            return None
        if answer == "s":
            return {}
        text = None if answer == "d" else answer or heard
        line = {name: entry[name] for name in ("id", "audio", "duration_s")}
        return {**line, "text": text, "heard": heard}


def write_reviewed(folder: Path, line: dict[str, Any]) -> None:
    """Adds a line to the manifest of what has been reviewed, or to that of what is no speech."""
    name = DROPPED_FILE if line["text"] is None else REVIEWED_FILE
    with (folder / name).open("a", encoding="utf-8") as manifest:
        manifest.write(json.dumps(line, ensure_ascii=False) + "\n")


def play_sound(path: Path) -> None:
    """Plays a file to its end; what hinders that is told, and the review goes on."""
    import soundfile

    from edgeasr.microphone import import_sounddevice

    try:
        sound, sample_rate = soundfile.read(path, dtype="float32")
        sounddevice = import_sounddevice()
    except (soundfile.LibsndfileError, MissingDependencyError) as error:
        fail(error, path.name)
        return
    try:
        sounddevice.play(sound, sample_rate, blocking=True)
    except sounddevice.PortAudioError as error:
        fail(MicrophoneError(f"the sound cannot be played: {error}"), path.name)


def _silent(_path: Path) -> None:
    pass


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    needed: Sequence[str] = ("id", "audio", "duration_s", "text")
    for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), 1):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict) or any(name not in entry for name in needed):
                raise ValueError(f"expected an object with {', '.join(needed)}")
        except ValueError as error:
            raise InputError(f"{path}:{number}: {error}") from error
        yield {"confidence": 0.0, **entry}
