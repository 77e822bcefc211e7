"""Rooms: impulse responses from a box with mirrors for walls, and recorded ones made ready."""

from __future__ import annotations

import numpy as np

from edgeasr.train.augmentation.transform import FloatArray, fft_length
from edgeasr.waveform import Waveform

SPEED_OF_SOUND_M_S = 343.0

# A box: up to here after the direct sound each reflection has its place, later ones are noise that decays as they do.
EARLY_S = 0.050
# Bands with decays of their own, parted at these frequencies; factors of the time of decay are drawn between these
# ends. Carpets, curtains and the air itself swallow high frequencies first.
SPLITS_HZ = (500.0, 2000.0)
DECAY_FACTORS = ((0.9, 1.4), (0.95, 1.05), (0.5, 0.95))
ROOM_SIZES_M = ((2.5, 2.0, 2.2), (9.0, 7.0, 3.5))
WALL_DISTANCE_M = 0.3
# Walls reflect at most this share of the sound's pressure, whatever time of decay was asked for.
MOST_REFLECTION = 0.98

# Recorded responses: the direct sound is the first sample of at least half the peak; and where less than this share of
# the energy is left, the rest is cut off.
DIRECT_SHARE = 0.5
REST_SHARE = 1e-6


def convolve(waveform: Waveform, response: Waveform) -> Waveform:
    """The waveform as the response of a room makes it, as long as before."""
    size = waveform.size + response.size - 1
    n_fft = 1 << (size - 1).bit_length()
    spectrum = np.fft.rfft(waveform, n_fft) * np.fft.rfft(response, n_fft)
    return np.fft.irfft(spectrum, n_fft)[: waveform.size].astype(np.float32)


def prepare_response(recorded: Waveform) -> Waveform:
    """A recorded impulse response without what came before the direct sound, which becomes 1; empty if it is silent."""
    loudness = np.abs(recorded)
    if not loudness.any():
        return np.empty(0, np.float32)
    response = recorded[int(np.argmax(loudness >= DIRECT_SHARE * loudness.max())) :]
    energy_left = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]
    response = response[: int(np.count_nonzero(energy_left > REST_SHARE * energy_left[0]))]
    direct: Waveform = response / response[0]
    return direct


def shoebox_impulse_response(sample_rate: int, rt60_s: float, distance_m: float, rng: np.random.Generator) -> Waveform:
    """The response of a box-shaped room of random size, with the speaker `distance_m` away or as far as it allows.

    Mirror images of the speaker in walls, floor and ceiling give the early reflections (Allen and Berkley 1979), noise
    that decays the late ones (Polack 1988). Low, middle and high frequencies decay differently; the middle ones by
    60 dB in `rt60_s` (Eyring 1930). It begins with the direct sound, which is 1.
    """
    size = rng.uniform(*np.asarray(ROOM_SIZES_M))
    listener = rng.uniform(WALL_DISTANCE_M, size - WALL_DISTANCE_M)
    direction = rng.standard_normal(3) * (1.0, 1.0, 0.3)
    speaker = listener + direction / np.linalg.norm(direction) * distance_m
    speaker = np.clip(speaker, WALL_DISTANCE_M, size - WALL_DISTANCE_M)
    decays_s = [rt60_s * rng.uniform(low, high) for low, high in DECAY_FACTORS]
    volume, surface = float(np.prod(size)), float(2 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2]))

    first_m = max(float(np.linalg.norm(speaker - listener)), 0.1)
    furthest_m = first_m + EARLY_S * SPEED_OF_SOUND_M_S
    counts = np.ceil(furthest_m / (2 * size)).astype(int)
    along = []
    for axis in range(3):
        # The images along an axis lie at 2 n size + place and at 2 n size - place, after so many reflections.
        n = np.arange(-counts[axis], counts[axis] + 1)
        places = np.concatenate([2 * n * size[axis] + speaker[axis], 2 * n * size[axis] - speaker[axis]])
        along.append((places - listener[axis], np.concatenate([2 * np.abs(n), np.abs(2 * n - 1)])))
    squares = sum(
        np.square(places).reshape([-1 if i == axis else 1 for i in range(3)]) for axis, (places, _) in enumerate(along)
    )
    reflections = sum(
        bounces.reshape([-1 if i == axis else 1 for i in range(3)]) for axis, (_, bounces) in enumerate(along)
    )
    distances_m = np.maximum(np.sqrt(squares), 0.1)
    heard = distances_m <= furthest_m
    distances_m, reflections = distances_m[heard], np.broadcast_to(reflections, heard.shape)[heard]
    samples = np.round((distances_m - distances_m.min()) / SPEED_OF_SOUND_M_S * sample_rate).astype(int)

    num_early = int(EARLY_S * sample_rate) + 1
    num_samples = max(num_early + 1, int(max(decays_s) * sample_rate))
    noise = rng.standard_normal(num_samples)
    n_fft = fft_length(num_samples)
    hz = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    edges = [0.0, *(np.clip(np.log2(np.maximum(hz, 1e-3) / split) + 0.5, 0, 1) for split in SPLITS_HZ), 0.0]
    spectrum = np.zeros(hz.size, complex)
    for band, decay_s in enumerate(decays_s):
        absorbed = 1 - np.exp(-0.161 * volume / (surface * decay_s))
        reflected = min(MOST_REFLECTION, float(np.sqrt(1 - absorbed)))
        early = np.bincount(samples, reflected**reflections / distances_m, minlength=num_samples)[:num_samples]
        response = _with_tail(early.astype(np.float64), noise, num_early, decay_s, sample_rate)
        share = (1.0 if band == 0 else edges[band]) - edges[band + 1]
        spectrum += share * np.fft.rfft(response, n_fft)
    whole: FloatArray = np.fft.irfft(spectrum, n_fft)[:num_samples]
    direct: Waveform = (whole / whole[0]).astype(np.float32)
    return direct


def _with_tail(early: FloatArray, noise: FloatArray, num_early: int, decay_s: float, sample_rate: int) -> FloatArray:
    """Early reflections followed by decaying noise that goes on with the energy of their second half."""
    time_s = np.arange(early.size) / sample_rate
    decay = 10 ** (-3 * time_s / decay_s)
    half = slice(num_early // 2, num_early)
    level = np.sqrt(np.square(early[half]).sum() / max(float(np.square(decay[half]).sum()), 1e-12))
    # The noise comes up while the reflections become too many to be told apart.
    share = np.clip((np.arange(early.size) - num_early // 2) / max(1, num_early - num_early // 2), 0, 1)
    tail: FloatArray = np.sqrt(1 - share) * early + np.sqrt(share) * level * noise * decay
    return tail
