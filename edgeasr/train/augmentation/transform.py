"""What transforms of the sound share: their checks, and filters over a whole clip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeasr.errors import ConfigError
from edgeasr.waveform import Waveform

FloatArray = NDArray[np.float64]


def check_share(config: Any, *names: str) -> None:
    """Checks that fields of a dataclass are between 0 and 1.

    Raises:
        ConfigError: One is not; the message names it.
    """
    for name in names:
        value = getattr(config, name)
        if not 0 <= value <= 1:
            raise ConfigError(f"{type(config).__name__}: {name} is {value}, expected 0 to 1")


def check_range(config: Any, name: str, *, least: float = -np.inf, most: float = np.inf) -> None:
    """Checks the fields `minimum_NAME` and `maximum_NAME` of a dataclass; with an empty name `minimum` and `maximum`.

    Raises:
        ConfigError: One is outside `least` to `most`, or they are the wrong way round.
    """
    ends = [f"{end}_{name}" if name else end for end in ("minimum", "maximum")]
    low, high = (getattr(config, end) for end in ends)
    if not least <= low <= high <= most:
        raise ConfigError(
            f"{type(config).__name__}: {ends[0]} is {low} and {ends[1]} is {high}, expected numbers from {least:g} to "
            f"{most:g}, the minimum first"
        )


def check_positive(config: Any, *names: str) -> None:
    """Checks that fields of a dataclass are above 0.

    Raises:
        ConfigError: One is not.
    """
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise ConfigError(f"{type(config).__name__}: {name} is {value}, expected more than 0")


def log_uniform(minimum: float, maximum: float, rng: np.random.Generator) -> float:
    """A random number whose logarithm is uniform: as often from 1 to 2 as from 2 to 4."""
    return float(np.exp(rng.uniform(np.log(minimum), np.log(maximum))))


def fit_length(waveform: Waveform, num_samples: int) -> Waveform:
    """The waveform cut at its end, or followed by zeros."""
    if waveform.size >= num_samples:
        return waveform[:num_samples]
    return np.concatenate([waveform, np.zeros(num_samples - waveform.size, np.float32)])


def fft_length(size: int) -> int:
    """A length of at least `size` that is quick to transform: 2 ** n, 3 * 2 ** n or 5 * 2 ** n."""
    lengths = (factor << max(0, (-(-size // factor) - 1).bit_length()) for factor in (1, 3, 5))
    return min(lengths)


def shape_spectrum(waveform: Waveform, sample_rate: int, gain: Callable[[FloatArray], FloatArray]) -> Waveform:
    """Multiplies the spectrum of a whole clip; no phase is shifted, so that sounds stay in their places.

    Args:
        waveform: (num_samples,) float32.
        sample_rate: In Hz.
        gain: The factors for an array of frequencies in Hz.
    """
    if waveform.size == 0:
        return waveform
    # A tenth of a second of silence, so that the end does not ring into the beginning.
    n_fft = fft_length(waveform.size + sample_rate // 10)
    spectrum = np.fft.rfft(waveform, n_fft) * gain(np.fft.rfftfreq(n_fft, 1 / sample_rate).astype(np.float64))
    shaped: Waveform = np.fft.irfft(spectrum, n_fft)[: waveform.size].astype(np.float32)
    return shaped


def band_gain(hz: FloatArray, low_hz: float, high_hz: float, slope_octaves: float) -> FloatArray:
    """Factors of a band filter: 1 between the edges, beyond them a fall to 0 over so many octaves (half a cosine)."""
    octaves = np.log2(np.maximum(hz, 1e-3))
    below = np.clip((octaves - np.log2(low_hz)) / slope_octaves + 1, 0, 1) if low_hz > 0 else np.ones_like(hz)
    above = np.clip((np.log2(high_hz) - octaves) / slope_octaves + 1, 0, 1)
    gain: FloatArray = (0.5 - 0.5 * np.cos(np.pi * below)) * (0.5 - 0.5 * np.cos(np.pi * above))
    return gain
