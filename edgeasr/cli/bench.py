"""`edgeasr bench`: how fast and how small the recogniser is on this machine, stage by stage.

The sound goes through the very stages of a stream, each with a watch on it, in pieces of one model chunk. Start-up and
memory are those of an `edgeasr transcribe` in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from edgeasr.cli.common import add_recognizer_arguments, load_recognizer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgeasr.decoder import Hypothesis
    from edgeasr.recognizer import Recognizer
    from edgeasr.stream import Stage, Stream
    from edgeasr.words import Decoder

    FloatArray = npt.NDArray[np.float32]

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")

PERCENTILES = (50, 95, 99)
START_UP_RUNS = 3
START_UP_S = 2.0
NOISE_S = 60.0

START_AND_MEASURE = """
import json, os, sys, time
begun = time.perf_counter()
silence = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[silence])
_, _, usage = os.wait4(process, 0)
print(json.dumps([time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="sound files to measure with (default: a minute of noise)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_recognizer_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measures and prints."""
    recognizer = load_recognizer(args)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(name) for name in args.files] or [write_noise(Path(folder) / "noise.wav", NOISE_S)]
        report = {
            "model": f"{recognizer.bundle.name} {recognizer.bundle.version}",
            "decoder": recognizer.decoder.mode,
            "threads": args.threads,
            "machine": machine(),
            "sound": ", ".join(map(str, args.files)) or "noise",
            **measure_stages(recognizer, files),
            "start_up": measure_start_up(args, write_noise(Path(folder) / "short.wav", START_UP_S)),
            "peak_memory_mb": run_transcribe(args, files)["peak_memory_mb"],
        }
    print(json.dumps(report, ensure_ascii=False) if args.json else table(report))
    return 0


@dataclass
class Watch:
    """Seconds that calls have taken: on the clock, and of the processor."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Counts what is inside."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall_s += time.perf_counter() - wall
            self.cpu_s += time.process_time() - cpu

    def call(self, function: Callable[_Args, _Result], *args: _Args.args, **named: _Args.kwargs) -> _Result:
        """Calls and counts."""
        with self.running():
            return function(*args, **named)


class WatchedStage:
    """A stage of a stream, watched."""

    def __init__(self, stage: Stage, watch: Watch) -> None:
        """Stands in for the stage."""
        self._stage = stage
        self._watch = watch

    def accept(self, block: FloatArray, /) -> FloatArray:
        """As the stage."""
        return self._watch.call(self._stage.accept, block)

    def finish(self) -> FloatArray:
        """As the stage."""
        return self._watch.call(self._stage.finish)

    def reset(self) -> None:
        """As the stage."""
        self._watch.call(self._stage.reset)


class WatchedDecoder:
    """The decoder of a stream, watched."""

    def __init__(self, decoder: Decoder, watch: Watch) -> None:
        """Stands in for the decoder."""
        self._decoder = decoder
        self._watch = watch

    def accept(self, log_probs: FloatArray, /) -> None:
        """As the decoder."""
        self._watch.call(self._decoder.accept, log_probs)

    def take_committed(self) -> Hypothesis:
        """As the decoder."""
        return self._watch.call(self._decoder.take_committed)

    def partial(self, *, bare: bool = False) -> list[Hypothesis]:
        """As the decoder."""
        return self._watch.call(self._decoder.partial, bare=bare)

    def finish(self) -> list[Hypothesis]:
        """As the decoder."""
        return self._watch.call(self._decoder.finish)

    def reset(self) -> None:
        """As the decoder."""
        self._watch.call(self._decoder.reset)


def watched_stream(recognizer: Recognizer, sample_rate: int, watches: dict[str, Watch]) -> Stream:
    """A stream of the recogniser whose stages are watched."""
    from edgeasr.stream import Stream

    stages = recognizer.stream(sample_rate=sample_rate).stages
    stages.words.decoder = WatchedDecoder(stages.words.decoder, watches["decoder"])
    return Stream(
        replace(
            stages,
            resampler=WatchedStage(stages.resampler, watches["resampler"]),
            frontend=WatchedStage(stages.frontend, watches["frontend"]),
            acoustic=WatchedStage(stages.acoustic, watches["model"]),
        ),
        sample_rate=sample_rate,
    )


def measure_stages(recognizer: Recognizer, files: list[Path]) -> dict[str, Any]:
    """Real-time factor, stage by stage, and how long a chunk takes from its last sample to its text."""
    import numpy as np

    from edgeasr.audio import open_audio

    bundle = recognizer.bundle
    chunk_s = bundle.model.chunk_frames * bundle.frontend.hop_length / bundle.sample_rate
    watches = {name: Watch() for name in ("file", "resampler", "frontend", "model", "decoder", "rest")}
    total, latencies_s, audio_s = Watch(), [], 0.0
    recognizer.transcribe(np.zeros(bundle.sample_rate, np.float32), sample_rate=bundle.sample_rate)  # warm caches
    for file in files:
        with total.running():
            with watches["file"].running(), open_audio(file, bundle.sample_rate) as reader:
                waveform = np.concatenate([np.empty(0, np.float32), *reader.blocks()])
            stream = watched_stream(recognizer, reader.sample_rate, watches)
            piece = round(chunk_s * reader.sample_rate)
            for start in range(0, len(waveform), piece):
                begun = time.perf_counter()
                stream.accept(waveform[start : start + piece])
                latencies_s.append(time.perf_counter() - begun)
            audio_s += stream.finish().duration
    for kind in ("wall_s", "cpu_s"):
        stages_s = sum(getattr(watch, kind) for watch in watches.values())
        setattr(watches["rest"], kind, max(0.0, getattr(total, kind) - stages_s))
    audio_s = max(audio_s, 1e-9)
    return {
        "audio_s": round(audio_s, 3),
        "real_time_factor": _per_second(total, audio_s),
        "stages": {name: _per_second(watch, audio_s) for name, watch in watches.items()},
        "chunk_ms": round(chunk_s * 1000),
        "chunk_latency_ms": {
            f"p{percent}": round(1000 * float(np.percentile(latencies_s or [0.0], percent)), 3)
            for percent in PERCENTILES
        },
    }


def measure_start_up(args: argparse.Namespace, short_file: Path) -> dict[str, float]:
    """From the start of a process to the end of a two-second file: the quickest of a few, as others disturb."""
    runs = [run_transcribe(args, [short_file]) for _ in range(START_UP_RUNS)]
    return {key: min(result[key] for result in runs) for key in ("wall_s", "cpu_s")}


def run_transcribe(args: argparse.Namespace, files: list[Path]) -> dict[str, float]:
    """Runs `edgeasr transcribe` and returns what it needed."""
    command = [sys.executable, "-m", "edgeasr", "transcribe", *map(str, files), "--threads", str(args.threads)]
    for option, value in (("--model", args.model), ("--decoder", args.decoder), ("--beam-size", args.beam_size)):
        if value is not None:
            command += [option, str(value)]
    # A new process inherits the peak memory of the one that starts it, so that has to be a small one.
    starter = [sys.executable, "-I", "-S", "-c", START_AND_MEASURE, *command]
    wall_s, cpu_s, peak_kb = json.loads(subprocess.run(starter, capture_output=True, text=True, check=True).stdout)
    return {"wall_s": round(wall_s, 3), "cpu_s": round(cpu_s, 3), "peak_memory_mb": round(peak_kb / 1024, 1)}


def write_noise(path: Path, duration_s: float) -> Path:
    """Writes noise that swells four times a second, as speech does."""
    import numpy as np
    import soundfile

    sample_rate = 16000
    times = np.arange(round(duration_s * sample_rate)) / sample_rate
    noise = np.random.default_rng(0).standard_normal(len(times))
    soundfile.write(path, 0.1 * noise * (1 + np.sin(8 * np.pi * times)), sample_rate)
    return path


def machine() -> str:
    """The processor and what runs on it."""
    import onnxruntime

    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    name = names[-1] if names else platform.processor()
    return f"{name or platform.machine()}, {os.cpu_count()} cores, onnxruntime {onnxruntime.__version__}"


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    factor, latency, start_up = report["real_time_factor"], report["chunk_latency_ms"], report["start_up"]
    lines = [
        f"model          {report['model']}, {report['decoder']}, {report['threads']} thread(s)",
        f"machine        {report['machine']}",
        f"sound          {report['audio_s']:.1f} s: {report['sound']}",
        f"speed          {1 / max(factor['wall'], 1e-9):.0f} x real time",
        "",
        "real-time factor        CPU      wall",
        *(f"  {name:18} {share['cpu']:8.5f}  {share['wall']:8.5f}" for name, share in report["stages"].items()),
        f"  {'all':18} {factor['cpu']:8.5f}  {factor['wall']:8.5f}",
        "",
        f"chunk latency  p50 {latency['p50']:.2f} ms, p95 {latency['p95']:.2f} ms, p99 {latency['p99']:.2f} ms "
        f"(chunks of {report['chunk_ms']} ms)",
        f"start-up       {start_up['wall_s']:.2f} s, {start_up['cpu_s']:.2f} s of CPU to the end of {START_UP_S:.0f} s",
        f"peak memory    {report['peak_memory_mb']:.1f} MB",
    ]
    return "\n".join(lines)


def _per_second(watch: Watch, audio_s: float) -> dict[str, float]:
    return {"cpu": round(watch.cpu_s / audio_s, 6), "wall": round(watch.wall_s / audio_s, 6)}
