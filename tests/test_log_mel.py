"""The log-mel frontend: right to the last bits, and the same for any cut of the waveform."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
import reference_log_mel as reference
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeasr import _core
from edgeasr.config import LogMelConfig
from edgeasr.errors import ConfigError, InputError, StreamStateError
from edgeasr.features import LogMelFrontend, log_mel

Waveform = NDArray[np.float32]

LIBROSA = LogMelConfig(
    win_length=512,
    low_hz=0.0,
    high_hz=8000.0,
    window="hann",
    periodic_window=True,
    mel_scale="slaney",
    mel_norm="slaney",
    preemphasis=0.0,
    remove_dc_offset=False,
    padding="center_zero",
    log_floor=1e-10,
)
CONFIGS = {
    "kaldi": LogMelConfig(),
    "kaldi-snip": LogMelConfig(padding="snip"),
    "kaldi-hamming-40": LogMelConfig(window="hamming", num_mel_bins=40, high_hz=8000.0),
    "kaldi-8k": LogMelConfig(
        sample_rate=8000, n_fft=256, win_length=200, hop_length=80, num_mel_bins=40, high_hz=3800.0
    ),
    "librosa": LIBROSA,
    "whisper": dataclasses.replace(LIBROSA, n_fft=400, win_length=400, padding="center"),
    "whisper-128": dataclasses.replace(LIBROSA, n_fft=400, win_length=400, padding="center", num_mel_bins=128),
    "odd": LogMelConfig(n_fft=450, win_length=333, hop_length=77, num_mel_bins=23, padding="center", window="hann"),
    "gaps": LogMelConfig(n_fft=128, win_length=100, hop_length=1001, num_mel_bins=13, preemphasis=0.5),
}
config_cases = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def noise(num_samples: int, seed: int = 0, level: float = 0.1) -> Waveform:
    return np.random.default_rng(seed).normal(0.0, level, num_samples).astype(np.float32)


@pytest.fixture(scope="module")
def speech() -> list[Waveform]:
    """A few readings, 16 kHz; the ones that come with the project."""
    folder = Path(__file__).resolve().parents[1] / "samples"
    clips = [sf.read(path, dtype="float32")[0] for path in sorted(folder.glob("*.flac"))]
    assert clips, f"no recordings in {folder}"
    return clips


def stream(waveform: Waveform, cuts: list[int], config: LogMelConfig) -> NDArray[np.float32]:
    """The features of the waveform, fed in pieces that end at `cuts`."""
    frontend = LogMelFrontend(config)
    pieces = [frontend.accept(piece) for piece in np.split(waveform, cuts)]
    return np.concatenate([*pieces, frontend.finish()])


# --- Accuracy ---


@config_cases
def test_speech_equals_the_reference(config: LogMelConfig, speech: list[Waveform]) -> None:
    for waveform in speech:
        features = log_mel(waveform, config)
        expected = reference.log_mel(waveform, config)
        assert features.shape == expected.shape
        assert features.dtype == np.float32
        np.testing.assert_allclose(features, expected, rtol=0, atol=3e-6)


@config_cases
@pytest.mark.parametrize("level", [1e-4, 0.1, 1.0])
def test_noise_equals_the_reference(config: LogMelConfig, level: float) -> None:
    waveform = noise(20000, level=level)
    np.testing.assert_allclose(log_mel(waveform, config), reference.log_mel(waveform, config), rtol=0, atol=3e-6)


@pytest.mark.parametrize("name", ["kaldi", "librosa", "whisper"])
@pytest.mark.parametrize("level", [1.0, 0.01])
def test_tones_stand_alone(name: str, level: float) -> None:
    """Whatever a tone leaves in other bands stays below 1e-6 of the frame's largest bin."""
    config = CONFIGS[name]
    time_s = np.arange(2000) / config.sample_rate
    for hz in [5.0, 20.0, 31.25, 50.0, 100.0, 440.0, 1000.0, 3141.6, 7000.0, 7999.0]:
        waveform = (level * np.sin(2.0 * np.pi * hz * time_s + 0.3)).astype(np.float32)
        expected = np.maximum(reference.mel_power(waveform, config), config.log_floor)
        power = np.exp(log_mel(waveform, config).astype(np.float64))
        largest = reference.power_spectra(waveform, config).max(axis=1, keepdims=True)
        assert np.max(np.abs(power - expected) / largest) <= 1e-6


@config_cases
def test_silence_is_the_floor(config: LogMelConfig) -> None:
    # To a frontend that removes the mean, a constant is silence too.
    for level in [0.0, 0.3] if config.remove_dc_offset else [0.0]:
        features = log_mel(np.full(5000, level, dtype=np.float32), config)
        np.testing.assert_allclose(features, np.log(config.log_floor), rtol=0, atol=2e-6)


@pytest.mark.parametrize("snip_edges", [False, True])
def test_equals_kaldi_native_fbank(snip_edges: bool, speech: list[Waveform]) -> None:
    knf = pytest.importorskip("kaldi_native_fbank")
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = snip_edges
    options.mel_opts.num_bins = 80
    options.mel_opts.high_freq = -400.0
    config = LogMelConfig(padding="snip" if snip_edges else "kaldi")
    # Besides whole clips, lengths around the edge cases of the padding.
    clips = [*speech, noise(16000), *(noise(n, seed=n) for n in (1, 79, 80, 119, 120, 121, 240, 399, 400, 401, 560))]
    for waveform in clips:
        kaldi = knf.OnlineFbank(options)
        kaldi.accept_waveform(16000, waveform.tolist())
        kaldi.input_finished()
        features = log_mel(waveform, config)
        assert len(features) == kaldi.num_frames_ready
        for t, row in enumerate(features):
            np.testing.assert_allclose(row, kaldi.get_frame(t), rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", ["kaldi", "librosa", "whisper-128"])
def test_reference_filters_equal_those_of_kaldi_native_fbank(name: str) -> None:
    knf = pytest.importorskip("kaldi_native_fbank")
    config = CONFIGS[name]
    frames = knf.FrameExtractionOptions()
    frames.frame_length_ms = 1000.0 * config.n_fft / config.sample_rate
    frames.round_to_power_of_two = False
    options = knf.MelBanksOptions()
    options.num_bins = config.num_mel_bins
    options.low_freq = config.low_hz
    options.high_freq = config.high_hz
    options.is_librosa = name != "kaldi"
    matrix = np.asarray(knf.MelBanks(options, frames).get_matrix())
    filters = reference.mel_filters(config)[:, : matrix.shape[1]]
    # Kaldi's own are computed in float.
    np.testing.assert_allclose(filters, matrix, rtol=0, atol=2e-5 * filters.max())


# --- Exact streaming ---


@settings(max_examples=60)
@given(data=st.data())
def test_any_cut_gives_the_same_bits(data: st.DataObject) -> None:
    config = data.draw(st.sampled_from(list(CONFIGS.values())))
    num_samples = data.draw(st.integers(0, 9000))
    waveform = noise(num_samples, seed=num_samples)
    cuts = sorted(data.draw(st.lists(st.integers(0, num_samples), max_size=40)))
    np.testing.assert_array_equal(stream(waveform, cuts, config), log_mel(waveform, config), strict=True)


@config_cases
@pytest.mark.parametrize("size", [1, 7, 160, 1600])
def test_pieces_of_one_size_give_the_same_bits(config: LogMelConfig, size: int, speech: list[Waveform]) -> None:
    waveform = speech[0][: 4000 if size == 1 else 40000]
    cuts = list(range(size, len(waveform), size))
    np.testing.assert_array_equal(stream(waveform, cuts, config), log_mel(waveform, config), strict=True)


@config_cases
def test_all_kernels_give_the_same_bits(config: LogMelConfig, speech: list[Waveform]) -> None:
    def features_of(kernel: str) -> NDArray[np.float32]:
        frontend = _core.LogMelFrontend(config, kernel=kernel)
        assert frontend.kernel == kernel
        return np.concatenate([frontend.accept(speech[1]), frontend.finish()])

    kernels = _core.log_mel_kernels()
    assert kernels[-1] == "baseline"
    assert _core.LogMelFrontend(config).kernel == kernels[0]
    for kernel in kernels:
        np.testing.assert_array_equal(features_of(kernel), features_of("baseline"), strict=True)


@config_cases
@pytest.mark.parametrize("num_samples", [*range(6), 79, 80, 81, 119, 120, 121, 199, 200, 201, 399, 400, 401])
def test_short_waveforms_equal_the_reference(config: LogMelConfig, num_samples: int) -> None:
    waveform = noise(num_samples)
    features = log_mel(waveform, config)
    expected = reference.log_mel(waveform, config)
    assert features.shape == expected.shape == (len(expected), config.num_mel_bins)
    np.testing.assert_allclose(features, expected, rtol=0, atol=3e-6)
    np.testing.assert_array_equal(stream(waveform, list(range(1, num_samples)), config), features, strict=True)


def test_reset_starts_afresh() -> None:
    waveform = noise(5000)
    frontend = LogMelFrontend()
    frontend.accept(waveform[1234:])
    frontend.reset()
    features = np.concatenate([frontend.accept(waveform), frontend.finish()])
    np.testing.assert_array_equal(features, log_mel(waveform))
    frontend.reset()
    np.testing.assert_array_equal(np.concatenate([frontend.accept(waveform), frontend.finish()]), features)


# --- Errors ---


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_bad_samples_are_refused_and_change_nothing(bad: float) -> None:
    waveform = noise(5000)
    damaged = waveform[2000:3000].copy()
    damaged[345] = bad
    frontend = LogMelFrontend()
    pieces = [frontend.accept(waveform[:2000])]
    with pytest.raises(InputError, match=r"sample 2345 is .*finite"):
        frontend.accept(damaged)
    pieces += [frontend.accept(waveform[2000:]), frontend.finish()]
    np.testing.assert_array_equal(np.concatenate(pieces), log_mel(waveform))


@pytest.mark.parametrize(
    "waveform",
    [
        np.zeros(100, dtype=np.float64),
        np.zeros(100, dtype=np.int16),
        np.zeros((2, 100), dtype=np.float32),
        np.zeros((), dtype=np.float32),
        np.zeros(100, dtype=np.float32)[::2],
        np.zeros(100, dtype=">f4"),
    ],
    ids=["float64", "int16", "2-d", "0-d", "strided", "big-endian"],
)
def test_streams_take_contiguous_float32_only(waveform: Waveform) -> None:
    with pytest.raises(InputError, match=r"contiguous float32 array of shape \(num_samples,\), got"):
        LogMelFrontend().accept(waveform)


def test_whole_clips_are_converted_from_other_floats() -> None:
    waveform = noise(4000)
    np.testing.assert_array_equal(log_mel(waveform.astype(np.float64)), log_mel(waveform))
    np.testing.assert_array_equal(log_mel(np.repeat(waveform, 2)[::2]), log_mel(waveform))
    with pytest.raises(InputError, match="int16"):
        log_mel(np.zeros(100, dtype=np.int16))
    with pytest.raises(InputError, match=r"\(2, 100\)"):
        log_mel(np.zeros((2, 100), dtype=np.float32))


def test_calls_after_finish_are_refused() -> None:
    frontend = LogMelFrontend()
    frontend.accept(noise(1000))
    frontend.finish()
    with pytest.raises(StreamStateError, match="after finish"):
        frontend.accept(noise(10))
    with pytest.raises(StreamStateError, match="after finish"):
        frontend.finish()


def test_two_threads_in_one_stream_are_refused() -> None:
    frontend = LogMelFrontend()
    long_waveform = noise(16000 * 200)
    for _ in range(50):
        worker = threading.Thread(target=frontend.accept, args=(long_waveform,))
        worker.start()
        try:
            while worker.is_alive():
                frontend.accept(long_waveform[:0])
        except StreamStateError as error:
            assert "another thread" in str(error)
            return
        finally:
            worker.join()
    pytest.fail("two threads were never seen in the same stream")


# --- Configuration ---


def test_defaults_are_those_of_the_core() -> None:
    assert dataclasses.asdict(LogMelConfig()) == _core.log_mel_config_defaults()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"sample_rate": "16000"}, "sample_rate is '16000'; it must be an int"),
        ({"sample_rate": 16000.0}, "sample_rate is 16000.0; it must be an int"),
        ({"n_fft": 511}, "n_fft is 511; it must be even"),
        ({"n_fft": 448}, "no prime factor above 5"),
        ({"win_length": 513}, r"win_length is 513; it must be from 2 to n_fft \(512\)"),
        ({"hop_length": 0}, "hop_length is 0"),
        ({"num_mel_bins": 0}, "num_mel_bins is 0"),
        ({"num_mel_bins": 200}, r"num_mel_bins is 200, but band \d+ \(.* Hz\) holds no FFT bin"),
        ({"low_hz": 7600.0}, r"low_hz is 7600; it must be at least 0 and below high_hz \(7600\)"),
        ({"low_hz": float("nan")}, "low_hz is nan"),
        ({"high_hz": 8001.0}, r"high_hz is 8001; it must be at most half of sample_rate \(8000\)"),
        ({"window": "blackman"}, 'window is "blackman"; it must be one of "povey", "hann", "hamming"'),
        ({"window": None}, "window is None; it must be a str"),
        ({"mel_scale": "htk"}, 'mel_scale is "htk"'),
        ({"mel_norm": "area"}, 'mel_norm is "area"'),
        ({"padding": "same"}, 'padding is "same"'),
        ({"preemphasis": 1.5}, "preemphasis is 1.5"),
        ({"log_floor": 0.0}, "log_floor is 0"),
    ],
)
def test_config_errors_name_the_field(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LogMelConfig(**changes)  # type: ignore[arg-type]


def test_unknown_kernels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r'kernel is "mmx"; this processor can run .*"baseline"'):
        _core.LogMelFrontend(LogMelConfig(), kernel="mmx")
