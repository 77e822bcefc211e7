"""The sound of clips: decoded by the reader of the runtime, and kept on disk for the epochs to come."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeasr.audio import open_audio
from edgeasr.errors import AudioFormatError
from edgeasr.waveform import Waveform

logger = logging.getLogger(__name__)

PCM_SCALE = 32768.0
# What a file is decoded to that only ffmpeg can read; all others keep their own sample rate.
FFMPEG_SAMPLE_RATE = 16_000


class ClipStore:
    """Decoded clips as 16-bit samples in one memory-mapped file per manifest, made at the first use."""

    def __init__(self, cache_dir: Path, sample_rate: int) -> None:
        self.cache_dir = cache_dir
        self.sample_rate = sample_rate

    def load(self, name: str, paths: Sequence[Path]) -> list[NDArray[np.int16]]:
        """Returns the clips at `paths`, decoding them if the cache `name` does not hold exactly these."""
        key = hashlib.sha256(json.dumps([self.sample_rate, [str(p) for p in paths]]).encode()).hexdigest()[:16]
        samples_path = self.cache_dir / f"{name}-{key}.pcm"
        offsets_path = self.cache_dir / f"{name}-{key}.npy"
        if not offsets_path.exists():
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            offsets = [0]
            with samples_path.open("wb") as out:
                for path in paths:
                    clip = np.clip(resample(*read_audio(path), self.sample_rate) * PCM_SCALE, -PCM_SCALE, PCM_SCALE - 1)
                    out.write(clip.astype(np.int16).tobytes())
                    offsets.append(offsets[-1] + clip.size)
            np.save(offsets_path, np.asarray(offsets))
        offsets = np.load(offsets_path)
        samples = np.memmap(samples_path, np.int16, "r")
        return [samples[a:b] for a, b in itertools.pairwise(offsets)]


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
