"""From any sound to float32 mono at the model's rate, exact for any cut."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeasr.errors import ConfigError, InputError
from edgeasr.waveform import Resampler, as_waveform, check_sample_rate, to_mono

FloatArray = npt.NDArray[np.float32]


def noise(num_samples: int, num_channels: int = 1) -> FloatArray:
    return np.random.default_rng(num_samples).uniform(-1, 1, (num_samples, num_channels)).astype(np.float32)


def resample(waveform: FloatArray, cuts: list[int], input_rate: int, output_rate: int) -> FloatArray:
    resampler = Resampler(input_rate, output_rate)
    pieces = [resampler.accept(piece) for piece in np.split(waveform, cuts)]
    return np.concatenate([*pieces, resampler.finish()])


def test_float32_mono_is_taken_as_it_is() -> None:
    waveform = noise(100)[:, 0]
    assert np.shares_memory(as_waveform(waveform), waveform)


def test_samples_are_counted_from_the_start_of_the_stream() -> None:
    with pytest.raises(InputError, match="first one at 1001"):
        as_waveform([0.0, np.nan], offset=1000)


def test_other_dtypes() -> None:
    assert as_waveform(np.array([-32768, 0, 16384], np.int16)).tolist() == [-1.0, 0.0, 0.5]
    assert as_waveform([0.25, -0.5]).dtype == np.float32
    assert as_waveform(noise(4).astype(np.float16)).dtype == np.float32


@pytest.mark.parametrize("num_channels", [1, 2, 5])
def test_channels_are_averaged_sample_by_sample(num_channels: int) -> None:
    samples = noise(1000, num_channels)
    mono = to_mono(samples)
    assert np.allclose(mono, samples.mean(axis=1), atol=1e-6)
    assert np.array_equal(np.concatenate([to_mono(samples[:7]), to_mono(samples[7:])]), mono)
    assert mono.flags.c_contiguous


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 2, 2), np.float32), "shape"),
        (np.zeros((2, 16000), np.float32), "num_channels"),
        (np.float32(0), "shape"),
        (np.zeros(4, np.int32), "int32"),
        (np.array(["a"]), "dtype"),
        (np.array([0, 0, np.nan, 0], np.float32), "first one at 2"),
        (np.array([np.inf], np.float32), "infinite"),
        (np.array([1e300]), "infinite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_what_is_no_waveform_is_refused(samples: npt.ArrayLike, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_waveform(samples)


@given(
    input_rate=st.sampled_from([8000, 11025, 12345, 15999, 22050, 44100, 48000, 96000]),
    num_samples=st.integers(0, 3000),
    data=st.data(),
)
def test_resampling_is_exact_for_any_cut(input_rate: int, num_samples: int, data: st.DataObject) -> None:
    waveform = noise(num_samples)[:, 0]
    cuts = sorted(data.draw(st.lists(st.integers(0, num_samples), max_size=10)))
    assert np.array_equal(resample(waveform, cuts, input_rate, 16000), resample(waveform, [], input_rate, 16000))


def test_resampling_one_sample_at_a_time() -> None:
    waveform = noise(2500)[:, 0]
    one_by_one = resample(waveform, list(range(1, 2500)), 44100, 16000)
    assert np.array_equal(one_by_one, resample(waveform, [], 44100, 16000))


@pytest.mark.parametrize("input_rate", [8000, 44100, 48000])
def test_resampling_keeps_time_and_tone(input_rate: int) -> None:
    times = np.arange(input_rate) / input_rate
    resampled = resample(np.sin(2 * np.pi * 440 * times).astype(np.float32), [], input_rate, 16000)
    expected = np.sin(2 * np.pi * 440 * np.arange(len(resampled)) / 16000)
    assert abs(len(resampled) - 16000) < 50
    assert np.abs(resampled - expected)[1000:-1000].max() < 1e-3


def test_equal_rates_change_nothing() -> None:
    waveform = noise(1000)[:, 0]
    assert np.array_equal(resample(waveform, [3, 700], 16000, 16000), waveform)


@pytest.mark.parametrize("input_rate", [16000, 48000])
def test_reset_starts_anew(input_rate: int) -> None:
    waveform = noise(1999)[:, 0]
    resampler = Resampler(input_rate, 16000)
    for _ in range(2):
        resampler.accept(noise(777)[:, 0])
        resampler.reset()
    found = np.concatenate([resampler.accept(waveform), resampler.finish()])
    assert np.array_equal(found, resample(waveform, [], input_rate, 16000))
    resampler.reset()
    found = np.concatenate([resampler.accept(waveform), resampler.finish()])
    assert np.array_equal(found, resample(waveform, [], input_rate, 16000))


@pytest.mark.parametrize("sample_rate", [0, -16000, 16, 16000.5, 2_000_000, True, "16000"])
def test_impossible_rates_are_refused(sample_rate: int) -> None:
    with pytest.raises(ConfigError, match="sample_rate"):
        check_sample_rate(sample_rate)


def test_possible_rates() -> None:
    rates: list[Any] = [1000, np.int32(8000), 16000.0]
    assert [check_sample_rate(rate) for rate in rates] == [1000, 8000, 16000]
