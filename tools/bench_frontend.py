"""Times the log-mel frontend against its peers, side by side in one run, in CPU time of one thread.

    python tools/bench_frontend.py [--seconds 60] [--rounds 7]

Every contender computes the same features (80 Kaldi mel bands, 25 ms frames every 10 ms) of the same audio, in turns;
the figures are medians over the rounds. kaldi-native-fbank takes Python lists faster than arrays: its lists are made
before the clock starts. Its rows are fetched one by one, which is the only way its users have.
"""

# ruff: noqa: E402 - the limits on threads must stand before NumPy loads its libraries.
from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import functools
import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from edgeasr import _core
from edgeasr.config import LogMelConfig
from edgeasr.features import LogMelFrontend, log_mel

Features = NDArray[np.float32]
# A contender: a function that computes the features of the audio it was made for.
Contender = Callable[[], Features]

# Frames wholly inside the audio, which all contenders can do.
CONFIG = LogMelConfig(padding="snip")
CHUNK_SAMPLES = CONFIG.sample_rate // 10


def pieces_of(waveform: Features) -> list[Features]:
    return [waveform[i : i + CHUNK_SAMPLES] for i in range(0, len(waveform), CHUNK_SAMPLES)]


def edgeasr_offline(waveform: Features) -> Contender:
    return lambda: log_mel(waveform, CONFIG)


def edgeasr_chunked(waveform: Features) -> Contender:
    pieces = pieces_of(waveform)

    def run() -> Features:
        frontend = LogMelFrontend(CONFIG)
        return np.concatenate([*(frontend.accept(piece) for piece in pieces), frontend.finish()])

    return run


def edgeasr_kernel(waveform: Features, kernel: str, chunked: bool) -> Contender:
    pieces = pieces_of(waveform) if chunked else [waveform]

    def run() -> Features:
        frontend = _core.LogMelFrontend(CONFIG, kernel=kernel)
        return np.concatenate([*(frontend.accept(piece) for piece in pieces), frontend.finish()])

    return run


def knf_rows(knf: ModuleType, pieces: list[list[float]]) -> Iterator[Features]:
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = CONFIG.num_mel_bins
    options.mel_opts.low_freq = CONFIG.low_hz
    options.mel_opts.high_freq = CONFIG.high_hz
    fbank = knf.OnlineFbank(options)
    done = 0
    for piece in pieces:
        fbank.accept_waveform(CONFIG.sample_rate, piece)
        for t in range(done, fbank.num_frames_ready):
            yield fbank.get_frame(t)
        done = fbank.num_frames_ready
    fbank.input_finished()
    for t in range(done, fbank.num_frames_ready):
        yield fbank.get_frame(t)


def knf_offline(waveform: Features) -> Contender:
    knf = importlib.import_module("kaldi_native_fbank")
    samples = waveform.tolist()
    return lambda: np.array(list(knf_rows(knf, [samples])))


def knf_chunked(waveform: Features) -> Contender:
    knf = importlib.import_module("kaldi_native_fbank")
    pieces = [piece.tolist() for piece in pieces_of(waveform)]
    return lambda: np.array(list(knf_rows(knf, pieces)))


def tables() -> tuple[Features, Features]:
    """Kaldi's window ``(win_length,)`` and mel filters ``(n_fft / 2 + 1, num_mel_bins)``."""
    x = 2.0 * np.pi * np.arange(CONFIG.win_length) / (CONFIG.win_length - 1)
    window = (0.5 - 0.5 * np.cos(x)) ** 0.85
    low, high, bins = (
        1127.0 * np.log1p(np.asarray(hz) / 700.0)
        for hz in (CONFIG.low_hz, CONFIG.high_hz, np.fft.rfftfreq(CONFIG.n_fft, 1.0 / CONFIG.sample_rate))
    )
    edges = np.linspace(low, high, CONFIG.num_mel_bins + 2)
    triangles = [np.interp(bins, edges[m : m + 3], [0.0, 1.0, 0.0]) for m in range(CONFIG.num_mel_bins)]
    return window.astype(np.float32), np.array(triangles, dtype=np.float32).T.copy()


def numpy_scipy(waveform: Features) -> Contender:
    fft = importlib.import_module("scipy.fft")
    window, filters = tables()
    # Few enough frames at once to stay in the cache.
    block = 256

    def run() -> Features:
        frames = np.lib.stride_tricks.sliding_window_view(waveform, CONFIG.win_length)[:: CONFIG.hop_length]
        features = np.empty((len(frames), CONFIG.num_mel_bins), dtype=np.float32)
        for start in range(0, len(frames), block):
            part = frames[start : start + block]
            part = part - part.mean(axis=1, keepdims=True)
            emphasized = np.empty_like(part)
            emphasized[:, 0] = (1.0 - CONFIG.preemphasis) * part[:, 0]
            np.subtract(part[:, 1:], CONFIG.preemphasis * part[:, :-1], out=emphasized[:, 1:])
            emphasized *= window
            spectra = fft.rfft(emphasized, n=CONFIG.n_fft, axis=1)
            power = spectra.real**2 + spectra.imag**2
            mel = power @ filters
            np.log(np.maximum(mel, np.float32(CONFIG.log_floor)), out=features[start : start + block])
        return features

    return run


def torch_stft(waveform: Features) -> Contender:
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    window, filters = (torch.from_numpy(table) for table in tables())
    samples = torch.from_numpy(waveform)
    # torch.stft puts a short window in the middle of n_fft samples, Kaldi at their start: frames may start earlier,
    # by so many samples, and the power is the same.
    ahead = (CONFIG.n_fft - CONFIG.win_length) // 2

    def run() -> Features:
        # Preemphasis over the whole waveform and no removal of the frames' means: a little less work.
        emphasized = torch.cat([samples[:1], samples[1:] - CONFIG.preemphasis * samples[:-1]])
        emphasized = torch.nn.functional.pad(emphasized, (ahead, ahead))
        spectra = torch.stft(
            emphasized,
            n_fft=CONFIG.n_fft,
            hop_length=CONFIG.hop_length,
            win_length=CONFIG.win_length,
            window=window,
            center=False,
            return_complex=True,
        )
        power = spectra.real**2 + spectra.imag**2
        features: Features = torch.log(torch.clamp(power.T @ filters, min=CONFIG.log_floor)).numpy()
        return features

    return run


def contenders(waveform: Features) -> dict[str, Contender]:
    """Those whose packages are installed; says which are not."""
    makers: dict[str, Callable[[], Contender]] = {
        "edgeasr, offline": functools.partial(edgeasr_offline, waveform),
        "edgeasr, 100 ms chunks": functools.partial(edgeasr_chunked, waveform),
    }
    # The first kernel is the one that the above use.
    for kernel in _core.log_mel_kernels()[1:]:
        makers[f"edgeasr {kernel}, offline"] = functools.partial(edgeasr_kernel, waveform, kernel, False)
        makers[f"edgeasr {kernel}, 100 ms chunks"] = functools.partial(edgeasr_kernel, waveform, kernel, True)
    makers["kaldi-native-fbank, offline"] = functools.partial(knf_offline, waveform)
    makers["kaldi-native-fbank, 100 ms chunks"] = functools.partial(knf_chunked, waveform)
    makers["NumPy + scipy.fft, offline"] = functools.partial(numpy_scipy, waveform)
    makers["torch.stft, offline"] = functools.partial(torch_stft, waveform)
    found = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except ImportError as error:
            print(f"left out: {name} ({error})")
    return found


def load_audio(seconds: float) -> Features:
    """Speech from `samples/`, repeated to the length asked for; noise where there is none."""
    num_samples = int(seconds * CONFIG.sample_rate)
    paths = sorted((Path(__file__).resolve().parents[1] / "samples").glob("*.flac"))
    if paths:
        soundfile = importlib.import_module("soundfile")
        speech = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in paths])
    else:
        speech = np.random.default_rng(0).normal(0.0, 0.1, num_samples).astype(np.float32)
    return np.resize(speech, num_samples)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the log-mel frontend against its peers, one thread each.")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the audio (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="turns that each contender gets (default: %(default)s)")
    args = parser.parse_args()

    waveform = load_audio(args.seconds)
    running = contenders(waveform)
    reference = edgeasr_offline(waveform)()
    times_s: dict[str, list[float]] = {name: [] for name in running}
    difference = {}
    for turn in range(args.rounds + 1):
        for name, run in running.items():
            start = time.process_time()
            features = run()
            elapsed = time.process_time() - start
            if turn > 0:  # the first turn warms up
                times_s[name].append(elapsed)
            difference[name] = float(np.max(np.abs(features - reference)))

    median_s = {name: statistics.median(times) for name, times in times_s.items()}
    kernel = _core.log_mel_kernels()[0]
    print(f"{args.seconds:g} s of audio, {args.rounds} rounds, CPU time of one thread, kernel {kernel}")
    print(f"{'':36}{'x realtime':>11}{'offline is':>12}{'chunked is':>12}{'max differs':>13}")
    for name, own_s in median_s.items():
        offline, chunked = (
            f"{own_s / median_s[mine]:.1f} x" for mine in ("edgeasr, offline", "edgeasr, 100 ms chunks")
        )
        speed = args.seconds / own_s
        print(f"{name:36}{speed:11,.0f}{offline:>12}{chunked:>12}{difference[name]:13.1e}")
    print("'offline is' and 'chunked is': how many times faster edgeasr is than that line, offline and in chunks.")
    print("torch.stft does less: preemphasis once over the whole waveform, no removal of the frames' means.")


if __name__ == "__main__":
    main()
