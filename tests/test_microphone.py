"""The microphone and `edgeasr listen`, with a sound card made of Python."""

import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import islice
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from bundles import TINY

from edgeasr import Recognizer
from edgeasr.capture import CaptureRing
from edgeasr.cli import main
from edgeasr.cli.devices import level_line, told
from edgeasr.errors import ConfigError, MicrophoneError, MissingDependencyError, StreamStateError
from edgeasr.events import DeviceLost, DeviceRestored, Overflow
from edgeasr.microphone import BLOCK_S, Microphone
from edgeasr.waveform import to_mono

RATE = 44100
BLOCK = round(RATE * BLOCK_S)


class PortAudioError(Exception):
    """As sounddevice has it."""


class Flags:
    """As sounddevice has it."""

    def __init__(self, *, input_overflow: bool = False) -> None:
        self.input_overflow = input_overflow

    def __bool__(self) -> bool:
        return self.input_overflow


class SoundCard(ModuleType):
    """Stands in for the module sounddevice: plays what the test gives it, from a thread of its own."""

    PortAudioError = PortAudioError

    def __init__(self) -> None:
        super().__init__("sounddevice")
        self.blocks: list[np.ndarray[Any, Any]] = []
        self.overflows: set[int] = set()  # the indices of blocks that come with PortAudio's flag
        self.num_channels = 1
        self.before_block = lambda index: None
        self.closed = threading.Event()
        self.played = threading.Event()
        self.num_restarts = 0
        self.num_streams = 0
        self.RawInputStream = lambda **options: InputStream(self, **options)

    def query_devices(self, device: object = None, kind: str | None = None) -> Any:
        fake = {"name": "fake: mic (hw:1,0)", "index": 3, "hostapi": 0, "default_samplerate": float(RATE)}
        fake["max_input_channels"] = self.num_channels
        return fake if kind else [fake, {**fake, "max_input_channels": 0}]

    def query_hostapis(self) -> Any:
        return [{"name": "ALSA"}]

    def _terminate(self) -> None:
        self.num_restarts += 1

    def _initialize(self) -> None:
        pass


class InputStream:
    """A stream that calls back for every block of the card."""

    def __init__(
        self,
        card: SoundCard,
        *,
        samplerate: int,
        channels: int,
        blocksize: int,
        callback: Callable[..., None],
        finished_callback: Callable[[], None],
        **_: object,
    ) -> None:
        if samplerate != RATE:
            raise PortAudioError("Error opening RawInputStream: Invalid sample rate", -9997)
        if channels != card.num_channels:
            raise PortAudioError("Error opening RawInputStream: Invalid number of channels", -9998)
        assert blocksize == BLOCK
        card.num_streams += 1
        self._card = card
        self._callback = callback
        self._finished = finished_callback
        self._thread = threading.Thread(target=self._play)

    def _play(self) -> None:
        for index, block in enumerate(self._card.blocks):
            self._card.before_block(index)
            flags = Flags(input_overflow=index in self._card.overflows)
            self._callback(block.tobytes(), len(block), None, flags)
        self._card.played.set()

    def start(self) -> None:
        self._thread.start()

    def close(self, ignore_errors: bool = False) -> None:
        self._thread.join()
        self._finished()
        self._card.closed.set()


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> SoundCard:
    fake = SoundCard()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


class Clock:
    """Stands in for the module time, as the microphone uses it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("edgeasr.microphone.time", clock)
    return clock


def noise(num_blocks: int, *shape: int) -> list[np.ndarray[Any, Any]]:
    whole = np.random.default_rng(0).normal(0, 0.1, (num_blocks * BLOCK, *shape)).astype(np.float32)
    return np.split(whole, num_blocks)


def joined(blocks: list[Any]) -> np.ndarray[Any, Any]:
    return np.concatenate([block for block in blocks if isinstance(block, np.ndarray)])


def test_blocks_arrive_in_order(card: SoundCard) -> None:
    card.blocks = noise(20)
    with Microphone() as microphone:
        assert (microphone.name, microphone.sample_rate) == ("fake: mic (hw:1,0)", RATE)
        heard = list(islice(microphone.blocks(), 20))
    assert np.array_equal(np.concatenate(heard), np.concatenate(card.blocks))
    assert microphone.num_lost == microphone.num_overflows == 0
    assert card.closed.is_set()


def test_what_is_left_comes_after_closing(card: SoundCard) -> None:
    card.blocks = noise(5)
    with Microphone() as microphone:
        first = next(microphone.blocks())
        assert card.played.wait(10)
    rest = list(microphone.blocks())
    assert np.array_equal(joined([first, *rest]), np.concatenate(card.blocks))
    microphone.close()
    assert list(microphone.blocks()) == []


def test_another_thread_may_end_the_blocks(card: SoundCard) -> None:
    card.blocks = noise(1)
    with Microphone() as microphone:
        closer = threading.Timer(0.1, microphone.close)
        closer.start()
        assert len(list(microphone.blocks())) == 1
        closer.join()


def test_a_microphone_may_be_opened_again(card: SoundCard) -> None:
    card.blocks = noise(3)
    microphone = Microphone()
    for _ in range(2):
        with microphone:
            assert card.played.wait(10)
        assert np.array_equal(joined(list(microphone.blocks())), np.concatenate(card.blocks))
        assert microphone.captured_at(0.0) is not None
        assert microphone.num_overflows == 0


def test_blocks_outside_with(card: SoundCard) -> None:
    with pytest.raises(StreamStateError, match="use it in a `with` statement"):
        next(Microphone().blocks())


def test_what_does_not_fit_is_silence(card: SoundCard) -> None:
    card.blocks = noise(12)
    release = threading.Event()
    drained = threading.Event()

    def hold(index: int) -> None:
        if index == 8:  # five fit
            release.set()
            assert drained.wait(10)

    card.before_block = hold
    with Microphone(buffer_s=5 * BLOCK_S) as microphone:
        blocks = microphone.blocks()
        assert release.wait(10)
        heard: list[Any] = list(islice(blocks, 5))
        drained.set()
        heard += islice(blocks, 2 + 4)
    expected = np.concatenate(card.blocks)
    expected[5 * BLOCK : 8 * BLOCK] = 0
    assert np.array_equal(joined(heard), expected)
    assert heard[6] == Overflow(time_s=8 * BLOCK / RATE, lost_s=3 * BLOCK / RATE)
    assert (microphone.num_overflows, microphone.num_lost) == (1, 3 * BLOCK)


def test_what_portaudio_has_lost_is_measured_by_the_clock(card: SoundCard, clock: Clock) -> None:
    card.blocks = noise(9)
    card.overflows = {0, 6}  # that of the first block means nothing

    def tick(index: int) -> None:
        clock.now += BLOCK_S + (0.5 if index == 6 else 0.003 if index == 3 else -0.003 if index == 4 else 0.0)

    card.before_block = tick
    with Microphone() as microphone:
        assert card.played.wait(10)
        heard = list(islice(microphone.blocks(), 9 + 2))
        assert microphone.captured_at(7 * BLOCK_S + 0.5) == clock.now - BLOCK_S
        assert microphone.captured_at(6 * BLOCK_S + 0.2) is None
    assert heard[7] == Overflow(time_s=6 * BLOCK_S + 0.5, lost_s=0.5)
    assert np.array_equal(heard[6], np.zeros(RATE // 2, np.float32))
    assert [len(block) for block in heard if isinstance(block, np.ndarray)] == [BLOCK] * 6 + [RATE // 2] + [BLOCK] * 3
    assert (microphone.num_overflows, microphone.num_lost) == (1, RATE // 2)


def test_channels(card: SoundCard) -> None:
    card.num_channels = 3
    card.blocks = noise(2, 3)
    whole = np.concatenate(card.blocks)
    for channel, expected in ((None, to_mono(whole)), (1, whole[:, 0]), (3, whole[:, 2])):
        with Microphone(channel=channel) as microphone:
            heard = list(islice(microphone.blocks(), 2))
        assert np.array_equal(np.concatenate(heard), expected)
    for channel in (0, 4):
        with pytest.raises(MicrophoneError, match=rf"fake: mic \(hw:1,0\) has no channel {channel}, it has 3"):
            Microphone(channel=channel)


def test_a_device_that_goes_silent_is_looked_for(card: SoundCard, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("SILENT_S", 0.2), ("WAIT_S", 0.05), ("RETRY_S", 0.2), ("SETTLE_S", 0.05)):
        monkeypatch.setattr(f"edgeasr.microphone.{name}", seconds)
    card.blocks = noise(2)
    attempts: list[str] = []
    fake_stream = card.RawInputStream

    def replugged(**options: Any) -> InputStream:
        attempts.append("open")
        if len(attempts) < 4:
            raise PortAudioError("Error opening RawInputStream: Device unavailable", -9985)
        return fake_stream(**options)

    with Microphone() as microphone:
        blocks = microphone.blocks()
        heard: list[Any] = list(islice(blocks, 2))
        card.RawInputStream = replugged  # type: ignore[assignment]
        while not any(isinstance(block, DeviceRestored) for block in heard):
            heard.append(next(blocks))
        heard.append(next(blocks))
    lost, restored = (block for block in heard if not isinstance(block, np.ndarray))
    assert lost == DeviceLost(time_s=2 * BLOCK_S, message=lost.message)
    assert lost.message == "fake: mic (hw:1,0) is gone: unplugged, or taken away by the system; waiting for it"
    assert card.num_restarts == 3  # not for the first attempt
    assert restored.time_s == sum(len(block) for block in heard[:-1] if isinstance(block, np.ndarray)) / RATE
    assert restored.lost_s == pytest.approx(restored.time_s - lost.time_s)
    assert np.array_equal(heard[-1], card.blocks[0])
    silence = joined(heard)[2 * BLOCK : -BLOCK]
    assert len(silence) >= 0.6 * RATE and not silence.any()


def test_the_first_blocks_of_a_device_that_is_there_again_may_come_late(
    card: SoundCard, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("SILENT_S", 0.1), ("WAIT_S", 0.05), ("SETTLE_S", 0.1)):
        monkeypatch.setattr(f"edgeasr.microphone.{name}", seconds)
    card.blocks = noise(6)

    def tick(index: int) -> None:
        if card.num_streams == 1:
            clock.now = 1000.0 + (index + 1) * BLOCK_S
        else:  # sounds again from 1002 on, but the first three blocks come together
            clock.now = 1002.0 + max(index + 1, 3) * BLOCK_S

    card.before_block = tick
    heard: list[Any] = []
    with Microphone() as microphone:
        assert card.played.wait(10)
        blocks = microphone.blocks()
        while not any(isinstance(block, DeviceRestored) for block in heard):
            heard.append(next(blocks))
        heard += islice(blocks, 6)
    lost, restored = (block for block in heard if not isinstance(block, np.ndarray))
    assert lost.time_s == 6 * BLOCK_S
    assert restored.lost_s == pytest.approx(2.0 - 6 * BLOCK_S, abs=1e-4)
    sound = joined(heard)
    assert np.array_equal(sound[-6 * BLOCK :], np.concatenate(card.blocks))
    assert not sound[6 * BLOCK : -6 * BLOCK].any()
    assert len(sound) == round((2.0 + 6 * BLOCK_S) * RATE)


def test_portaudio_that_does_not_start_again_is_tried_once_more(
    card: SoundCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("SILENT_S", 0.1), ("WAIT_S", 0.05), ("RETRY_S", 0.05), ("SETTLE_S", 0.05)):
        monkeypatch.setattr(f"edgeasr.microphone.{name}", seconds)
    card.blocks = noise(1)
    calls: list[str] = []
    running = True

    def terminate() -> None:
        nonlocal running
        calls.append("terminate")
        if not running:
            raise PortAudioError("PortAudio not initialized", -10000)
        running = False

    def initialize() -> None:
        nonlocal running
        calls.append("initialize")
        if len(calls) < 6:
            raise PortAudioError("Error initializing PortAudio: Unanticipated host error", -9999)
        running = True

    def host_apis() -> Any:
        if not running:
            raise PortAudioError("PortAudio not initialized", -10000)
        return [{"name": "ALSA"}]

    fake_stream = card.RawInputStream

    def away_at_first(**options: Any) -> InputStream:
        if not calls:
            raise PortAudioError("Error opening RawInputStream: Device unavailable", -9985)
        return fake_stream(**options)

    monkeypatch.setattr(card, "_terminate", terminate)
    monkeypatch.setattr(card, "_initialize", initialize)
    monkeypatch.setattr(card, "query_hostapis", host_apis)
    with Microphone() as microphone:
        card.RawInputStream = away_at_first  # type: ignore[assignment]
        blocks = microphone.blocks()
        while not isinstance(next(blocks), DeviceRestored):
            pass
    assert calls == ["terminate", "initialize"] * 3


def test_portaudio_is_not_restarted_under_another_microphone(card: SoundCard, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("SILENT_S", 0.2), ("WAIT_S", 0.05), ("RETRY_S", 0.05), ("SETTLE_S", 0.05)):
        monkeypatch.setattr(f"edgeasr.microphone.{name}", seconds)
    card.blocks = noise(1)
    with Microphone(), Microphone() as lost:
        heard: list[Any] = []
        for block in lost.blocks():
            heard.append(block)
            if sum(isinstance(block, DeviceRestored) for block in heard) == 3:
                break
    assert card.num_restarts == 0


def test_devices_that_are_not_there(card: SoundCard, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Microphone("FAKE").name == Microphone(3).name == Microphone("3").name == "fake: mic (hw:1,0)"
    with pytest.raises(MicrophoneError, match=r"no microphone is called 'other'; choose from: 3: fake: mic"):
        Microphone("other")
    with pytest.raises(MicrophoneError, match=r"does not record at 16000 Hz; its own rate is 44100 Hz"):
        Microphone(sample_rate=16000).__enter__()
    with pytest.raises(ConfigError, match="sample_rate is 7"):
        Microphone(sample_rate=7)

    def fail(*error: object) -> None:
        def raise_error(**_: object) -> None:
            raise PortAudioError(*error)

        monkeypatch.setattr(card, "RawInputStream", raise_error)

    fail("Error opening RawInputStream: Device unavailable", -9985)
    with pytest.raises(MicrophoneError, match="is busy: another program records from it; end that one"):
        Microphone().__enter__()
    fail("Error opening RawInputStream: Unanticipated host error", -9999, (0, -5, "Input/output error"))
    with pytest.raises(MicrophoneError, match=r"cannot record: .*Unanticipated host error \(Input/output error\)"):
        Microphone().__enter__()
    monkeypatch.setattr(card, "query_devices", lambda *_: [] if not _ else (_ for _ in ()).throw(PortAudioError()))
    with pytest.raises(MicrophoneError, match="there is no microphone: plug one in"):
        Microphone()


def test_microphones_are_listed(
    card: SoundCard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["devices"]) == 0
    assert capsys.readouterr().out == "3: fake: mic (hw:1,0) (ALSA, 1 channel, 44100 Hz, default)\n"
    card.blocks = [0.5 * np.sign(block) for block in noise(60)]
    assert main(["devices", "--meter", "fake", "--seconds", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f" -6 dB, peak  -6 dB [{43 * '#'}{5 * ' '}]\n" * 2
    assert "fake" in printed.err
    monkeypatch.setattr(card, "query_devices", lambda *_: [] if not _ else (_ for _ in ()).throw(PortAudioError()))
    assert main(["devices"]) == 2
    assert capsys.readouterr().err.startswith("edgeasr: there is no microphone: plug one in")

    def broken() -> None:
        raise PortAudioError("PortAudio not initialized")

    monkeypatch.setattr(card, "query_hostapis", broken)
    assert main(["devices"]) == 2
    assert capsys.readouterr().err == "edgeasr: PortAudio cannot list the microphones: PortAudio not initialized\n"


@pytest.mark.parametrize(
    ("sound", "columns", "line"),
    [
        ([0.0, 0.0], 80, f"-60 dB, peak -60 dB [{48 * ' '}] muted?"),
        ([1.0, -1.0], 80, f"  0 dB, peak   0 dB [{48 * '#'}] clipping"),
        ([0.1, 0.0], 80, f"-23 dB, peak -20 dB [{30 * '#'}{18 * ' '}]"),
        ([1.0, -1.0], 40, "  0 dB, peak   0 dB [########] clipping"),
        ([0.1, 0.0], 20, "-23 dB, peak -20 dB"),
    ],
)
def test_levels(sound: list[float], columns: int, line: str) -> None:
    assert level_line(np.array(sound, np.float32), columns) == line
    assert len(line) < columns


def test_the_meter_tells_what_happens_to_the_microphone() -> None:
    assert told(DeviceLost(time_s=1.0, message="mic is gone")) == "mic is gone"
    assert told(DeviceRestored(time_s=3.0, name="mic", lost_s=2.0)) == "mic is there again, after 2.0 s"
    assert told(Overflow(time_s=3.0, lost_s=0.25)) == "0.25 s of sound were lost"


def test_the_ring_carries_blocks_of_any_length_round_its_end() -> None:
    ring = CaptureRing(num_frames=10, num_channels=2, block_frames=4, channel=1)
    lengths = np.random.default_rng(0).integers(1, 5, 200).tolist()
    frames = np.random.default_rng(1).normal(size=(sum(lengths), 2)).astype(np.float32)
    heard, start = [], 0
    for index, length in enumerate(lengths):
        ring.write(frames[start : start + length].tobytes(), length, arrived=float(index))
        start += length
        if index % 2:
            blocks = [ring.read(), ring.read()]
            assert all(block is not None and block.start < start and not block.overflowed for block in blocks)
            heard += [block.waveform for block in blocks if block is not None]
    assert ring.read() is None
    assert np.array_equal(np.concatenate(heard), frames[:, 1])


def test_the_ring_drops_whole_blocks() -> None:
    ring = CaptureRing(num_frames=4, num_channels=1, block_frames=2)
    ring.write(np.ones(3, np.float32).tobytes(), 3, arrived=0.0)
    ring.write(np.ones(2, np.float32).tobytes(), 2, arrived=1.0)  # no room
    ring.write(np.ones(1, np.float32).tobytes(), 1, arrived=2.0)
    blocks = [ring.read(), ring.read(), ring.read()]
    assert [block and (block.start, len(block.waveform)) for block in blocks] == [(0, 3), (5, 1), None]
    for index in range(20):  # as many as there are notes for, even of no length
        ring.write(b"", 0, arrived=float(index))
    assert len(list(iter(ring.read, None))) == 12


def test_writing_to_the_ring_keeps_no_memory() -> None:
    ring = CaptureRing(num_frames=16000, num_channels=1, block_frames=640)
    data = bytes(4 * 640)
    peaks = []
    for count in (50, 5000):
        tracemalloc.start()
        for index in range(count):
            ring.write(data, 640, arrived=float(index))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 1000  # a few numbers; a block has 2,560 bytes


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingDependencyError, match="pip install sounddevice"):
        Microphone()

    class NoPortAudio:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.setattr(sys, "meta_path", [NoPortAudio(), *sys.meta_path])
    with pytest.raises(MissingDependencyError, match="apt install libportaudio2"):
        Microphone()
    assert main(["devices"]) == 2
    assert capsys.readouterr().err == "edgeasr: the microphone needs PortAudio: apt install libportaudio2\n"


def test_listen_until_ctrl_c(
    card: SoundCard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card.blocks = noise(30)
    all_blocks = Microphone.blocks

    def blocks_then_ctrl_c(microphone: Microphone) -> Iterator[object]:
        yield from islice(all_blocks(microphone), 30)
        raise KeyboardInterrupt

    monkeypatch.setattr(Microphone, "blocks", blocks_then_ctrl_c)
    assert main(["listen", "--model", str(TINY), "--device", "fake"]) == 0
    printed = capsys.readouterr()
    expected = Recognizer(TINY).transcribe(np.concatenate(card.blocks), sample_rate=RATE)
    assert printed.out.split() == expected.text.split()
    assert "Listening to fake: mic" in printed.err
