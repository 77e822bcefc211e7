"""Augmentation: each transform does what it says, and only that, from its generator alone."""

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from edgeasr.errors import ConfigError
from edgeasr.train.augmentation.augment import (
    Augmentation,
    Gain,
    Noise,
    Room,
    SpecAugment,
    Speed,
    coloured_noise,
    one_transform,
    room_impulse_response,
    root_mean_square,
)

RATE = 16000


def tone(seconds: float = 1.0, hz: float = 440.0) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def peak_hz(waveform: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(waveform)).argmax() * RATE / waveform.size)


def test_same_seed_same_clip_and_other_seed_another():
    augmentation = Augmentation()
    noise = [tone(0.5, 100.0)]
    first, again, other = (augmentation.waveform(tone(), RATE, noise, rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert first.size != other.size or not np.array_equal(first, other)


def test_speed_shortens_the_clip_and_raises_its_pitch():
    fast, speed = Speed(probability=1.0, minimum=1.25, maximum=1.25)(tone(), rng())
    assert speed == 1.25
    assert fast.size == pytest.approx(RATE / 1.25, abs=2)
    assert peak_hz(fast) == pytest.approx(440 * 1.25, abs=2)


def test_gain_sets_the_level():
    quiet = Gain(minimum_db=-30, maximum_db=-30)(tone(), rng())
    assert 20 * np.log10(root_mean_square(quiet)) == pytest.approx(-30, abs=0.01)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_noise_has_the_drawn_snr(share):
    noise = Noise(probability=1.0, minimum_snr_db=12, maximum_snr_db=12, coloured_share=share)
    clip = tone()
    added = noise(clip, [tone(0.3, 90.0)], rng()) - clip
    assert 20 * np.log10(root_mean_square(clip) / root_mean_square(added)) == pytest.approx(12, abs=0.05)


def test_coloured_noise_falls_with_frequency():
    spectrum = np.abs(np.fft.rfft(coloured_noise(1 << 16, 2.0, rng()))) ** 2
    low, high = spectrum[1000:2000].mean(), spectrum[8000:16000].mean()
    assert low / high == pytest.approx((12000 / 1500) ** 2, rel=0.5)


def test_room_keeps_the_direct_sound_in_place_and_adds_a_decaying_tail():
    response = room_impulse_response(RATE, 0.4, 2.0, rng())
    assert response[0] == 1.0
    energy = np.square(response[1:])
    assert energy.sum() == pytest.approx(4.0, rel=0.01)
    quarter = energy.size // 4
    assert energy[:quarter].sum() > 5 * energy[-quarter:].sum()
    click = np.zeros(RATE, np.float32)
    click[100] = 1.0
    heard = Room(probability=1.0)(click, RATE, rng())
    assert heard.size == click.size
    assert np.abs(heard[:100]).max() < 1e-5
    assert heard[100] == pytest.approx(1.0, abs=1e-4)


def test_spec_augment_masks_no_more_than_its_share():
    features = rng().standard_normal((400, 80)).astype(np.float32)
    config = SpecAugment(num_frequency_masks=0, time_masks_per_s=50, maximum_frames=40, maximum_masked_share=0.25)
    masked = config(features, 100.0, rng())
    changed = (masked != features).any(axis=1)
    assert 0 < changed.sum() <= 100
    np.testing.assert_allclose(masked[changed], np.broadcast_to(features.mean(axis=0), masked[changed].shape))


@pytest.mark.parametrize("size", [0, 1, 7])
def test_tiny_clips_pass(size):
    everything = Augmentation(
        speed=Speed(probability=1.0), room=Room(probability=1.0), noise=Noise(probability=1.0, coloured_share=0.5)
    )
    for seed in range(5):
        waveform = everything.waveform(np.full(size, 0.1, np.float32), RATE, [tone(0.1)], rng(seed))
        assert waveform.dtype == np.float32
        assert np.isfinite(waveform).all()
    assert everything.features(np.zeros((0, 80), np.float32), 100.0, rng()).shape == (0, 80)


def test_what_is_off_draws_nothing():
    """The clips of a recipe do not change when there are more transforms to choose from."""
    clip, noise = tone(), [tone(0.3, 90.0)]
    random, expected = rng(7), rng(7)
    heard = Augmentation().waveform(clip, RATE, noise, random)
    speed, _ = Speed()(clip, expected)
    assert np.array_equal(heard, Gain()(Noise()(Room()(speed, RATE, expected), noise, expected), expected))
    assert random.random() == expected.random()


@pytest.mark.parametrize("field", dataclasses.fields(Augmentation), ids=lambda field: field.name)
def test_each_transform_is_reached_and_serialisable(field):
    one = one_transform(field.name)
    assert [f.name for f in dataclasses.fields(one) if getattr(one, f.name)] == [field.name]
    if field.name != "voice":  # which needs an optional package
        clip = tone() + 0.01 * rng().standard_normal(RATE).astype(np.float32)
        heard = one.waveform(clip, RATE, [tone(0.3, 90.0)], rng(1))
        frames = one.features(rng().standard_normal((100, 80)).astype(np.float32), 100.0, rng(1))
        assert not np.array_equal(heard, clip) or not np.array_equal(frames, rng().standard_normal((100, 80)))
    table = {key: value or False for key, value in dataclasses.asdict(one).items()}
    listed = json.loads(json.dumps(table))  # as TOML has lists, too
    build = pytest.importorskip("edgeasr.train.recipe").build
    assert build(Augmentation, listed, "test") == one
    assert getattr(build(Augmentation, {field.name: True}, "test"), field.name) is not None
    assert getattr(build(Augmentation, {field.name: False}, "test"), field.name) is None


def test_one_transform_takes_its_settings_from_an_augmentation():
    one = one_transform("speed", Augmentation(speed=Speed(probability=0.1, maximum=1.5)))
    assert one.speed == Speed(probability=1.0, maximum=1.5)
    with pytest.raises(ConfigError, match="'echo'"):
        one_transform("echo")


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (Speed, {"minimum": 0.0}),
        (Gain, {"maximum_db": 3.0}),
        (Noise, {"minimum_snr_db": 40.0}),
        (Noise, {"coloured_share": -0.1}),
        (Room, {"maximum_distance_m": 0.0}),
    ],
)
def test_what_cannot_work_is_refused(cls, fields):
    with pytest.raises(ConfigError, match=next(iter(fields))):
        cls(**fields)


def test_the_docs_explain_each_transform_and_their_recipe_works():
    recipe, dataset = (pytest.importorskip(f"edgeasr.train.{name}") for name in ("recipe", "dataset"))
    docs = (Path(__file__).parents[3] / "docs" / "augmentation.md").read_text()
    for field in dataclasses.fields(Augmentation):
        assert f"\n| `{field.name}` |" in docs
    tables = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", docs, re.DOTALL)]
    data = recipe.build(dataset.DataConfig, {**tables[0]["data"], **tables[1]}, "docs")
    assert data.augmentation.tempo.maximum == 1.3 and data.augmentation.speed is None
    assert data.augmentation.codec is not None and data.splice is not None
