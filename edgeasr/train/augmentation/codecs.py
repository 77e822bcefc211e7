"""Codecs: what is left of speech that was sent or stored by others before it is recognised.

The codecs are those of libsndfile. What one delays is undone, so that a teacher's targets and word times stay where
they were.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr

from edgeasr.errors import ConfigError
from edgeasr.train.augmentation.transform import (
    band_gain,
    check_positive,
    check_range,
    check_share,
    fft_length,
    fit_length,
    shape_spectrum,
)
from edgeasr.waveform import Waveform


class _Format(NamedTuple):
    """How libsndfile writes it, and the sample rates in Hz that it takes."""

    container: str
    subtype: str
    sample_rates: tuple[int, ...]


_FORMATS = {
    "opus": _Format("OGG", "OPUS", (8000, 12000, 16000, 24000, 48000)),
    "vorbis": _Format("OGG", "VORBIS", (8000, 11025, 16000, 22050, 32000, 44100, 48000)),
    # At other rates LAME has other bit rates to choose from.
    "mp3": _Format("MP3", "MPEG_LAYER_III", (16000, 22050, 24000)),
    "gsm": _Format("WAV", "GSM610", (8000,)),
    "ulaw": _Format("WAV", "ULAW", (8000,)),
    "alaw": _Format("WAV", "ALAW", (8000,)),
}
CODECS = tuple(_FORMATS)
TELEPHONE_CODECS = ("ulaw", "alaw", "gsm")

# What libsndfile calls the compression level runs from 0 to 1, linearly over these bit rates in kbit/s. MP3 has fixed
# rates in steps of 8; libsndfile refuses the lowest. Vorbis has a quality instead: at 16 kHz, its range gives 32 to
# 100 kbit/s of speech, so that rates below 32 mean the worst quality.
_KBIT_S = {"opus": (256.0, 6.0), "mp3": (160.0, 8.0), "vorbis": (100.0, 32.0)}
LOWEST_KBIT_S, HIGHEST_KBIT_S = 6.0, 256.0
_LOWEST_MP3_KBIT_S = 16
_MP3_STEP_KBIT_S = 8
# Encoded after the clip, so that its end is in a whole block of the codec.
_TAIL_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Codec:
    """Encodes and decodes the clip with a random codec at a random bit rate.

    Opus (RFC 6716), Vorbis, MP3, GSM 6.10 full rate, and G.711's mu-law and A-law; the last three at 8 kHz. The bit
    rate, in kbit/s, is for the first three.

    Example:
        >>> import numpy as np
        >>> clip = np.sin(np.arange(16000) / 10).astype(np.float32)
        >>> Codec(probability=1.0, codecs=("gsm",))(clip, 16000, np.random.default_rng(0)).size
        16000
    """

    probability: float = 0.25
    codecs: tuple[str, ...] = CODECS
    minimum_kbit_s: float = 8.0
    maximum_kbit_s: float = 32.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_share(self, "probability")
        check_range(self, "kbit_s", least=LOWEST_KBIT_S, most=HIGHEST_KBIT_S)
        _check_codecs(self, self.codecs, CODECS)

    def __call__(self, waveform: Waveform, sample_rate: int, rng: np.random.Generator) -> Waveform:
        """Returns the waveform as it was decoded: as long as before, and aligned with it."""
        if rng.random() >= self.probability:
            return waveform
        codec = self.codecs[int(rng.integers(len(self.codecs)))]
        kbit_s = round(rng.uniform(self.minimum_kbit_s, self.maximum_kbit_s))
        return transcode(waveform, sample_rate, codec, kbit_s)


@dataclass(frozen=True, kw_only=True)
class Telephone:
    """The band of a telephone, 300 to 3400 Hz, at 8 kHz (ITU-T G.712), with one of its codecs (G.711, GSM 6.10)."""

    probability: float = 0.1
    low_hz: float = 300.0
    high_hz: float = 3400.0
    codecs: tuple[str, ...] = TELEPHONE_CODECS
    slope_octaves: float = 0.25

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_share(self, "probability")
        check_positive(self, "low_hz", "slope_octaves")
        if not self.low_hz < self.high_hz <= 4000:
            raise ConfigError(
                f"Telephone: low_hz is {self.low_hz} and high_hz {self.high_hz}, expected low < high <= 4000"
            )
        _check_codecs(self, self.codecs, TELEPHONE_CODECS)

    def __call__(self, waveform: Waveform, sample_rate: int, rng: np.random.Generator) -> Waveform:
        """Returns the waveform as it comes out of a telephone, aligned."""
        if rng.random() >= self.probability:
            return waveform
        codec = self.codecs[int(rng.integers(len(self.codecs)))]
        band = shape_spectrum(
            waveform, sample_rate, lambda hz: band_gain(hz, self.low_hz, self.high_hz, self.slope_octaves)
        )
        return transcode(band, sample_rate, codec, 0)


def _check_codecs(config: Any, codecs: tuple[str, ...], known: tuple[str, ...]) -> None:
    unknown = [codec for codec in codecs if codec not in known]
    if unknown or not codecs:
        raise ConfigError(
            f"{type(config).__name__}: codecs is {list(codecs)}, expected one or several of {', '.join(known)}"
        )


def transcode(waveform: Waveform, sample_rate: int, codec: str, kbit_s: int) -> Waveform:
    """Encodes and decodes a waveform.

    Args:
        waveform: (num_samples,) float32; is clipped to [-1, 1].
        sample_rate: In Hz; resampled to one that the codec takes, and back.
        codec: One of `CODECS`.
        kbit_s: The bit rate, of opus, mp3 and (roughly) vorbis.

    Returns:
        (num_samples,) float32, aligned with what came in.
    """
    if waveform.size == 0:
        return waveform
    rates = _FORMATS[codec].sample_rates
    rate = next((rate for rate in rates if rate >= sample_rate), rates[-1])
    tail = np.zeros(int(_TAIL_S * sample_rate), np.float32)
    at_rate = _resample(np.concatenate([waveform, tail]), sample_rate, rate)
    if codec == "mp3":
        kbit_s = max(_LOWEST_MP3_KBIT_S, round(kbit_s / _MP3_STEP_KBIT_S) * _MP3_STEP_KBIT_S)
        decoded = _round_trip(at_rate, rate, codec, kbit_s)[_mp3_delay(rate, kbit_s) :]
    else:
        decoded = _round_trip(at_rate, rate, codec, kbit_s)
    return fit_length(_resample(decoded, rate, sample_rate), waveform.size)


def _resample(waveform: Waveform, input_rate: int, output_rate: int) -> Waveform:
    if input_rate == output_rate:
        return waveform
    output: Waveform = soxr.resample(waveform, input_rate, output_rate)
    return output


def _round_trip(waveform: Waveform, sample_rate: int, codec: str, kbit_s: int) -> Waveform:
    container, subtype, _ = _FORMATS[codec]
    options: dict[str, Any] = {}
    if codec in _KBIT_S:
        most, least = _KBIT_S[codec]
        options["compression_level"] = float(np.clip((most - kbit_s) / (most - least), 0, 1))
    if codec == "mp3":
        options["bitrate_mode"] = "CONSTANT"
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(waveform, -1, 1), sample_rate, format=container, subtype=subtype, **options)
    buffer.seek(0)
    decoded: Waveform
    decoded, _ = soundfile.read(buffer, dtype="float32")
    return decoded


@functools.cache
def _mp3_delay(sample_rate: int, kbit_s: int) -> int:
    """By how many samples an MP3 comes back too late.

    LAME notes its delay in a header that has no room at low bit rates, and decoders can only undo what they read.
    """
    burst = np.random.default_rng(0).standard_normal(sample_rate // 2).astype(np.float32) * 0.1
    burst = shape_spectrum(burst, sample_rate, lambda hz: band_gain(hz, 200, 3000, 0.5))
    decoded = _round_trip(burst, sample_rate, "mp3", kbit_s)
    n_fft = fft_length(burst.size + decoded.size)
    correlation = np.fft.irfft(np.fft.rfft(decoded, n_fft) * np.conj(np.fft.rfft(burst, n_fft)), n_fft)
    # No encoder's delay is as long as a quarter of a second.
    return int(correlation[: sample_rate // 4].argmax())
