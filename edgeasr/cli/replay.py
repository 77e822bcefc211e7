"""`edgeasr replay`: a session that `edgeasr listen --record` has kept is heard again."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeasr.cli.common import endpoint_config, load_recognizer
from edgeasr.cli.listen import arguments_of, start_listening

if TYPE_CHECKING:
    from edgeasr.endpoint import EndpointConfig
    from edgeasr.events import Event
    from edgeasr.recognizer import Recognizer
    from edgeasr.session import Session
    from edgeasr.types import Word

EXIT_DIFFERENT = 1
# Silence after the end, for words that the last chunk may have cut.
TAIL_S = 1.0
# A beam so many times as large finds what is to be found.
WIDER = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("session", type=Path, metavar="ZIP")
    parser.add_argument("--model", metavar="NAME|PATH", help="another bundle than the session's")
    parser.add_argument("--json", action="store_true", help="the events, one JSON object a line, and no comparison")
    parser.add_argument("--reference", metavar="TEXT", help="what was said: tells which stage lost each missing word")
    parser.add_argument("--reference-file", type=Path, metavar="FILE", help="the same from a file")


def run(args: argparse.Namespace) -> int:
    """Replays a session."""
    from edgeasr.session import event_record, first_difference, read_session

    session = read_session(args.session)
    with tempfile.TemporaryDirectory() as folder:
        arguments = arguments_of(session.description, Path(folder))
        if args.model is not None:
            arguments.model = args.model
        recognizer = load_recognizer(arguments)
        events = list(start_listening(arguments, recognizer, session.blocks(), sample_rate=session.sample_rate))
        records = [event_record(event) for event in events]
        if args.json:
            for record in records:
                print(json.dumps(record, ensure_ascii=False))
            return 0
        reference = args.reference if args.reference_file is None else args.reference_file.read_text(encoding="utf-8")
        if reference is not None:
            tell_losses(arguments, recognizer, session, events, reference.split())
    difference = first_difference(session.events, records)
    if difference is None:
        print(f"{len(records)} events, all as they were recorded")
        return 0
    place, before, now = difference
    print(f"event {place + 1} of {max(len(session.events), len(records))} is another one:")
    print(f"  recorded: {_shown(before)}\n  now:      {_shown(now)}")
    for line in changes(session, recognizer):
        print(f"  {line}")
    return EXIT_DIFFERENT


def changes(session: Session, recognizer: Recognizer) -> list[str]:
    """What is different here from where a session was recorded."""
    from edgeasr.session import describe_versions

    found = []
    here = describe_versions()
    recorded: dict[str, Any] = session.description.get("versions", {})
    for name, version in here["versions"].items():
        if recorded.get(name) != version:
            found.append(f"{name} was {recorded.get(name)}, is {version}")
    if session.description.get("machine") != here["machine"]:
        found.append(f"the machine was {session.description.get('machine')}, is {here['machine']}")
    files: dict[str, Any] = session.description.get("bundle", {}).get("files", {})
    for name, file in recognizer.bundle.files.items():
        if files.get(name) != file.sha256:
            found.append(f"{name} of the bundle {recognizer.bundle.name} is another one")
    return found or ["versions and bundle are the same, so it must be the processor"]


def tell_losses(
    args: argparse.Namespace,
    recognizer: Recognizer,
    session: Session,
    events: Iterable[Event],
    reference: Sequence[str],
) -> None:
    """Prints each word that was lost, and the stage that lost it."""
    from edgeasr.diagnosis import diagnose
    from edgeasr.events import DeviceRestored, Overflow

    events = list(events)
    gaps = [
        (event.time_s - event.lost_s, event.time_s) for event in events if isinstance(event, (Overflow, DeviceRestored))
    ]
    endpoint = endpoint_config(args)
    blocks = list(session.blocks())
    num_samples = sum(len(block) for block in blocks if isinstance(block, np.ndarray))
    tail = np.zeros(round(TAIL_S * session.sample_rate), np.float32)

    def heard(
        recognizer: Recognizer = recognizer,
        endpoint: EndpointConfig | None = endpoint,
        after: Sequence[np.ndarray[Any, Any]] = (),
    ) -> list[Word]:
        listener = recognizer.listen(
            [*blocks, *after], sample_rate=session.sample_rate, endpoint=endpoint, min_segment_confidence=0.0
        )
        return words_of(listener)

    def wider() -> list[Word]:
        beam_size = WIDER * recognizer.decoder.beam.beam_size
        return heard(load_recognizer(argparse.Namespace(**{**vars(args), "decoder": "beam", "beam_size": beam_size})))

    trials: dict[str, Callable[[], Sequence[Word]]] = {
        "confidence": heard,
        "gate": lambda: heard(endpoint=replace(endpoint, gate=None)),
        "endpoint": lambda: heard(endpoint=None),
        "tail": lambda: heard(after=[tail]),
        "beam": wider,
    }
    words = words_of(events)
    lost = diagnose(reference, words, trials, gaps=gaps, duration=num_samples / session.sample_rate)
    print(f"{len(reference) - len(lost)} of {len(reference)} words were understood, {len(lost)} were lost")
    for loss in lost:
        instead = "nothing" if loss.heard is None else repr(loss.heard)
        print(f"  {loss.start:7.2f} to {loss.end:7.2f} s  {loss.stage:<10}  {loss.word!r}: {instead} was heard")


def words_of(events: Iterable[Event]) -> list[Word]:
    """The words that were believed."""
    from edgeasr.events import Command, Final
    from edgeasr.types import Word

    words: list[Word] = []
    for event in events:
        if isinstance(event, Final):
            words += [word for word in event.words if word.accepted and event.segment.accepted]
        elif isinstance(event, Command):
            texts = event.text.split()
            share = (event.end - event.start) / len(texts)
            words += [
                Word(text, event.start + place * share, event.start + (place + 1) * share, event.confidence or 0.0)
                for place, text in enumerate(texts)
            ]
    return words


def _shown(record: Any) -> str:
    return "nothing" if record is None else json.dumps(record, ensure_ascii=False)
