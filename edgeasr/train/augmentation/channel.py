"""What microphones, their electronics and lossy links do to sound: colour, lost bands, clipping, lost blocks.

All leave sounds in their places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeasr.errors import ConfigError
from edgeasr.train.augmentation.transform import (
    FloatArray,
    band_gain,
    check_positive,
    check_range,
    check_share,
    log_uniform,
    shape_spectrum,
)
from edgeasr.waveform import Waveform

FILLS = ("silence", "repeat", "noise")


@dataclass(frozen=True, kw_only=True)
class Equalizer:
    """A microphone of its own colour: a random frequency response, and random edges of its band.

    The response goes through random gains at frequencies spread evenly over octaves, in dB, and is smooth between them.
    Below the lower edge and above the upper one, which are random too, it falls to nothing within an octave. The level
    of the clip as a whole stays.
    """

    probability: float = 0.3
    maximum_db: float = 8.0
    num_points: int = 6
    minimum_low_hz: float = 20.0
    maximum_low_hz: float = 250.0
    minimum_high_hz: float = 3500.0
    maximum_high_hz: float = 8000.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_share(self, "probability")
        check_range(self, "low_hz", least=1.0)
        check_range(self, "high_hz", least=self.maximum_low_hz)
        if self.num_points < 2 or self.maximum_db < 0:
            raise ConfigError(
                f"Equalizer: num_points is {self.num_points} and maximum_db {self.maximum_db}, expected 2 and 0 or more"
            )

    def __call__(self, waveform: Waveform, sample_rate: int, rng: np.random.Generator) -> Waveform:
        """Returns the waveform through a random microphone."""
        if rng.random() >= self.probability:
            return waveform
        gains_db = rng.uniform(-self.maximum_db, self.maximum_db, self.num_points)
        points = np.linspace(np.log2(50.0), np.log2(sample_rate / 2), self.num_points)
        low_hz = log_uniform(self.minimum_low_hz, self.maximum_low_hz, rng)
        high_hz = log_uniform(self.minimum_high_hz, self.maximum_high_hz, rng)

        def gain(hz: FloatArray) -> FloatArray:
            place = np.interp(np.log2(np.maximum(hz, 1.0)), points, np.arange(self.num_points))
            left = np.minimum(place.astype(int), self.num_points - 2)
            share = 0.5 - 0.5 * np.cos(np.pi * (place - left))
            response_db = (1 - share) * gains_db[left] + share * gains_db[left + 1]
            shaped: FloatArray = 10 ** (response_db / 20) * band_gain(hz, low_hz, high_hz, 1.0)
            return shaped

        coloured = shape_spectrum(waveform, sample_rate, gain)
        before, after = (float(np.sqrt(np.mean(np.square(w)))) if w.size else 0.0 for w in (waveform, coloured))
        return coloured * np.float32(before / after) if after > 0 else coloured


@dataclass(frozen=True, kw_only=True)
class BandReject:
    """Takes bands of frequencies out: frequency masks on the waveform (Kharitonov et al. 2021)."""

    probability: float = 0.15
    maximum_bands: int = 2
    minimum_octaves: float = 0.1
    maximum_octaves: float = 0.6
    minimum_hz: float = 150.0
    maximum_hz: float = 6000.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_share(self, "probability")
        check_range(self, "octaves", least=0.0)
        check_range(self, "hz", least=1.0)
        check_positive(self, "maximum_bands")

    def __call__(self, waveform: Waveform, sample_rate: int, rng: np.random.Generator) -> Waveform:
        """Returns the waveform without some bands."""
        if rng.random() >= self.probability:
            return waveform
        bands = []
        for _ in range(int(rng.integers(1, self.maximum_bands + 1))):
            half = rng.uniform(self.minimum_octaves, self.maximum_octaves) / 2
            centre_hz = log_uniform(self.minimum_hz, self.maximum_hz, rng)
            bands.append((centre_hz * 2**-half, centre_hz * 2**half))

        def gain(hz: FloatArray) -> FloatArray:
            gain: FloatArray = np.prod([1 - band_gain(hz, low, high, 0.1) for low, high in bands], axis=0)
            return gain

        return shape_spectrum(waveform, sample_rate, gain)


@dataclass(frozen=True, kw_only=True)
class Clipping:
    """Drives the microphone too far: a share of the loudest samples is cut off at one level."""

    probability: float = 0.15
    minimum_share: float = 0.001
    maximum_share: float = 0.05

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_share(self, "probability")
        check_range(self, "share", least=1e-6, most=1.0)

    def __call__(self, waveform: Waveform, rng: np.random.Generator) -> Waveform:
        """Returns the waveform with its peaks cut off."""
        if rng.random() >= self.probability:
            return waveform
        share = log_uniform(self.minimum_share, self.maximum_share, rng)
        if waveform.size == 0:
            return waveform
        level = np.float32(np.quantile(np.abs(waveform), 1 - share))
        clipped: Waveform = np.clip(waveform, -level, level)
        return clipped


@dataclass(frozen=True, kw_only=True)
class Dropouts:
    """Loses blocks of sound, as a busy computer or a wireless link does; the rest stays where it was.

    Losses come as often as `per_s` says, in bursts: the next block is lost as well with `burst_probability`. In their
    place is silence, the block before once more, or noise as loud as it.
    """

    probability: float = 0.15
    per_s: float = 0.5
    minimum_block_ms: float = 5.0
    maximum_block_ms: float = 40.0
    burst_probability: float = 0.3
    maximum_lost_share: float = 0.15
    fills: tuple[str, ...] = FILLS

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_share(self, "probability", "burst_probability", "maximum_lost_share")
        check_range(self, "block_ms", least=0.1)
        check_positive(self, "per_s")
        if not self.fills or any(fill not in FILLS for fill in self.fills):
            raise ConfigError(f"Dropouts: fills is {list(self.fills)}, expected one or several of {', '.join(FILLS)}")

    def __call__(self, waveform: Waveform, sample_rate: int, rng: np.random.Generator) -> Waveform:
        """Returns the waveform with blocks lost."""
        if rng.random() >= self.probability:
            return waveform
        # A device has one size of blocks, and one way to bear a loss.
        block = max(1, round(rng.uniform(self.minimum_block_ms, self.maximum_block_ms) / 1000 * sample_rate))
        fill = self.fills[int(rng.integers(len(self.fills)))]
        num_blocks = waveform.size // block
        begins = rng.random(num_blocks) < self.per_s * block / sample_rate
        goes_on = rng.random(num_blocks) < self.burst_probability
        left = int(self.maximum_lost_share * num_blocks)
        damaged = waveform.copy()
        lost = False
        for number in range(num_blocks):
            lost = left > 0 and bool(begins[number] or (lost and goes_on[number]))
            if not lost:
                continue
            left -= 1
            here = slice(number * block, (number + 1) * block)
            before = damaged[max(0, number - 1) * block : number * block]
            if fill == "silence" or before.size == 0:
                damaged[here] = 0
            elif fill == "repeat":
                damaged[here] = before
            else:
                level = np.sqrt(np.mean(np.square(before)))
                damaged[here] = level * rng.standard_normal(block, dtype=np.float32)
        return damaged
