"""Live sound from a microphone: blocks of float32 mono, through PortAudio (the sounddevice package).

PortAudio calls back from a thread of its own at every block. The callback copies the block to a bounded queue and
nothing more; whoever iterates over the microphone takes the blocks out at their own pace. Where they cannot keep up,
sound is lost, and counted.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from edgeasr.errors import MicrophoneError, MissingDependencyError
from edgeasr.waveform import Waveform

BLOCK_S = 0.1
# Half a minute: longer than any hiccup of a machine that keeps up at all.
QUEUE_BLOCKS = 300
# How long to wait for a block before looking for Ctrl-C, and for a device that has gone silent.
WAIT_S = 0.2
SILENT_S = 5.0


class Microphone:
    """An input device. A context manager: it records between `with` and its end.

    Example:
        with Microphone() as microphone:
            stream = recognizer.stream(sample_rate=microphone.sample_rate)
            for block in microphone.blocks():
                print(stream.accept(block).text)
    """

    def __init__(self, device: str | int | None = None, *, sample_rate: int | None = None) -> None:
        """Finds the device.

        Args:
            device: Its number, a part of its name, or None for the default one.
            sample_rate: What to record at, in Hz; None for the device's own rate.

        Raises:
            MissingDependencyError: sounddevice or the PortAudio library is not installed.
            MicrophoneError: There is no such input device.
        """
        self._sounddevice = _import_sounddevice()
        try:
            properties = self._sounddevice.query_devices(device, "input")
        except (ValueError, self._sounddevice.PortAudioError) as error:
            wanted = "no default microphone" if device is None else f"no microphone {device!r}"
            raise MicrophoneError(f"{wanted} ({error}); `edgeasr listen --list-devices` shows what there is") from error
        self.name = str(properties["name"])
        self.sample_rate = sample_rate or int(properties["default_samplerate"])
        self.num_lost = 0
        self._device = device
        self._queue: queue.Queue[Waveform] = queue.Queue(QUEUE_BLOCKS)
        self._stream: Any = None

    def __enter__(self) -> Self:
        try:
            self._stream = self._sounddevice.InputStream(
                device=self._device,
                samplerate=self.sample_rate,
                blocksize=int(self.sample_rate * BLOCK_S),
                channels=1,
                dtype="float32",
                callback=self._receive,
            )
            self._stream.start()
        except self._sounddevice.PortAudioError as error:
            raise MicrophoneError(f"{self.name}: cannot record: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def blocks(self) -> Iterator[Waveform]:
        """Yields what is heard, (num_samples,) float32, until the caller stops.

        Raises:
            MicrophoneError: The device has given nothing for seconds.
        """
        silent_s = 0.0
        while True:
            try:
                block = self._queue.get(timeout=WAIT_S)
            except queue.Empty:
                silent_s += WAIT_S
                if silent_s >= SILENT_S:
                    raise MicrophoneError(f"{self.name}: no sound for {SILENT_S:.0f} s; is it still there?") from None
                continue
            silent_s = 0.0
            yield block

    def _receive(self, samples: npt.NDArray[np.float32], num_frames: int, _time: object, _status: object) -> None:
        try:
            self._queue.put_nowait(samples[:, 0].copy())
        except queue.Full:
            self.num_lost += num_frames


def list_microphones() -> list[str]:
    """The input devices: number, name, channels and rate, one line each.

    Raises:
        MissingDependencyError: sounddevice or the PortAudio library is not installed.
    """
    return [
        f"{device['index']}: {device['name']} ({device['max_input_channels']} channels, "
        f"{device['default_samplerate']:.0f} Hz)"
        for device in _import_sounddevice().query_devices()
        if device["max_input_channels"] > 0
    ]


def _import_sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise MissingDependencyError("the microphone needs sounddevice: pip install sounddevice") from error
    except OSError as error:  # sounddevice is there, the library that it wraps is not
        raise MissingDependencyError("the microphone needs PortAudio: apt install libportaudio2") from error
    return sounddevice
