"""A PulseAudio server for tests and measurements: what is played into one of its sinks is heard by a microphone.

The microphone is a null sink's monitor. PortAudio reaches it through ALSA, whose configuration names nothing else, so
that neither the machine's sound cards nor a server of its user have a part in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

PROGRAMS = ("pulseaudio", "pactl", "paplay")
MISSING = "PulseAudio is not installed (pulseaudio, pulseaudio-utils, libasound2-plugins)"
# The default device, the same one by other names, and one that hears in stereo.
ALSA = """
pcm.!default {{ type pulse server "{server}" }}
pcm.desk {{ type pulse server "{server}" device "speaker.monitor" }}
pcm.desk_lamp {{ type pulse server "{server}" device "speaker.monitor" }}
pcm.stereo {{ type pulse server "{server}" device "stereo.monitor" }}
"""
START_S = 20.0


class SoundServer:
    """A running server. `close` ends it.

    Attributes:
        env: The environment of programs that should hear it.
    """

    def __init__(self) -> None:
        # Not pytest's folder: the path of a socket must be short.
        self._folder = Path(tempfile.mkdtemp(prefix="edgeasr-sound-"))
        server = f"unix:{self._folder}/socket"
        (self._folder / "asound.conf").write_text(ALSA.format(server=server))
        (self._folder / "default.pa").write_text(
            f"load-module module-native-protocol-unix socket={self._folder}/socket auth-anonymous=1\n"
        )
        self._own_env = {
            "HOME": str(self._folder),
            "XDG_RUNTIME_DIR": str(self._folder),
            "PULSE_SERVER": server,
            "ALSA_CONFIG_PATH": str(self._folder / "asound.conf"),
        }
        self.env = {**os.environ, **self._own_env}
        self._sinks: dict[str, str] = {}
        # No modules but ours: the usual ones would find a stream whose sink is gone another one.
        command = ["pulseaudio", "-n", f"--file={self._folder}/default.pa", "--daemonize=no", "--use-pid-file=no"]
        command += ["--exit-idle-time=-1", "--disable-shm=yes", "--log-target=stderr"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)
        try:
            self._wait()
            self.plug("speaker")
        except BaseException:
            self.close()
            raise

    def plug(self, sink: str, *, rate: int = 16000, channels: int = 1) -> None:
        """Adds a loudspeaker with a microphone before it; the first one is the default. `speaker` is there already."""
        # With rewinds, a null sink works two seconds ahead, and whoever begins to listen waits for as long.
        options = [f"sink_name={sink}", f"rate={rate}", f"channels={channels}", "format=s16le", "norewinds=1"]
        self._sinks[sink] = self.pactl("load-module", "module-null-sink", *options).strip()

    def unplug(self, sink: str) -> None:
        """Takes it away, whoever listens; were there another one, the server would turn them to that."""
        self.pactl("unload-module", self._sinks.pop(sink))

    def play(self, path: Path, *, sink: str = "speaker") -> subprocess.Popen[bytes]:
        """Starts to play a sound file, in real time."""
        return subprocess.Popen(["paplay", f"--device={sink}", str(path)], env=self.env)

    def pactl(self, *arguments: str) -> str:
        """Has the server do something; returns its answer."""
        command = ["pactl", *arguments]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=True, timeout=30).stdout

    def log(self) -> str:
        """What the server has written."""
        return (self._folder / "log").read_text(errors="replace")

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """Turns this process to the server."""
        before = {name: os.environ.get(name) for name in self._own_env}
        os.environ.update(self._own_env)
        restart_portaudio()
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
            restart_portaudio()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the server."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process.poll() is None:
            if subprocess.run(["pactl", "info"], env=self.env, capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError(f"PulseAudio does not start:\n{self.log()}")


def missing() -> bool:
    """Whether the programs are not here."""
    return any(shutil.which(program) is None for program in PROGRAMS)


def restart_portaudio() -> None:
    """Has PortAudio read ALSA's configuration anew, if it has been read."""
    sounddevice = sys.modules.get("sounddevice")
    if sounddevice is not None:
        sounddevice._terminate()
        sounddevice._initialize()
