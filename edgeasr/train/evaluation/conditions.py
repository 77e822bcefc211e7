"""How clips are heard: as they are, or with recorded noise, in a simulated room, denoised; alike in every run."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from edgeasr.errors import ConfigError
from edgeasr.train.clips import read_audio, resample
from edgeasr.waveform import Waveform

NOISE_FOLDER = "noise"
CLEAN = "clean"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """How clips are heard.

    Attributes:
        snr_db: With recorded noise at this signal-to-noise ratio; None: without.
        odd: Which half of the noise recordings: every other one, from the first or from the second on. What is fitted
            with one half is measured with the other.
        rt60_s: In a room of this reverberation time, up to 4 m away from the microphone; None: without.
        denoised: Whether a denoiser comes before the recogniser (`edgeasr.train.augmentation.denoise`).
    """

    snr_db: float | None = None
    odd: bool = False
    rt60_s: float | None = None
    denoised: bool = False

    @property
    def name(self) -> str:
        """What tables call it."""
        parts = [] if self.rt60_s is None else [f"room {self.rt60_s:g} s"]
        parts += [] if self.snr_db is None else [f"{self.snr_db:g} dB"]
        parts += ["denoised"] if self.denoised else []
        return ", ".join(parts) or CLEAN

    @classmethod
    def parse(cls, text: str, *, odd: bool = False) -> Condition:
        """A condition from its short form.

        Args:
            text: `clean`, `10dB`, `room0.5` or `room0.5+10dB`; with `+denoise` behind it, denoised.
            odd: See the class.

        Raises:
            ConfigError: It is none of these.

        Example:
            >>> Condition.parse("room0.5+10dB+denoise").name
            'room 0.5 s, 10 dB, denoised'
        """
        sound = text.lower().removesuffix("+denoise")
        found = re.fullmatch(r"(?:room(?P<room>\d+\.?\d*))?(?:(?(room)\+)(?P<snr>-?\d+\.?\d*)db)?", sound)
        if sound != CLEAN and (not sound or found is None or not float(found["room"] or 1) > 0):
            raise ConfigError(
                f"no condition {text!r}: expected clean, 10dB, room0.5 or room0.5+10dB, or one of them with +denoise"
            )
        denoised = sound != text.lower()
        if sound == CLEAN or found is None:
            return cls(odd=odd, denoised=denoised)
        snr_db, rt60_s = (None if found[name] is None else float(found[name]) for name in ("snr", "room"))
        return cls(snr_db=snr_db, odd=odd, rt60_s=rt60_s, denoised=denoised)


class Recordings(Sequence[Waveform]):
    """Sound files as a sequence of waveforms; each is read when it is asked for, so that none stays in memory."""

    def __init__(self, paths: Sequence[Path], sample_rate: int) -> None:
        """Names the files, and the sample rate in Hz that they are wanted at."""
        self._paths = paths
        self._sample_rate = sample_rate

    def __len__(self) -> int:
        """How many there are."""
        return len(self._paths)

    @overload
    def __getitem__(self, place: int) -> Waveform: ...

    @overload
    def __getitem__(self, place: slice) -> Recordings: ...

    def __getitem__(self, place: int | slice) -> Waveform | Recordings:
        """The waveform (num_samples,) of a place, or the sequence of some places."""
        if isinstance(place, slice):
            return Recordings(self._paths[place], self._sample_rate)
        return resample(*read_audio(self._paths[place]), self._sample_rate)


def noise_paths(data: Path, *, odd: bool) -> list[Path]:
    """The files of one half of the recorded noise.

    Raises:
        ConfigError: There are none.
    """
    folder = data / NOISE_FOLDER
    paths = sorted(folder.glob("*.opus"))[int(odd) :: 2]
    if not paths:
        raise ConfigError(f"{folder} has too few recordings of noise (the folder of the data is {data})")
    return paths


def damage(waveform: Waveform, sample_rate: int, condition: Condition, *, clip: str, data: Path) -> Waveform:
    """A clip as it is heard in a condition: the same in each run, and other noise in another room for each clip.

    Args:
        waveform: (num_samples,) float32.
        sample_rate: Of the waveform, in Hz. Compare systems at one: it bounds what noise there is.
        condition: How it is heard; first comes the room, then the noise, then the denoiser.
        clip: The clip's id, which everything is drawn by.
        data: The data folder; its `noise` holds the recorded noise.

    Raises:
        ConfigError: There is no noise where noise is asked for.
    """
    from edgeasr.train.augmentation.augment import Noise, Room
    from edgeasr.train.augmentation.denoise import denoise

    if condition.rt60_s is not None:
        room = Room(probability=1.0, minimum_rt60_s=condition.rt60_s, maximum_rt60_s=condition.rt60_s)
        waveform = room(waveform, sample_rate, _draws(f"{clip} room {condition.rt60_s:g}"))
    if condition.snr_db is not None:
        noise = Noise(
            probability=1.0, minimum_snr_db=condition.snr_db, maximum_snr_db=condition.snr_db, coloured_share=0.0
        )
        recordings = Recordings(noise_paths(data, odd=condition.odd), sample_rate)
        waveform = noise(waveform, recordings, _draws(f"{clip} {condition.snr_db:g}"))
    return denoise(waveform, sample_rate) if condition.denoised else waveform


def _draws(seed: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(seed.encode()))
