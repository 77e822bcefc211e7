"""`edgeasr listen`: live text from a microphone, until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any

from edgeasr.cli.common import (
    add_confidence_arguments,
    add_context_arguments,
    add_endpoint_arguments,
    add_profile_argument,
    add_recognizer_arguments,
    endpoint_config,
    fail,
    load_recognizer,
    positive,
    profile_folder,
    quiet_libraries,
)
from edgeasr.errors import InputError
from edgeasr.profile import FILES as PROFILE_FILES

if TYPE_CHECKING:
    from edgeasr.cli.live_view import LiveView
    from edgeasr.listener import Block, Listener, Source
    from edgeasr.profile import ProfileWatcher
    from edgeasr.recognizer import Recognizer
    from edgeasr.wake import WakeConfig

# What a session keeps of the arguments: values and the kind of each, and texts that are in files.
OPTIONS: dict[str, type | UnionType] = {
    "model": str | None,
    "decoder": str | None,
    "beam_size": int | None,
    "threads": int,
    "lm": str | None,
    "lm_weight": float | int | None,
    "word_bonus": float | int | None,
    "hotword_boost": float | int | None,
    "nbest": int | None,
    "min_confidence": float | int,
    "min_segment_confidence": float | int | None,
    "unsure_mark": str | None,
    "min_silence": float | int | None,
    "longest_utterance": float | int | None,
    "wake": str | None,
    "wake_cost": float | int | None,
}
FILE_OPTIONS = ("lexicon", "hotwords", "grammar")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument(
        "--device", metavar="NUMBER|NAME", help="the microphone, see `edgeasr devices` (default: the system's)"
    )
    parser.add_argument("--channel", type=positive, metavar="N", help="its channel N alone, counted from 1")
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each event")
    parser.add_argument(
        "--save", type=Path, metavar="DIR", help="keep utterances as FLAC, with a manifest that training reads"
    )
    parser.add_argument(
        "--record", type=Path, metavar="ZIP", help="keep the exact blocks of sound and the events, for `edgeasr replay`"
    )
    parser.add_argument("--grammar", metavar="FILE", help="commands to understand, beside dictation")
    parser.add_argument("--wake", metavar="PHRASE", help="listen to one utterance after this phrase, each time")
    parser.add_argument(
        "--wake-cost",
        type=float,
        metavar="X",
        help="how unclear it may be said, in nats a letter (default: 1.2)",
    )
    add_endpoint_arguments(parser)
    add_recognizer_arguments(parser)
    add_context_arguments(parser)
    add_profile_argument(parser)
    add_confidence_arguments(parser)
    # Whether it was asked for: listening has a default of its own.
    parser.set_defaults(min_segment_confidence=None)


def run(args: argparse.Namespace) -> int:
    """Listens until Ctrl-C."""
    from edgeasr.cli.live_view import LiveView
    from edgeasr.events import Command, Final
    from edgeasr.microphone import Microphone
    from edgeasr.profile import ProfileWatcher
    from edgeasr.saving import UtteranceSaver
    from edgeasr.session import SessionRecorder, event_record

    recognizer = load_recognizer(args)
    folder = profile_folder(args)
    endpoint = endpoint_config(args)
    with (
        quiet_libraries(),
        closing(LiveView(sys.stdout)) as view,
        _noted(view),
        Microphone(args.device, channel=args.channel) as microphone,
        ExitStack() as stack,
    ):
        saver = None if args.save is None else UtteranceSaver(args.save, endpoint, sample_rate=microphone.sample_rate)
        blocks = microphone.blocks() if saver is None else saver.blocks(microphone.blocks())
        recorder = None
        if args.record is not None:
            description = describe_listening(args, recognizer, microphone.sample_rate)
            recorder = stack.enter_context(SessionRecorder(args.record, {**description, "device": microphone.name}))
            blocks = recorder.blocks(blocks)
        listener = start_listening(
            args,
            recognizer,
            blocks if args.json else _with_status(blocks, view, lambda: listener),
            sample_rate=microphone.sample_rate,
            # What is taught while a session is recorded would be missing when it is replayed.
            profile=None if folder is None or recorder is not None else ProfileWatcher(folder),
        )
        print(f"Listening to {microphone.name}; Ctrl-C stops.", file=sys.stderr)
        with _stopping_at_ctrl_c(listener):
            for event in _until_interrupted(listener):
                if recorder is not None:
                    recorder.tell(event)
                if args.json:
                    print(json.dumps(event_record(event), ensure_ascii=False), flush=True)
                else:
                    view.show(event)
                if saver is not None and isinstance(event, (Final, Command)):
                    saver.save(event)
    if microphone.num_lost:
        lost_s = microphone.num_lost / microphone.sample_rate
        return fail(f"{lost_s:.1f} s of sound were lost: this machine was too slow for the model")
    return 0


def start_listening(
    args: argparse.Namespace,
    recognizer: Recognizer,
    source: Source,
    *,
    sample_rate: int,
    profile: ProfileWatcher | None = None,
) -> Listener:
    """Listens to a source as the arguments say."""
    from edgeasr.grammar import Grammar

    return recognizer.listen(
        source,
        sample_rate=sample_rate,
        endpoint=endpoint_config(args),
        min_segment_confidence=args.min_segment_confidence,
        grammar=None if args.grammar is None else Grammar.from_file(args.grammar),
        profile=profile,
        wake=_wake_config(args),
    )


def _wake_config(args: argparse.Namespace) -> WakeConfig | None:
    from edgeasr.wake import WakeConfig

    if args.wake is None:
        return None
    return WakeConfig(phrase=args.wake, **({} if args.wake_cost is None else {"max_letter_cost": args.wake_cost}))


def describe_listening(args: argparse.Namespace, recognizer: Recognizer, sample_rate: int) -> dict[str, Any]:
    """What `arguments_of` needs to listen again in the same way, as JSON can say it: options, files and bundle.

    Raises:
        InputError: A file that is no text in UTF-8.
    """
    from edgeasr.bundle import list_bundles
    from edgeasr.recognizer import NO_LM

    folder = profile_folder(args)
    files = {name: read_text(Path(path)) for name in FILE_OPTIONS if (path := getattr(args, name)) is not None}
    if folder is not None:
        for name in PROFILE_FILES:
            if (folder / name).is_file():
                files[f"profile/{name}"] = read_text(folder / name)
    bundle = recognizer.bundle
    options = {name: getattr(args, name) for name in OPTIONS}
    if options["model"] is not None and list_bundles().get(options["model"]) != bundle.path:
        options["model"] = str(bundle.path.resolve())
    lm_sha256 = None
    if options["lm"] not in (None, NO_LM):
        options["lm"] = str(Path(options["lm"]).resolve())
        lm_sha256 = sha256(Path(options["lm"]))
    return {
        "sample_rate": sample_rate,
        "options": options,
        "files": files,
        "bundle": {"name": bundle.name, "files": {name: file.sha256 for name, file in bundle.files.items()}},
        "lm_sha256": lm_sha256,
    }


def sha256(path: Path) -> str:
    """The checksum of a file."""
    from hashlib import file_digest

    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: It is not in UTF-8.
        OSError: There is no such file.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8: {error}") from error


def arguments_of(description: Mapping[str, Any], folder: Path) -> argparse.Namespace:
    """The arguments that a session was recorded with.

    Args:
        description: What `describe_listening` has said.
        folder: Where to put the files that belong to them.

    Raises:
        InputError: The description lacks something, or it is damaged.
    """
    options, files = description.get("options"), description.get("files")
    if not isinstance(options, dict) or not isinstance(files, dict) or not options.keys() >= OPTIONS.keys():
        raise InputError("the session does not say how was listened; this edgeasr knows another kind of session")
    for name, kind in OPTIONS.items():
        if isinstance(options[name], bool) or not isinstance(options[name], kind):
            raise InputError(f"the session is damaged: its option {name} is {options[name]!r}")
    args = argparse.Namespace(**{name: options[name] for name in OPTIONS})
    (folder / "profile").mkdir()
    for name in FILE_OPTIONS:
        setattr(args, name, str(folder / name) if name in files else None)
    args.profile = str(folder / "profile")
    for name, text in files.items():
        if name not in FILE_OPTIONS and name not in {f"profile/{file}" for file in PROFILE_FILES}:
            raise InputError(f"the session has a file {name!r}, which is none of a listener's")
        if not isinstance(text, str):
            raise InputError(f"the session is damaged: its file {name} is {text!r}, not a text")
        (folder / name).write_text(text, encoding="utf-8", errors="replace")
    return args


def _with_status(blocks: Iterator[Block], view: LiveView, listener: Callable[[], Listener]) -> Iterator[Block]:
    """Passes blocks on, and shows how listening goes."""
    for block in blocks:
        yield block
        now = listener()
        view.status(now.level_dbfs, now.real_time_factor, now.heard_s)


def _until_interrupted(listener: Listener) -> Iterator[Any]:
    """All events; after Ctrl-C, too, those of what was being said."""
    try:
        yield from listener
    except KeyboardInterrupt:
        listener.stop()
        yield from listener


@contextmanager
def _stopping_at_ctrl_c(listener: Listener) -> Iterator[None]:
    """Ctrl-C, and what systemd sends, end the listening in good order; a second Ctrl-C ends the program at once."""

    def stop(_number: int, _frame: object) -> None:
        listener.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _noted(view: LiveView) -> Iterator[None]:
    """Shows warnings of the package as notes between the lines of text."""

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            view.note(record.getMessage())

    handler = Notes(logging.WARNING)
    logger = logging.getLogger("edgeasr")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
