"""`edgeasr review`: what `edgeasr listen --save` has kept is heard and corrected, the least certain first."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeasr.cli.common import fail, printable, probability
from edgeasr.cli.teach import read_tokens, spelled
from edgeasr.errors import ConfigError, InputError, MicrophoneError, MissingDependencyError

if TYPE_CHECKING:
    from edgeasr.tokens import TokenTable

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
    parser.add_argument(
        "--model", metavar="NAME|PATH", help="the bundle that the texts shall train (default: en-small)"
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
    tokens = read_tokens(args.model)
    num_done = 0
    for entry in waiting:
        answer = ask(entry, args.folder, play, tokens)
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
    return sorted(waiting, key=lambda entry: entry["confidence"])


def ask(entry: dict[str, Any], folder: Path, play: Callable[[Path], None], tokens: TokenTable) -> dict[str, Any] | None:
    """Asks about one utterance, again until the answer is a text that the model can be trained with.

    Returns:
        Its line for the reviewed manifest; empty to leave it for later; None to stop.
    """
    path = folder / entry["audio"]
    heard = entry["text"] or ""
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
        try:
            text = None if answer == "d" else spelled(answer or heard, tokens)
        except ConfigError as error:
            fail(error)
            continue
        line = {name: entry[name] for name in ("id", "audio", "duration_s")}
        return {**line, "text": text, "heard": heard}


def write_reviewed(folder: Path, line: dict[str, Any]) -> None:
    """Adds a line to the manifest of what has been reviewed, or to that of what is no speech.

    What was written of a line when a review broke off goes.
    """
    name = DROPPED_FILE if line["text"] is None else REVIEWED_FILE
    with (folder / name).open("a+b") as manifest:
        manifest.seek(0)
        *whole, last = manifest.read().split(b"\n")
        if _is_json(last):
            manifest.write(b"\n")
        else:
            manifest.truncate(sum(len(before) + 1 for before in whole))
        manifest.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


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


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    *lines, last = path.read_bytes().split(b"\n")
    if _is_json(last):
        lines.append(last)
    elif last.strip():
        print(f"edgeasr: note: {path}:{len(lines) + 1}: the last line was not written to its end", file=sys.stderr)
    for number, line in enumerate(lines, 1):
        try:
            yield _entry(json.loads(line))
        except ValueError as error:
            raise InputError(f"{path}:{number}: {error}") from error


def _entry(entry: Any) -> dict[str, Any]:
    """A line of a manifest. What has no calibrated confidence is the least certain.

    Raises:
        ValueError: It is none.
    """
    needed: dict[str, tuple[type, ...]] = {
        "id": (str,),
        "audio": (str,),
        "duration_s": (int, float),
        "text": (str, type(None)),
    }
    if not isinstance(entry, dict) or any(name not in entry for name in needed):
        raise ValueError(f"expected an object with {', '.join(needed)}")
    for name, kinds in needed.items():
        if not isinstance(entry[name], kinds):
            raise ValueError(f"{name} is {entry[name]!r}")
    confidence = entry.get("confidence")
    if confidence is None:
        confidence = 0.0
    if isinstance(confidence, bool) or not isinstance(confidence, (int, float)) or not math.isfinite(confidence):
        raise ValueError(f"confidence is {confidence!r}, not a number")
    return {**entry, "confidence": float(confidence)}
