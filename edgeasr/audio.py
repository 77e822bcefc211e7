"""Sound files: blocks of float32 mono from anything that holds sound, in constant memory.

WAV, FLAC, OGG, Opus, MP3 and the other formats of libsndfile are read by soundfile, everything else by the
`ffmpeg` program where it is installed. A damaged file is read up to the damage.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import soundfile

from edgeasr.errors import AudioFormatError
from edgeasr.waveform import Waveform, to_mono

# Blocks of half a second: long enough that the cost of a read does not show, short enough for a progress bar.
BLOCKS_PER_SECOND = 2
# Sound that a header promises and the file lacks is worth a warning from here on. Some MP3 headers only estimate.
TOLERATED_LOSS_S = 0.1
TOLERATED_MP3_LOSS_S = 1.0

# What a search through folders takes for sound.
_SUFFIXES = """
    aac aif aifc aiff amr au caf flac m4a m4b mka mkv mov mp2 mp3 mp4 mpga oga ogg opus rf64 snd sph voc w64
    wav wave webm wma
"""
AUDIO_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())


class AudioReader(ABC):
    """An open source of sound, read once from its beginning to its end. A context manager that closes it.

    Attributes:
        sample_rate: Of the blocks, in Hz.
        duration: Length in seconds; None where the source does not tell.
        damage: After the last block: what was wrong with the source; None when all was well.
        resources: What `close` lets go of.
    """

    def __init__(self, sample_rate: int, duration: float | None) -> None:
        self.sample_rate = sample_rate
        self.duration = duration
        self.damage: str | None = None
        self.resources = ExitStack()

    @abstractmethod
    def blocks(self) -> Iterator[Waveform]:
        """Yields the sound: (num_samples,) float32 in [-1, 1], channels averaged.

        Raises:
            AudioFormatError: The source turns out not to hold sound.
        """

    def close(self) -> None:
        """Lets go of the source."""
        self.resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_audio(source: str | Path | BinaryIO, sample_rate: int) -> AudioReader:
    """Opens a sound file.

    Args:
        source: Path of a file, or a binary file object such as `sys.stdin.buffer`, which is read to its end first.
        sample_rate: The rate in Hz to ask ffmpeg for; other readers keep the file's own rate.

    Raises:
        AudioFormatError: The file is empty or not one of sound.
        OSError: There is no such file, or it must not be read.
    """
    if isinstance(source, (str, Path)):
        return _open_path(Path(source), sample_rate)
    # libsndfile jumps about in a file, ffmpeg wants a path; a pipe offers neither.
    with ExitStack() as unwind:
        copy = unwind.enter_context(NamedTemporaryFile(prefix="edgeasr-"))
        shutil.copyfileobj(source, copy)
        copy.flush()
        reader = _open_path(Path(copy.name), sample_rate)
        reader.resources.push(unwind.pop_all())
    return reader


def _open_path(path: Path, sample_rate: int) -> AudioReader:
    with path.open("rb") as file:
        if not file.read(1):
            raise AudioFormatError("the file is empty")
    try:
        return _SoundFileReader(path)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a name that ends in .raw
        reason = _reason(error)
    if shutil.which("ffmpeg") is None:
        raise AudioFormatError(
            f"not a sound file that libsndfile can read ({reason}); for others install the ffmpeg program"
        )
    return _FfmpegReader(path, sample_rate)


class _SequentialSoundFile(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is read from its beginning to its end.

    After each block, `SoundFile.read` seeks to where the file already stands. That costs time, and it changes what
    libsndfile decodes from MP3 (whose frames lean on the ones before), so that the samples depend on the block size.
    """

    def seekable(self) -> bool:
        return False


class _SoundFileReader(AudioReader):
    """A file that libsndfile knows."""

    def __init__(self, path: Path) -> None:
        # As bytes: soundfile cannot encode a name that holds bytes which are no characters.
        self._file = _SequentialSoundFile(os.fsencode(path))
        # Of a file whose header does not tell its length, libsndfile says that it has the most that it can count.
        self._num_frames: int | None = self._file.frames if self._file.frames < 2**62 else None
        sample_rate = self._file.samplerate
        super().__init__(sample_rate, None if self._num_frames is None else self._num_frames / sample_rate)
        self.resources.enter_context(self._file)

    def blocks(self) -> Iterator[Waveform]:
        block_frames = max(1, self.sample_rate // BLOCKS_PER_SECOND)
        num_read = 0
        while self.damage is None:
            samples = np.full((block_frames, self._file.channels), np.nan, np.float32)
            try:
                samples = self._file.read(out=samples)
            except soundfile.LibsndfileError as error:
                # libsndfile has filled the array up to the damage; soundfile forgets how far.
                samples = samples[: np.count_nonzero(~np.isnan(samples[:, 0]))]
                self.damage = self._damage_after(num_read + len(samples), _reason(error))
            if len(samples) == 0:
                break
            num_read += len(samples)
            yield to_mono(samples)
        lost_s = (self._num_frames_promised(num_read) - num_read) / self.sample_rate
        tolerated_s = TOLERATED_MP3_LOSS_S if self._file.format == "MP3" else TOLERATED_LOSS_S
        if self.damage is None and lost_s > tolerated_s:
            self.damage = self._damage_after(num_read, f"its header promises {lost_s:.1f} s more")

    def _damage_after(self, num_frames: int, reason: str) -> str:
        return f"damaged after {num_frames / self.sample_rate:.1f} s ({reason})"

    def _num_frames_promised(self, num_read: int) -> int:
        if self._num_frames is None:
            return num_read
        # libsndfile corrects a WAV header that states more than the file holds, and says so in its log only.
        sizes = re.search(r"^data : (\d+) \(should be (\d+)\)", self._file.extra_info, re.MULTILINE)
        if sizes is None:
            return self._num_frames
        stated, real = int(sizes[1]), int(sizes[2])
        # A size near 2^31 or 2^32 is what programs write that do not know it yet.
        if real == 0 or stated >= 0x7FFF0000:
            return self._num_frames
        return self._num_frames * stated // real


class _FfmpegReader(AudioReader):
    """Any other file, decoded by the ffmpeg program, which also mixes channels and resamples."""

    def __init__(self, path: Path, sample_rate: int) -> None:
        super().__init__(sample_rate, None)
        self._name = f"file:{path}"
        # Not a pipe, which would have to be read at the same time as the sound.
        self._messages = self.resources.enter_context(TemporaryFile())  # noqa: SIM115
        command = ["ffmpeg", "-nostdin", "-v", "error"]
        # A play list must not send ffmpeg to the network.
        command += ["-protocol_whitelist", "file", "-i", self._name, "-vn", "-sn", "-dn"]
        command += ["-ac", "1", "-ar", str(sample_rate), "-f", "f32le", "pipe:1"]
        self._process = self.resources.enter_context(
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._messages)
        )
        self.resources.callback(self._process.kill)
        assert self._process.stdout is not None
        self._samples = self._process.stdout

    def blocks(self) -> Iterator[Waveform]:
        block_bytes = 4 * max(1, self.sample_rate // BLOCKS_PER_SECOND)
        num_samples = 0
        while block := self._samples.read(block_bytes):
            samples = np.frombuffer(block, "<f4", count=len(block) // 4)
            num_samples += len(samples)
            yield samples
        complaint = self._complaint()
        if complaint and num_samples == 0:
            raise AudioFormatError(f"not a readable sound file (ffmpeg: {complaint})")
        if complaint:
            self.damage = f"damaged; ffmpeg read {num_samples / self.sample_rate:.1f} s ({complaint})"

    def _complaint(self) -> str:
        """The last line that ffmpeg said; empty when all went well."""
        status = self._process.wait()
        self._messages.seek(0)
        lines = self._messages.read().decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        if not said:
            return f"exit status {status}" if status else ""
        return re.sub(r"^\[[^]]+ @ \w+\] ", "", said[-1].removeprefix(f"{self._name}: "))


def _reason(error: Exception) -> str:
    """What libsndfile says, without the file's name and the word Error."""
    text = getattr(error, "error_string", str(error))
    return str(text).removeprefix("Error").strip(" :.")
