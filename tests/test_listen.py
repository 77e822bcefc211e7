"""`edgeasr listen`: what it shows, what it keeps, and how it ends. The microphone is a stand-in that plays blocks."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import soundfile

from edgeasr import Recognizer, Segment, Word
from edgeasr.cli import main
from edgeasr.cli.live_view import DIM, PLAIN, LiveView
from edgeasr.endpoint import EndpointConfig
from edgeasr.errors import MicrophoneError
from edgeasr.events import (
    Command,
    DeviceLost,
    DeviceRestored,
    Event,
    Final,
    Overflow,
    Partial,
    Rejected,
    SpeechStarted,
)
from edgeasr.saving import MANIFEST_FILE, UtteranceSaver
from edgeasr.session import event_record

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*.flac"))[:2]
RATE = 16000


def word(text: str, start: float = 0.1, *, accepted: bool = True) -> Word:
    return Word(text, start, start + 0.2, 0.9, accepted)


def final(text: str, start: float = 0.1, end: float = 0.8) -> Final:
    words = tuple(word(part, start) for part in text.split())
    return Final(time_s=end + 0.6, segment=Segment(text, start, end, words))


class Terminal(io.StringIO):
    """Understands what the view writes: shows the lines that one would see."""

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        lines, row, column = [""], 0, 0
        text = self.getvalue()
        place = 0
        while place < len(text):
            character = text[place]
            if character == "\x1b":
                end = next(i for i in range(place, len(text)) if text[i].isalpha())
                code, kind = text[place + 2 : end], text[end]
                if kind == "A":
                    row -= int(code)
                elif kind == "J":
                    lines = [*lines[:row], lines[row][:column]]
                else:
                    assert kind == "m"
                place = end + 1
                continue
            if character == "\r":
                column = 0
            elif character == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            else:
                lines[row] = lines[row][:column] + character
                column += 1
            place += 1
        return lines


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def choose(number: int) -> None:
        size = os.terminal_size((number, 24))
        monkeypatch.setattr("shutil.get_terminal_size", lambda: size)

    choose(80)
    return choose


def test_finals_scroll_above_what_is_being_said(columns: Callable[[int], None]) -> None:
    terminal = Terminal()
    view = LiveView(terminal)
    view.show(Partial([word("good")], (word("mor"),), 1.0))
    assert terminal.getvalue().endswith(f"good{DIM} mor{PLAIN}")
    view.status(-30.0, 0.0123, 3725.0)
    assert terminal.lines() == ["good mor", "[####    ] -30 dB  RTF 0.012  1:02:05"]
    view.show(final("good morning"))
    assert terminal.lines() == ["good morning", "[####    ] -30 dB  RTF 0.012  1:02:05"]
    view.show(SpeechStarted(time_s=4.0, start=3.9))
    view.show(Partial([], (word("night", 4.0),), 5.0))
    assert terminal.lines()[1:] == ["night", "[####    ] -30 dB  RTF 0.012  1:02:05"]
    view.show(Rejected(time_s=6.0))
    view.show(Overflow(time_s=7.0, lost_s=0.5))
    view.show(DeviceLost(time_s=8.0, message="the microphone is gone"))
    view.show(DeviceRestored(time_s=9.0, name="fake", lost_s=60.0))
    view.show(
        Command(
            time_s=9.5,
            text="lights on",
            intent="light",
            slots={"state": "on"},
            spans=(),
            start=9,
            end=9.4,
            llr=0,
            score=0,
        )
    )
    view.close()
    assert terminal.lines() == [
        "good morning",
        "0.5 s of sound were lost: this machine is too slow or too busy",
        "the microphone is gone",
        "fake is back after 60 s",
        "lights on [light state=on]",
        "",
    ]


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("text", ["word", "言葉", "e\u0301te\u0301", "😀"])
def test_long_text_stays_on_its_line(columns: Callable[[int], None], width: int, text: str) -> None:
    columns(width)
    terminal = Terminal()
    view = LiveView(terminal)
    view.show(Partial([word(text)] * 30, tuple([word(text)] * 30), 1.0))
    (line,) = terminal.lines()
    assert line.startswith("…") and line.endswith(text)
    cells = sum({"言": 2, "葉": 2, "😀": 2, "\u0301": 0}.get(character, 1) for character in line)
    assert width - 3 <= cells <= width - 1


@pytest.mark.parametrize("text", ["word", "言葉"])
def test_finals_break_between_words(columns: Callable[[int], None], text: str) -> None:
    columns(40)
    terminal = Terminal()
    view = LiveView(terminal)
    view.show(final(" ".join([text] * 20)))
    view.note(" ".join([text] * 9))
    lines = terminal.lines()
    full = " ".join([text] * 8)
    assert lines == [full, full, " ".join([text] * 4), full, text, ""]


def test_a_mark_is_not_shown_twice(columns: Callable[[int], None]) -> None:
    terminal = Terminal()
    unsure = [word("B", accepted=False), word("C", accepted=False)]
    LiveView(terminal).show(Partial([word("a"), unsure[0]], (unsure[1], word("d")), 1.0))
    assert terminal.lines() == ["a [?] d"]


def test_plain_lines_in_a_pipe() -> None:
    out, notes = io.StringIO(), io.StringIO()
    view = LiveView(out, notes)
    for event in [
        Partial([word("good")], (word("mor"),), 1.0),
        final("good morning"),
        Rejected(time_s=2.0, segment=final("the").segment),
        Overflow(time_s=7.0, lost_s=0.5),
        final("night"),
    ]:
        view.show(event)
        view.status(-30.0, 0.1, 1.0)
    view.close()
    assert out.getvalue() == "good morning\nnight\n"
    assert notes.getvalue() == "edgeasr: 0.5 s of sound were lost: this machine is too slow or too busy\n"


class FakeMicrophone:
    """Plays recordings with pauses between them."""

    name = "fake"
    sample_rate = RATE
    num_lost = 0
    played: ClassVar[list[Any]] = []

    def __init__(self, device: str | None, *, channel: int | None = None) -> None:
        assert (device, channel) == ("fake", 2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def blocks(self) -> Iterator[Any]:
        yield from self.played


@pytest.fixture
def microphone(monkeypatch: pytest.MonkeyPatch) -> type[FakeMicrophone]:
    pause = np.random.default_rng(0).normal(0, 0.0003, RATE).astype(np.float32)
    sound = np.concatenate([part for path in SAMPLES for part in (pause, soundfile.read(path, dtype="float32")[0])])
    blocks: list[Any] = [sound[start : start + 640] for start in range(0, len(sound), 640)]
    monkeypatch.setattr(FakeMicrophone, "played", blocks)
    monkeypatch.setattr("edgeasr.microphone.Microphone", FakeMicrophone)
    return FakeMicrophone


ARGUMENTS = ["listen", "--device", "fake", "--channel", "2", "--profile", "none"]


def expected_events(blocks: list[Any]) -> list[Event]:
    return list(Recognizer("en-small").listen(blocks, sample_rate=RATE))


def test_text_and_json(microphone: type[FakeMicrophone], capsys: pytest.CaptureFixture[str]) -> None:
    microphone.played.insert(10, Overflow(time_s=0.4, lost_s=0.04))
    events = expected_events(microphone.played)
    finals = [event.text for event in events if isinstance(event, Final)]
    assert len(finals) >= 2
    assert main(ARGUMENTS) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == finals
    assert printed.err.splitlines() == [
        "Listening to fake; Ctrl-C stops.",
        "edgeasr: 0.0 s of sound were lost: this machine is too slow or too busy",
    ]
    assert main([*ARGUMENTS, "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert records == [json.loads(json.dumps(event_record(event))) for event in events]


def test_a_terminal_is_left_clean_when_the_microphone_fails(
    microphone: type[FakeMicrophone], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = microphone.played[:120]

    class Failing(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            yield from blocks
            raise MicrophoneError("it is gone")

    microphone.played = Failing()
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    assert main(ARGUMENTS) == 2
    *finals, last = terminal.lines()
    assert finals and last == ""
    assert "it is gone" in capsys.readouterr().err


def test_rules_and_confidence(microphone: type[FakeMicrophone], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "--min-silence", "8", "--longest-utterance", "60"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main([*ARGUMENTS, "--min-segment-confidence", "1"]) == 0
    assert capsys.readouterr().out == ""
    assert main([*ARGUMENTS, "--min-silence", "-1"]) == 2
    assert "min_silence_s is -1" in capsys.readouterr().err


def test_commands(microphone: type[FakeMicrophone], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = [event.text for event in expected_events(microphone.played) if isinstance(event, Final)]
    grammar = tmp_path / "commands.grammar"
    grammar.write_text(f"intent say: {said[0]}\n")
    assert main([*ARGUMENTS, "--grammar", str(grammar), "--save", str(tmp_path / "kept")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{said[0]} [say]"
    assert json.loads((tmp_path / "kept" / MANIFEST_FILE).read_text().splitlines()[0])["text"] == said[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_good_order(
    number: signal.Signals, microphone: type[FakeMicrophone], capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = microphone.played[:100]

    class Pressed(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            yield from blocks
            signal.raise_signal(number)
            yield blocks[0]
            raise AssertionError("it went on")

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    microphone.played = Pressed()
    assert main(ARGUMENTS) == 0
    finals = [event.text for event in expected_events([*blocks, blocks[0]]) if isinstance(event, Final)]
    assert capsys.readouterr().out.splitlines() == finals != []
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_utterances_are_kept(microphone: type[FakeMicrophone], tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    assert main([*ARGUMENTS, "--save", str(folder)]) == 0
    finals = [event for event in expected_events(microphone.played) if isinstance(event, Final)]
    entries = [json.loads(line) for line in (folder / MANIFEST_FILE).read_text().splitlines()]
    sound = np.concatenate(microphone.played)
    assert [entry["text"] for entry in entries] == [event.text for event in finals]
    for entry, event in zip(entries, finals, strict=True):
        kept, rate = soundfile.read(folder / entry["audio"], dtype="float32")
        begin = round((event.start - 0.3) * RATE)
        assert rate == RATE and len(kept) / RATE == pytest.approx(entry["duration_s"], abs=1e-3)
        assert np.abs(kept - sound[begin : begin + len(kept)]).max() < 1e-4
        assert entry["words"][0]["start"] == pytest.approx(0.3, abs=2e-3)
        end = min(event.end + 0.3, len(sound) / RATE)
        assert entry["duration_s"] == pytest.approx(end - event.start + 0.3, abs=2e-3)
    assert main([*ARGUMENTS, "--save", str(folder)]) == 0  # again, beside what is there
    assert len((folder / MANIFEST_FILE).read_text().splitlines()) == 2 * len(entries)
    assert len(list(folder.glob("*.flac"))) == 2 * len(entries)


def test_training_reads_what_is_kept(tmp_path: Path) -> None:
    read_manifest = pytest.importorskip("edgeasr.train.manifest").read_manifest
    saver = UtteranceSaver(tmp_path, EndpointConfig(), sample_rate=RATE)
    list(saver.blocks([np.zeros(RATE, np.float32)]))
    path = saver.save(final("good morning"))
    (utterance,) = read_manifest(tmp_path / MANIFEST_FILE)
    assert (utterance.audio, utterance.text, utterance.duration_s) == (path, "good morning", 1.0)


def test_a_full_disk_ends_the_saving_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    saver = UtteranceSaver(tmp_path, EndpointConfig(), sample_rate=RATE)
    list(saver.blocks([np.zeros(RATE, np.float32)]))
    assert saver.save(final("one")) is not None
    before = sorted(tmp_path.iterdir()), (tmp_path / MANIFEST_FILE).read_text()

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        assert saver.save(final("two")) is None
        assert saver.save(final("three")) is None
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: utterances cannot be saved: No space left on device"
    ]
    assert saver.problem is not None
    assert (sorted(tmp_path.iterdir()), (tmp_path / MANIFEST_FILE).read_text()) == before
    assert saver.save(final("four")) is not None  # there is room again
    assert saver.problem is None


def test_long_listening_keeps_little(tmp_path: Path) -> None:
    saver = UtteranceSaver(tmp_path, EndpointConfig(longest_utterance_s=2.0), sample_rate=RATE)
    blocks = [np.full(1600, number / 1000, np.float32) for number in range(600)]
    for _ in saver.blocks(blocks):
        assert saver._end - saver._begin < 12 * RATE
    path = saver.save(final("last", 58.0, 59.0))
    assert path is not None
    sound, _ = soundfile.read(path)
    assert len(sound) == round(1.6 * RATE)
    assert sound[0] == pytest.approx(0.577, abs=1e-4)
