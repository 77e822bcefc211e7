"""Measures speed and memory as a user meets them, with peers beside.

    python tools/bench_speed.py                       # librispeech.dev, sherpa-onnx beside, a file of two hours
    python tools/bench_speed.py --limit 40 --hours 0  # a quick look

Speed is CPU time from the compressed file to the text, one thread, all clips in one process after loading. Every
system gets each clip before the next one comes, in turning order, so that whatever else the machine does meets all of
them alike. Loading, and memory on short clips, are measured in a process for each system; memory on a long file is
that of an `edgeasr transcribe`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import chain, cycle
from pathlib import Path
from typing import Any

import soundfile

from edgeasr.cli.bench import machine
from edgeasr.cli.common import add_recognizer_arguments, fail
from edgeasr.cli.evaluate import measure_apart
from edgeasr.cli.progress import ProgressBar
from edgeasr.errors import ConfigError, EdgeAsrError, MissingDependencyError
from edgeasr.train.clips import read_audio, resample
from edgeasr.train.evaluation.evaluate import EvaluationSet, find_sets, normaliser
from edgeasr.train.manifest import Utterance, data_dir
from edgeasr.train.teachers.transcriber import PEERS, Loader, load_bundle, peer_loader

SAMPLE_RATE = 16_000
START_UP_RUNS = 3

# Runs a command and prints what it needed. A small process has to do this: Linux starts a child's peak memory at what
# its parent had in use, and this one has models loaded.
WATCH = """
import json, resource, subprocess, sys, time
begun = time.perf_counter()
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
wall_s = time.perf_counter() - begun
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"status": status, "wall_s": round(wall_s, 3), "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
                  "peak_memory_mb": round(usage.ru_maxrss / 1024, 1)}))
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["librispeech.dev"], metavar="SET", help="default: librispeech.dev")
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--limit", type=int, metavar="N", help="only N clips of each set, evenly spread")
    parser.add_argument(
        "--peer",
        action="append",
        choices=PEERS,
        help="measure this too; may be repeated (default: sherpa-onnx if here)",
    )
    parser.add_argument("--hours", type=float, default=2.0, help="length of the long file; 0 for none (default: 2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_recognizer_arguments(parser)
    args = parser.parse_args(argv)
    try:
        report = measure(args)
    except (EdgeAsrError, OSError) as error:
        return fail(error)
    print(json.dumps(report, ensure_ascii=False) if args.json else table(report))
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    data = args.data or data_dir()
    sets = find_sets(data, args.sets, normaliser("en"), limit=args.limit)
    clips = [utterance for s in sets for utterance in s.utterances]
    loaders: list[Loader] = [
        partial(load_bundle, args.model, decoder=args.decoder, beam_size=args.beam_size, num_threads=args.threads)
    ]
    loaders += [peer_loader(peer, data) for peer in args.peer or ["sherpa-onnx"]]
    shortest = EvaluationSet(name="shortest", utterances=(min(clips, key=lambda clip: clip.duration_s),))
    loads = []
    left_out = []
    for loader in list(loaders):
        try:
            loads.append(measure_apart(loader, [shortest], "en", label="loading"))
        except (MissingDependencyError, ConfigError) as error:
            if args.peer or loader is loaders[0]:
                raise
            loaders.remove(loader)
            left_out.append(str(error))
    report: dict[str, Any] = {
        "machine": machine(),
        "sets": " ".join(s.name for s in sets),
        "clips": len(clips),
        "systems": [
            {**speed, "load_cpu_s": load.load_cpu_s, "peak_memory_mb": load.peak_memory_mb}
            for speed, load in zip(measure_speed(loaders, clips), loads, strict=True)
        ],
        "left_out": left_out,
        "start_up": measure_start_up(args, shortest.utterances[0].audio),
    }
    if args.hours > 0:
        report["long_file"] = measure_long_file(args, clips)
    return report


def measure_speed(loaders: Sequence[Loader], clips: Sequence[Utterance]) -> list[dict[str, Any]]:
    """CPU time from compressed file to text, of every system on every clip."""
    systems = [loader() for loader in loaders]
    cpu_s = [0.0] * len(systems)
    audio_s = 0.0
    total_s = sum(clip.duration_s for clip in clips)
    progress = ProgressBar("speed")
    for number, clip in enumerate(clips):
        turn = number % len(systems)
        for place in [*range(turn, len(systems)), *range(turn)]:
            begun_s = time.process_time()
            waveform, sample_rate = read_audio(clip.audio)
            systems[place].transcribe(waveform, sample_rate)
            cpu_s[place] += time.process_time() - begun_s
        audio_s += len(waveform) / sample_rate
        progress.update(audio_s, total_s)
    progress.clear()
    return [
        {
            "name": system.name,
            "audio_s": round(audio_s, 1),
            "cpu_s": round(seconds, 3),
            "real_time_factor": round(seconds / audio_s, 5),
        }
        for system, seconds in zip(systems, cpu_s, strict=True)
    ]


def measure_start_up(args: argparse.Namespace, clip: Path) -> dict[str, float]:
    """`edgeasr transcribe` on a short clip, from the start of the process to its end: the quickest of a few runs."""
    runs = [run_transcribe(args, clip) for _ in range(START_UP_RUNS)]
    return {key: min(run[key] for run in runs) for key in ("wall_s", "cpu_s", "peak_memory_mb")}


def measure_long_file(args: argparse.Namespace, clips: Sequence[Utterance]) -> dict[str, float]:
    """`edgeasr transcribe` on clips joined to a long file."""
    with tempfile.TemporaryDirectory(prefix="edgeasr-bench-") as folder:
        path = Path(folder) / "long.flac"
        seconds = write_long_file(path, clips, args.hours * 3600)
        result = run_transcribe(args, path)
        return {"audio_s": round(seconds, 1), "file_mb": round(path.stat().st_size / 1e6, 1), **result}


def write_long_file(path: Path, clips: Sequence[Utterance], at_least_s: float) -> float:
    """Joins clips, over and over, to a FLAC file; returns its length in seconds."""
    num_samples = 0
    progress = ProgressBar("joining clips")
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        for clip in cycle(clips):
            waveform = resample(*read_audio(clip.audio), SAMPLE_RATE)
            file.write(waveform)
            num_samples += len(waveform)
            progress.update(num_samples / SAMPLE_RATE, at_least_s)
            if num_samples >= at_least_s * SAMPLE_RATE:
                break
    progress.clear()
    return num_samples / SAMPLE_RATE


def run_transcribe(args: argparse.Namespace, path: Path) -> dict[str, float]:
    """Runs `edgeasr transcribe` on a file and returns what it needed."""
    options = (("--model", args.model), ("--decoder", args.decoder), ("--beam-size", args.beam_size))
    given = chain.from_iterable((name, str(value)) for name, value in options if value is not None)
    command = [sys.executable, "-m", "edgeasr", "transcribe", str(path), "--threads", str(args.threads), *given]
    watched = subprocess.run([sys.executable, "-c", WATCH, *command], stdout=subprocess.PIPE, check=True, text=True)
    result: dict[str, float] = json.loads(watched.stdout)
    if result.pop("status"):
        raise ConfigError(f"{' '.join(command)} failed")
    return result


def table(report: dict[str, Any]) -> str:
    lines = [report["machine"], f"{report['clips']} clips of {report['sets']}, one thread, CPU time", ""]
    lines.append(f"{'':40} {'CPU s/s':>9} {'x real time':>12} {'load, CPU s':>12} {'memory, MB':>11}")
    for system in report["systems"]:
        factor = system["real_time_factor"]
        speed = 1 / max(factor, 1e-9)
        lines.append(
            f"{system['name']:40} {factor:9.5f} {speed:12.1f} {system['load_cpu_s']:12.2f} "
            f"{system['peak_memory_mb']:11.1f}"
        )
    lines += [f"left out: {reason}" for reason in report["left_out"]]
    start_up = report["start_up"]
    lines += [
        "",
        f"edgeasr transcribe, short clip: {start_up['cpu_s']:.2f} s of CPU, {start_up['wall_s']:.2f} s on the clock, "
        f"peak memory {start_up['peak_memory_mb']:.1f} MB",
    ]
    if "long_file" in report:
        long_file = report["long_file"]
        lines.append(
            f"edgeasr transcribe, {long_file['audio_s'] / 3600:.2f} h in one file: {long_file['cpu_s']:.1f} s of CPU "
            f"({long_file['cpu_s'] / long_file['audio_s']:.5f} of real time), "
            f"peak memory {long_file['peak_memory_mb']:.1f} MB"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
