"""Conditions: damage is the same in each run, as loud as asked for, and another for each clip."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from edgeasr.errors import ConfigError
from edgeasr.train.augmentation.denoise import denoise
from edgeasr.train.evaluation.conditions import Condition, Recordings, damage, noise_paths

RATE = 16000
SPEECH = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with four tones as noise."""
    root = tmp_path_factory.mktemp("data")
    (root / "noise").mkdir()
    for number in range(4):
        tone = 0.2 * np.sin(2 * np.pi * 500 * (number + 1) * np.arange(RATE // 2) / RATE)
        soundfile.write(root / "noise" / f"{number}.opus", tone, RATE, format="OGG", subtype="OPUS")
    return root


@pytest.mark.parametrize(
    ("text", "condition", "name"),
    [
        ("clean", Condition(), "clean"),
        ("10dB", Condition(snr_db=10.0), "10 dB"),
        ("-2.5db", Condition(snr_db=-2.5), "-2.5 dB"),
        ("room0.5", Condition(rt60_s=0.5), "room 0.5 s"),
        ("room0.5+10dB", Condition(rt60_s=0.5, snr_db=10.0), "room 0.5 s, 10 dB"),
        ("10dB+denoise", Condition(snr_db=10.0, denoised=True), "10 dB, denoised"),
        ("clean+denoise", Condition(denoised=True), "denoised"),
    ],
)
def test_short_forms(text, condition, name):
    assert Condition.parse(text) == condition
    assert condition.name == name
    assert Condition.parse(text, odd=True).odd


@pytest.mark.parametrize(
    "text", ["", "10", "room", "room0", "10dB+room0.5", "room0.5 10dB", "room0.510dB", "+10dB", "+denoise"]
)
def test_what_is_no_condition(text):
    with pytest.raises(ConfigError, match="no condition"):
        Condition.parse(text)


def test_a_clip_is_damaged_alike_in_each_run_and_clips_differ(data):
    for condition in (Condition(snr_db=5.0), Condition(rt60_s=0.4), Condition(rt60_s=0.4, snr_db=5.0)):
        first, again, other = (damage(SPEECH, RATE, condition, clip=clip, data=data) for clip in ("a", "a", "b"))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)
        assert first.shape == SPEECH.shape and first.dtype == np.float32
    assert damage(SPEECH, RATE, Condition(), clip="a", data=data) is SPEECH


def test_noise_is_as_loud_as_asked_for(data):
    noise = damage(SPEECH, RATE, Condition(snr_db=5.0), clip="a", data=data) - SPEECH
    assert 10 * np.log10(np.mean(SPEECH**2) / np.mean(noise**2)) == pytest.approx(5.0, abs=0.01)


def test_noise_comes_on_top_of_the_room(data):
    room = damage(SPEECH, RATE, Condition(rt60_s=0.4), clip="a", data=data)
    both = damage(SPEECH, RATE, Condition(rt60_s=0.4, snr_db=5.0), clip="a", data=data)
    assert 10 * np.log10(np.mean(room**2) / np.mean((both - room) ** 2)) == pytest.approx(5.0, abs=0.01)


def test_the_halves_of_the_noise_are_apart(data):
    halves = [noise_paths(data, odd=odd) for odd in (False, True)]
    assert [[path.stem for path in half] for half in halves] == [["0", "2"], ["1", "3"]]
    recordings = Recordings(halves[0], 8000)
    assert len(recordings) == 2 and len(recordings[0]) == pytest.approx(RATE // 4, abs=8)
    np.testing.assert_array_equal(recordings[1:][0], recordings[1])
    with pytest.raises(ConfigError, match="too few recordings of noise"):
        damage(SPEECH, RATE, Condition(snr_db=5.0), clip="a", data=data / "nowhere")


def test_the_denoiser_comes_last(data):
    noisy = damage(SPEECH, RATE, Condition(snr_db=5.0), clip="a", data=data)
    denoised = damage(SPEECH, RATE, Condition(snr_db=5.0, denoised=True), clip="a", data=data)
    assert np.array_equal(denoised, denoise(noisy, RATE)) and not np.array_equal(denoised, noisy)
