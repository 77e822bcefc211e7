"""Live sound from a microphone: blocks of float32 mono, through PortAudio (the sounddevice package).

PortAudio calls back from a thread of its own at every block. The callback copies the block into a preallocated ring
(`capture.py`) and nothing more; whoever iterates over the microphone takes the blocks out at their own pace.

The samples that come out are a clock: a sample's place in the stream is its time. Where sound is lost, because nobody
took it in time or because the device is away, as much silence comes out instead, and an event that says so.
"""

from __future__ import annotations

import os
import re
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from edgeasr.capture import Block, CaptureRing
from edgeasr.errors import MicrophoneError, MissingDependencyError, StreamStateError
from edgeasr.events import DeviceEvent, DeviceLost, DeviceRestored, Overflow
from edgeasr.waveform import Waveform, check_sample_rate

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Short beside the model's chunk of 400 ms, and no more than 25 wake-ups a second.
BLOCK_S = 0.04
# What is kept for a program that is busy elsewhere; at 48 kHz, 2 MB for each channel.
BUFFER_S = 10.0
# What the driver keeps while Python cannot run the callback. With more, PortAudio would collect several blocks at a
# time: through PulseAudio, 0.16 s brings two every 80 ms, 0.4 s four every 150 ms.
DRIVER_BUFFER_S = 0.12
# How long to wait for a block before looking for Ctrl-C; how long a device may give nothing and still count as there.
WAIT_S = 0.2
SILENT_S = 3.0
# How often to look for a device that is away.
RETRY_S = 1.0
# For so long, the blocks of a device that is there again are held back, until it is clear when its sound began.
SETTLE_S = 0.25
# No sound card has more channels than this: it is a sound server's offer to make as many as one wants.
MAX_TRUE_CHANNELS = 16
# Silence for lost sound comes in blocks of at most this.
MAX_SILENCE_S = 1.0
# How far back the arrival of blocks tells when the next one is due, for overflows of unknown length.
DUE_S = 10.0
# How far back `captured_at` knows.
CAPTURE_TIMES_S = 120.0

# Of portaudio.h.
_INVALID_CHANNELS = -9998
_INVALID_RATE = -9997
_DEVICE_UNAVAILABLE = -9985

_CARD_NUMBER = re.compile(r"\(hw:\d+,\d+\)")

# Microphones of this process that record now. While there are others, PortAudio cannot be started anew.
_recording: set[Microphone] = set()
_portaudio = threading.Lock()


@dataclass(frozen=True, slots=True)
class InputDevice:
    """A microphone, or whatever else gives sound.

    Attributes:
        number: PortAudio's; it may change when devices come and go.
        name: What the system calls it.
        host_api: Through which it is reached, such as `ALSA`.
        num_channels: How many channels it has at most.
        sample_rate: Its own rate, in Hz.
        is_default: Whether it is the system's choice.
    """

    number: int
    name: str
    host_api: str
    num_channels: int
    sample_rate: int
    is_default: bool

    def __str__(self) -> str:
        channels = "1 channel" if self.num_channels == 1 else f"{self.num_channels} channels"
        default = ", default" if self.is_default else ""
        return f"{self.number}: {self.name} ({self.host_api}, {channels}, {self.sample_rate} Hz{default})"


def list_devices() -> list[InputDevice]:
    """The devices that sound can be recorded from.

    Raises:
        MissingDependencyError: sounddevice or the PortAudio library is not installed.
        MicrophoneError: PortAudio cannot tell.
    """
    sounddevice = import_sounddevice()
    try:
        default = sounddevice.query_devices(None, "input")["index"]
    except (ValueError, sounddevice.PortAudioError):
        default = None
    try:
        host_apis = sounddevice.query_hostapis()
        devices = sounddevice.query_devices()
    except sounddevice.PortAudioError as error:
        raise MicrophoneError(f"PortAudio cannot list the microphones: {error}") from error
    return [
        InputDevice(
            number=properties["index"],
            name=str(properties["name"]),
            host_api=host_apis[properties["hostapi"]]["name"],
            num_channels=properties["max_input_channels"],
            sample_rate=round(properties["default_samplerate"]),
            is_default=properties["index"] == default,
        )
        for properties in devices
        if properties["max_input_channels"] > 0
    ]


def find_device(wanted: str | int | None) -> InputDevice:
    """The device that somebody means.

    Args:
        wanted: Its number (also as text), its name or a part of it in any case, or None for the default one.

    Raises:
        MissingDependencyError: sounddevice or the PortAudio library is not installed.
        MicrophoneError: There is none, or several could be meant; the message lists what there is.
    """
    devices = list_devices()
    if not devices:
        raise MicrophoneError("there is no microphone: plug one in, then `edgeasr devices` shows it")
    if isinstance(wanted, str) and wanted.isdecimal():
        wanted = int(wanted)
    if wanted is None:
        found = [device for device in devices if device.is_default] or devices
        problem = "there is no default microphone"
    elif isinstance(wanted, int):
        found = [device for device in devices if device.number == wanted]
        problem = f"there is no microphone {wanted}"
    else:
        found = _named(devices, wanted)
        problem = f"{len(found)} microphones are called {wanted!r}" if found else f"no microphone is called {wanted!r}"
    if len(found) != 1:
        raise MicrophoneError(f"{problem}; choose from: {'; '.join(map(str, found or devices))}")
    return found[0]


def _named(devices: list[InputDevice], wanted: str) -> list[InputDevice]:
    """Those with exactly this name, else those that have it as a part. `name, host API` counts as a name, too."""
    name = wanted.casefold()
    exact = [device for device in devices if name in _full_names(device)]
    return exact or [device for device in devices if any(name in full for full in _full_names(device))]


def _full_names(device: InputDevice) -> tuple[str, str]:
    name = device.name.casefold()
    return name, f"{name}, {device.host_api.casefold()}"


class Microphone:
    """An input device. A context manager: it records between `with` and its end.

    Attributes:
        device: The device that was chosen.
        sample_rate: Of the blocks, in Hz.
        num_overflows: How often sound was lost because nobody took it in time.
        num_lost: How many samples were lost that way; silence stands for them.

    Example:
        with Microphone() as microphone:
            stream = recognizer.stream(sample_rate=microphone.sample_rate)
            for block in microphone.blocks():
                if isinstance(block, np.ndarray):
                    print(stream.accept(block).text)
    """

    def __init__(
        self,
        device: str | int | None = None,
        *,
        sample_rate: int | None = None,
        channel: int | None = None,
        buffer_s: float = BUFFER_S,
        reconnect: bool = True,
    ) -> None:
        """Finds the device.

        Args:
            device: Its number, its name or a part of it, or None for the default one.
            sample_rate: What to record at, in Hz; None for the device's own rate.
            channel: The channel to take, from 1; None for mono as the system mixes it, or the mean of all channels
                where the device does not record mono.
            buffer_s: How much sound is kept for a program that is busy elsewhere.
            reconnect: Wait for a device that went away. This starts PortAudio anew, which ends other streams of the
                sounddevice package in this process, unless another `Microphone` is recording. If false, its going away
                is an error.

        Raises:
            ConfigError: A sample rate that cannot work.
            MissingDependencyError: sounddevice or the PortAudio library is not installed.
            MicrophoneError: There is no such input device or channel.
        """
        self._sounddevice = import_sounddevice()
        self._wanted = device
        self.device = find_device(device)
        self.sample_rate = self.device.sample_rate if sample_rate is None else check_sample_rate(sample_rate)
        if channel is not None and not 1 <= channel <= self.device.num_channels:
            raise MicrophoneError(f"{self.name} has no channel {channel}, it has {self.device.num_channels}")
        self._channel = channel
        self._buffer_s = buffer_s
        self._reconnect = reconnect
        self._stream: Any = None
        self._ring: CaptureRing | None = None
        self._reset()

    @property
    def name(self) -> str:
        """What the system calls the device."""
        return self.device.name

    def __enter__(self) -> Self:
        self._reset()
        self._open(self.device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the recording. `blocks` gives what is left, then ends. Any thread may call this."""
        self._closing = True
        self._close_stream()
        if self._ring is not None:
            self._ring.ring_bell()

    def blocks(self) -> Iterator[Waveform | DeviceEvent]:
        """Yields what is heard until the microphone is closed: arrays (num_samples,) float32, and events.

        Sound is lost when nobody takes it for `buffer_s` seconds: then as much silence comes, and an `Overflow`. When
        the device goes away, a `DeviceLost` comes, and silence in step with the clock until there is a device of this
        name again: then a `DeviceRestored`, and sound. So the number of samples always tells the time.

        Raises:
            MicrophoneError: The device went away, and `reconnect` is false.
            StreamStateError: The microphone has not been opened.
        """
        silent_s = 0.0
        while True:
            if self._ring is None:
                raise StreamStateError("blocks() of a microphone that is not recording: use it in a `with` statement")
            block = self._ring.read()
            if block is not None:
                silent_s = 0.0
                if self._lost_at is None:
                    yield from self._place(block)
                else:
                    self._settling.append(block)
            elif self._settling and (self._closing or time.monotonic() - self._settling[0].arrived >= SETTLE_S):
                yield from self._restore()
            elif self._closing:
                return
            elif self._stream is None or self._ended or silent_s >= SILENT_S:
                silent_s = 0.0
                yield from self._go_without(self._ring)
            elif not self._ring.wait(WAIT_S):
                silent_s += WAIT_S

    def captured_at(self, time_s: float) -> float | None:
        """When a sample came from PortAudio, of the clock `time.monotonic()`.

        Args:
            time_s: Its time in the stream, in seconds.

        Returns:
            The time; None for silence that stands for lost sound, and for what came minutes ago or is yet to come.
        """
        arrivals = list(self._arrivals)
        place = bisect_right(arrivals, time_s * self.sample_rate, key=lambda arrival: arrival[1])
        if place == len(arrivals):
            return None
        begin, _, arrived = arrivals[place]
        return arrived if begin <= time_s * self.sample_rate else None

    def _reset(self) -> None:
        self.num_overflows = 0
        self.num_lost = 0
        self._closing = False
        self._ended = False
        # Samples yielded; where the device's first sample stands among them; when the last one arrived.
        self._position = 0
        self._origin = 0
        self._last_arrived = time.monotonic()
        self._lost_at: int | None = None
        self._next_try = 0.0
        # Blocks of a device that is there again, until it is clear where they belong.
        self._settling: list[Block] = []
        # When the device's first sample was due, as each block tells it; and of blocks begin, end and arrival.
        self._due: deque[float] = deque(maxlen=round(DUE_S / BLOCK_S))
        self._arrivals: deque[tuple[int, int, float]] = deque(maxlen=round(CAPTURE_TIMES_S / BLOCK_S))

    def _restore(self) -> Iterator[Waveform | DeviceEvent]:
        """Yields silence up to where the sound goes on, and the blocks that have come since."""
        assert self._lost_at is not None
        blocks, self._settling = self._settling, []
        rate = self.sample_rate
        # The first blocks may come late, several at a time. The one that was least late tells where they belong.
        due = min(block.arrived - (block.start + len(block.waveform)) / rate for block in blocks)
        begin = self._lost_at + round((due - self._last_arrived) * rate)
        self._origin = max(begin, self._position - blocks[0].start)
        yield from self._silence(self._origin + blocks[0].start)
        lost_s = (self._position - self._lost_at) / rate
        self._lost_at = None
        self._due.clear()
        yield DeviceRestored(time_s=self._time_s(), name=self.name, lost_s=lost_s)
        for block in blocks:
            yield from self._place(block)

    def _place(self, block: Block) -> Iterator[Waveform | DeviceEvent]:
        """Yields a block, and before it silence for what is missing."""
        due = block.arrived - block.start / self.sample_rate
        overflowed = block.overflowed and len(self._due) > 0
        if overflowed:
            # Nobody knows how much PortAudio has lost, but by so much this block is late.
            self._origin += max(0, round((due - min(self._due)) * self.sample_rate))
            self._due.clear()
        self._due.append(due)
        num_lost = self._origin + block.start - self._position
        if overflowed or num_lost > 0:
            self.num_overflows += 1
            self.num_lost += num_lost
            yield from self._silence(self._origin + block.start)
            yield Overflow(time_s=self._time_s(), lost_s=num_lost / self.sample_rate)
        self._last_arrived = block.arrived
        self._arrivals.append((self._position, self._position + len(block.waveform), block.arrived))
        self._position += len(block.waveform)
        yield block.waveform

    def _go_without(self, ring: CaptureRing) -> Iterator[Waveform | DeviceEvent]:
        """Yields silence for as long as the device has been away, and looks for it."""
        self._close_stream()
        self._settling.clear()
        if self._lost_at is None:
            message = f"{self.name} is gone: unplugged, or taken away by the system"
            if not self._reconnect:
                raise MicrophoneError(message)
            self._lost_at = self._position
            self._next_try = 0.0
            yield DeviceLost(time_s=self._time_s(), message=f"{message}; waiting for it")
        now = time.monotonic()
        if now >= self._next_try:
            # The first time as PortAudio knows it, which is enough where a sound server went and came.
            self._try_again(anew=self._next_try > 0.0)
            self._next_try = time.monotonic() + RETRY_S
        if self._stream is None:
            # A little behind the clock: the first sound may be from before the moment at which it comes.
            time_away_s = time.monotonic() - self._last_arrived - SETTLE_S
            yield from self._silence(self._lost_at + round(time_away_s * self.sample_rate))
            ring.wait(BLOCK_S)

    def _silence(self, until: int) -> Iterator[Waveform]:
        """Yields silence up to a place in the stream."""
        while self._position < until:
            count = min(until - self._position, round(MAX_SILENCE_S * self.sample_rate))
            self._position += count
            yield np.zeros(count, np.float32)

    def _time_s(self) -> float:
        return self._position / self.sample_rate

    def _try_again(self, *, anew: bool) -> None:
        with _portaudio:
            if anew and not _recording:
                with quiet():
                    self._start_anew()
        try:
            # PortAudio's number may be another one now, and ALSA's in the name as well.
            wanted = self._wanted
            if wanted is not None:
                same = [device for device in list_devices() if _same_name(device.name, self.name)]
                same.sort(key=lambda device: device.name != self.name)
                wanted = same[0].number if same else self.name
            device = find_device(wanted)
            self._open(device)
        except MicrophoneError:
            return
        self.device = device
        if self._closing:  # by another thread, just now
            self._close_stream()

    def _start_anew(self) -> None:
        """Ends and starts PortAudio; what fails here is tried again the next time."""
        failure = self._sounddevice.PortAudioError
        with suppress(failure):  # it is not running, where the last start has failed
            self._sounddevice._terminate()
        with suppress(failure):
            self._sounddevice._initialize()

    def _open(self, device: InputDevice) -> None:
        """Starts to record.

        Raises:
            MicrophoneError: The device cannot, or not like this.
        """
        channels = 1
        if self._channel is not None:
            # A sound server mixes all channels into as many as one opens, and does not say how many there are.
            known = device.num_channels <= MAX_TRUE_CHANNELS
            channels = device.num_channels if known else max(2, self._channel)
        try:
            try:
                self._start(device, channels)
            except self._sounddevice.PortAudioError as error:
                # A sound server makes any number of channels, a bare device may have just the number that it has.
                if _code(error) != _INVALID_CHANNELS or channels == device.num_channels:
                    raise
                self._start(device, device.num_channels)
        except self._sounddevice.PortAudioError as error:
            raise MicrophoneError(self._why_not(device, error)) from error

    def _start(self, device: InputDevice, num_channels: int) -> None:
        block_frames = round(self.sample_rate * BLOCK_S)
        ring = CaptureRing(
            num_frames=max(1, round(self._buffer_s / BLOCK_S)) * block_frames,
            num_channels=num_channels,
            block_frames=block_frames,
            channel=None if self._channel is None else self._channel - 1,
        )

        def receive(data: ReadableBuffer, num_frames: int, _time: object, status: Any) -> None:
            overflowed = bool(status) and bool(status.input_overflow)
            ring.write(data, num_frames, arrived=time.monotonic(), overflowed=overflowed)

        def end() -> None:  # whatever ended it
            self._ended = True
            ring.ring_bell()

        self._ended = False
        with quiet(), _portaudio:
            stream = self._sounddevice.RawInputStream(
                device=device.number,
                samplerate=self.sample_rate,
                blocksize=block_frames,
                channels=num_channels,
                dtype="float32",
                latency=DRIVER_BUFFER_S,
                callback=receive,
                finished_callback=end,
            )
            try:
                stream.start()
            except self._sounddevice.PortAudioError:
                stream.close(ignore_errors=True)
                raise
            self._stream = stream
            self._ring = ring
            _recording.add(self)

    def _close_stream(self) -> None:
        with _portaudio:
            stream, self._stream = self._stream, None
            _recording.discard(self)
            if stream is not None:
                stream.close(ignore_errors=True)

    def _why_not(self, device: InputDevice, error: Exception) -> str:
        code = _code(error)
        if code == _INVALID_RATE:
            return f"{device.name} does not record at {self.sample_rate} Hz; its own rate is {device.sample_rate} Hz"
        if code == _DEVICE_UNAVAILABLE:
            return (
                f"{device.name} is busy: another program records from it; end that one, or choose a device of "
                "PulseAudio or PipeWire, which programs can share"
            )
        # PortAudio's own words, and in brackets those of the system below it.
        host = error.args[2][2] if len(error.args) > 2 else ""
        return f"{device.name} cannot record: {error.args[0] if error.args else error}{f' ({host})' if host else ''}"


def _same_name(one: str, other: str) -> bool:
    """Whether two names are of one device; the number of ALSA's card changes from one plugging in to the next."""
    return _CARD_NUMBER.sub("", one) == _CARD_NUMBER.sub("", other)


def _code(error: Exception) -> object:
    return error.args[1] if len(error.args) > 1 else None


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps PortAudio and ALSA from writing their notes about failures to stderr; what matters comes as an error."""
    try:
        stderr = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(nowhere)
        os.close(stderr)


def import_sounddevice() -> Any:
    """The module sounddevice.

    Raises:
        MissingDependencyError: It or the PortAudio library is not installed.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise MissingDependencyError("the microphone needs sounddevice: pip install sounddevice") from error
    except OSError as error:  # sounddevice is there, the library that it wraps is not
        raise MissingDependencyError("the microphone needs PortAudio: apt install libportaudio2") from error
    return sounddevice
