"""`edgeasr replay`: a session that `edgeasr listen --record` has kept is heard again."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from string import whitespace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeasr.cli.common import endpoint_config, load_recognizer
from edgeasr.cli.listen import arguments_of, read_text, sha256, start_listening
from edgeasr.cli.teach import PUNCTUATION, plain_words
from edgeasr.errors import InputError

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
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--json", action="store_true", help="the events, one JSON object a line, and no comparison")
    ways.add_argument("--reference", metavar="TEXT", help="what was said: tells which stage lost each missing word")
    ways.add_argument("--reference-file", type=Path, metavar="FILE", help="the same from a file")


def run(args: argparse.Namespace) -> int:
    """Replays a session."""
    from edgeasr.session import event_record, first_difference, read_session

    session = read_session(args.session)
    reference = args.reference if args.reference_file is None else read_text(args.reference_file)
    if reference is not None and not reference.strip(PUNCTUATION + whitespace):
        raise InputError("there is no word in the reference")
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
        if reference is not None:
            tell_losses(arguments, recognizer, session, events, reference)
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
    from edgeasr.recognizer import NO_LM
    from edgeasr.session import describe_versions

    found = []
    here = describe_versions()
    recorded: dict[str, Any] = session.description.get("versions", {})
    for name, version in here["versions"].items():
        if recorded.get(name) != version:
            found.append(f"{name} was {recorded.get(name)}, is {version}")
    if session.description.get("machine") != here["machine"]:
        found.append(f"the machine was {session.description.get('machine')}, is {here['machine']}")
    files = session.description.get("bundle", {}).get("files")
    for name, file in recognizer.bundle.files.items():
        if not isinstance(files, dict) or files.get(name) != file.sha256:
            found.append(f"{name} of the bundle {recognizer.bundle.name} is another one")
    lm, lm_sha256 = session.description["options"]["lm"], session.description.get("lm_sha256")
    if lm not in (None, NO_LM) and lm_sha256 is not None and sha256(Path(lm)) != lm_sha256:
        found.append(f"the language model {lm} is another one")
    return found or ["versions and bundle are the same, so it must be the processor"]


def tell_losses(
    args: argparse.Namespace,
    recognizer: Recognizer,
    session: Session,
    events: Iterable[Event],
    said: str,
) -> None:
    """Prints each word that was lost, and the stage that lost it."""
    from edgeasr.diagnosis import diagnose

    events = list(events)
    endpoint = endpoint_config(args)
    blocks = list(session.blocks())
    duration = sum(len(block) for block in blocks if isinstance(block, np.ndarray)) / session.sample_rate
    tail = np.zeros(round(TAIL_S * session.sample_rate), np.float32)
    # What is heard is compared as the model writes it, as the reference is: a lexicon may write capitals.
    plain = cache(lambda text: " ".join(plain_words(text, recognizer.bundle.tokens)) or text)

    def comparable(events: Iterable[Event]) -> list[Word]:
        return [replace(word, text=plain(word.text)) for word in words_of(events)]

    def trusting(**changed: Any) -> Recognizer:
        """A recogniser that believes every word."""
        wanted = {**vars(args), "min_confidence": 0.0, "min_segment_confidence": 0.0, **changed}
        return load_recognizer(argparse.Namespace(**wanted))

    believing = cache(lambda: trusting() if args.min_confidence else recognizer)

    def awake() -> list[Word]:
        without = argparse.Namespace(**{**vars(args), "wake": None})
        return comparable(start_listening(without, recognizer, blocks, sample_rate=session.sample_rate))

    def believed() -> list[Word]:
        without = argparse.Namespace(**{**vars(args), "wake": None, "min_segment_confidence": 0.0})
        return comparable(start_listening(without, believing(), blocks, sample_rate=session.sample_rate))

    def heard(
        recognizer: Recognizer | None = None,
        endpoint: EndpointConfig | None = endpoint,
        after: Sequence[np.ndarray[Any, Any]] = (),
    ) -> list[Word]:
        """Without wake phrase, grammar and limits of confidence."""
        listener = (recognizer or believing()).listen(
            [*blocks, *after], sample_rate=session.sample_rate, endpoint=endpoint, min_segment_confidence=0.0
        )
        return comparable(listener)

    def wider() -> list[Word]:
        return heard(trusting(decoder="beam", beam_size=WIDER * recognizer.decoder.beam.beam_size))

    trials: dict[str, Callable[[], Sequence[Word]]] = {
        **({} if args.wake is None else {"wake": awake}),
        "confidence": believed,
        **({} if args.grammar is None else {"grammar": heard}),
        "gate": lambda: heard(endpoint=replace(endpoint, gate=None)),
        "endpoint": lambda: heard(endpoint=None),
        "tail": lambda: heard(after=[tail]),
        "beam": wider,
    }
    reference = plain_words(said, recognizer.bundle.tokens)
    lost = diagnose(reference, comparable(events), trials, gaps=gaps_of(events, duration), duration=duration)
    print(f"{len(reference) - len(lost)} of {len(reference)} words were understood, {len(lost)} were lost")
    for loss in lost:
        instead = "nothing" if loss.heard is None else repr(loss.heard)
        print(f"  {loss.start:7.2f} to {loss.end:7.2f} s  {loss.stage:<10}  {loss.word!r}: {instead} was heard")


def gaps_of(events: Iterable[Event], duration: float) -> list[tuple[float, float]]:
    """Where sound is missing, in seconds from and to; a device that does not come back is missing to the end."""
    from edgeasr.events import DeviceLost, DeviceRestored, Overflow

    gaps = []
    lost_s = None
    for event in events:
        if isinstance(event, DeviceLost):
            lost_s = event.time_s
        elif isinstance(event, (Overflow, DeviceRestored)):
            gaps.append((event.time_s - event.lost_s, event.time_s))
            lost_s = None if isinstance(event, DeviceRestored) else lost_s
    if lost_s is not None:
        gaps.append((lost_s, duration))
    return gaps


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
