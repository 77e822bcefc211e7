"""Tempo without pitch, pitch without tempo: durations, spectral peaks, and where sounds come to lie."""

from __future__ import annotations

import numpy as np
import pytest

from edgeasr.errors import ConfigError
from edgeasr.train.augmentation.augment import Augmentation, Speed
from edgeasr.train.augmentation.stretch import SEARCH_S, WINDOW_S, Pitch, Tempo, stretch

RATE = 16000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tone(seconds: float = 1.0, hz: float = 440.0) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def peak_hz(waveform: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(waveform.size), 1 << 17))
    return float(spectrum.argmax() * RATE / (1 << 17))


@pytest.mark.parametrize("tempo", [0.7, 0.9, 1.15, 1.5])
@pytest.mark.parametrize("hz", [90.0, 440.0, 3000.0])
def test_another_tempo_has_another_length_and_the_same_pitch_and_level(tempo, hz):
    heard = stretch(tone(hz=hz), RATE, tempo)
    assert heard.size == round(RATE / tempo) and heard.dtype == np.float32
    assert peak_hz(heard) == pytest.approx(hz, abs=1.0)
    inside = heard[RATE // 20 : -RATE // 20]
    assert np.sqrt(np.mean(inside**2)) == pytest.approx(0.1 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize("tempo", [0.8, 1.25])
def test_sounds_come_to_lie_where_the_tempo_says(tempo):
    clip = 0.001 * rng().standard_normal(2 * RATE).astype(np.float32)
    times_s = (0.3, 0.9, 1.6)
    for time_s in times_s:
        clip[int(time_s * RATE) : int((time_s + 0.1) * RATE)] += tone(0.1)
    heard = stretch(clip, RATE, tempo)
    for time_s in times_s:
        begin, end = ((time_s / tempo - 0.15) * RATE, ((time_s + 0.1) / tempo + 0.15) * RATE)
        loud = np.flatnonzero(np.abs(heard[int(begin) : int(end)]) > 0.05) + int(begin)
        middle_s = (loud[0] + loud[-1]) / 2 / RATE
        assert middle_s == pytest.approx((time_s + 0.05) / tempo, abs=SEARCH_S + WINDOW_S / 2)


@pytest.mark.parametrize("semitones", [-4.0, 3.0])
def test_another_pitch_keeps_length_and_times(semitones):
    pitch = Pitch(probability=1.0, minimum_semitones=semitones, maximum_semitones=semitones)
    clip = np.concatenate([np.zeros(RATE // 2, np.float32), tone(0.5), np.zeros(RATE // 2, np.float32)])
    heard = pitch(clip, RATE, rng())
    assert heard.size == clip.size
    assert peak_hz(heard) == pytest.approx(440 * 2 ** (semitones / 12), rel=0.01)
    loud = np.flatnonzero(np.abs(heard) > 0.05) / RATE
    assert (loud[0], loud[-1]) == pytest.approx((0.5, 1.0), abs=SEARCH_S + WINDOW_S / 2)


def test_speed_and_tempo_multiply():
    augmentation = Augmentation(
        speed=Speed(probability=1.0, minimum=1.1, maximum=1.1), tempo=Tempo(probability=1.0, minimum=1.2, maximum=1.2)
    )
    heard, speed = augmentation.retime(tone(), RATE, rng())
    assert speed == pytest.approx(1.1 * 1.2)
    assert heard.size == pytest.approx(RATE / speed, abs=2)
    assert peak_hz(heard) == pytest.approx(440 * 1.1, rel=0.01)


def test_what_is_drawn_comes_from_the_generator():
    tempo, pitch = Tempo(probability=0.5), Pitch(probability=0.5)
    for seed in range(6):
        first, again = (tempo(tone(0.2), RATE, rng(seed)) for _ in range(2))
        assert np.array_equal(first[0], again[0]) and first[1] == again[1]
        assert np.array_equal(pitch(tone(0.2), RATE, rng(seed)), pitch(tone(0.2), RATE, rng(seed)))
    assert len({tempo(tone(0.2), RATE, rng(seed))[1] for seed in range(6)}) > 2


def test_silence_and_noise_are_not_moved_about():
    """Where all places are alike, the one that the tempo names is taken."""
    assert not stretch(np.zeros(RATE, np.float32), RATE, 1.3).any()
    click = np.zeros(RATE, np.float32)
    click[RATE // 2] = 1.0
    heard = stretch(click, RATE, 0.9)
    assert abs(int(np.abs(heard).argmax()) - RATE / 1.8) < (SEARCH_S + WINDOW_S / 2) * RATE


@pytest.mark.parametrize("size", [0, 1, 7, 500])
def test_tiny_clips_pass(size):
    clip = np.full(size, 0.1, np.float32)
    for seed in range(3):
        heard, tempo = Tempo(probability=1.0)(clip, RATE, rng(seed))
        assert heard.size == round(size / tempo) and np.isfinite(heard).all()
        assert Pitch(probability=1.0)(clip, RATE, rng(seed)).shape == (size,)


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="minimum is 0"):
        Tempo(minimum=0.0)
    with pytest.raises(ConfigError, match="minimum is 1"):
        Tempo(minimum=1.0, maximum=0.9)
    with pytest.raises(ConfigError, match="semitones"):
        Pitch(minimum_semitones=3.0, maximum_semitones=-3.0)
    with pytest.raises(ConfigError, match="tempo is 0"):
        stretch(tone(), RATE, 0.0)
