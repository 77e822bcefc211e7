"""Other voices for the same words: pitch, formants and melody changed apart by the vocoder WORLD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeasr.errors import MissingDependencyError
from edgeasr.train.augmentation.transform import FloatArray, check_range, check_share, fit_length, log_uniform
from edgeasr.waveform import Waveform

# Frames of WORLD, and the pitch that it looks for. Frames of 10 ms cost half as much as its default of 5 ms.
FRAME_MS = 10.0
LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0
# What is shorter has no pitch to be found.
SHORTEST_S = 0.1


@dataclass(frozen=True, kw_only=True)
class VoiceChange:
    """Gives the clip another voice, by analysis and synthesis with WORLD (Morise et al. 2016); needs pyworld.

    The pitch moves by semitones, the formants by a factor (above 1: a smaller head), the melody, the movement of the
    pitch around its mean, is stretched by a factor. Sounds keep their times.

    On the fly it costs more than all other transforms together, so that its probability is small; `draw` and
    `change_voice` serve the tool that makes clips of new speakers once, `tools/change_voices.py`.
    """

    probability: float = 0.1
    minimum_semitones: float = -5.0
    maximum_semitones: float = 5.0
    minimum_formants: float = 0.85
    maximum_formants: float = 1.18
    minimum_melody: float = 0.7
    maximum_melody: float = 1.4

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_share(self, "probability")
        check_range(self, "semitones", least=-24.0, most=24.0)
        check_range(self, "formants", least=0.5, most=2.0)
        check_range(self, "melody", least=0.0, most=4.0)

    def __call__(self, waveform: Waveform, sample_rate: int, rng: np.random.Generator) -> Waveform:
        """Returns the waveform in a random other voice, as long as before.

        Raises:
            MissingDependencyError: pyworld is not installed.
        """
        if rng.random() >= self.probability:
            return waveform
        return change_voice(waveform, sample_rate, self.draw(rng))

    def draw(self, rng: np.random.Generator) -> Voice:
        """Returns a random voice."""
        return Voice(
            pitch=2 ** (rng.uniform(self.minimum_semitones, self.maximum_semitones) / 12),
            formants=log_uniform(self.minimum_formants, self.maximum_formants, rng),
            melody=float(rng.uniform(self.minimum_melody, self.maximum_melody)),
        )


@dataclass(frozen=True, kw_only=True)
class Voice:
    """How a voice differs from the one that speaks.

    Attributes:
        pitch: Factor of the pitch.
        formants: Factor of the frequencies of the formants.
        melody: Factor of the pitch's movement, on a logarithmic scale, around its median.
    """

    pitch: float = 1.0
    formants: float = 1.0
    melody: float = 1.0


def change_voice(waveform: Waveform, sample_rate: int, voice: Voice) -> Waveform:
    """Speaks a clip in another voice.

    Args:
        waveform: (num_samples,) float32; what is shorter than 0.1 s, and silence, stays as it is.
        sample_rate: In Hz.
        voice: The other voice.

    Raises:
        MissingDependencyError: pyworld is not installed.
    """
    world = load_world()
    if waveform.size < SHORTEST_S * sample_rate or not waveform.any():
        return waveform
    samples = waveform.astype(np.float64)
    pitch_hz, times_s = world.dio(samples, sample_rate, f0_floor=LOWEST_HZ, f0_ceil=HIGHEST_HZ, frame_period=FRAME_MS)
    pitch_hz = world.stonemask(samples, pitch_hz, times_s, sample_rate)
    envelope = world.cheaptrick(samples, pitch_hz, times_s, sample_rate)
    aperiodicity = world.d4c(samples, pitch_hz, times_s, sample_rate)
    voiced = pitch_hz > 0
    if voiced.any():
        median = np.median(pitch_hz[voiced])
        pitch_hz[voiced] = voice.pitch * median * (pitch_hz[voiced] / median) ** voice.melody
    changed = world.synthesize(
        pitch_hz,
        np.exp(_move_bins(np.log(np.maximum(envelope, 1e-16)), voice.formants)),
        _move_bins(aperiodicity, voice.formants),
        sample_rate,
        FRAME_MS,
    )
    return fit_length(changed.astype(np.float32), waveform.size)


def _move_bins(rows: FloatArray, factor: float) -> FloatArray:
    """Rows (num_frames, num_bins) with what was at a frequency at another one; the last bin stands for those beyond."""
    places = np.minimum(np.arange(rows.shape[1]) / factor, rows.shape[1] - 1)
    left = np.minimum(places.astype(int), rows.shape[1] - 2)
    share = places - left
    return np.ascontiguousarray((1 - share) * rows[:, left] + share * rows[:, left + 1])


def load_world() -> Any:
    """The module pyworld.

    Raises:
        MissingDependencyError: It is not installed; the message names the command that installs it.
    """
    try:
        import pyworld
    except ImportError as error:
        raise MissingDependencyError(f"voice change needs pyworld: pip install 'edgeasr[voices]' ({error})") from error
    return pyworld
