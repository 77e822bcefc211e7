"""Checks that a bundle writes the same words on a CPU with AVX2 alone as on this one.

    python tools/check_avx2.py --model en-small                    # 100 clips of the dev sets
    python tools/check_avx2.py --model tests/golden/tiny samples/*.flac

Without VNNI, the 8-bit products of quantised models are added up in pairs in 16 bits, where weights that use all of
their 8 bits may saturate. This runs the recogniser natively and under `qemu-x86_64 -cpu Haswell` (Debian: apt-get
install qemu-user-static) and compares the words. Emulation takes dozens of times as long.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from edgeasr.bundle import find_bundle, read_bundle
from edgeasr.cli.common import add_recognizer_arguments, fail, load_recognizer, positive
from edgeasr.cli.progress import ProgressBar
from edgeasr.errors import ConfigError, EdgeAsrError, MissingDependencyError

EMULATORS = ("qemu-x86_64-static", "qemu-x86_64")
# Without what the emulator does not have and would warn of; none of it computes.
CPU = "Haswell,-pcid,-x2apic,-tsc-deadline,-hle,-rtm,-invpcid"
# What an emulated Haswell must and must not have, by the names of `features`.
EXPECTED = {"AVX2": True, "AVX512F": False}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="sound files (default: clips of dev sets)")
    parser.add_argument("--clips", type=positive, default=100, metavar="N", help="of the dev sets (default: 100)")
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    add_recognizer_arguments(parser)
    args = parser.parse_args(argv)
    try:
        if args.work:
            work(args)
            return 0
        return check(args)
    except (EdgeAsrError, OSError) as error:
        return fail(error)


def check(args: argparse.Namespace) -> int:
    emulator = find_emulator()
    read_bundle(find_bundle(args.model))  # what is wrong with it is told once, not by both workers
    files = args.files or dev_clips(args.data, args.clips)
    arguments = [str(Path(__file__).resolve()), "--work", "--threads", str(args.threads)]
    for option, value in (("--model", args.model), ("--decoder", args.decoder), ("--beam-size", args.beam_size)):
        if value is not None:
            arguments += [option, str(value)]
    # Static emulators find no program by name, so the whole path.
    python = str(Path(sys.executable).absolute())
    native = list(run([python, *arguments], files, "native"))
    emulated = list(run([emulator, "-cpu", CPU, python, *arguments], files, "emulated Haswell"))
    features = emulated[0]["features"]
    if any(features.get(name) != expected for name, expected in EXPECTED.items()):
        raise ConfigError(f"{emulator} -cpu Haswell shows the features {features}, expected {EXPECTED}")
    different = 0
    for file, here, there in zip(files, native[1:], emulated[1:], strict=True):
        if here["text"] != there["text"]:
            different += 1
            print(f"{file}:\n  native    {here['text']}\n  AVX2 only {there['text']}")
    words = sum(len(result["text"].split()) for result in native[1:])
    print(
        f"{native[0]['name']}: {len(files)} clips, {words} words, {different} clips differ "
        f"(native: {shown(native[0]['features'])}; emulated: {shown(features)})"
    )
    return 1 if different else 0


def work(args: argparse.Namespace) -> None:
    """Recognises the files that standard input names, one a line; prints what the CPU has, then a line for each."""
    from edgeasr.train.teachers.transcriber import BundleTranscriber

    recognizer = load_recognizer(args)
    print(json.dumps({"name": BundleTranscriber(recognizer).name, "features": cpu_features()}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"text": recognizer.transcribe(line.rstrip("\n")).text}), flush=True)


def run(command: Sequence[str], files: Sequence[Path], label: str) -> Iterator[dict[str, Any]]:
    """Runs a worker; yields what it prints."""
    progress = ProgressBar(label)
    begun_s = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdin is not None and process.stdout is not None
        yield answer(process.stdout, label)
        for number, file in enumerate(files, start=1):
            process.stdin.write(f"{file.absolute()}\n")
            process.stdin.flush()
            yield answer(process.stdout, f"{label}, {file}")
            progress.update(number, len(files))
        progress.clear()
        print(f"{label}: {time.monotonic() - begun_s:.0f} s", file=sys.stderr)
    finally:
        process.kill()
        process.communicate()


def answer(output: IO[str], label: str) -> dict[str, Any]:
    line = output.readline()
    if not line:
        raise ConfigError(f"{label}: the recogniser stopped; what it said stands above")
    result: dict[str, Any] = json.loads(line)
    return result


def cpu_features() -> dict[str, bool]:
    """What NumPy finds by the same instruction, `cpuid`, as ONNX Runtime does."""
    found = import_module("numpy._core._multiarray_umath").__cpu_features__
    return {name: bool(found.get(name)) for name in ("AVX2", "AVX512F", "AVX512VNNI", "AVX512_ICL")}


def shown(features: dict[str, bool]) -> str:
    return " ".join(name for name, present in features.items() if present) or "none of them"


def dev_clips(data: Path | None, count: int) -> list[Path]:
    """Clips of the English dev sets, as many of each as can be."""
    from edgeasr.train.evaluation.evaluate import find_sets, normaliser
    from edgeasr.train.manifest import data_dir

    sets = find_sets(data or data_dir(), ["dev"], normaliser("en"))
    clips = [utterance.audio for s in sets for utterance in s.utterances]
    count = min(count, len(clips))
    return [clips[i * len(clips) // count] for i in range(count)]


def find_emulator() -> str:
    """The path of the emulator.

    Raises:
        ConfigError: This is not an x86-64 machine.
        MissingDependencyError: It is not installed.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        raise ConfigError(f"this machine is {platform.machine()}; the check compares two x86-64 processors")
    for name in EMULATORS:
        if path := shutil.which(name):
            return path
    raise MissingDependencyError(f"{' and '.join(EMULATORS)} are not installed: apt-get install qemu-user-static")


if __name__ == "__main__":
    sys.exit(main())
