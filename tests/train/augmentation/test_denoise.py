"""The denoiser: less noise, speech kept, nothing from the future."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgeasr.errors import ConfigError
from edgeasr.train.augmentation.denoise import FIRST_FRAMES, FRAME_S, Denoise, denoise

RATE = 16000
SAMPLES = Path(__file__).parents[3] / "samples"


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    samples, _ = soundfile.read(SAMPLES / "austen-0870.flac", dtype="float32", frames=4 * RATE)
    return np.concatenate([np.zeros(RATE // 2, np.float32), samples])


def noise_like(clip: np.ndarray, snr_db: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(clip.size)
    return (noise * np.sqrt(np.mean(clip**2)) * 10 ** (-snr_db / 20)).astype(np.float32)


def snr_db(clean: np.ndarray, heard: np.ndarray) -> float:
    return float(10 * np.log10(np.square(clean).sum() / np.square(heard - clean).sum()))


def test_steady_noise_is_damped_as_far_as_asked():
    hiss = noise_like(np.ones(3 * RATE), 20)
    for most in (6.0, 12.0):
        damped_db = 20 * np.log10(np.std(denoise(hiss, RATE, maximum_attenuation_db=most)[RATE:]) / np.std(hiss))
        assert -most - 0.1 < damped_db < -most + 3


@pytest.mark.parametrize("level_db", [0.0, 5.0, 10.0])
def test_noisy_speech_comes_nearer_to_clean_speech(speech, level_db):
    noisy = speech + noise_like(speech, level_db)
    assert snr_db(speech, denoise(noisy, RATE)) > snr_db(speech, noisy) + 3


def test_clean_speech_stays(speech):
    assert snr_db(speech, denoise(speech, RATE)) > 12


def test_the_noise_is_followed(speech):
    """Noise that becomes 14 dB louder in the middle is damped again two seconds later."""
    noise = noise_like(np.ones(8 * RATE), 40)
    noise[3 * RATE :] *= 5
    heard = denoise(noise, RATE)
    assert 20 * np.log10(np.std(heard[-2 * RATE :]) / np.std(noise[-2 * RATE :])) < -8


def test_the_future_changes_nothing(speech):
    noisy = speech + noise_like(speech, 5)
    changed = noisy.copy()
    changed[2 * RATE :] = noise_like(noisy, -20, seed=1)[2 * RATE :]
    known = 2 * RATE - int(FRAME_S * RATE)
    assert np.array_equal(denoise(noisy, RATE)[:known], denoise(changed, RATE)[:known])
    assert (FIRST_FRAMES + 1) * FRAME_S / 2 < 2.0


@pytest.mark.parametrize("size", [0, 1, 7, 600])
def test_tiny_and_silent_clips_pass(size):
    for level in (0.0, 0.3):
        heard = denoise(np.full(size, level, np.float32), RATE)
        assert heard.shape == (size,) and heard.dtype == np.float32 and np.isfinite(heard).all()
    assert not denoise(np.zeros(size, np.float32), RATE).any()


def test_it_is_drawn_and_checked():
    hiss = noise_like(np.ones(RATE), 20)
    same = [np.array_equal(Denoise(probability=0.5)(hiss, RATE, np.random.default_rng(s)), hiss) for s in range(20)]
    assert 3 < sum(same) < 17
    with pytest.raises(ConfigError, match="maximum_attenuation_db"):
        Denoise(maximum_attenuation_db=0.0)
    with pytest.raises(ConfigError, match="snr_smoothing"):
        Denoise(snr_smoothing=1.5)
