"""What lies between PortAudio's callback and the program: a ring of samples, preallocated, without a lock.

The callback must not wait: neither for the recogniser, nor for memory, nor for a log file. So one thread writes, one
reads, and each moves only counters of its own. What the writer does for a block is a copy of its bytes, a note of where
it belongs and when it came, and a wake-up for a reader that waits.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeasr.waveform import Waveform, to_mono

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# A note: where the block starts, its frames, when it came, whether samples before it were lost inside PortAudio.
_NOTE = 4
# Blocks may be shorter than was asked for; there is a note for each, so this many times more of them fit.
_SPARE_NOTES = 4


@dataclass(frozen=True, slots=True)
class Block:
    """What one callback brought.

    Attributes:
        start: How many frames the device had given before it, those included that found no room.
        waveform: (num_samples,) float32, mono.
        arrived: When its samples entered the callback, of the clock `time.monotonic()`.
        overflowed: Whether PortAudio has lost samples before it.
    """

    start: int
    waveform: Waveform
    arrived: float
    overflowed: bool


class CaptureRing:
    """Carries sound from one thread that writes to one that reads.

    Example:
        >>> ring = CaptureRing(num_frames=4, num_channels=1, block_frames=2)
        >>> ring.write(np.array([0.5, -0.5], np.float32).tobytes(), 2, arrived=0.0)
        >>> ring.read().waveform
        array([ 0.5, -0.5], dtype=float32)
    """

    def __init__(self, *, num_frames: int, num_channels: int, block_frames: int, channel: int | None = None) -> None:
        """Takes all memory that it will ever need.

        Args:
            num_frames: Room, in frames (a sample of each channel).
            num_channels: Channels that come in.
            block_frames: The usual length of a block.
            channel: The channel that is read, from 0; None for the mean of all.
        """
        self._samples = np.zeros((num_frames, num_channels), np.float32)
        self._bytes = self._samples.data.cast("B")
        self._frame_bytes = 4 * num_channels
        self._num_frames = num_frames
        self._channel = channel
        self._max_notes = _SPARE_NOTES * (num_frames // block_frames + 1)
        self._notes = np.zeros(_NOTE * self._max_notes)
        # The writer's counters. `_num_written` is published last: what it counts is complete.
        self._num_heard = 0
        self._frames_written = 0
        self._num_written = 0
        # The reader's.
        self._frames_read = 0
        self._num_read = 0
        # A lock used as a bell: nobody works while holding it. It is open while there is something to hear of.
        self._bell = threading.Lock()
        self._bell.acquire()

    def write(self, data: ReadableBuffer, num_frames: int, *, arrived: float, overflowed: bool = False) -> None:
        """Takes a block of interleaved float32 frames; one for which there is no room is dropped whole.

        Args:
            data: Its bytes.
            num_frames: Its frames.
            arrived: The time.
            overflowed: Whether samples before it have been lost.
        """
        start = self._num_heard
        self._num_heard = start + num_frames
        room = self._num_frames - (self._frames_written - self._frames_read)
        if num_frames > room or self._num_written - self._num_read >= self._max_notes:
            return
        offset = self._frames_written % self._num_frames * self._frame_bytes
        size = num_frames * self._frame_bytes
        until_end = len(self._bytes) - offset
        if size <= until_end:
            self._bytes[offset : offset + size] = data
        else:
            view = memoryview(data)
            self._bytes[offset:] = view[:until_end]
            self._bytes[: size - until_end] = view[until_end:]
        note = self._num_written % self._max_notes * _NOTE
        self._notes[note] = start
        self._notes[note + 1] = num_frames
        self._notes[note + 2] = arrived
        self._notes[note + 3] = overflowed
        self._frames_written += num_frames
        self._num_written += 1
        self.ring_bell()

    def read(self) -> Block | None:
        """Takes the oldest block; None where there is none."""
        if self._num_read == self._num_written:
            return None
        note = self._num_read % self._max_notes * _NOTE
        start, num_frames, arrived, overflowed = self._notes[note : note + _NOTE].tolist()
        begin = self._frames_read % self._num_frames
        end = begin + int(num_frames)
        frames = self._samples[begin:end]
        if end > self._num_frames:
            frames = np.concatenate([frames, self._samples[: end - self._num_frames]])
        waveform = to_mono(frames) if self._channel is None else frames[:, self._channel]
        waveform = waveform.copy()  # the writer will have this room again
        self._frames_read += int(num_frames)
        self._num_read += 1
        return Block(int(start), waveform, arrived, bool(overflowed))

    def ring_bell(self) -> None:
        """Wakes the reader. Never waits."""
        if self._bell.locked():
            with suppress(RuntimeError):  # another thread has just done it
                self._bell.release()

    def wait(self, timeout_s: float) -> bool:
        """Waits until the bell rings; returns whether it did in time."""
        return self._bell.acquire(timeout=timeout_s)
