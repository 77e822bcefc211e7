"""Log-mel features in float64, written from the definitions alone: what the C++ frontend is measured against.

It shares nothing with the frontend: dense filter banks, NumPy's FFT, frames taken one by one by index.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeasr.config import LogMelConfig

Array = NDArray[np.float64]


def window(config: LogMelConfig) -> Array:
    n = config.win_length
    x = 2.0 * np.pi * np.arange(n) / (n if config.periodic_window else n - 1)
    return {
        "povey": (0.5 - 0.5 * np.cos(x)) ** 0.85,
        "hann": 0.5 - 0.5 * np.cos(x),
        "hamming": 0.54 - 0.46 * np.cos(x),
    }[config.window]


def mel_filters(config: LogMelConfig) -> Array:
    """Triangular filters ``(num_mel_bins, n_fft / 2 + 1)``."""
    hz = np.arange(config.n_fft // 2 + 1) * config.sample_rate / config.n_fft
    num_edges = config.num_mel_bins + 2
    if config.mel_scale == "kaldi":
        # mel = 1127 ln(1 + f / 700); the triangles are straight lines over mel.
        low, high = (1127.0 * np.log1p(f / 700.0) for f in (config.low_hz, config.high_hz))
        edges = np.linspace(low, high, num_edges)
        edges_hz = 700.0 * np.expm1(edges / 1127.0)
        position = 1127.0 * np.log1p(hz / 700.0)
    else:
        # 3 mel for each 200 Hz below 1 kHz (15 mel), 27 mel for each factor of 6.4 above; straight lines over Hz.
        def to_mel(f: float) -> float:
            return 3.0 * f / 200.0 if f < 1000.0 else 15.0 + 27.0 * np.log(f / 1000.0) / np.log(6.4)

        mels = np.linspace(to_mel(config.low_hz), to_mel(config.high_hz), num_edges)
        edges_hz = np.where(mels < 15.0, mels * 200.0 / 3.0, 1000.0 * 6.4 ** ((mels - 15.0) / 27.0))
        edges, position = edges_hz, hz
    filters = []
    for m in range(config.num_mel_bins):
        # A triangle is a linear interpolation through its three edges.
        triangle = np.interp(position, edges[m : m + 3], [0.0, 1.0, 0.0], left=0.0, right=0.0)
        area_norm = 2.0 / (edges_hz[m + 2] - edges_hz[m]) if config.mel_norm == "slaney" else 1.0
        filters.append(area_norm * triangle)
    return np.array(filters)


def frame_indices(config: LogMelConfig, num_samples: int) -> NDArray[np.int64]:
    """Sample indices ``(num_frames, win_length)`` before padding: negative or past the end where padding is due."""
    hop, win = config.hop_length, config.win_length
    if num_samples == 0:
        num_frames, first = 0, 0
    elif config.padding == "kaldi":
        num_frames, first = (num_samples + hop // 2) // hop, hop // 2 - win // 2
    elif config.padding == "snip":
        num_frames, first = max(0, (num_samples - win) // hop + 1) if num_samples >= win else 0, 0
    else:
        # torch.stft and librosa: frames of n_fft samples after n_fft / 2 of padding, the window in their middle.
        num_frames, first = num_samples // hop + 1, (config.n_fft - win) // 2 - config.n_fft // 2
    return first + hop * np.arange(num_frames)[:, None] + np.arange(win)[None, :]


def pad(config: LogMelConfig, waveform: Array, indices: NDArray[np.int64]) -> Array:
    """The samples at `indices`, with what the padding puts beyond the ends."""
    # As many samples as any frame reaches over the ends, and NumPy's own padding of that length.
    if indices.size == 0:
        return np.zeros(indices.shape)
    before = max(0, -int(indices.min()))
    after = max(0, int(indices.max()) + 1 - len(waveform))
    mode = {"kaldi": "symmetric", "snip": "edge", "center": "reflect", "center_zero": "constant"}[config.padding]
    padded: Array = np.pad(waveform, (before, after), mode=mode)  # type: ignore[call-overload]
    return padded[indices + before]


def power_spectra(waveform: NDArray[np.floating], config: LogMelConfig) -> Array:
    """``(num_frames, n_fft / 2 + 1)``."""
    samples = waveform.astype(np.float64)
    frames = pad(config, samples, frame_indices(config, len(samples)))
    if config.remove_dc_offset:
        frames = frames - frames.mean(axis=1, keepdims=True)
    if config.preemphasis:
        # The first sample of a frame has no other before it; Kaldi lets it stand for its own predecessor.
        previous = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        frames = frames - config.preemphasis * previous
    return np.abs(np.fft.rfft(frames * window(config), n=config.n_fft, axis=1)) ** 2


def mel_power(waveform: NDArray[np.floating], config: LogMelConfig) -> Array:
    """Power in the mel bands ``(num_frames, num_mel_bins)``, before floor and logarithm."""
    return power_spectra(waveform, config) @ mel_filters(config).T


def log_mel(waveform: NDArray[np.floating], config: LogMelConfig) -> Array:
    return np.log(np.maximum(mel_power(waveform, config), config.log_floor))
