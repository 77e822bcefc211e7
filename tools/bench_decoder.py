"""Measures the CTC decoder, with other decoders beside, in one run on one thread.

    python tools/bench_decoder.py --peer-python peers/bin/python   # see decoder_peers.py for what that Python needs
    python tools/bench_decoder.py                                  # edgeasr alone
    python tools/bench_decoder.py --model en-small                 # on what a bundle's model hears in development clips

Log-probs are those of the benchmark in the data folder, or those of a bundle, with its own weights, its language model,
and the words of that as the lexicon; for a bundle the cost of hotwords is measured, too.

Times are CPU time for an utterance, from the log-probs in NumPy to the text, results freed; the smallest of several
rounds, in which every decoder gets its turn, so that whatever else the machine does meets all of them alike. Every
text is scored again, exactly: the probabilities of all alignments of all its cuts into tokens are summed (the forward
algorithm of Graves et al. 2006, over the lattice of the cuts), and language model and word bonus are added with the
weights that edgeasr searched with. Where that score is smaller than a peer's, the search has missed something.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeasr.config import CtcBeamConfig
from edgeasr.decoder import CtcBeamDecoder, CtcGreedyDecoder, DecodingContext, Hotwords, Lexicon
from edgeasr.errors import ConfigError, EdgeAsrError
from edgeasr.lm import LanguageModel

Rows = NDArray[np.float32]

# On the benchmark, for all rows with a language model; of the natural logarithm. The peers' weights in the same
# measure: flashlight's 1.15 is for log10, 0.50; pyctcdecode's is 0.5. The word bonus is the best of 1.5, 2 and 2.5 on
# these utterances; there are no others of their kind.
LM_WEIGHT = 0.5
WORD_BONUS = 2.0
# A trigram decides over three words, and a word has 20 frames here; other settings are the defaults.
LM_COMMIT_DELAY_FRAMES = 96
BEAM_THRESHOLD = 12.0  # flashlight has 10
TOLERANCE = 1e-3  # of a comparison of scores


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row of the table, and what it has to reach."""

    name: str
    data: str
    beam_size: int
    lexicon: bool = False
    most_wer: float = 100.0
    share: float = 1.0  # of the time of ...
    of: str = ""  # ... this peer; empty: the quickest one

    @property
    def mode(self) -> str:
        """What the search knows."""
        return "lexicon + 3-gram" if self.lexicon else "no LM"


CASES: tuple[Case, ...] = (
    Case(name="char 16", data="char", beam_size=16, most_wer=13.0, share=1 / 2, of="fast-ctc-decode"),
    Case(name="char 256", data="char", beam_size=256, most_wer=12.6, share=1 / 4, of="fast-ctc-decode"),
    Case(name="BPE 500 16", data="bpe", beam_size=16, most_wer=14.0, share=1 / 15),
    Case(name="char 16 LM", data="char", beam_size=16, lexicon=True, most_wer=1.1, share=1 / 2, of="flashlight"),
    Case(name="char 256 LM", data="char", beam_size=256, lexicon=True, most_wer=0.4, share=1 / 2, of="flashlight"),
    Case(name="BPE 500 64 LM", data="bpe", beam_size=64, lexicon=True, most_wer=1.2, share=1 / 10),
)
MORE_ERRORS = 2  # words by which a word error rate may be larger than the stated one
# On a bundle's log-probs, where nothing was fixed beforehand.
BUNDLE_CASES = (
    Case(name="16", data="bundle", beam_size=16),
    Case(name="64", data="bundle", beam_size=64),
    Case(name="16 LM", data="bundle", beam_size=16, lexicon=True),
    Case(name="64 LM", data="bundle", beam_size=64, lexicon=True),
)
NUM_HOTWORDS = (0, 100, 10_000)


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """What a search may know, and how much it counts."""

    lm: LanguageModel
    lexicon: Path
    sentencepiece: Path | None = None  # the tokens' model, for peers that cannot cut words themselves
    config: CtcBeamConfig
    lm_commit_delay_frames: int

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of the lexicon."""
        return frozenset(self.lexicon.read_text().split())

    def context(self) -> DecodingContext:
        """Language model and lexicon."""
        return DecodingContext(lm=self.lm, lexicon=Lexicon.read(self.lexicon))

    def config_for(self, case: Case) -> CtcBeamConfig:
        """The options for a row of the table."""
        delay = self.lm_commit_delay_frames if case.lexicon else CtcBeamConfig.max_commit_delay_frames
        return replace(self.config, beam_size=case.beam_size, max_commit_delay_frames=delay, nbest=1)


@dataclass(frozen=True)
class Data:
    """Log-probs of utterances, what the tokens are, and what was said."""

    log_probs: Sequence[Rows]
    tokens: list[str]
    references: list[str]
    knowledge: Knowledge

    def save(self, path: Path) -> None:
        """Writes log-probs and tokens for the peers."""
        rows = np.concatenate(self.log_probs)
        np.savez(path, rows=rows, lengths=[len(part) for part in self.log_probs], tokens=np.array(self.tokens))

    @property
    def num_words(self) -> int:
        """Words of all references."""
        return sum(len(reference.split()) for reference in self.references)


@dataclass
class Result:
    """What a decoder made of a row."""

    texts: list[str]
    cpu_s: float
    scores: list[float] = field(default_factory=list)

    def ms(self) -> float:
        """Milliseconds for an utterance."""
        return self.cpu_s / len(self.texts) * 1e3


def read_benchmark(folder: Path) -> dict[str, Data]:
    """The log-probs of the data folder, by the kind of their tokens."""
    knowledge = Knowledge(
        lm=LanguageModel.open(folder / "lm3.arpa.xz"),
        lexicon=folder / "words10k.txt",
        sentencepiece=folder / "bpe.model",
        config=CtcBeamConfig(
            lm_weight=LM_WEIGHT, word_bonus=WORD_BONUS, oov_cost=float("inf"), beam_threshold=BEAM_THRESHOLD
        ),
        lm_commit_delay_frames=LM_COMMIT_DELAY_FRAMES,
    )
    found = {}
    for name in ("char", "bpe"):
        data = np.load(folder / f"post_{name}.npz")
        scores = data["logp"].astype(np.float64)
        log_probs = (scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)).astype(np.float32)
        tokens = [str(token) for token in data["toks"]]
        found[name] = Data(list(log_probs), tokens, [str(reference) for reference in data["ref"]], knowledge)
    return found


def hear(model: str, data: Path, num_clips: int, temp: Path) -> Data:
    """What a bundle's model hears in clips of the English development sets, as many of each."""
    from edgeasr.recognizer import Recognizer
    from edgeasr.train.clips import read_audio, resample
    from edgeasr.train.evaluation.evaluate import find_sets, normaliser
    from edgeasr.train.evaluation.log_probs import log_probs

    recognizer = Recognizer(model)
    bundle = recognizer.bundle
    if bundle.language_model_path is None or bundle.model.output_kind != "log_probs":
        raise ConfigError(f"{bundle.name} has no language model, or no normalised output")
    sets = find_sets(data, ["librispeech.dev", "commonvoice.dev", "speechocean.dev"], normaliser("en"))
    share = -(-num_clips // len(sets))
    clips = [clip for found in sets for clip in found.utterances[:: max(1, len(found.utterances) // share)][:share]]
    tokens = [" " if name == bundle.tokens.word_delimiter else name for name in bundle.tokens.names]
    lm = LanguageModel.open(bundle.language_model_path)
    lexicon = temp / "words.txt"
    lexicon.write_text("".join(f"{word}\n" for word in lm.words() if not word.startswith("<")))
    rows = [log_probs(recognizer, resample(*read_audio(clip.audio), bundle.sample_rate)) for clip in clips]
    config = replace(bundle.decoder.beam, oov_cost=float("inf"))
    knowledge = Knowledge(lm=lm, lexicon=lexicon, config=config, lm_commit_delay_frames=config.max_commit_delay_frames)
    return Data(rows, tokens, [clip.text or "" for clip in clips], knowledge)


def word_errors(reference: str, hypothesis: str) -> int:
    expected, found = reference.split(), hypothesis.split()
    row = list(range(len(found) + 1))
    for i, word in enumerate(expected, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(found, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


def text_log_prob(
    log_probs: Rows, text: str, tokens: Sequence[str], *, blank_id: int = 0, word_delimiter: str = "▁"
) -> float:
    """Log of the probability of a text: of all alignments of all token sequences that spell it.

    Spaces at the ends, and more than one between two words, do not count. Nothing is shared with the decoder: the
    lattice has a place for each letter of the text, and an edge for each token that leads from one place to another.
    """
    spelled = " ".join(text.split()) + " " if text.split() else ""
    if any(word_delimiter in token and len(token) > len(word_delimiter) for token in tokens) or " " not in tokens:
        names = [token.replace(word_delimiter, " ") for token in tokens]
    else:
        names = list(tokens)
    by_start: dict[str, list[tuple[int, str]]] = {}
    for token, name in enumerate(names):
        if token != blank_id:
            by_start.setdefault(name[:1], []).append((token, name))
    edges: list[tuple[int, int, int]] = []
    for place in range(len(spelled) + 1):
        between = place == 0 or spelled[place - 1] == " "
        for start in {" ", spelled[place : place + 1]}:
            for token, name in by_start.get(start, ()):
                letters = name[1:] if between and name.startswith(" ") else name
                if spelled.startswith(letters, place):
                    edges.append((place, place + len(letters), token))
    num_places = len(spelled) + 1
    begin = np.array([edge[0] for edge in edges], np.int64)
    end = np.array([edge[1] for edge in edges], np.int64)
    ids = np.array([edge[2] for edge in edges], np.int64)
    # The edges that may come before each: those that end where it begins, with another token.
    into: list[list[int]] = [[] for _ in range(num_places)]
    for index, (_, to, _) in enumerate(edges):
        into[to].append(index)
    before = [[other for other in into[edge[0]] if edges[other][2] != edge[2]] for edge in edges]
    flat = np.array([other for others in before for other in others] or [0], np.int64)
    owner = np.array([index for index, others in enumerate(before) for _ in others], np.int64)
    probs = np.exp(log_probs.astype(np.float64))
    blank = np.zeros(num_places)
    blank[0] = 1.0
    held = np.zeros(len(edges))
    scale = 0.0
    for row in probs:
        come = np.bincount(owner, held[flat[: len(owner)]], len(edges)) if len(owner) else np.zeros(len(edges))
        total = blank + np.bincount(end, held, num_places) if len(edges) else blank
        held = (held + blank[begin] + come) * row[ids] if len(edges) else held
        blank = total * row[blank_id]
        largest = max(blank.max(), held.max(initial=0.0))
        if largest == 0.0:
            return float("-inf")
        blank, held, scale = blank / largest, held / largest, scale + np.log(largest)
    ends = {num_places - 1, max(num_places - 2, 0)}
    left = sum(blank[place] for place in ends) + sum(held[i] for i, edge in enumerate(edges) if edge[1] in ends)
    return float(scale + np.log(left)) if left > 0.0 else float("-inf")


def exact_score(data: Data, index: int, text: str, *, lexicon: bool) -> float:
    score = text_log_prob(data.log_probs[index], text, data.tokens)
    if lexicon:
        config, words = data.knowledge.config, text.split()
        score += config.lm_weight * data.knowledge.lm.score(text) + config.word_bonus * len(words)
        if not data.knowledge.words.issuperset(words):
            score -= config.oov_cost
    return score


class Peers:
    """Other decoders, in a process of their own."""

    def __init__(self, python: str) -> None:
        """Starts the process and asks it what it has."""
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("decoder_peers.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.names: list[str] = self._read()["peers"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EdgeAsrError("the peers' Python has failed; run tools/decoder_peers.py in it to see why")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def decode(self, job: dict[str, Any]) -> Result | None:
        """Has a peer decode; None when it cannot do that."""
        assert self._process.stdin is not None
        print(json.dumps(job), file=self._process.stdin, flush=True)
        answer = self._read()
        return Result(answer["texts"], answer["cpu_s"]) if answer else None

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def timed(decoder: CtcBeamDecoder | CtcGreedyDecoder, log_probs: Sequence[Rows]) -> Result:
    begun = time.process_time()
    texts = [decoder.decode(rows)[0].text for rows in log_probs]
    return Result(texts, time.process_time() - begun)


def best_of(results: Sequence[Result | None]) -> Result | None:
    there = [result for result in results if result is not None]
    return min(there, key=lambda result: result.cpu_s) if there else None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--peer-python", metavar="PYTHON", help="a Python that has the other decoders")
    parser.add_argument("--rounds", type=int, default=3, help="how often each decoder gets its turn (default: 3)")
    parser.add_argument("--case", action="append", metavar="NAME", help="only this row; may be given several times")
    parser.add_argument("--model", metavar="NAME|PATH", help="a bundle, whose log-probs take the benchmark's place")
    parser.add_argument("--clips", type=int, default=60, metavar="N", help="of the development sets (default: 60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    args = parser.parse_args(argv)
    folder = args.data or default_data()
    records = []
    with tempfile.TemporaryDirectory() as name:
        temp = Path(name)
        if args.model is None:
            data, cases = read_benchmark(folder / "ctc"), CASES
        else:
            data, cases = {"bundle": hear(args.model, folder, args.clips, temp)}, BUNDLE_CASES
        print_floor(data, args.rounds)
        peers = Peers(args.peer_python) if args.peer_python else None
        try:
            if peers is not None:
                for kind, rows in data.items():
                    rows.knowledge.lm.save(temp / "lm.arpa")
                    rows.save(temp / f"{kind}.npz")
            for kind, rows in data.items():
                config = rows.knowledge.config
                print(f"weights of edgeasr, {kind}: lm_weight {config.lm_weight}, word_bonus {config.word_bonus}")
            print(f"\n{'row':<14} {'decoder':<16} {'ms':>9} {'WER %':>6}  edgeasr's score is at least as good on")
            for case in cases:
                if args.case is None or case.name in args.case:
                    records.append(measure(case, data[case.data], peers, args.rounds, temp))
        finally:
            if peers is not None:
                peers.close()
        if args.model is not None:
            print_hotwords(data["bundle"], args.rounds)
    if args.json is not None:
        args.json.write_text(json.dumps(records, indent=1) + "\n")
    return 0


def default_data() -> Path:
    import os

    return Path(os.environ.get("EDGEASR_DATA", Path(__file__).parents[2] / "shared" / "data"))


def print_floor(data: dict[str, Data], rounds: int) -> None:
    for name, utterances in data.items():
        decoder = CtcGreedyDecoder(utterances.tokens)
        result = best_of([timed(decoder, utterances.log_probs) for _ in range(rounds)])
        assert result is not None
        errors = sum(map(word_errors, utterances.references, result.texts))
        print(f"greedy, {name}: {result.ms():.2f} ms, WER {100 * errors / utterances.num_words:.1f} %")


def print_hotwords(data: Data, rounds: int) -> None:
    """What phrases cost, of two words each, that nobody says in these clips."""
    words = sorted(data.knowledge.words)
    rng = np.random.default_rng(0)
    decoders = {}
    for count in NUM_HOTWORDS:
        phrases = [f"{words[a]} {words[b]}" for a, b in rng.integers(0, len(words), (count, 2))]
        context = data.knowledge.context().replace(hotwords=Hotwords(phrases) if phrases else None)
        decoders[count] = CtcBeamDecoder(data.tokens, data.knowledge.config_for(BUNDLE_CASES[-1]), context=context)
    results = [[timed(decoder, data.log_probs) for decoder in decoders.values()] for _ in range(rounds)]
    for count, *found in zip(decoders, *results, strict=True):
        best = best_of(found)
        assert best is not None
        print(f"{BUNDLE_CASES[-1].name}, {count} hotwords: {best.ms():.2f} ms")


def measure(case: Case, data: Data, peers: Peers | None, rounds: int, temp: Path) -> dict[str, Any]:
    knowledge = data.knowledge
    context = knowledge.context() if case.lexicon else None
    decoder = CtcBeamDecoder(data.tokens, knowledge.config_for(case), context=context)
    names = peers.names if peers is not None else []
    ours: list[Result] = []
    theirs: dict[str, list[Result | None]] = {name: [] for name in names}
    for turn in range(rounds):
        ours.append(timed(decoder, data.log_probs))
        for name in names:
            assert peers is not None
            # The slow ones are as slow the second time.
            first = theirs[name][0] if turn > 0 else None
            if turn > 0 and (first is None or first.cpu_s > 20 * ours[0].cpu_s):
                continue
            theirs[name].append(
                peers.decode(
                    {
                        "name": f"{case.name}, {name}",
                        "peer": name,
                        "data": str(temp / f"{case.data}.npz"),
                        "beam_size": case.beam_size,
                        "lexicon": str(knowledge.lexicon) if case.lexicon else "",
                        "lm": str(temp / "lm.arpa"),
                        "sentencepiece": str(knowledge.sentencepiece or ""),
                    }
                )
            )
        ours.append(timed(decoder, data.log_probs))
    results = {"edgeasr": best_of(ours), **{name: best_of(found) for name, found in theirs.items()}}
    there = {name: result for name, result in results.items() if result is not None}
    record: dict[str, Any] = {"case": case.name, "mode": case.mode, "beam_size": case.beam_size, "decoders": {}}
    for result in there.values():
        result.scores = [
            exact_score(data, index, text, lexicon=case.lexicon) for index, text in enumerate(result.texts)
        ]
    best = there["edgeasr"]
    for name, result in there.items():
        errors = sum(map(word_errors, data.references, result.texts))
        wer = 100 * errors / data.num_words
        wins = sum(a >= b - TOLERANCE for a, b in zip(best.scores, result.scores, strict=True))
        record["decoders"][name] = {"ms": result.ms(), "errors": errors, "wer": wer, "scores": result.scores}
        said = "" if name == "edgeasr" else f"  {wins} of {len(result.scores)}"
        print(f"{case.name if name == 'edgeasr' else '':<14} {name:<16} {result.ms():9.2f} {wer:6.2f}{said}")
    if case.most_wer >= 100.0:
        print(flush=True)
        return record
    allowed = int(case.most_wer * data.num_words / 100 + 1e-9) + MORE_ERRORS
    reached = [f"errors {record['decoders']['edgeasr']['errors']} of at most {allowed}"]
    others = {name: result for name, result in there.items() if name != "edgeasr"}
    if others and (not case.of or case.of in others):
        other = others[case.of] if case.of else min(others.values(), key=lambda result: result.cpu_s)
        limit = other.ms() * case.share
        reached.append(f"time {best.ms():.2f} ms of at most {limit:.2f} ms")
        record["most_ms"] = limit
    print(f"{'':<14} {', '.join(reached)}\n", flush=True)
    return record


if __name__ == "__main__":
    sys.exit(main())
