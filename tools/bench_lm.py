"""Compares language models with KenLM: building, size, perplexity, equality of scores, speed of queries.

    python tools/bench_lm.py --lmplz kenlm/build/bin/lmplz

Both estimate a model from all texts of the data folder, one thread each, and are asked for the same sentences, those
of the development sets and of a part of the texts. KenLM's programs lmplz and build_binary come from its source
distribution (`pip download --no-binary kenlm --no-deps kenlm`, CMake, libboost), its Python module from `pip install
kenlm`. All times are CPU time, user and system.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeasr.cli.common import fail, positive
from edgeasr.errors import ConfigError, EdgeAsrError, MissingDependencyError
from edgeasr.lm import LanguageModel, read_lines
from edgeasr.train.manifest import data_dir

NOT_TEXT = ("cmudict.dict.xz", "tts_pairs.tsv.xz")
# Every so many-th line is asked for when speed is measured.
ASKED = 20
ROUNDS = 3


@dataclass(frozen=True)
class Run:
    """What a program needed."""

    cpu_s: float
    peak_mb: float


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--lmplz", type=Path, required=True, help="KenLM's lmplz; build_binary is taken from its folder"
    )
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--order", type=positive, default=3, metavar="N", help="(default: 3)")
    parser.add_argument("--prune", default="0,0,1", help="as for lm build (default: 0,0,1)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only N lines of each text, to try it out")
    args = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory() as folder:
            compare(args, Path(folder))
    except (EdgeAsrError, OSError) as error:
        return fail(error)
    return 0


def compare(args: argparse.Namespace, folder: Path) -> None:
    """Prints all figures."""
    try:
        import kenlm
    except ImportError as error:
        raise MissingDependencyError("KenLM's Python module is missing: pip install kenlm") from error
    data = args.data or data_dir()
    text = folder / "text.txt"
    asked = gather(data, text, args.limit)
    dev = {name: transcripts(data, name) for name in ("librispeech.dev", "commonvoice.dev", "speechocean.dev")}
    print(f"text: {text.stat().st_size / 1e6:.1f} MB, {sum(len(line.split()) for line in asked)} words asked for")

    print("\nbuilding, one thread")
    arpa, own = folder / "kenlm.arpa", folder / "own32.bin"
    prune = [str(int(number)) for number in args.prune.split(",")]
    lmplz = [str(args.lmplz), "-o", str(args.order), "-S", "1G", "-T", str(folder), "--discount_fallback"]
    with text.open("rb") as source, arpa.open("wb") as target:
        show("lmplz, writing ARPA", run([*lmplz, "--prune", *prune], stdin=source, stdout=target))
    build = [sys.executable, "-m", "edgeasr", "lm", "build", str(text), "--order", str(args.order), "--threads", "1"]
    for bits in ("32", "8"):
        output = folder / f"own{bits}.bin"
        show(f"edgeasr, {bits} bits", run([*build, "--prune", args.prune, "--bits", bits, "-o", str(output)]))

    print("\nsizes in MB")
    files = {"edgeasr, float32": own, "edgeasr, 8 bits": folder / "own8.bin", "KenLM, ARPA": arpa}
    convert = str(args.lmplz.with_name("build_binary"))
    for name, options in {
        "probing": ["probing"],
        "trie": ["-a", "255", "trie"],
        "trie, 8 bits": ["-q", "8", "-b", "8", "-a", "255", "trie"],
    }.items():
        path = folder / f"{name.replace(', 8 bits', '8')}.kenlm"
        kind = options.pop()
        run([convert, "-T", str(folder), *options, kind, str(arpa), str(path)])
        files[f"KenLM, {name}"] = path
    for name, path in files.items():
        print(f"  {name}: {path.stat().st_size / 1e6:.2f}")

    start = time.perf_counter()
    models = {"edgeasr, float32": LanguageModel.open(own), "edgeasr, 8 bits": LanguageModel.open(folder / "own8.bin")}
    print(f"\nopened two models in {1000 * (time.perf_counter() - start):.1f} ms")
    peers = {name: kenlm.Model(str(path)) for name, path in files.items() if path.suffix == ".kenlm"}

    print("\nperplexity")
    for name, lines in dev.items():
        figures = {key: model.perplexity(lines).perplexity for key, model in models.items()}
        figures |= {key: peer_perplexity(model, lines) for key, model in peers.items() if key != "KenLM, trie"}
        print(f"  {name}: " + ", ".join(f"{key} {figure:.2f}" for key, figure in figures.items()))

    print("\nlargest difference to KenLM (probing) of a word's log10 score")
    exact = LanguageModel.open(arpa)
    lines = [line for text_lines in dev.values() for line in text_lines] + asked[:: max(1, len(asked) // 5000)]
    for name, model in {"its ARPA file, float32": exact, "own estimate, float32": models["edgeasr, float32"]}.items():
        print(f"  {name}: {largest_difference(model, peers['KenLM, probing'], lines):.2e}")

    print("\nqueries, millions a second")
    num_words = sum(len(line.split()) + 1 for line in asked)
    encoded = [line.encode() for line in asked]
    for name, model in models.items():
        seconds = quickest(model.core.score_words, encoded)
        print(f"  {name}: {num_words / seconds / 1e6:.2f}")
    for name, peer in peers.items():
        print(f"  {name}: {num_words / quickest(peer.score, asked) / 1e6:.2f}")


def gather(data: Path, target: Path, limit: int | None) -> list[str]:
    """Writes all texts into one file, and returns some of their lines."""
    paths = sorted(path for path in (data / "text").glob("*.xz") if path.name not in NOT_TEXT)
    if not paths:
        raise ConfigError(f"no texts in {data / 'text'}")
    asked = []
    with target.open("wb") as out:
        for path in paths:
            lines = list(read_lines(path))[:limit]
            out.writelines(line + b"\n" for line in lines)
            asked += [line.decode() for line in lines[::ASKED]]
    return asked


def transcripts(data: Path, name: str) -> list[str]:
    with (data / "speech" / f"{name}.jsonl").open(encoding="utf-8") as manifest:
        return [text for line in manifest if (text := json.loads(line)["text"])]


def run(command: Sequence[str], **streams: Any) -> Run:
    """Runs a program to its end."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **streams)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise ConfigError(f"{' '.join(command)} ended with status {process.returncode}")
    return Run(cpu_s=usage.ru_utime + usage.ru_stime, peak_mb=usage.ru_maxrss / 1000)


def show(name: str, needed: Run) -> None:
    print(f"  {name}: {needed.cpu_s:.1f} s of CPU time, {needed.peak_mb:.0f} MB of memory at most")


def peer_perplexity(model: Any, lines: Iterable[str]) -> float:
    scores = [score for line in lines for score, _, _ in model.full_scores(line)]
    return math.exp(-math.log(10.0) * sum(scores) / len(scores))


def largest_difference(model: LanguageModel, peer: Any, lines: Iterable[str]) -> float:
    largest = 0.0
    for line in lines:
        for own, (score, _, _) in zip(model.score_words(line), peer.full_scores(line), strict=True):
            largest = max(largest, abs(own.log_prob / math.log(10.0) - score))
    return largest


def quickest(ask: Callable[[Any], object], lines: Sequence[Any]) -> float:
    """CPU seconds of the best round over all lines."""
    best = math.inf
    for _ in range(ROUNDS):
        start = time.process_time()
        for line in lines:
            ask(line)
        best = min(best, time.process_time() - start)
    return best


if __name__ == "__main__":
    sys.exit(main())
