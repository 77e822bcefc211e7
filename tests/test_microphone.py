"""The microphone and `edgeasr listen`, with a sound card made of Python."""

import io
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from bundles import TINY

from edgeasr import Partial, Recognizer, Word
from edgeasr.cli import main
from edgeasr.cli.listen import LiveText
from edgeasr.errors import MicrophoneError, MissingDependencyError
from edgeasr.microphone import BLOCK_S, Microphone, list_microphones

RATE = 44100
BLOCK = int(RATE * BLOCK_S)


class PortAudioError(Exception):
    """As sounddevice has it."""


class SoundCard(ModuleType):
    """Stands in for the module sounddevice: plays what the test gives it, from a thread of its own."""

    PortAudioError = PortAudioError

    def __init__(self) -> None:
        super().__init__("sounddevice")
        self.blocks: list[np.ndarray[Any, Any]] = []
        self.closed = threading.Event()
        self.played = threading.Event()
        self.InputStream = lambda **options: InputStream(self, **options)

    def query_devices(self, device: object = None, kind: str | None = None) -> Any:
        fake = {"name": "fake", "index": 3, "max_input_channels": 2, "default_samplerate": float(RATE)}
        if kind is None:
            return [fake, {**fake, "max_input_channels": 0}]
        if device not in (None, 3, "fake"):
            raise ValueError(f"No input device matching {device!r}")
        return fake


class InputStream:
    """A stream that calls back for every block of the card."""

    def __init__(self, card: SoundCard, *, samplerate: int, callback: Callable[..., None], **_: object) -> None:
        if samplerate != RATE:
            raise PortAudioError("Invalid sample rate")
        self._card = card
        self._callback = callback
        self._thread = threading.Thread(target=self._play)

    def _play(self) -> None:
        for block in self._card.blocks:
            self._callback(block[:, np.newaxis], len(block), None, None)
        self._card.played.set()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._thread.join()
        self._card.closed.set()


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> SoundCard:
    fake = SoundCard()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


def noise(num_blocks: int) -> list[np.ndarray[Any, Any]]:
    return np.split(np.random.default_rng(0).normal(0, 0.1, num_blocks * BLOCK).astype(np.float32), num_blocks)


def test_blocks_arrive_in_order(card: SoundCard) -> None:
    card.blocks = noise(20)
    with Microphone() as microphone:
        assert (microphone.name, microphone.sample_rate) == ("fake", RATE)
        heard = list(islice(microphone.blocks(), 20))
    assert np.array_equal(np.concatenate(heard), np.concatenate(card.blocks))
    assert microphone.num_lost == 0
    assert card.closed.is_set()


def test_what_does_not_fit_is_counted(card: SoundCard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeasr.microphone.QUEUE_BLOCKS", 5)
    card.blocks = noise(8)
    with Microphone() as microphone:
        assert card.played.wait(10)
        assert np.array_equal(next(microphone.blocks()), card.blocks[0])
    assert microphone.num_lost == 3 * BLOCK


def test_a_device_that_goes_silent(card: SoundCard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeasr.microphone.SILENT_S", 0.1)
    with Microphone() as microphone, pytest.raises(MicrophoneError, match="no sound for"):
        next(microphone.blocks())
    assert card.closed.is_set()


def test_devices_that_are_not_there(card: SoundCard, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Microphone("fake").name == Microphone(3).name == "fake"
    with pytest.raises(MicrophoneError, match="no microphone 'other'"):
        Microphone("other")
    with pytest.raises(MicrophoneError, match="cannot record: Invalid sample rate"), Microphone(sample_rate=16000):
        pass
    monkeypatch.setattr(card, "query_devices", lambda *_: (_ for _ in ()).throw(PortAudioError("device -1")))
    with pytest.raises(MicrophoneError, match=r"no default microphone \(device -1\)"):
        Microphone()


def test_microphones_are_listed(card: SoundCard, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list_microphones() == ["3: fake (2 channels, 44100 Hz)"]
    monkeypatch.setattr(card, "query_devices", lambda *_: [])
    assert main(["listen", "--list-devices"]) == 2


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert "Listening to fake" in printed.err
    assert main(["listen", "--list-devices"]) == 0
    assert capsys.readouterr().out == "3: fake (2 channels, 44100 Hz)\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_live_text_on_a_terminal() -> None:
    words = [Word("good", 0.1, 0.3, 1.0), Word("morning", 0.4, 0.8, 1.0), Word("night", 4.0, 4.4, 1.0)]
    terminal = Terminal()
    live = LiveText(terminal)
    live.show(Partial(words[:1], (words[1],), 1.0))
    assert terminal.getvalue() == "\x1b[Kgood\x1b[2m morning\x1b[0m\x1b[8D"
    live.show(Partial(words[:2], (), 1.0))
    live.end(Partial(words, (), 5.0))
    assert terminal.getvalue().endswith("\x1b[8D\x1b[K morning\x1b[K\nnight\n")


def test_live_text_wraps_lines() -> None:
    out = io.StringIO()
    live = LiveText(out)
    live.end(Partial([Word("word", 0.3 * i, 0.3 * i + 0.2, 1.0) for i in range(100)], (), 30.0))
    lines = out.getvalue().splitlines()
    assert " ".join(lines) == " ".join(["word"] * 100)
    assert max(map(len, lines)) < 80


def test_live_text_shows_one_mark_for_words_that_are_not_accepted() -> None:
    words = [Word(text, i, i + 0.9, 0.5, accepted=text.islower()) for i, text in enumerate(["a", "B", "C", "d", "E"])]
    for cuts in ([5], [1, 2, 3, 4, 5], [2, 5], [3, 4]):
        out = io.StringIO()
        live = LiveText(out)
        for cut in cuts:
            live.show(Partial(words[:cut], tuple(words[cut:]), 5.0))
        live.end(Partial(words, (), 5.0))
        assert out.getvalue() == "a [?] d [?]\n"
    terminal = Terminal()
    LiveText(terminal).show(Partial(words[:2], tuple(words[2:]), 5.0))
    assert terminal.getvalue() == "\x1b[Ka [?]\x1b[2m d [?]\x1b[0m\x1b[6D"
