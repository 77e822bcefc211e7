"""Telephones, codecs, microphones: bands end where they should, and sounds stay in their places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgeasr.errors import ConfigError
from edgeasr.train.augmentation.channel import BandReject, Clipping, Dropouts, Equalizer
from edgeasr.train.augmentation.codecs import CODECS, Codec, Telephone, transcode

RATE = 16000
SAMPLES = Path(__file__).parents[3] / "samples"


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    samples, rate = soundfile.read(SAMPLES / "austen-0870.flac", dtype="float32", frames=2 * RATE + 123)
    assert rate == RATE
    return samples


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(seconds: float = 1.0) -> np.ndarray:
    return (0.1 * rng().standard_normal(int(seconds * RATE))).astype(np.float32)


def power_db(waveform: np.ndarray, low_hz: float, high_hz: float) -> float:
    power = np.abs(np.fft.rfft(waveform)) ** 2
    hz = np.fft.rfftfreq(waveform.size, 1 / RATE)
    return float(10 * np.log10(power[(hz >= low_hz) & (hz < high_hz)].mean() + 1e-12))


def delay(before: np.ndarray, after: np.ndarray) -> int:
    """By how many samples `after` is late, by the maximum of the cross-correlation."""
    n_fft = 1 << (before.size + after.size).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(after, n_fft) * np.conj(np.fft.rfft(before, n_fft)), n_fft)
    lag = int(correlation.argmax())
    return lag if lag < n_fft // 2 else lag - n_fft


@pytest.mark.parametrize("kbit_s", [8, 16, 32, 64])
@pytest.mark.parametrize("codec", CODECS)
def test_codecs_leave_sounds_in_their_places(codec, kbit_s, speech):
    decoded = transcode(speech, RATE, codec, kbit_s)
    assert decoded.size == speech.size and decoded.dtype == np.float32
    assert abs(delay(speech, decoded)) <= 4
    # They lose something, and most of it is left.
    assert not np.array_equal(decoded, speech)
    assert np.corrcoef(speech, decoded)[0, 1] > 0.7


def test_a_lower_bit_rate_loses_more(speech):
    for codec in ("opus", "mp3"):
        errors = [np.square(transcode(speech, RATE, codec, kbit_s) - speech).mean() for kbit_s in (16, 64)]
        assert errors[0] > 2 * errors[1]


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_codecs_take_any_sample_rate(rate):
    clip = noise()[: rate // 2]
    for codec in CODECS:
        assert transcode(clip, rate, codec, 24).size == clip.size


def test_the_codec_is_drawn():
    heard = [Codec(probability=1.0, codecs=("gsm", "ulaw"))(noise(0.2), RATE, rng(seed)) for seed in range(8)]
    assert len({clip.tobytes() for clip in heard}) == 2
    assert np.array_equal(Codec(probability=0.0)(noise(), RATE, rng()), noise())


@pytest.mark.parametrize("codec", ["ulaw", "alaw"])
def test_a_telephone_has_its_band(codec):
    clip = noise()
    heard = Telephone(probability=1.0, codecs=(codec,))(clip, RATE, rng())
    assert heard.size == clip.size
    assert power_db(heard, 500, 3000) == pytest.approx(power_db(clip, 500, 3000), abs=1.0)
    assert power_db(heard, 20, 200) < power_db(clip, 20, 200) - 20
    assert power_db(heard, 4200, 8000) < power_db(clip, 4200, 8000) - 30
    assert delay(clip, heard) == 0


def test_an_equalizer_colours_and_keeps_the_level():
    clip = noise()
    heard = Equalizer(probability=1.0, minimum_high_hz=4000, maximum_high_hz=4000)(clip, RATE, rng())
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(np.sqrt(np.mean(clip**2)), rel=1e-3)
    assert power_db(heard, 7900, 8000) < power_db(heard, 1000, 3500) - 20
    assert delay(clip, heard) == 0
    responses = [
        [power_db(Equalizer(probability=1.0)(clip, RATE, rng(seed)), low, 2 * low) for low in (300, 600, 1200)]
        for seed in range(6)
    ]
    assert np.ptp(np.diff(responses, axis=1), axis=0).min() > 3


def test_rejected_bands_are_gone_and_the_rest_stays():
    clip = noise()
    reject = BandReject(
        probability=1.0, maximum_bands=1, minimum_hz=1000, maximum_hz=1000, minimum_octaves=1, maximum_octaves=1
    )
    heard = reject(clip, RATE, rng())
    assert power_db(heard, 750, 1350) < power_db(clip, 750, 1350) - 30
    for low, high in ((50, 600), (1600, 8000)):
        assert power_db(heard, low, high) == pytest.approx(power_db(clip, low, high), abs=0.1)


def test_clipping_cuts_off_its_share_at_one_level():
    clip = noise()
    heard = Clipping(probability=1.0, minimum_share=0.03, maximum_share=0.03)(clip, rng())
    changed = heard != clip
    assert changed.mean() == pytest.approx(0.03, abs=0.001)
    assert np.ptp(np.abs(heard[changed])) == 0
    assert np.abs(heard).max() == np.abs(heard[changed]).max()


@pytest.mark.parametrize("fill", ["silence", "repeat", "noise"])
def test_dropouts_lose_whole_blocks_and_no_more_than_their_share(fill):
    clip = noise(4.0)
    dropouts = Dropouts(
        probability=1.0, per_s=5, minimum_block_ms=10, maximum_block_ms=10, maximum_lost_share=0.1, fills=(fill,)
    )
    heard = dropouts(clip, RATE, rng())
    changed = (heard != clip).reshape(-1, 160)
    assert set(changed.sum(axis=1)) <= {0, 159, 160}
    lost = changed.any(axis=1)
    assert 5 < lost.sum() <= 40
    first = int(np.flatnonzero(lost[1:] & ~lost[:-1])[0]) + 1
    block, before = heard.reshape(-1, 160)[first], heard.reshape(-1, 160)[first - 1]
    if fill == "silence":
        assert not block.any()
    elif fill == "repeat":
        assert np.array_equal(block, before)
    else:
        assert np.std(block) == pytest.approx(np.std(before), rel=0.3)


@pytest.mark.parametrize(
    "transform",
    [
        *(Codec(probability=1.0, codecs=(codec,)) for codec in CODECS),
        Telephone(probability=1.0),
        Equalizer(probability=1.0),
        BandReject(probability=1.0),
        Dropouts(probability=1.0, per_s=1000, maximum_lost_share=1.0),
    ],
)
@pytest.mark.parametrize("size", [0, 1, 7, 5000])
def test_tiny_and_silent_clips_pass(transform, size):
    for level in (0.0, 0.3):
        heard = transform(np.full(size, level, np.float32), RATE, rng())
        assert heard.shape == (size,) and heard.dtype == np.float32 and np.isfinite(heard).all()
    # A-law has no zero; its smallest step is what silence becomes.
    assert np.abs(transform(np.zeros(size, np.float32), RATE, rng())).max(initial=0.0) < 0.001


@pytest.mark.parametrize("size", [0, 1, 7])
def test_tiny_clips_are_clipped(size):
    assert Clipping(probability=1.0)(np.full(size, 0.5, np.float32), rng()).tolist() == [0.5] * size


@pytest.mark.parametrize(
    ("cls", "fields", "named"),
    [
        (Codec, {"codecs": ("opus", "aac")}, "aac"),
        (Codec, {"codecs": ()}, "codecs"),
        (Codec, {"probability": 1.5}, "probability"),
        (Codec, {"minimum_kbit_s": 40.0}, "minimum_kbit_s"),
        (Telephone, {"low_hz": 5000.0}, "low_hz"),
        (Telephone, {"codecs": ("opus",)}, "opus"),
        (Equalizer, {"num_points": 1}, "num_points"),
        (BandReject, {"minimum_octaves": 2.0}, "octaves"),
        (Clipping, {"maximum_share": 2.0}, "maximum_share"),
        (Dropouts, {"fills": ("music",)}, "music"),
        (Dropouts, {"per_s": 0.0}, "per_s"),
    ],
)
def test_what_cannot_work_is_refused(cls, fields, named):
    with pytest.raises(ConfigError, match=named):
        cls(**fields)
