"""Augmentation: what happens to a training clip before the student hears it.

Each transform is a frozen dataclass, so that a recipe can hold it and a checkpoint can name it. Those on waveforms
come before the frontend, `SpecAugment` after it. Every draw comes from the generator that is passed in: the same
seed gives the same clip, and a transform that is off draws nothing.

The transforms that have a place of their own in the sound's way stand in `stretch`, `voice`, `channel`, `codecs` and
`denoise`; `docs/augmentation.md` explains them all.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from edgeasr.errors import ConfigError
from edgeasr.train.augmentation.channel import BandReject, Clipping, Dropouts, Equalizer
from edgeasr.train.augmentation.codecs import Codec, Telephone
from edgeasr.train.augmentation.denoise import Denoise
from edgeasr.train.augmentation.rooms import SPEED_OF_SOUND_M_S, convolve, shoebox_impulse_response
from edgeasr.train.augmentation.stretch import Pitch, Tempo
from edgeasr.train.augmentation.transform import check_positive, check_range, check_share
from edgeasr.train.augmentation.voice import VoiceChange

Waveform = NDArray[np.float32]
Features = NDArray[np.float32]

SIMULATIONS = ("statistical", "shoebox")
SPEED_STEPS = 100  # speeds are multiples of 1 / SPEED_STEPS, so that the resampling ratio is a small fraction


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Plays the clip faster or slower, pitch and all (Ko et al. 2015)."""

    probability: float = 0.6
    minimum: float = 0.88
    maximum: float = 1.12

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_share(self, "probability")
        check_range(self, "", least=0.25, most=4.0)

    def __call__(self, waveform: Waveform, rng: np.random.Generator) -> tuple[Waveform, float]:
        """Returns the waveform at a random speed, and the speed."""
        if rng.random() >= self.probability:
            return waveform, 1.0
        speed = round(rng.uniform(self.minimum, self.maximum) * SPEED_STEPS)
        return soxr.resample(waveform, speed, SPEED_STEPS, quality="LQ"), speed / SPEED_STEPS


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Sets the level of the clip: its root mean square becomes a random number of dB below full scale."""

    minimum_db: float = -42.0
    maximum_db: float = -14.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_range(self, "db", most=0.0)

    def __call__(self, waveform: Waveform, rng: np.random.Generator) -> Waveform:
        """Returns the waveform at the drawn level, clipped to [-1, 1]."""
        target_db = rng.uniform(self.minimum_db, self.maximum_db)
        scale = 10 ** (target_db / 20) / max(root_mean_square(waveform), 1e-5)
        levelled: Waveform = np.clip(waveform * np.float32(scale), -1, 1)
        return levelled


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Adds recorded noise, or coloured noise (power falling with frequency ** exponent), at a random SNR."""

    probability: float = 0.35
    minimum_snr_db: float = 5.0
    maximum_snr_db: float = 30.0
    coloured_share: float = 0.3
    maximum_exponent: float = 2.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_share(self, "probability", "coloured_share")
        check_range(self, "snr_db")

    def __call__(self, waveform: Waveform, recordings: Sequence[Waveform], rng: np.random.Generator) -> Waveform:
        """Returns the waveform with noise."""
        if rng.random() >= self.probability:
            return waveform
        if not recordings or rng.random() < self.coloured_share:
            noise = coloured_noise(waveform.size, rng.uniform(0, self.maximum_exponent), rng)
        else:
            noise = np.roll(recordings[int(rng.integers(len(recordings)))], rng.integers(1 << 20))
            noise = np.resize(noise, waveform.size)
        snr_db = rng.uniform(self.minimum_snr_db, self.maximum_snr_db)
        scale = root_mean_square(waveform) / max(root_mean_square(noise), 1e-6) * 10 ** (-snr_db / 20)
        return waveform + np.float32(scale) * noise


@dataclass(frozen=True, kw_only=True)
class Room:
    """Convolves with the response of a room: a simulated one, or, with `recorded_share`, a recorded one.

    Recorded ones come from the folder `room_dir` of the recipe's data; without it all rooms are simulated. The
    simulation is `statistical` (`room_impulse_response`), or `shoebox` (`shoebox_impulse_response`): reflections of a
    room with walls, which cost more.
    """

    probability: float = 0.2
    minimum_rt60_s: float = 0.15
    maximum_rt60_s: float = 0.7
    maximum_distance_m: float = 4.0
    simulation: str = "statistical"
    recorded_share: float = 0.5

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_share(self, "probability", "recorded_share")
        check_range(self, "rt60_s", least=0.01)
        check_positive(self, "maximum_distance_m")
        if self.simulation not in SIMULATIONS:
            raise ConfigError(f"Room: simulation is {self.simulation!r}, expected one of {', '.join(SIMULATIONS)}")

    def __call__(
        self, waveform: Waveform, sample_rate: int, rng: np.random.Generator, recorded: Sequence[Waveform] = ()
    ) -> Waveform:
        """Returns the waveform as heard in a room, aligned with the direct sound.

        Args:
            waveform: (num_samples,) float32.
            sample_rate: In Hz.
            rng: For all draws.
            recorded: Responses of rooms that begin with the direct sound (`prepare_response`).
        """
        if waveform.size == 0 or rng.random() >= self.probability:
            return waveform
        if recorded and rng.random() < self.recorded_share:
            return convolve(waveform, recorded[int(rng.integers(len(recorded)))])
        rt60_s = rng.uniform(self.minimum_rt60_s, self.maximum_rt60_s)
        distance_m = rng.uniform(min(0.3, self.maximum_distance_m), self.maximum_distance_m)
        simulate = shoebox_impulse_response if self.simulation == "shoebox" else room_impulse_response
        return convolve(waveform, simulate(sample_rate, rt60_s, distance_m, rng))


@dataclass(frozen=True, kw_only=True)
class SpecAugment:
    """Masks bands of mel bins and spans of frames with the clip's mean (Park et al. 2019)."""

    num_frequency_masks: int = 2
    maximum_bins: int = 18
    time_masks_per_s: float = 0.7
    maximum_frames: int = 20
    maximum_masked_share: float = 0.2

    def __call__(self, features: Features, frames_per_s: float, rng: np.random.Generator) -> Features:
        """Returns masked features (num_frames, num_mel_bins)."""
        num_frames, num_bins = features.shape
        if num_frames == 0:
            return features
        masked = features.copy()
        mean = features.mean(axis=0)
        for _ in range(self.num_frequency_masks):
            width = int(rng.integers(0, self.maximum_bins + 1))
            start = int(rng.integers(0, num_bins - width + 1))
            masked[:, start : start + width] = mean[start : start + width]
        left = int(self.maximum_masked_share * num_frames)
        for _ in range(int(rng.poisson(self.time_masks_per_s * num_frames / frames_per_s))):
            width = int(rng.integers(0, min(self.maximum_frames, left) + 1))
            start = int(rng.integers(0, num_frames - width + 1))
            masked[start : start + width] = mean
            left -= width
        return masked


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """All transforms in their order: speaker, room, microphone, what the sound is sent through, and the features.

    Those that are None are off. Speed and tempo move sounds in time; a voice speaks in a room, noise comes to
    it, the microphone colours and clips both, and a denoiser cleans what came over the line.
    """

    speed: Speed | None = Speed()
    tempo: Tempo | None = None
    voice: VoiceChange | None = None
    pitch: Pitch | None = None
    room: Room | None = Room()
    noise: Noise | None = Noise()
    equalizer: Equalizer | None = None
    band_reject: BandReject | None = None
    clipping: Clipping | None = None
    gain: Gain | None = Gain()
    telephone: Telephone | None = None
    codec: Codec | None = None
    dropouts: Dropouts | None = None
    denoise: Denoise | None = None
    spec_augment: SpecAugment | None = SpecAugment()

    def waveform(
        self,
        waveform: Waveform,
        sample_rate: int,
        recordings: Sequence[Waveform],
        rng: np.random.Generator,
        rooms: Sequence[Waveform] = (),
    ) -> Waveform:
        """Applies the transforms on waveforms."""
        return self.damage(self.retime(waveform, sample_rate, rng)[0], sample_rate, recordings, rng, rooms)

    def retime(self, waveform: Waveform, sample_rate: int, rng: np.random.Generator) -> tuple[Waveform, float]:
        """Applies what moves sounds in time; returns also how much faster they come."""
        speed = tempo = 1.0
        if self.speed:
            waveform, speed = self.speed(waveform, rng)
        if self.tempo:
            waveform, tempo = self.tempo(waveform, sample_rate, rng)
        return waveform, speed * tempo

    def damage(
        self,
        waveform: Waveform,
        sample_rate: int,
        recordings: Sequence[Waveform],
        rng: np.random.Generator,
        rooms: Sequence[Waveform] = (),
    ) -> Waveform:
        """Applies the transforms on waveforms that leave sounds in their places.

        Args:
            waveform: (num_samples,) float32.
            sample_rate: In Hz.
            recordings: Of noise.
            rng: For all draws.
            rooms: Recorded impulse responses.
        """
        for voice in (self.voice, self.pitch):
            waveform = voice(waveform, sample_rate, rng) if voice else waveform
        if self.room:
            waveform = self.room(waveform, sample_rate, rng, rooms)
        if self.noise:
            waveform = self.noise(waveform, recordings, rng)
        for colour in (self.equalizer, self.band_reject):
            waveform = colour(waveform, sample_rate, rng) if colour else waveform
        if self.clipping:
            waveform = self.clipping(waveform, rng)
        if self.gain:
            waveform = self.gain(waveform, rng)
        for link in (self.telephone, self.codec, self.dropouts, self.denoise):
            waveform = link(waveform, sample_rate, rng) if link else waveform
        return waveform

    def features(self, features: Features, frames_per_s: float, rng: np.random.Generator) -> Features:
        """Applies the transforms on features."""
        return self.spec_augment(features, frames_per_s, rng) if self.spec_augment else features


def one_transform(name: str, augmentation: Augmentation | None = None) -> Augmentation:
    """An augmentation that does one thing, each time: for ears, for measurements, and for experiments.

    Args:
        name: A field of `Augmentation`.
        augmentation: Where its settings are; without it, or where it is off there, its defaults.

    Raises:
        ConfigError: There is no such transform.
    """
    names = [f.name for f in fields(Augmentation)]
    if name not in names:
        raise ConfigError(f"there is no transform {name!r}; there are {', '.join(names)}")
    transform: Any = getattr(augmentation, name) if augmentation else None
    if transform is None:
        hint = typing.get_type_hints(Augmentation)[name]
        transform = next(kind for kind in typing.get_args(hint) if kind is not type(None))()
    if hasattr(transform, "probability"):
        transform = replace(transform, probability=1.0)
    return Augmentation(**{**dict.fromkeys(names), name: transform})


def root_mean_square(waveform: Waveform) -> float:
    """The root mean square of a waveform; 0 for an empty one."""
    return float(np.sqrt(np.mean(np.square(waveform)))) if waveform.size else 0.0


def coloured_noise(num_samples: int, exponent: float, rng: np.random.Generator) -> Waveform:
    """Gaussian noise whose power falls with frequency ** exponent: 0 is white, 1 pink, 2 brown."""
    if num_samples == 0:
        return np.zeros(0, np.float32)
    n_fft = 1 << (num_samples - 1).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(n_fft, dtype=np.float32))
    spectrum *= np.maximum(np.arange(spectrum.size), 1) ** (-exponent / 2)
    return np.fft.irfft(spectrum, n_fft)[:num_samples].astype(np.float32)


def room_impulse_response(sample_rate: int, rt60_s: float, distance_m: float, rng: np.random.Generator) -> Waveform:
    """A simulated room: the direct sound, sparse early reflections, and a diffuse tail that decays by 60 dB in rt60_s.

    A statistical model (Polack 1988) with a critical distance of 1 m: the tail's energy relative to the direct
    sound grows with the square of the distance, and high frequencies die sooner.
    """
    num_samples = int(rt60_s * sample_rate)
    time_s = np.arange(num_samples) / sample_rate
    tail = rng.standard_normal(num_samples) * 10 ** (-3 * time_s / rt60_s)
    smoothing = rng.uniform(0.0, 0.6)
    tail[1:] = (1 - smoothing) * tail[1:] + smoothing * tail[:-1]
    tail[: int(0.002 * sample_rate)] = 0  # the first reflection comes 2 ms after the direct sound
    for _ in range(rng.integers(3, 9)):
        delay_m = rng.uniform(1.0, 12.0)
        position = int(delay_m / SPEED_OF_SOUND_M_S * sample_rate)
        if position < num_samples:
            tail[position] += rng.choice([-1, 1]) * 8 / (1 + delay_m)
    tail *= distance_m / max(float(np.sqrt(np.square(tail).sum())), 1e-9)
    tail[0] = 1.0
    return tail.astype(np.float32)
