"""From whatever sound arrives to what the model hears: float32, mono, at the model's sample rate."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgeasr.errors import ConfigError, InputError

Waveform = npt.NDArray[np.float32]

MIN_SAMPLE_RATE = 1_000
MAX_SAMPLE_RATE = 1_000_000
MAX_CHANNELS = 64

_NOTHING: Waveform = np.empty(0, np.float32)


def check_sample_rate(sample_rate: int) -> int:
    """Returns the rate in Hz when it is one that sound can have.

    Raises:
        ConfigError: It is not a whole number of Hz, or not between 1,000 and 1,000,000.
    """
    number = not isinstance(sample_rate, (bool, str)) and sample_rate == int(sample_rate)
    if not number or not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise ConfigError(
            f"sample_rate is {sample_rate!r}, expected a whole number of Hz "
            f"from {MIN_SAMPLE_RATE:,} to {MAX_SAMPLE_RATE:,}"
        )
    return int(sample_rate)


def as_waveform(samples: npt.ArrayLike, *, offset: int = 0) -> Waveform:
    """Checks samples and makes them float32 mono.

    Args:
        samples: (num_samples,) or (num_samples, num_channels); floating point in [-1, 1], or int16.
        offset: How many samples came before, for the message of an error.

    Returns:
        (num_samples,) float32; the same memory where nothing had to change.

    Raises:
        InputError: Another shape or dtype, or a NaN or infinite sample.
    """
    array = np.asarray(samples)
    if array.ndim not in (1, 2) or (array.ndim == 2 and not 1 <= array.shape[1] <= MAX_CHANNELS):
        raise InputError(
            f"the waveform has shape {array.shape}, expected (num_samples,) or (num_samples, num_channels)"
        )
    if array.dtype == np.int16:
        array = array.astype(np.float32) / np.float32(32768)
    elif array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    else:
        raise InputError(f"the waveform has dtype {array.dtype}, expected float32 in [-1, 1] or int16")
    mono = to_mono(array) if array.ndim == 2 else np.ascontiguousarray(array)
    finite = np.isfinite(mono)
    if not finite.all():
        raise InputError(f"the waveform has NaN or infinite samples, the first one at {offset + finite.argmin()}")
    return mono


def to_mono(samples: npt.NDArray[np.float32]) -> Waveform:
    """Averages channels: (num_samples, num_channels) float32 -> (num_samples,) float32.

    Channels are added one after the other, so that a sample does not depend on how many are averaged at a time.
    """
    num_channels = samples.shape[1]
    if num_channels == 1:
        return np.ascontiguousarray(samples[:, 0])
    total = samples[:, 0] + samples[:, 1]
    for channel in range(2, num_channels):
        total += samples[:, channel]
    return total / np.float32(num_channels)


def loudness_db(waveform: Waveform, *, floor_db: float) -> tuple[float, float]:
    """Loudness (root mean square) and peak of a stretch of sound, in dB of full scale; `floor_db` if less."""
    if len(waveform) == 0:
        return floor_db, floor_db
    samples = waveform.astype(np.float64)
    amplitudes = (float(np.sqrt(np.mean(samples * samples))), float(np.max(np.abs(samples))))
    rms, peak = (max(floor_db, 20 * math.log10(value)) if value > 0 else floor_db for value in amplitudes)
    return rms, peak


class Resampler:
    """Changes the sample rate, with soxr. An accept / finish / reset machine.

    Exact: any cut of the input gives the same output, bit for bit. The input is cut anew into blocks of 20 ms, so that
    this does not depend on how soxr goes about its work, and single samples cost little.

    Example:
        >>> resampler = Resampler(48000, 16000)
        >>> len(resampler.accept(np.zeros(4800, np.float32))) + len(resampler.finish())
        1600
    """

    def __init__(self, input_rate: int, output_rate: int) -> None:
        """Prepares for a stream from one rate in Hz to another."""
        self._stream = None
        if input_rate != output_rate:
            import soxr

            self._stream = soxr.ResampleStream(input_rate, output_rate, 1, dtype="float32")
        self._block = np.empty(max(1, input_rate // 50), np.float32)
        self._filled = 0

    def accept(self, waveform: Waveform) -> Waveform:
        """Takes samples at the input rate, (num_samples,) float32; returns what is ready at the output's."""
        if self._stream is None:
            return waveform
        outputs = []
        taken = 0
        while taken < len(waveform):
            count = min(len(self._block) - self._filled, len(waveform) - taken)
            self._block[self._filled : self._filled + count] = waveform[taken : taken + count]
            self._filled += count
            taken += count
            if self._filled == len(self._block):
                outputs.append(self._stream.resample_chunk(self._block))
                self._filled = 0
        return np.concatenate(outputs) if outputs else _NOTHING

    def finish(self) -> Waveform:
        """Returns the rest at the output rate."""
        if self._stream is None:
            return _NOTHING
        output: Waveform = self._stream.resample_chunk(self._block[: self._filled], last=True)
        return output

    def reset(self) -> None:
        """Goes back to the start of a stream."""
        self._filled = 0
        if self._stream is not None:
            self._stream.clear()
