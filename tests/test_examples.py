"""The examples do what they say, with recordings in the microphone's place."""

from __future__ import annotations

import configparser
import json
import shlex
import socket
import sys
import threading
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from edgeasr import Recognizer
from edgeasr.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> ModuleType:
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(path: Path) -> str:
    """What the bundled model hears in a recording."""
    return Recognizer().transcribe(path).text


def grammar_of(sentences: dict[str, str], path: Path) -> Path:
    """A grammar of what is said in recordings: by the text that follows an intent, its sentence."""
    path.write_text("".join(f"intent {head}\n  {sentence}\n\n" for head, sentence in sentences.items()))
    return path


@pytest.fixture
def sample(samples_dir: Path) -> Path:
    return samples_dir / "austen-0930.flac"


def test_every_example_is_tested() -> None:
    text = Path(__file__).read_text()
    for path in EXAMPLES.iterdir():
        if path.suffix in (".py", ".service"):
            assert path.stem in text, path


def test_ten_lines(sample: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ten_lines.py", str(sample)])
    load("ten_lines")
    words = [line.split()[-1] for line in capsys.readouterr().out.strip().splitlines() if "%" in line]
    assert " ".join(words) == said(sample)


def test_voice_light(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpiozero = pytest.importorskip("gpiozero", reason="gpiozero is not installed")
    from gpiozero.pins.mock import MockFactory

    gpiozero.Device.pin_factory = factory = MockFactory()
    example = load("voice_light")
    assert example.Grammar.from_text(example.GRAMMAR).parse("please turn the light off").slots == {"state": "off"}
    grammar = grammar_of({"light:\n  state = on": said(sample)}, tmp_path / "light.grammar")
    example.main(["--sound", str(sample), "--grammar", str(grammar), "--pin", "27"])
    assert capsys.readouterr().out == f"{said(sample)}: the light is on\n"
    assert True in [state.state for state in factory.pin(27).states]


def test_dictate(sample: Path, samples_dir: Path, tmp_path: Path) -> None:
    example = load("dictate")
    notes = tmp_path / "notes.txt"
    other = samples_dir / "austen-0870.flac"
    for path in (sample, other):
        example.main([str(notes), "--sound", str(path)])
    assert notes.read_text().split() == f"{said(sample)} {said(other)}".split()
    example.main([str(notes), "--sound", str(sample), "--times"])
    assert notes.read_text().splitlines()[-1][2::3][:2] == "::"


def test_voice_timer(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = load("voice_timer")
    parsed = example.Grammar.from_text(example.GRAMMAR).parse("set a timer for twenty five minutes")
    assert {name: int(value) for name, value in parsed.slots.items()} == {"number": 25, "unit": 60}
    grammar = grammar_of({"start:\n  number = 0.01\n  unit = 1": said(sample)}, tmp_path / "timer.grammar")
    example.main(["--sound", str(sample), "--grammar", str(grammar)])
    assert capsys.readouterr().out == "0.01 seconds from now.\n\aThe time is up.\n"
    grammar_of({"stop:": said(sample)}, grammar)
    example.main(["--sound", str(sample), "--grammar", str(grammar)])
    assert capsys.readouterr().out == "The timer is off.\n"


def test_captions(sample: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    load("captions").main(["--sound", str(sample), "--lines", "9"])
    drawn = capsys.readouterr().out.replace("\r", "")
    assert "\x1b[2m" in drawn
    lines = drawn.rsplit("\x1b[J", 1)[-1].splitlines()
    assert " ".join(lines) == said(sample)
    assert all(len(line) < 24 for line in lines)


def test_captions_leave_no_old_lines_standing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    captions = load("captions").Captions(3)
    captions.show("one two three four", final=False)
    captions.show("one", final=True)
    *_, last = capsys.readouterr().out.partition("\x1b[3A")
    assert last == "\r\x1b[Jone\n"


def test_two_streams(sample: Path, samples_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = samples_dir / "austen-0880.flac"
    load("two_streams").main([str(sample), str(other)])
    *lines, last = capsys.readouterr().out.splitlines()
    for path in (sample, other):
        assert " ".join(line.split(maxsplit=2)[2] for line in lines if line.startswith(str(path))) == said(path)
    assert last.endswith("utterances from 2 sources")


class Broker(threading.Thread):
    """As much of an MQTT 3.1.1 broker as one publisher needs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.messages: list[tuple[str, bytes]] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]

    def run(self) -> None:
        connection, _ = self._server.accept()
        with connection, connection.makefile("rb") as stream:
            while head := stream.read(1):
                size = shift = 0
                while True:
                    byte = stream.read(1)[0]
                    size |= (byte & 127) << shift
                    shift += 7
                    if byte < 128:
                        break
                body = stream.read(size)
                if head[0] >> 4 == 1:  # CONNECT
                    connection.sendall(bytes([0x20, 2, 0, 0]))
                elif head[0] >> 4 == 3:  # PUBLISH, QoS 1
                    end = 2 + int.from_bytes(body[:2])
                    self.messages.append((body[2:end].decode(), body[end + 2 :]))
                    connection.sendall(bytes([0x40, 2]) + body[end : end + 2])
                elif head[0] >> 4 == 12:  # PINGREQ
                    connection.sendall(bytes([0xD0, 0]))
        self._server.close()


def test_mqtt_publisher(sample: Path) -> None:
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed")
    broker = Broker()
    broker.start()
    arguments = ["--host", "127.0.0.1", "--port", str(broker.port), "--topic", "home/speech"]
    load("mqtt_publisher").main(["--sound", str(sample), *arguments])
    broker.join(10)
    assert {topic for topic, _ in broker.messages} == {"home/speech"}
    messages = [json.loads(payload) for _, payload in broker.messages]
    assert " ".join(message["text"] for message in messages) == said(sample)
    assert all(0 <= message["confidence"] <= 1 and message["start"] < message["end"] for message in messages)


def test_edgeasr_listen_service(capsys: pytest.CaptureFixture[str]) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(EXAMPLES / "edgeasr-listen.service")
    program, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/bin/edgeasr")
    # The command knows these arguments.
    with pytest.raises(SystemExit) as status:
        main([*arguments, "--help"])
    assert status.value.code == 0
    assert "--json" in capsys.readouterr().out
    assert unit["Install"]["WantedBy"] == "default.target"
