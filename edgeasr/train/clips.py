"""The sound of clips: decoded by the reader of the runtime, and kept on disk for the epochs to come."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from edgeasr.audio import open_audio
from edgeasr.errors import AudioFormatError
from edgeasr.files import write_whole
from edgeasr.waveform import Waveform

logger = logging.getLogger(__name__)

PCM_SCALE = 32768.0
# What a file is decoded to that only ffmpeg can read; all others keep their own sample rate.
FFMPEG_SAMPLE_RATE = 16_000
# libsndfile counts from 256 kbit/s (0) down to 6 kbit/s (1).
OPUS_COMPRESSION_LEVEL = 1 - (14_000 - 6_000) / 250_000
NO_SOUND = "it holds no sound"


class ClipStore:
    """Decoded clips as 16-bit samples in one memory-mapped file per manifest, made at the first use.

    Attributes:
        unreadable: What is wrong with each clip that was left out.
    """

    def __init__(self, cache_dir: Path, sample_rate: int) -> None:
        self.cache_dir = cache_dir
        self.sample_rate = sample_rate
        self.unreadable: dict[Path, str] = {}

    def load(self, name: str, paths: Sequence[Path], *, skip_unreadable: bool = False) -> list[NDArray[np.int16]]:
        """Returns the clips at `paths`, decoding them if the cache `name` does not hold exactly these.

        Args:
            name: Tells caches apart for people.
            paths: The clips.
            skip_unreadable: A clip that cannot be read is empty, and stands in `unreadable`.

        Raises:
            AudioFormatError: A clip cannot be read.
        """
        key = hashlib.sha256(json.dumps([self.sample_rate, [str(p) for p in paths]]).encode()).hexdigest()[:16]
        samples_path, offsets_path, reasons_path = (
            self.cache_dir / f"{name}-{key}{suffix}" for suffix in (".pcm", ".npy", ".unreadable.json")
        )
        if not offsets_path.exists():
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            with (self.cache_dir / f"{name}-{key}.lock").open("w") as lock:
                # Of several processes one decodes, and the others wait for it.
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not offsets_path.exists():
                    self._decode(paths, samples_path, offsets_path, reasons_path, skip_unreadable)
        offsets = np.load(offsets_path)
        if not offsets[-1]:  # an empty file cannot be mapped
            samples: NDArray[np.int16] = np.empty(0, np.int16)
        else:
            samples = np.memmap(samples_path, np.int16, "r")
        reasons = json.loads(reasons_path.read_text(encoding="utf-8")) if reasons_path.exists() else {}
        for path, begin, end in zip(paths, offsets[:-1], offsets[1:], strict=True):
            if begin == end:
                self._leave_out(path, reasons.get(str(path), NO_SOUND), skip_unreadable)
        return [samples[a:b] for a, b in itertools.pairwise(offsets)]

    def _decode(
        self, paths: Sequence[Path], samples_path: Path, offsets_path: Path, reasons_path: Path, skip: bool
    ) -> None:
        """Writes the files of a cache; that of the offsets comes last, and says that the others are whole."""
        offsets = [0]
        reasons: dict[str, str] = {}
        partial = samples_path.with_suffix(".partial")
        with partial.open("wb") as out:
            for path in paths:
                try:
                    waveform = resample(*read_audio(path), self.sample_rate)
                except (AudioFormatError, OSError) as error:
                    reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
                    reasons[str(path)] = reason.removeprefix(f"{path}: ")
                    self._leave_out(path, reasons[str(path)], skip)
                    waveform = np.empty(0, np.float32)
                clip = np.clip(waveform * PCM_SCALE, -PCM_SCALE, PCM_SCALE - 1)
                out.write(clip.astype(np.int16).tobytes())
                offsets.append(offsets[-1] + clip.size)
        partial.replace(samples_path)
        if reasons:
            write_whole(reasons_path, json.dumps(reasons, ensure_ascii=False, indent=1) + "\n")
        with partial.open("wb") as out:
            np.save(out, np.asarray(offsets))
        partial.replace(offsets_path)

    def _leave_out(self, path: Path, reason: str, skip: bool) -> None:
        if not skip:
            raise AudioFormatError(
                f"clip {path} cannot be read: {reason} (skip_unreadable = true in a recipe's [data] lists such clips "
                "and leaves them out)"
            )
        self.unreadable[path] = reason


def read_audio(path: Path) -> tuple[Waveform, int]:
    """Decodes a whole sound file; damage is logged.

    Returns:
        The waveform (num_samples,) float32, channels averaged, and its sample rate in Hz.

    Raises:
        AudioFormatError: The file is empty or not one of sound.
        OSError: There is no such file, or it must not be read.
    """
    try:
        with open_audio(path, FFMPEG_SAMPLE_RATE) as reader:
            waveform = np.concatenate([np.empty(0, np.float32), *reader.blocks()])
            if reader.damage:
                logger.warning("%s: %s", path, reader.damage)
            return waveform, reader.sample_rate
    except AudioFormatError as error:
        raise AudioFormatError(f"{path}: {error}") from error


def write_clip(path: Path, waveform: Waveform, sample_rate: int) -> None:
    """Writes a clip whole or not at all, by the suffix: FLAC, or Opus of about 14 kbit/s as in the training data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    options = {"format": "OGG", "subtype": "OPUS", "compression_level": OPUS_COMPRESSION_LEVEL}
    soundfile.write(partial, waveform, sample_rate, **(options if path.suffix == ".opus" else {}))
    partial.replace(path)


def resample(waveform: Waveform, input_rate: int, output_rate: int) -> Waveform:
    """A whole waveform at another sample rate."""
    if input_rate == output_rate or not len(waveform):
        return waveform
    import soxr

    output: Waveform = soxr.resample(waveform, input_rate, output_rate)
    return output


def to_float(clip: NDArray[np.int16]) -> Waveform:
    """16-bit samples as float32 in [-1, 1)."""
    return clip.astype(np.float32) / np.float32(PCM_SCALE)
