"""A light denoiser for one microphone: a Wiener filter with noise tracking, causal and without a model.

Per frame and frequency, the power of the noise is followed through a soft decision whether there is speech (Gerkmann
and Hendriks 2012), the signal-to-noise ratio is smoothed by the decision-directed rule (Ephraim and Malah 1984), and
the Wiener gain of it has a floor. A student that hears denoised clips in training knows its marks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeasr.train.augmentation.transform import FloatArray, check_positive, check_share
from edgeasr.waveform import Waveform

FRAME_S = 0.032
# The noise is first taken to be the mean of so many frames, and the first ones are damped by what follows from it.
FIRST_FRAMES = 6
# Gerkmann and Hendriks 2012, section IV: speech, where there is any, is taken to be 15 dB above the noise.
SPEECH_SNR = 10**1.5
NOISE_SMOOTHING = 0.8
PROBABILITY_SMOOTHING = 0.9
# A bin in which speech has been certain for so long may have mistaken louder noise for it.
CERTAIN = 0.99


@dataclass(frozen=True, kw_only=True)
class Denoise:
    """Denoises the clip with a probability (`denoise`).

    Example:
        >>> import numpy as np
        >>> hiss = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
        >>> quieter = Denoise(probability=1.0)(hiss, 16000, np.random.default_rng(0))
        >>> bool(quieter.std() < 0.4 * hiss.std())
        True
    """

    probability: float = 0.25
    maximum_attenuation_db: float = 12.0
    snr_smoothing: float = 0.95

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_share(self, "probability", "snr_smoothing")
        check_positive(self, "maximum_attenuation_db")

    def __call__(self, waveform: Waveform, sample_rate: int, rng: np.random.Generator) -> Waveform:
        """Returns the waveform with less noise, or as it is."""
        if rng.random() >= self.probability:
            return waveform
        return denoise(
            waveform,
            sample_rate,
            maximum_attenuation_db=self.maximum_attenuation_db,
            snr_smoothing=self.snr_smoothing,
        )


def denoise(
    waveform: Waveform, sample_rate: int, *, maximum_attenuation_db: float = 12.0, snr_smoothing: float = 0.95
) -> Waveform:
    """Damps what sounds like steady noise.

    A sample of the output depends on the input up to 32 ms after it (and on the first 0.11 s, of which the first
    estimate of the noise is made), and sounds stay in their places.

    Args:
        waveform: (num_samples,) float32.
        sample_rate: In Hz.
        maximum_attenuation_db: The most that a frequency is damped by.
        snr_smoothing: How much of the signal-to-noise ratio comes from the frame before, 0 to 1.
    """
    hop = max(1, round(FRAME_S * sample_rate / 2))
    # The square root of a Hann window, before and after: the product of both adds up to 1.
    window = np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop)).astype(np.float32)
    num_frames = -(-waveform.size // hop) + 1
    padded = np.zeros((num_frames + 1) * hop, np.float32)
    padded[hop : hop + waveform.size] = waveform
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop]
    spectra = np.fft.rfft(frames * window)
    powers = np.square(spectra.real) + np.square(spectra.imag) + 1e-12
    gains = wiener_gains(powers, 10 ** (-maximum_attenuation_db / 20), snr_smoothing)
    pieces = np.fft.irfft(spectra * gains, 2 * hop) * window
    output = np.zeros_like(padded)
    blocks = output.reshape(-1, hop)
    blocks[:-1] += pieces[:, :hop].astype(np.float32)
    blocks[1:] += pieces[:, hop:].astype(np.float32)
    return output[hop : hop + waveform.size]


def wiener_gains(powers: FloatArray, floor: float, snr_smoothing: float) -> FloatArray:
    """The factors (num_frames, num_bins) for the spectra with these powers, each from its frame and those before it."""
    # The frames at the very edge are half empty.
    first = powers[1 : 1 + FIRST_FRAMES] if len(powers) > 1 else powers
    noise = first.mean(axis=0)
    speech_before = np.zeros_like(noise)
    certainty = np.full_like(noise, 0.5)
    gains = np.empty_like(powers)
    for number, power in enumerate(powers):
        exponent = np.minimum(power / noise * (SPEECH_SNR / (1 + SPEECH_SNR)), 50.0)
        probability = 1 / (1 + (1 + SPEECH_SNR) * np.exp(-exponent))
        certainty = PROBABILITY_SMOOTHING * certainty + (1 - PROBABILITY_SMOOTHING) * probability
        probability = np.where(certainty > CERTAIN, np.minimum(probability, CERTAIN), probability)
        noise_now = probability * noise + (1 - probability) * power
        noise = NOISE_SMOOTHING * noise + (1 - NOISE_SMOOTHING) * noise_now
        snr = snr_smoothing * speech_before / noise + (1 - snr_smoothing) * np.maximum(power / noise - 1, 0)
        gain = np.maximum(snr / (1 + snr), floor)
        speech_before = np.square(gain) * power
        gains[number] = gain
    return gains
