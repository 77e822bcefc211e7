"""Measures latency on a real way of sound, in real time: PulseAudio, ALSA, PortAudio, the callback, the recogniser.

    python tools/measure_latency.py --limit 50             # 50 clips of librispeech.dev and 50 of commonvoice.dev
    python tools/measure_latency.py samples/*.flac

Clips are played into the null sink of a PulseAudio server of its own (apt install pulseaudio pulseaudio-utils
libasound2-plugins) and heard through its monitor, as from a microphone. They are cut and joined as in
`measure_endpoints.py latency`, which measures the same without sound hardware, on the clock of the sound.

An utterance's first word counts from when its onset entered PortAudio's callback to when the program had the first
`Partial`; its end from when that entered the callback to when the program had the `Final`. Where in the recording
each clip lies is found by correlation. The listener is kept on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from measure_endpoints import MARGIN_S, Clip, clear_clips, endpoint_config, joined, latencies
from sound_server import MISSING, SoundServer, missing

from edgeasr import Recognizer
from edgeasr.cli.common import add_confidence_arguments, add_recognizer_arguments, fail, load_recognizer, positive
from edgeasr.endpoint import EndpointConfig
from edgeasr.errors import ConfigError, EdgeAsrError, MissingDependencyError
from edgeasr.events import DeviceEvent, Event
from edgeasr.microphone import Microphone
from edgeasr.train.clips import resample
from edgeasr.train.evaluation.joined import SAMPLE_RATE
from edgeasr.waveform import Waveform

# From the start of the player to its first sound.
PLAYER_START_S = 3.0
# How far a clip may lie from where it should, seen from the one before.
DRIFT_S = 0.5


class RecordingMicrophone(Microphone):
    """A microphone that keeps what it has heard, and when."""

    def blocks(self) -> Iterator[Waveform | DeviceEvent]:
        """As the microphone's own."""
        self.heard: list[Waveform] = []
        self.arrived: list[tuple[float, float]] = []
        position = 0
        for block in super().blocks():
            if isinstance(block, np.ndarray):
                at = self.captured_at(position / self.sample_rate)
                position += len(block)
                self.heard.append(block)
                self.arrived.append((position / self.sample_rate, np.nan if at is None else at))
            yield block

    def arrivals(self, times_s: Sequence[float]) -> list[float]:
        """When the samples of these times entered the callback."""
        ends = [end_s for end_s, _ in self.arrived]
        return [self.arrived[int(np.searchsorted(ends, time_s, side="right"))][1] for time_s in times_s]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help="sets such as librispeech.dev, or sound files")
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only N clips of each set, evenly spread")
    parser.add_argument("--rate", type=int, metavar="HZ", help="record at this rate (default: the device's)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--min-silence", type=float, metavar="S", help="another `min_silence_s`")
    parser.add_argument("--min-silence-in-noise", type=float, metavar="S", help="another `min_silence_in_noise_s`")
    parser.add_argument("--no-gate", action="store_true", help="let all sound pass")
    add_recognizer_arguments(parser)
    add_confidence_arguments(parser)
    args = parser.parse_args(argv)
    try:
        if missing():
            raise MissingDependencyError(MISSING)
        recognizer = load_recognizer(args)
        report = measure(recognizer, endpoint_config(args), clear_clips(args, recognizer), rate=args.rate)
    except (EdgeAsrError, OSError) as error:
        return fail(error)
    print(json.dumps(report) if args.json else "\n".join(f"{key:32} {value}" for key, value in report.items()))
    return 0


def measure(
    recognizer: Recognizer, config: EndpointConfig, clips: Sequence[Clip], *, rate: int | None = None
) -> dict[str, Any]:
    sound, bounds = joined(clips)
    events: list[tuple[Event, float]] = []
    cores = os.sched_getaffinity(0)
    with SoundServer() as server, tempfile.TemporaryDirectory() as folder, server.chosen():
        soundfile.write(Path(folder) / "clips.wav", sound, SAMPLE_RATE)
        microphone = RecordingMicrophone(sample_rate=rate)
        player = server.play(Path(folder) / "clips.wav")
        os.sched_setaffinity(0, {max(cores)})  # now, so that the sound server has the others
        try:
            with microphone:
                listener = threading.Thread(target=listen, args=(recognizer, config, microphone, events))
                begun_s, used_s = time.monotonic(), time.process_time()
                listener.start()
                player.wait()
                cpu = (time.process_time() - used_s) / (time.monotonic() - begun_s)
            listener.join()
        finally:
            player.terminate()
            os.sched_setaffinity(0, cores)
    recorded = resample(np.concatenate(microphone.heard), microphone.sample_rate, SAMPLE_RATE)
    shifts_s = place(recorded, sound, bounds)
    captured = [
        tuple(microphone.arrivals([start_s + shift_s, end_s + shift_s]))
        for (start_s, end_s), shift_s in zip(bounds, shifts_s, strict=True)
    ]
    return {
        **latencies(events, [(start, end) for start, end in captured]),
        "minutes": round(len(sound) / SAMPLE_RATE / 60, 2),
        "recorded_at_hz": microphone.sample_rate,
        "overflows": microphone.num_overflows,
        "drift_ms": round(1000 * (max(shifts_s) - min(shifts_s)), 1),
        "percent_of_a_core": round(100 * cpu, 2),
    }


def listen(
    recognizer: Recognizer, config: EndpointConfig, microphone: Microphone, events: list[tuple[Event, float]]
) -> None:
    """Adds events, and when the program had each, until the microphone is closed."""
    for event in recognizer.listen(microphone, endpoint=config):
        events.append((event, time.monotonic()))


def place(recorded: Waveform, sound: Waveform, bounds: Sequence[tuple[float, float]]) -> list[float]:
    """By how many seconds the speech of each clip comes later in the recording than in what was played."""
    shifts_s: list[float] = []
    for start_s, end_s in bounds:
        begin, end = (round((at + side * MARGIN_S) * SAMPLE_RATE) for at, side in ((start_s, -1), (end_s, 1)))
        expected = begin + round(shifts_s[-1] * SAMPLE_RATE) if shifts_s else begin
        before = round((DRIFT_S if shifts_s else 0.0) * SAMPLE_RATE)
        after = round((DRIFT_S if shifts_s else PLAYER_START_S) * SAMPLE_RATE)
        first = max(0, expected - before)
        window = recorded[first : expected + end - begin + after]
        if len(window) < end - begin:
            raise ConfigError(f"the clip at {start_s:.1f} s was not recorded to its end")
        size = len(window) + end - begin
        products = np.fft.irfft(np.fft.rfft(window, size) * np.fft.rfft(sound[begin:end], size).conj(), size)
        best = int(np.argmax(products[: len(window) - (end - begin) + 1]))
        shifts_s.append((first + best - begin) / SAMPLE_RATE)
    return shifts_s


if __name__ == "__main__":
    sys.exit(main())
