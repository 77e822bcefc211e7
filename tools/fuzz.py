"""Runs the fuzz targets of the C++ core, each for so many executions, under ASan and UBSan.

python tools/fuzz.py                                 # the check of a release: ten million executions of each target
python tools/fuzz.py --runs 100000 grammar lexicon   # a look at two of them

Needs Clang with libFuzzer (on Debian: clang-14 and libclang-rt-14-dev), CMake 3.25 and Ninja. What is found to reach
new code is kept in build/fuzz-corpus, so that the next run starts from there. A finding ends its target's run; the
input lies in build/fuzz-findings, and the target does it again when it gets this file as its argument.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SEEDS = ROOT / "csrc" / "fuzz" / "corpus"
BUILD = ROOT / "build" / "fuzz"
FINDINGS = ROOT / "build" / "fuzz-findings"

# The longest input in bytes. A short one says as much and is done sooner: so long that all of a format fits.
MAX_LENGTHS = {"arpa": 640, "decoder_input": 48, "grammar": 192, "lexicon": 96, "lm_binary": 1100}


def find_compiler() -> str:
    """The newest Clang there is."""
    for name in ("clang++", *(f"clang++-{version}" for version in range(30, 13, -1))):
        if shutil.which(name):
            return name
    sys.exit("no clang++ is on the PATH: install Clang with libFuzzer, or name it with --compiler")


def run(target: str, runs: int, corpus: Path) -> tuple[str, bool]:
    """Runs one target; says what came of it in a line, and whether nothing was found."""
    own_corpus = corpus / target
    own_corpus.mkdir(parents=True, exist_ok=True)
    command = [
        *(str(BUILD / "csrc" / "fuzz" / f"{target}_fuzz"), f"-runs={runs}", f"-max_len={MAX_LENGTHS[target]}"),
        *("-entropic=0", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"),
        *(f"-artifact_prefix={FINDINGS}/{target}-", str(own_corpus), str(SEEDS / target)),
    ]
    # Few frames for each allocation and little memory kept back are enough to find what is wrong, in half the time.
    environment = {**os.environ, "ASAN_OPTIONS": "malloc_context_size=4:quarantine_size_mb=32"}
    log = corpus / f"{target}.log"
    start = time.monotonic()
    with log.open("wb") as output:
        status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment).returncode
    minutes = (time.monotonic() - start) / 60
    text = log.read_text(errors="replace")
    done = re.search(r"stat::number_of_executed_units: (\d+)", text)
    covered = re.findall(r" cov: (\d+) ft: (\d+)", text)
    count = int(done[1]) if done else 0
    edges = covered[-1][0] if covered else "?"
    good = status == 0 and count >= runs
    verdict = "no finding" if good else f"FAILED, see {log}"
    return f"{target:14} {count:>11,} executions {minutes:7.1f} min  {edges:>5} edges  {verdict}", good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="(default: all)")
    parser.add_argument("--runs", type=int, default=10_000_000, help="executions of each target (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time (default: %(default)s)")
    parser.add_argument("--compiler", help="Clang for C++ (default: the newest on the PATH)")
    parser.add_argument("--corpus", type=Path, default=ROOT / "build" / "fuzz-corpus", help="(default: %(default)s)")
    args = parser.parse_args()
    targets = args.targets or sorted(MAX_LENGTHS)
    if unknown := set(targets) - set(MAX_LENGTHS):
        parser.error(f"there is no target {min(unknown)}, only {', '.join(sorted(MAX_LENGTHS))}")
    compiler = args.compiler or find_compiler()
    cmake = ["cmake", "--preset", "fuzz", f"-DCMAKE_CXX_COMPILER={compiler}"]
    for command in (cmake, ["cmake", "--build", "--preset", "fuzz"]):
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    print(subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0])
    FINDINGS.mkdir(parents=True, exist_ok=True)
    all_good = True
    with ThreadPoolExecutor(args.jobs) as pool:
        for line, good in pool.map(lambda target: run(target, args.runs, args.corpus), targets):
            print(line, flush=True)
            all_good = all_good and good
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
