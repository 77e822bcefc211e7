"""Time and pitch apart: speech that is quicker but not higher, and higher but not quicker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from edgeasr.errors import ConfigError
from edgeasr.train.augmentation.transform import check_range, check_share, fit_length
from edgeasr.waveform import Waveform

# Of `stretch`: windows that hold two periods of a deep voice, and a search over one.
WINDOW_S = 0.030
SEARCH_S = 0.010
# How much more alike a place at the search's end must be than one in its middle. Without it, silence and hiss, where
# all places are alike, would be taken from anywhere.
DISTANCE_PENALTY = 0.02
STEPS = 100  # factors of pitch are multiples of 1 / STEPS, so that the resampling ratio is a small fraction


@dataclass(frozen=True, kw_only=True)
class Tempo:
    """Lets the speaker talk faster or slower at the same pitch (`stretch`)."""

    probability: float = 0.3
    minimum: float = 0.85
    maximum: float = 1.2

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_share(self, "probability")
        check_range(self, "", least=0.25, most=4.0)

    def __call__(self, waveform: Waveform, sample_rate: int, rng: np.random.Generator) -> tuple[Waveform, float]:
        """Returns the waveform at a random tempo, and the tempo: how much faster than before sounds come."""
        if rng.random() >= self.probability:
            return waveform, 1.0
        tempo = float(rng.uniform(self.minimum, self.maximum))
        return stretch(waveform, sample_rate, tempo), tempo


@dataclass(frozen=True, kw_only=True)
class Pitch:
    """Raises or lowers the pitch by a random number of semitones, and the formants with it; sounds keep their times.

    A change of speed, and a change of tempo that makes up for it. `VoiceChange` moves pitch and formants apart.
    """

    probability: float = 0.3
    minimum_semitones: float = -2.5
    maximum_semitones: float = 2.5

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_share(self, "probability")
        check_range(self, "semitones", least=-12.0, most=12.0)

    def __call__(self, waveform: Waveform, sample_rate: int, rng: np.random.Generator) -> Waveform:
        """Returns the waveform at a random pitch, as long as before."""
        if rng.random() >= self.probability:
            return waveform
        factor = round(2 ** (rng.uniform(self.minimum_semitones, self.maximum_semitones) / 12) * STEPS)
        if waveform.size == 0 or factor == STEPS:
            return waveform
        slow = stretch(waveform, sample_rate, STEPS / factor)
        return fit_length(soxr.resample(slow, factor, STEPS, quality="LQ"), waveform.size)


def stretch(waveform: Waveform, sample_rate: int, tempo: float) -> Waveform:
    """Changes the tempo and keeps the pitch: WSOLA (Verhelst and Roelands 1993).

    The output is laid out in windows that overlap by half. Each is taken from around its time in the input, from where
    it looks most like what followed the window before.

    Args:
        waveform: (num_samples,) float32.
        sample_rate: In Hz.
        tempo: How much faster than before; 1 changes nothing.

    Returns:
        (num_samples / tempo,) float32. What was at t is at t / tempo, within `SEARCH_S` and a half.

    Raises:
        ConfigError: The tempo is not above 0.
    """
    if not tempo > 0:
        raise ConfigError(f"tempo is {tempo}, expected more than 0")
    num_output = round(waveform.size / tempo)
    hop = max(1, round(WINDOW_S * sample_rate) // 2)
    search = max(1, round(SEARCH_S * sample_rate))
    if waveform.size == 0 or tempo == 1:
        return waveform
    window = (0.5 - 0.5 * np.cos(np.pi * np.arange(2 * hop) / hop)).astype(np.float32)
    penalty = DISTANCE_PENALTY * np.abs(np.arange(-search, search + 1)) / search
    # Windows are centred on their times, the first one on 0; behind the end there is silence to read.
    num_windows = num_output // hop + 2
    reach = round(num_windows * hop * tempo) + 2 * search + 4 * hop
    padded = np.zeros(max(reach, waveform.size + search + hop), np.float32)
    padded[search + hop : search + hop + waveform.size] = waveform
    energies = np.concatenate([[0.0], np.cumsum(np.square(padded, dtype=np.float64))])
    output = np.zeros((num_windows + 1) * hop, np.float32)
    follows: Waveform | None = None
    for number in range(num_windows):
        nominal = round(number * hop * tempo)
        offset = search
        if follows is not None:
            products = np.correlate(padded[nominal : nominal + 2 * (search + hop)], follows, "valid")
            places = slice(nominal, nominal + 2 * search + 1)
            energy = energies[nominal + 2 * hop : nominal + 2 * (hop + search) + 1] - energies[places]
            scale = np.sqrt(energy * max(float(np.dot(follows, follows)), 1e-12)) + 1e-9
            offset = int(np.argmax(products / scale - penalty))
        begin = nominal + offset
        output[number * hop : (number + 2) * hop] += window * padded[begin : begin + 2 * hop]
        follows = padded[begin + hop : begin + 3 * hop]
    return output[hop : hop + num_output]
