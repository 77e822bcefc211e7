"""Listening: events for loops, asyncio and callbacks; an orderly end; no thread left behind."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bundles import TINY

from edgeasr import ConfigError, Recognizer, StreamStateError
from edgeasr.audio import open_audio
from edgeasr.endpoint import EndpointConfig, GateConfig
from edgeasr.events import Command, DeviceLost, DeviceRestored, Event, Final, Overflow, Partial, Rejected, SpeechStarted
from edgeasr.grammar import Grammar
from edgeasr.listener import Listener
from edgeasr.profile import ProfileWatcher, add_phrases, add_word

RATE = 16000
SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*.flac"))
SPEECH = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in SAMPLES])[: 12 * RATE]
QUICK = EndpointConfig(
    min_silence_s=0.1, min_silence_in_noise_s=0.12, longest_utterance_s=1.5, gate=GateConfig(close_after_s=0.3)
)
TINY_RECOGNIZER = Recognizer(TINY)


def blocks(sound: np.ndarray[Any, Any] = SPEECH, size: int = 1600) -> list[np.ndarray[Any, Any]]:
    return [sound[start : start + size] for start in range(0, len(sound), size)]


def listen(source: Any, **options: Any) -> Listener:
    return TINY_RECOGNIZER.listen(source, **{"sample_rate": RATE, "endpoint": QUICK, **options})


@pytest.fixture(autouse=True)
def no_thread_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread for thread in set(threading.enumerate()) - before if "edgeasr" in thread.name]
    assert not left


EXPECTED = list(listen(blocks()))


def test_the_events_are_those_of_the_stream() -> None:
    assert {type(event) for event in EXPECTED} == {SpeechStarted, Partial, Final}
    stream = TINY_RECOGNIZER.stream(endpoint=QUICK, keep_events=True)
    stream.accept(SPEECH)
    stream.finish()
    assert stream.take_events() == EXPECTED
    assert list(listen(blocks(size=333))) == EXPECTED


def test_a_file_is_a_source() -> None:
    recognizer = Recognizer("en-small")
    with open_audio(SAMPLES[0], RATE) as reader:
        finals = [event for event in recognizer.listen(reader) if isinstance(event, Final)]
    assert [final.segment for final in finals] == list(recognizer.transcribe(SAMPLES[0]).segments)


def test_device_events_are_passed_on_in_their_place() -> None:
    device = [Overflow(time_s=0.1, lost_s=0.1), DeviceLost(time_s=0.2, message="gone")]
    device.append(DeviceRestored(time_s=0.3, name="back", lost_s=0.1))
    pieces: list[Any] = blocks()
    source = [pieces[0], device[0], pieces[1], device[1], device[2], *pieces[2:]]
    events = list(listen(source))
    assert [event for event in events if event in device] == device
    assert [event for event in events if event not in device] == EXPECTED


def test_how_loud_and_how_busy() -> None:
    listener = listen([np.full(RATE, 0.1, np.float32), np.zeros(RATE, np.int16), np.full(RATE, 3277, np.int16)])
    levels = []
    for _ in range(3):
        listener._step()
        levels.append(listener.level_dbfs)
    assert levels == pytest.approx([-20, -100, -20], abs=0.01)
    assert listener.heard_s == 3.0
    assert 0 < listener.real_time_factor < 10


def test_stop_finishes_what_is_being_said() -> None:
    def endless() -> Iterator[Any]:
        for number, block in enumerate(blocks() * 100):
            if number == 40:
                listener.stop()
            yield block

    listener = listen(endless())
    events = list(listener)
    stream = TINY_RECOGNIZER.stream(endpoint=QUICK, keep_events=True)
    stream.accept(np.concatenate(blocks()[:41]))
    stream.finish()
    assert events == stream.take_events()
    assert list(listener) == []


def test_a_source_that_fails() -> None:
    def broken() -> Iterator[Any]:
        yield from blocks()
        raise OSError("the cable burnt")

    for take in (list, lambda listener: asyncio.run(collect(listener))):
        heard: list[Event] = []
        listener = listen(broken())
        with pytest.raises(OSError, match="the cable burnt"):
            if take is list:
                for event in listener:
                    heard.append(event)
            else:
                asyncio.run(collect(listener, heard))
        assert heard == EXPECTED  # nothing is lost of what was said before


async def collect(listener: Listener, heard: list[Event] | None = None) -> list[Event]:
    heard = [] if heard is None else heard
    async for event in listener:
        heard.append(event)
    return heard


def test_async_for() -> None:
    async def two_at_once() -> list[list[Event]]:
        return list(await asyncio.gather(collect(listen(blocks())), collect(listen(blocks(size=800)))))

    assert asyncio.run(two_at_once()) == [EXPECTED, EXPECTED]


def test_an_asynchronous_source() -> None:
    async def source() -> AsyncIterator[Any]:
        for block in blocks():
            await asyncio.sleep(0)
            yield block

    assert asyncio.run(collect(listen(source()))) == EXPECTED
    with pytest.raises(StreamStateError, match="async for"):
        next(iter(listen(source())))


def test_cancelling_ends_the_thread() -> None:
    def slow() -> Iterator[Any]:
        while True:
            time.sleep(0.02)
            yield np.zeros(320, np.float32)

    async def give_up() -> None:
        async with listen(slow()) as listener:
            await asyncio.wait_for(collect(listener), 0.2)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())


def test_cancelling_does_not_hold_the_event_loop_up() -> None:
    release = threading.Event()
    released: list[bool] = []

    def stuck() -> Iterator[Any]:
        released.append(release.wait(10))
        yield from blocks()

    async def go_on_later() -> list[Event]:
        async with listen(stuck()) as listener:
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(listener), 0.05)
            release.set()
            return await collect(listener)

    assert asyncio.run(go_on_later()) == EXPECTED  # nothing is lost by it
    assert released == [True]


def test_callbacks() -> None:
    heard: list[Event] = []
    listen(blocks()).run(heard.append)
    assert heard == EXPECTED
    heard.clear()
    listener = listen(blocks())
    listener.start(heard.append)
    with pytest.raises(StreamStateError, match="already"):
        listener.start(heard.append)
    listener.join()
    assert heard == EXPECTED


def test_a_callback_that_fails_is_told_at_join() -> None:
    def fail(_event: Event) -> None:
        raise ValueError("no room")

    listener = listen(blocks())
    listener.start(fail)
    with pytest.raises(ValueError, match="no room"):
        listener.join()


def test_a_callback_may_stop() -> None:
    heard: list[Event] = []

    def handle(event: Event) -> None:
        heard.append(event)
        if isinstance(event, Final):
            listener.stop()

    with listen(blocks() * 1000) as listener:
        listener.start(handle)
        listener.join()
    assert EXPECTED[: len(heard) - 5] == heard[:-5]


PROGRAM = """
import asyncio, itertools, sys, threading, time
import numpy as np
from edgeasr import Recognizer
def slow():
    while True:
        time.sleep(0.02)
        yield np.zeros(320, np.float32)
listener = Recognizer(sys.argv[1]).listen(slow(), sample_rate=16000)
if sys.argv[2] == "thread":
    listener.start(print)
else:
    async def main():
        await asyncio.wait_for(anext(listener), 0.2)
    try:
        asyncio.run(main())
    except TimeoutError:
        pass
time.sleep(0.3)
"""


@pytest.mark.parametrize("way", ["thread", "async"])
def test_the_interpreter_exits(way: str) -> None:
    """Also when nobody stops the listener."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM, str(TINY), way], capture_output=True, timeout=60, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_ctrl_c_ends_the_loop() -> None:
    def pressed() -> Iterator[Any]:
        yield from blocks()[:40]
        raise KeyboardInterrupt

    heard = []
    with pytest.raises(KeyboardInterrupt), listen(pressed()) as listener:
        for event in listener:
            heard.append(event)
    assert heard == EXPECTED[: len(heard)] != []


def test_what_cannot_be_believed_is_rejected() -> None:
    events = list(listen(blocks(), min_segment_confidence=1.0))
    assert {type(event) for event in events} == {SpeechStarted, Partial, Rejected}
    assert [event.segment.words for event in events if isinstance(event, Rejected) and event.segment is not None] == [
        event.words for event in EXPECTED if isinstance(event, Final)
    ]
    with pytest.raises(ConfigError, match="min_segment_confidence is 2"):
        listen(blocks(), min_segment_confidence=2)


def test_commands() -> None:
    recognizer = Recognizer("en-small")
    sound, rate = soundfile.read(SAMPLES[0], dtype="float32")
    dictated = [event for event in recognizer.listen([sound], sample_rate=rate) if isinstance(event, Final)]
    words = dictated[0].text
    grammar = Grammar.from_text(f"intent say: {words}")
    events = list(recognizer.listen([sound], sample_rate=rate, grammar=grammar))
    commands = [event for event in events if isinstance(event, Command)]
    assert [(event.text, event.intent) for event in commands] == [(words, "say")]
    assert commands[0].time_s == dictated[0].time_s
    assert abs(commands[0].start - dictated[0].start) < 0.3
    assert abs(commands[0].end - dictated[0].end) < 0.3
    rest = [event for event in events if isinstance(event, (Final, Rejected))]
    assert len(rest) == len(dictated) - 1


def test_what_is_taught_is_taken_up(tmp_path: Path) -> None:
    profile = ProfileWatcher(tmp_path)

    def source() -> Iterator[Any]:
        yield from blocks(np.zeros(2 * RATE, np.float32))
        before.append(listener._stream.stages.words)
        add_phrases({"ab": 5.0}, folder=tmp_path)
        yield from blocks(np.zeros(2 * RATE, np.float32))
        yield from blocks()

    before: list[Any] = []
    listener = listen(source(), profile=profile)
    assert [event for event in listener if isinstance(event, Final)]
    words = listener._stream.stages.words
    assert words is not before[0]
    assert list(words.decoder.context.hotwords.phrases) == ["ab"]  # type: ignore[attr-defined]


def test_thousands_of_utterances_leave_nothing_behind() -> None:
    """Accept, endpoint and reset, over and over: what is kept does not grow."""
    random = np.random.default_rng(0)
    piece = np.concatenate([SPEECH[:4000], random.normal(0, 0.0003, 6000).astype(np.float32)])
    stream = TINY_RECOGNIZER.stream(endpoint=QUICK, keep_events=True)

    def cycle(times: int) -> int:
        num_ended = 0
        for number in range(times):
            stream.accept(piece)
            num_ended += sum(isinstance(event, (Final, Rejected)) for event in stream.take_events())
            stream.take_segments()
            if number % 100 == 99:
                stream.reset()
        return num_ended

    tracemalloc.start()
    cycle(300)
    gc.collect()  # also the tuples that Python keeps for the next ones
    before, _ = tracemalloc.get_traced_memory()
    num_ended = cycle(1000)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_ended >= 1000
    assert after - before < 50_000


def test_a_profile_that_cannot_be_taken_up_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocks = [np.zeros(RATE, np.float32)] * 4
    listener = Recognizer(TINY, decoder="greedy").listen(
        taught_between(blocks, tmp_path), sample_rate=RATE, profile=ProfileWatcher(tmp_path)
    )
    list(listener)
    assert listener.heard_s == 4.0
    assert "cannot be taken up" in caplog.text


def taught_between(blocks: list[Any], folder: Path) -> Iterator[Any]:
    yield blocks[0]
    add_word("new", folder=folder)
    yield from blocks[1:]
