"""The microphone on a real way of sound: recordings played in real time into PulseAudio, heard through PortAudio."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound_server import SoundServer

from edgeasr import Recognizer
from edgeasr.errors import MicrophoneError
from edgeasr.events import DeviceEvent, DeviceLost, DeviceRestored, Final, Overflow, Partial, SpeechStarted
from edgeasr.microphone import Microphone, find_device
from edgeasr.waveform import Waveform

pytestmark = pytest.mark.real_time

# What the reader of each sample says, and a rate to record it at.
SAMPLES = [
    (
        "austen-0870",
        "and mister john dashwood had then leisure to consider how much there might be prudently in his power to do "
        "for them",
        None,
    ),
    ("austen-0880", "he was not an ill disposed young man", 16000),
    ("austen-0890", "unless to be rather cold hearted and rather selfish is to be ill disposed", 48000),
    (
        "austen-0920",
        "had he married a more amiable woman he might have been made still more respectable than he was",
        22050,
    ),
    ("austen-0930", "he might even have been made amiable himself", 44100),
]
# Of the words said, so many are heard at least; the bundled model hears more of the samples' files.
HEARD_SHARE = 0.5
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer("en-small")


def in_time(microphone: Microphone) -> Iterator[Waveform | DeviceEvent]:
    """The microphone's blocks; fails when they take too long."""
    end = time.monotonic() + PATIENCE_S
    for block in microphone.blocks():
        yield block
        assert time.monotonic() < end, "what the test waits for does not happen"


def arrays(blocks: Iterator[Waveform | DeviceEvent]) -> Iterator[Waveform]:
    for block in blocks:
        assert isinstance(block, np.ndarray), block
        yield block


def hear_out(
    blocks: Iterator[Waveform | DeviceEvent], player: subprocess.Popen[bytes], sample_rate: int
) -> Iterator[Waveform]:
    """What is heard until the player has ended, and half a second more."""
    left = round(0.5 * sample_rate)
    for block in arrays(blocks):
        yield block
        if player.poll() is not None:
            left -= len(block)
        if left <= 0:
            break
    assert player.returncode == 0


@contextmanager
def listening_program(sound_server: SoundServer, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`edgeasr listen --json`; killed when the test takes too long."""
    program = [sys.executable, "-m", "edgeasr", "listen", "--json", "--model", "en-small", *options]
    with subprocess.Popen(
        program, env=sound_server.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as listening:
        killer = threading.Timer(PATIENCE_S, listening.kill)
        killer.start()
        try:
            yield listening
        finally:
            killer.cancel()
            listening.kill()


def tone(path: Path, starts_s: list[float], *, duration_s: float, channels: int = 1, rate: int = 48000) -> Path:
    """Writes a file with a tone of 50 ms at each of these times, in the last channel."""
    times = np.arange(round(duration_s * rate)) / rate
    sound = np.zeros((len(times), channels))
    for start_s in starts_s:
        sounding = (times >= start_s) & (times < start_s + 0.05)
        sound[sounding, -1] = 0.5 * np.sin(2 * np.pi * 1000 * times[sounding])
    soundfile.write(path, sound, rate)
    return path


def onsets(waveform: Waveform, sample_rate: int) -> list[float]:
    """Where tones begin, in seconds."""
    loud = np.flatnonzero(np.abs(waveform) > 0.02)
    begins = np.flatnonzero(np.diff(loud, prepend=-sample_rate) > 0.1 * sample_rate)
    return [float(place) / sample_rate for place in loud[begins]]


@pytest.mark.parametrize(("sample", "said", "sample_rate"), SAMPLES)
def test_what_is_heard_live_is_heard_again_when_replayed(
    sound_server: SoundServer,
    recognizer: Recognizer,
    samples_dir: Path,
    sample: str,
    said: str,
    sample_rate: int | None,
) -> None:
    heard: list[Waveform] = []

    def keep(blocks: Iterator[Waveform]) -> Iterator[Waveform]:
        for block in blocks:
            heard.append(block)
            yield block

    with Microphone(sample_rate=sample_rate) as microphone:
        rate = microphone.sample_rate
        player = sound_server.play(samples_dir / f"{sample}.flac")
        sound = keep(hear_out(in_time(microphone), player, rate))
        live = list(recognizer.listen(sound, sample_rate=rate))
    assert microphone.num_overflows == 0
    assert all(isinstance(event, (SpeechStarted, Partial, Final)) for event in live)
    text = " ".join(event.text for event in live if isinstance(event, Final))
    words = set(said.split())
    assert len(words & set(text.split())) >= HEARD_SHARE * len(words), text

    whole = np.concatenate(heard)
    for pieces in (heard, [whole], np.array_split(whole, 7)):
        assert list(recognizer.listen(iter(pieces), sample_rate=rate)) == live


def test_the_listen_command(sound_server: SoundServer, samples_dir: Path, tmp_path: Path) -> None:
    name, said, _ = SAMPLES[1]
    session = tmp_path / "session.zip"
    with listening_program(sound_server, "--device", "desk", "--record", str(session)) as listening:
        assert listening.stderr is not None
        assert listening.stderr.readline() == "Listening to desk; Ctrl-C stops.\n"
        assert sound_server.play(samples_dir / f"{name}.flac").wait(30) == 0
        listening.send_signal(signal.SIGINT)  # before the pause that would end the utterance: it is finished first
        output, errors = listening.communicate(timeout=30)
    assert (listening.returncode, errors) == (0, "")
    records = [json.loads(line) for line in output.splitlines()]
    kinds = [record["event"] for record in records]
    assert kinds[0] == "SpeechStarted" and kinds[-1] == "Final" and "Partial" in kinds
    text = " ".join(record["segment"]["text"] for record in records if record["event"] == "Final")
    words = set(said.split())
    assert len(words & set(text.split())) >= HEARD_SHARE * len(words), text

    program = [sys.executable, "-m", "edgeasr", "replay", str(session)]
    replayed = subprocess.run(program, env=sound_server.env, capture_output=True, text=True, check=False, timeout=60)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr


def test_capture_times_are_those_of_the_callback(sound_server: SoundServer) -> None:
    with Microphone() as microphone:
        assert microphone.captured_at(0.0) is None
        begun = time.monotonic()
        blocks = list(itertools.islice(arrays(in_time(microphone)), 25))
        ended = time.monotonic()
        times = [microphone.captured_at(seconds) for seconds in (0.0, 0.3, 0.9)]
        assert microphone.captured_at(len(np.concatenate(blocks)) / microphone.sample_rate + 0.001) is None
    assert all(at is not None and begun <= at <= ended for at in times)
    assert times[1] - times[0] == pytest.approx(0.3, abs=0.15)  # type: ignore[operator]
    assert times[2] - times[0] == pytest.approx(0.9, abs=0.15)  # type: ignore[operator]


def test_lost_sound_is_replaced_by_silence(sound_server: SoundServer, tmp_path: Path) -> None:
    heard: list[Waveform] = []
    events: list[Overflow] = []
    slept = False
    with Microphone(sample_rate=16000, buffer_s=1.0) as microphone:
        player = sound_server.play(tone(tmp_path / "tones.wav", [0.5, 4.5], duration_s=5.0))
        for block in in_time(microphone):
            if isinstance(block, Overflow):
                events.append(block)
                assert block.time_s == sum(map(len, heard)) / 16000
                continue
            assert isinstance(block, np.ndarray)
            heard.append(block)
            if not slept and sum(map(len, heard)) > 1.2 * 16000:
                time.sleep(2.5)
                slept = True
            if player.poll() is not None:
                break
    begin, end = onsets(np.concatenate(heard), 16000)
    # A null sink on a busy machine may slip by a block of 50 ms.
    assert end - begin == pytest.approx(4.0, abs=0.12)
    assert [event.lost_s for event in events] == [microphone.num_lost / 16000]
    assert 1.0 < events[0].lost_s < 2.0
    assert microphone.num_overflows == 1


def test_a_device_that_is_unplugged_is_waited_for(
    sound_server: SoundServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rate = 16000
    events: list[DeviceEvent] = []
    heard: list[Waveform] = []
    unplugged, player = False, None
    with Microphone(sample_rate=rate) as microphone:
        for block in in_time(microphone):
            now = time.monotonic()
            if not heard:
                begun = now
            if isinstance(block, np.ndarray):
                heard.append(block)
            else:
                events.append(block)
            if not unplugged and now - begun > 0.5:
                sound_server.unplug("speaker")
                unplugged = True
            elif player is None and now - begun > 2.5:
                sound_server.plug("speaker")
                player = sound_server.play(tone(tmp_path / "tone.wav", [2.5], duration_s=3.0))
            elif player is not None and player.poll() is not None:
                break
        elapsed_s = now - begun
    lost, restored = events
    assert isinstance(lost, DeviceLost) and "default is gone" in lost.message
    assert isinstance(restored, DeviceRestored) and restored.name == "default"
    assert restored.lost_s == pytest.approx(restored.time_s - lost.time_s)
    assert 1.5 < restored.lost_s < 4.5
    waveform = np.concatenate(heard)
    assert len(waveform) / rate == pytest.approx(elapsed_s, abs=0.15)
    assert not waveform[round(lost.time_s * rate) : round(restored.time_s * rate)].any()
    (onset,) = onsets(waveform, rate)
    assert restored.time_s < onset < elapsed_s
    assert microphone.num_overflows == 0
    assert "default is gone" not in capfd.readouterr().err


def test_a_device_that_is_not_waited_for(sound_server: SoundServer) -> None:
    with Microphone(reconnect=False) as microphone, pytest.raises(MicrophoneError, match="default is gone"):
        for index, _ in enumerate(in_time(microphone)):
            if index == 5:
                sound_server.unplug("speaker")
    sound_server.plug("speaker")
    assert len(next(arrays(in_time(microphone)), [])) == 0


def test_devices_are_chosen(sound_server: SoundServer, tmp_path: Path) -> None:
    assert Microphone().name == "default"
    assert Microphone("DESK").name == "desk"
    assert Microphone("lamp").name == "desk_lamp"
    assert Microphone("stereo, alsa").name == "stereo"
    assert Microphone(str(find_device("lamp").number)).name == "desk_lamp"
    with pytest.raises(
        MicrophoneError, match=r"2 microphones are called 'esk'; choose from: .*desk .*desk_lamp [^;]*$"
    ):
        Microphone("esk")
    with pytest.raises(MicrophoneError, match=r"no microphone is called 'attic'; choose from: .*stereo.*default"):
        Microphone("attic")
    with pytest.raises(MicrophoneError, match=r"there is no microphone 99; choose from: .*default"):
        Microphone(99)


def test_devices_that_cannot_record(sound_server: SoundServer, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MicrophoneError, match="default does not record at 900000 Hz"), Microphone(sample_rate=900_000):
        pass
    sound_server.unplug("speaker")
    try:
        with pytest.raises(MicrophoneError, match=r"desk cannot record: .*(Input/output error|No such)"):
            Microphone("desk").__enter__()
    finally:
        sound_server.plug("speaker")
    assert "Expression" not in capfd.readouterr().err


def test_one_channel_or_the_mean_of_all(sound_server: SoundServer, tmp_path: Path) -> None:
    path = tone(tmp_path / "right.wav", [0.3], duration_s=0.8, channels=2)
    peaks = []
    sound_server.plug("stereo", rate=48000, channels=2)
    try:
        for channel in (None, 1, 2):
            with Microphone("stereo", sample_rate=48000, channel=channel) as microphone:
                player = sound_server.play(path, sink="stereo")
                peaks.append(max(np.abs(block).max() for block in hear_out(in_time(microphone), player, 48000)))
    finally:
        sound_server.unplug("stereo")
    assert peaks == pytest.approx([0.25, 0.0, 0.5], abs=0.01)
    with pytest.raises(MicrophoneError, match="stereo has no channel 99, it has 32"):
        Microphone("stereo", channel=99)


def test_unplugging_under_the_listen_command(sound_server: SoundServer) -> None:
    with listening_program(sound_server) as listening:
        assert listening.stderr is not None and listening.stdout is not None
        assert listening.stderr.readline() == "Listening to default; Ctrl-C stops.\n"
        sound_server.unplug("speaker")
        try:
            lost = json.loads(listening.stdout.readline())
        finally:
            sound_server.plug("speaker")
        restored = json.loads(listening.stdout.readline())
        listening.send_signal(signal.SIGINT)
        _, errors = listening.communicate(timeout=30)
    assert (lost["event"], restored["event"]) == ("DeviceLost", "DeviceRestored")
    assert restored["time_s"] == pytest.approx(lost["time_s"] + restored["lost_s"])
    assert (listening.returncode, errors) == (0, "")  # not a word of PortAudio's about it


def test_the_devices_command(sound_server: SoundServer, tmp_path: Path) -> None:
    def devices(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgeasr", "devices", *arguments]
        return subprocess.run(command, env=sound_server.env, capture_output=True, text=True, check=False, timeout=60)

    listed = devices()
    assert listed.returncode == 0, listed.stderr
    assert any(line.endswith("Hz, default)") and ": default (ALSA" in line for line in listed.stdout.splitlines())
    assert ": stereo (ALSA, 32 channels, 44100 Hz)" in listed.stdout
    player = sound_server.play(tone(tmp_path / "hum.wav", [0.05 * i for i in range(100)], duration_s=5.0))
    metered = devices("--meter", "desk", "--seconds", "2.0")
    player.terminate()
    player.wait()
    assert metered.returncode == 0, metered.stderr
    assert metered.stdout.splitlines()[-1].startswith(" -9 dB, peak  -6 dB [####")
    wrong = devices("--meter", "attic")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("edgeasr: no microphone is called 'attic'; choose from: ")
    assert wrong.stderr.count("\n") == 1
