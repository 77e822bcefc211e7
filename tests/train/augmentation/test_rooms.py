"""Rooms: the direct sound stays, the rest decays as asked; recorded ones are found and made ready."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from edgeasr.errors import ConfigError
from edgeasr.train.augmentation.augment import Room, room_impulse_response
from edgeasr.train.augmentation.rooms import EARLY_S, convolve, prepare_response, shoebox_impulse_response

RATE = 16000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def decay_s(response: np.ndarray) -> float:
    """The time of a decay by 60 dB, from that between -5 and -25 dB of the energy that is left (ISO 3382-1, T20)."""
    left_db = 10 * np.log10(np.cumsum(response[::-1].astype(np.float64) ** 2)[::-1] + 1e-20)
    times = [np.flatnonzero(left_db < left_db[1] - level)[0] / RATE for level in (5, 25)]
    return 3 * (times[1] - times[0])


@pytest.mark.parametrize("rt60_s", [0.25, 0.5, 0.8])
def test_a_shoebox_decays_as_asked(rt60_s):
    measured = [decay_s(shoebox_impulse_response(RATE, rt60_s, 2.0, rng(seed))[1:]) for seed in range(8)]
    assert np.median(measured) == pytest.approx(rt60_s, rel=0.3)


def test_a_shoebox_begins_with_the_direct_sound_and_has_reflections():
    near, far = ([shoebox_impulse_response(RATE, 0.4, m, rng(seed)) for seed in range(8)] for m in (0.3, 3.0))
    for response in (*near, *far):
        assert response[0] == 1.0 and response.dtype == np.float32 and np.isfinite(response).all()
    # Far from the speaker the room is louder.
    tails = [[float(np.square(response[40:]).sum()) for response in responses] for responses in (near, far)]
    assert np.median(tails[1]) > 10 * np.median(tails[0])
    # Early on there are reflections that can be told apart, later there is noise.
    early, late = (
        np.concatenate([r[part] / np.std(r[part]) for r in far])
        for part in (slice(20, int(EARLY_S / 2 * RATE)), slice(int(2 * EARLY_S * RATE), int(3 * EARLY_S * RATE)))
    )
    assert np.mean(early**4) > 2 * np.mean(late**4)


def test_high_frequencies_decay_sooner_in_a_shoebox():
    response = shoebox_impulse_response(RATE, 0.6, 2.0, rng(3))

    def late_share(low_hz, high_hz):
        early, late = (
            np.abs(np.fft.rfft(response[int(a * RATE) : int(b * RATE)])) ** 2 for a, b in ((0.06, 0.16), (0.3, 0.4))
        )
        hz = np.fft.rfftfreq(int(0.1 * RATE), 1 / RATE)
        band = (hz > low_hz) & (hz < high_hz)
        return late[: hz.size][band].sum() / early[: hz.size][band].sum()

    assert late_share(5000, 8000) < late_share(700, 1500)


def test_a_recorded_response_begins_with_its_direct_sound():
    recorded = np.zeros(RATE, np.float32)
    recorded[:1000] = 0.001 * rng().standard_normal(1000)
    recorded[1000], recorded[1400] = -0.2, 0.3
    recorded[5000:] = 1e-7
    response = prepare_response(recorded)
    assert response[0] == 1.0
    assert response[400] == pytest.approx(-1.5)
    assert response.size < 1000
    assert prepare_response(np.zeros(100, np.float32)).size == 0
    assert prepare_response(np.zeros(0, np.float32)).size == 0
    clip = rng(1).standard_normal(RATE).astype(np.float32)
    np.testing.assert_allclose(convolve(clip, response)[:400], clip[:400], atol=1e-4)


def test_rooms_are_recorded_ones_as_often_as_asked():
    clip, recorded = rng().standard_normal(2000).astype(np.float32), [np.array([1.0, 0.0, 0.5], np.float32)]
    room = Room(probability=1.0, recorded_share=0.5)
    heard = [np.array_equal(room(clip, RATE, rng(seed), recorded), convolve(clip, recorded[0])) for seed in range(40)]
    assert 10 < sum(heard) < 30
    assert not np.array_equal(
        replace(room, recorded_share=0.0)(clip, RATE, rng(), recorded), convolve(clip, recorded[0])
    )


def test_without_recorded_rooms_nothing_more_is_drawn():
    """Recipes from before there were any hear the same rooms."""
    clip = rng().standard_normal(2000).astype(np.float32)
    random, expected = rng(5), rng(5)
    heard = Room(probability=1.0)(clip, RATE, random)
    expected.random()
    rt60_s, distance_m = expected.uniform(0.15, 0.7), expected.uniform(0.3, 4.0)
    assert np.array_equal(heard, convolve(clip, room_impulse_response(RATE, rt60_s, distance_m, expected)))
    assert random.random() == expected.random()


def test_the_simulation_is_chosen():
    clip = rng().standard_normal(2000).astype(np.float32)
    heard = Room(probability=1.0, simulation="shoebox")(clip, RATE, rng(2))
    assert heard.shape == clip.shape and not np.array_equal(heard, Room(probability=1.0)(clip, RATE, rng(2)))
    with pytest.raises(ConfigError, match="'cave'"):
        Room(simulation="cave")
    with pytest.raises(ConfigError, match="rt60_s"):
        Room(minimum_rt60_s=0.0)


def test_a_dataset_reads_the_folder_of_rooms(tone_recipe, tone_data, tmp_path):
    pytest.importorskip("torch")
    from edgeasr.train.loop import make_dataset
    from edgeasr.train.recipe import read_recipe

    recipe = read_recipe(tone_recipe)
    rooms = tmp_path / "rooms" / "hall"
    rooms.mkdir(parents=True)

    def with_rooms():
        return make_dataset(
            replace(recipe, data=replace(recipe.data, room_dir=str(tmp_path / "rooms"))), tone_data, tmp_path / "cache"
        )

    with pytest.raises(ConfigError, match="no recordings"):
        with_rooms()
    soundfile.write(rooms / "one.wav", np.r_[np.zeros(100), 0.5, np.zeros(20), 0.25], 16000)
    soundfile.write(rooms / "two.flac", np.r_[np.zeros(100), 0.5, np.zeros(200), 0.25], 48000)
    dataset = with_rooms()
    assert [room[0] for room in dataset.rooms] == [1.0, 1.0]
    assert dataset.rooms[0].size == 22
    plain = make_dataset(recipe, tone_data, tmp_path / "cache")
    assert plain.rooms == []
    batches = [d.collate([[n] for n in range(12)], np.random.default_rng(0)).features.numpy() for d in (dataset, plain)]
    assert not np.array_equal(*batches)
    soundfile.write(rooms / "three.wav", np.zeros(100), 16000)
    with pytest.raises(ConfigError, match=r"three\.wav.*silent"):
        with_rooms()
