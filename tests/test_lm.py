"""Language models: estimated, read, written, mixed and pruned; the same scores as KenLM, the same models as lmplz."""

from __future__ import annotations

import collections
import dataclasses
import gzip
import json
import lzma
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import NO_KENLM
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeasr import _core
from edgeasr.cli import main
from edgeasr.config import LmBuildConfig
from edgeasr.errors import ConfigError, InputError, LanguageModelError
from edgeasr.lm import LanguageModel, fit_weights, read_lines
from edgeasr.tokens import TokenTable

GOLDEN = Path(__file__).parent / "golden" / "lm"
CORPUS = GOLDEN / "corpus.txt"
HELD_OUT = GOLDEN / "held_out.txt"
LN10 = math.log(10.0)

Ngram = tuple[str, ...]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel.build([CORPUS])


def read_arpa(text: str) -> dict[Ngram, tuple[float, float]]:
    """The n-grams of an ARPA file with score and weight."""
    ngrams = {}
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) > 1:
            ngrams[tuple(fields[1].split())] = (float(fields[0]), float(fields[2]) if len(fields) > 2 else 0.0)
    return ngrams


def write_arpa(model: LanguageModel, path: Path) -> dict[Ngram, tuple[float, float]]:
    model.save(path)
    return read_arpa(path.read_text(encoding="utf-8"))


class KneserNey:
    """Interpolated modified Kneser-Ney smoothing as Chen and Goodman write it down, with dictionaries."""

    def __init__(self, sentences: Sequence[Sequence[str]], order: int) -> None:
        self.order = order
        raw: dict[int, collections.Counter[Ngram]] = {n: collections.Counter() for n in range(1, order + 1)}
        for sentence in sentences:
            words = ("<s>", *sentence, "</s>")
            for n in range(1, order + 1):
                raw[n].update(words[i : i + n] for i in range(len(words) - n + 1) if words[i : i + n] != ("<s>",))
        self.counts = {order: raw[order]}
        for n in range(1, order):
            distinct = collections.Counter(ngram[1:] for ngram in raw[n + 1])
            self.counts[n] = collections.Counter({g: raw[n][g] if g[0] == "<s>" else distinct[g] for g in raw[n]})
        # N-grams shorter than the order that begin a sentence belong to it, too, when they are its whole history.
        self.discounts = {n: self._discounts(self.counts[n]) for n in self.counts}
        self.words = {g[0] for g in raw[1]} | {"<unk>"}

    @staticmethod
    def _discounts(counts: collections.Counter[Ngram]) -> tuple[float, ...]:
        n = collections.Counter(counts.values())
        fallback = (0.0, 0.5, 1.0, 1.5)
        if not (n[1] and n[2] and n[3]):
            return fallback
        y = n[1] / (n[1] + 2 * n[2])
        found = (0.0, *(c - (c + 1) * y * n[c + 1] / n[c] for c in (1, 2, 3)))
        return found if all(0 <= value <= c for c, value in enumerate(found)) else fallback

    def probability(self, word: str, history: Ngram) -> float:
        n = min(len(history) + 1, self.order)
        history = history[len(history) + 1 - n :]
        if n > 1 and not any(g[:-1] == history for g in self.counts[n]):
            return self.probability(word, history[1:])
        discounts = self.discounts[n]
        group = {g[-1]: c for g, c in self.counts[n].items() if g[:-1] == history}
        total = sum(group.values())
        lower = 1.0 / len(self.words) if n == 1 else self.probability(word, history[1:])
        own = group.get(word, 0)
        taken = sum(discounts[min(c, 3)] for c in group.values())
        return (own - discounts[min(own, 3)]) / total + taken / total * lower


sentences_strategy = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=1, max_size=6), min_size=1, max_size=25
)


def test_config_mirrors_the_core() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(LmBuildConfig)}
    defaults = _core.lm_build_config_defaults()
    assert {**fields, "prune": list(fields["prune"])} == defaults
    assert list(fields) == list(defaults)


@settings(max_examples=60)
@given(sentences_strategy, st.integers(1, 4), st.data())
def test_probabilities_are_those_of_the_definition(sentences: list[list[str]], order: int, data: st.DataObject) -> None:
    model = LanguageModel.build(lines=[" ".join(s) for s in sentences], config=LmBuildConfig(order=order))
    reference = KneserNey(sentences, order)
    history = data.draw(st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=5))
    known = [word for word in history if word in reference.words]
    found = np.exp(model.probabilities(known, begin=True))
    for word in reference.words:
        expected = reference.probability(word, ("<s>", *known))
        assert found[model.core.find(word)] == pytest.approx(expected, rel=1e-4)


@settings(max_examples=60)
@given(sentences_strategy, sentences_strategy, st.integers(1, 5), st.floats(1e-6, 0.5), st.data())
def test_probabilities_sum_to_one_whatever_is_done(
    sentences: list[list[str]], others: list[list[str]], order: int, threshold: float, data: st.DataObject
) -> None:
    first = LanguageModel.build(lines=[" ".join(s) for s in sentences], config=LmBuildConfig(order=order))
    second = LanguageModel.build(lines=[" ".join(["x", *s]) for s in others], config=LmBuildConfig(order=2))
    mixed = LanguageModel.mix([first, second], [0.7, 0.3])
    context = data.draw(st.lists(st.sampled_from(["a", "b", "c", "x", "nowhere"]), max_size=4))
    for model in (first, mixed, first.pruned(threshold), mixed.pruned(threshold)):
        probabilities = np.exp(model.probabilities(context, begin=data.draw(st.booleans())))
        probabilities[model.core.find("<s>")] = 0.0
        assert probabilities.sum() == pytest.approx(1.0, abs=2e-5)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("order3", LmBuildConfig(order=3)),
        ("order3_pruned", LmBuildConfig(order=3, prune=(0, 0, 1))),
        ("order5", LmBuildConfig(order=5)),
    ],
)
def test_models_are_those_of_lmplz(name: str, config: LmBuildConfig, tmp_path: Path) -> None:
    expected = read_arpa(lzma.decompress((GOLDEN / f"{name}.arpa.xz").read_bytes()).decode())
    built = LanguageModel.build([CORPUS], config=config)
    found = write_arpa(built, tmp_path / "own.arpa")
    assert found.keys() == expected.keys()
    for ngram, (score, weight) in expected.items():
        assert found[ngram] == pytest.approx((score, weight), abs=2e-6), ngram
    golden = LanguageModel.open(GOLDEN / f"{name}.arpa.xz")
    lines = list(read_lines(HELD_OUT))
    assert built.perplexity(lines).perplexity == pytest.approx(golden.perplexity(lines).perplexity, rel=1e-4)


@pytest.mark.parametrize("name", ["order3", "order3_pruned", "order5"])
def test_scores_are_those_of_kenlm(name: str, tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason=NO_KENLM)
    arpa = tmp_path / "model.arpa"
    arpa.write_bytes(lzma.decompress((GOLDEN / f"{name}.arpa.xz").read_bytes()))
    check_against_kenlm(kenlm.Model(str(arpa)), LanguageModel.open(arpa), HELD_OUT.read_text().splitlines())


def test_scores_of_a_pruned_model_are_those_of_kenlm(tmp_path: Path, model: LanguageModel) -> None:
    kenlm = pytest.importorskip("kenlm", reason=NO_KENLM)
    pruned = model.pruned(1e-4)
    assert sum(pruned.info.num_ngrams) < sum(model.info.num_ngrams)
    pruned.save(tmp_path / "model.arpa")
    check_against_kenlm(kenlm.Model(str(tmp_path / "model.arpa")), pruned, HELD_OUT.read_text().splitlines())


def check_against_kenlm(kenlm_model: object, own: LanguageModel, lines: list[str]) -> None:
    lines = [*lines, "some words that nobody said", "the", "on on on on on on", "anna unheard anna unheard"]
    for line in lines:
        expected = list(kenlm_model.full_scores(line))  # type: ignore[attr-defined]
        found = own.score_words(line)
        assert len(found) == len(expected)
        for word, (score, _, unknown) in zip(found, expected, strict=True):
            assert word.log_prob / LN10 == pytest.approx(score, abs=1e-4)
            assert word.known != unknown


def test_fewer_bits_cost_little(data_dir: Path) -> None:
    models, held_out = [], []
    for name in ("tatoeba_en", "common_voice_cc0"):
        lines = list(read_lines(data_dir / "text" / f"{name}.txt.xz"))
        held_out.append(lines[::20])
        text = [line.decode() for place, line in enumerate(lines) if place % 20]
        models.append(LanguageModel.build(lines=text, config=LmBuildConfig(prune=(0, 0, 1))))
    # In a mixture nearly every word has a score of its own.
    mixed = LanguageModel.mix(models, [0.7, 0.3])
    coded = mixed.quantised(8)
    assert coded.info.num_bytes < 0.5 * mixed.info.num_bytes
    for asked in held_out:
        assert coded.perplexity(asked).perplexity <= 1.002 * mixed.perplexity(asked).perplexity


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_models_come_back_from_files(bits: int, tmp_path: Path, model: LanguageModel) -> None:
    coded = model.quantised(bits)
    path = tmp_path / "model.bin"
    coded.save(path)
    assert path.stat().st_size == coded.info.num_bytes
    again = LanguageModel.open(path)
    again.verify()
    assert again.info == coded.info
    assert again.words() == model.words()
    for line in HELD_OUT.read_text().splitlines():
        assert again.score(line) == coded.score(line)
    # Whoever has the old file open is not disturbed by a new one of the same name.
    before = again.score("turn on the light")
    model.pruned(0.1).save(path)
    assert again.score("turn on the light") == before
    assert LanguageModel.open(path).info != again.info
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.bin"]


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_arpa_files_may_be_compressed(suffix: str, tmp_path: Path, model: LanguageModel) -> None:
    path = tmp_path / f"model.arpa{suffix}"
    model.save(path)
    start = {"": b"\\data\\", ".gz": b"\x1f\x8b", ".xz": b"\xfd7zXZ"}[suffix]
    assert path.read_bytes().startswith(start)
    again = LanguageModel.open(path)
    assert again.info == model.info
    for line in HELD_OUT.read_text().splitlines()[:10]:
        assert again.score(line) == pytest.approx(model.score(line), abs=1e-4)


def test_text_files_may_be_compressed(tmp_path: Path, model: LanguageModel) -> None:
    content = CORPUS.read_bytes()
    lines = content.splitlines(keepends=True)
    (tmp_path / "one.txt.gz").write_bytes(gzip.compress(b"".join(lines[:200])))
    (tmp_path / "two.txt.xz").write_bytes(lzma.compress(b"".join(lines[200:400])))
    (tmp_path / "three.txt").write_bytes(b"".join(lines[400:]).removesuffix(b"\n"))
    built = LanguageModel.build([tmp_path / name for name in ("one.txt.gz", "two.txt.xz", "three.txt")])
    assert np.array_equal(built.core.image(), model.core.image())


def test_what_was_found_in_the_text(model: LanguageModel) -> None:
    text = CORPUS.read_text()
    report = model.report
    assert report is not None
    assert report.num_sentences == len(text.splitlines())
    assert report.num_words == len(text.split())
    assert report.num_types == len(set(text.split())) == model.vocab_size - 3
    assert report.num_unknown == 0
    assert report.num_distinct[0] == report.num_types + 1
    # What lmplz reports; it is little text for the lower orders.
    assert report.usual_discounts == (True, True, False)
    assert report.discounts[2] == pytest.approx((0.597661, 1.12436, 1.20702), rel=1e-5)


def test_the_most_frequent_words() -> None:
    counts = collections.Counter(CORPUS.read_text().split())
    model = LanguageModel.build([CORPUS], config=LmBuildConfig(vocab_size=10))
    assert model.vocab_size == 13
    words = set(model.words()) - {"<unk>", "<s>", "</s>"}
    assert min(counts[word] for word in words) >= max(counts[word] for word in counts if word not in words)
    assert model.report is not None
    assert model.report.num_unknown == sum(count for word, count in counts.items() if word not in words)


def test_a_vocabulary_that_was_given() -> None:
    model = LanguageModel.build([CORPUS], vocabulary=["turn", "on", "unheard"])
    assert sorted(model.words()) == ["</s>", "<s>", "<unk>", "on", "turn", "unheard"]
    assert "unheard" in model
    assert "light" not in model
    assert "<unk>" in model
    assert 3 not in model


def test_a_model_over_tokens() -> None:
    table = TokenTable(["<blank>", "|", *"abcdefghijklmnopqrstuvwxyz0123456789"], blank_id=0, word_delimiter="|")
    model = LanguageModel.build([CORPUS], tokens=table, config=LmBuildConfig(order=6))
    assert sorted(model.words()) == sorted(["<unk>", "<s>", "</s>", *table.names[1:]])
    assert model.report is not None
    assert model.report.num_words == sum(len(line) for line in CORPUS.read_text().splitlines())
    assert model.score("t u r n | o n") > model.score("n o | n r u t")


def test_perplexity_counts_words_and_ends(model: LanguageModel) -> None:
    lines = ["turn on the light", "", "nobody heard this"]
    found = model.perplexity(lines)
    scores = [score for line in lines if line for score in model.score_words(line)]
    assert (found.num_sentences, found.num_words, found.num_unknown) == (2, 7, 3)
    assert found.perplexity == pytest.approx(math.exp(-sum(s.log_prob for s in scores) / 9))
    assert found.perplexity_known == pytest.approx(math.exp(-sum(s.log_prob for s in scores if s.known) / 6))
    with pytest.raises(InputError, match="no text"):
        model.perplexity(["", "  "])


def test_scores_with_and_without_bounds(model: LanguageModel) -> None:
    assert model.score("turn on", begin=False, end=False) == pytest.approx(
        float(model.probabilities()[model.core.find("turn")] + model.probabilities(["turn"])[model.core.find("on")])
    )
    assert model.score("") == pytest.approx(model.score_words("")[0].log_prob)
    assert model.score("", end=False) == 0.0


def test_weights_favour_the_model_of_the_held_out_text(model: LanguageModel) -> None:
    other = LanguageModel.build(lines=["quite different words", "on the other hand"])
    lines = HELD_OUT.read_text().splitlines()
    weights, perplexity = fit_weights([model, other], [lines])
    assert weights[0] > 0.9
    assert sum(weights) == pytest.approx(1.0)
    mixed = LanguageModel.mix([model, other], weights)
    assert mixed.perplexity(lines).perplexity_known == pytest.approx(perplexity, rel=0.02)
    # Texts count the same, however long they are.
    weights, _ = fit_weights([model, other], [lines, ["quite different words"]])
    assert 0.3 < weights[1] < 0.7
    with pytest.raises(InputError, match="no held-out text"):
        fit_weights([model], [[]])
    with pytest.raises(ConfigError, match="weight"):
        LanguageModel.mix([model, other], [1.0])


def test_a_size_that_is_asked_for(model: LanguageModel) -> None:
    size_mb = model.quantised(8).info.num_bytes / 1e6
    small = model.resized(0.8 * size_mb)
    assert small.info.num_bytes <= 0.8e6 * size_mb
    assert small.vocab_size == model.vocab_size
    with pytest.raises(InputError, match="words alone"):
        model.resized(0.001)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": 7}, "order is 7"),
        ({"order": "three"}, "order is 'three'"),
        ({"prune": (0, 2, 1)}, "prune"),
        ({"prune": (0, -1)}, "prune"),
        ({"threads": 0}, "threads is 0"),
        ({"memory_bytes": 10}, "memory_bytes is 10"),
    ],
)
def test_config_errors_name_the_field(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LmBuildConfig(**changes)  # type: ignore[arg-type]


def test_bad_text_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"fine\ncaf\xe9\n")
    with pytest.raises(InputError, match=r"text\.txt:2"):
        LanguageModel.build([path])
    path.write_text("fine\nnot </s> fine\n")
    with pytest.raises(InputError, match=r"text\.txt:2"):
        LanguageModel.build([path])
    path.write_text("\n\n")
    with pytest.raises(InputError, match="no text"):
        LanguageModel.build([path])
    path.write_bytes(gzip.compress(CORPUS.read_bytes())[:-100])
    with pytest.raises(LanguageModelError, match=r"text\.txt"):
        LanguageModel.build([path])
    with pytest.raises(LanguageModelError, match="nowhere"):
        LanguageModel.build([tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match="vocabulary and tokens"):
        table = TokenTable(["_", "|", "a"], blank_id=0, word_delimiter="|")
        LanguageModel.build([CORPUS], vocabulary=["a"], tokens=table)


def test_bad_models_are_told_with_their_name(tmp_path: Path, model: LanguageModel) -> None:
    path = tmp_path / "model.bin"
    with pytest.raises(LanguageModelError, match=r"model\.bin"):
        LanguageModel.open(path)
    with pytest.raises(LanguageModelError):
        LanguageModel.open(tmp_path)
    model.save(path)
    content = path.read_bytes()
    for bad in (b"", b"text", content[:100], content[:-8], content + b"12345678"):
        path.write_bytes(bad)
        with pytest.raises(LanguageModelError, match=r"model\.bin"):
            LanguageModel.open(path)
    path.write_bytes(content[:-9] + b"x" + content[-8:])
    damaged = LanguageModel.open(path)
    with pytest.raises(LanguageModelError, match=r"model\.bin.*checksum"):
        damaged.verify()
    arpa = tmp_path / "model.arpa"
    model.save(arpa)
    text = arpa.read_text()
    for packed, name in ((gzip.compress(text.encode()), "gzip"), (lzma.compress(text.encode()), "xz")):
        arpa.write_bytes(packed[: len(packed) // 2])
        with pytest.raises(LanguageModelError, match=r"model\.arpa"):
            LanguageModel.open(arpa)
        assert name
    arpa.write_text(text.replace("\\2-grams:", "\\2-grams:\nnonsense", 1))
    line = text.splitlines().index("\\2-grams:") + 2
    with pytest.raises(LanguageModelError, match=rf"model\.arpa:{line}: .*nonsense|model\.arpa:{line}: "):
        LanguageModel.open(arpa)
    with pytest.raises(LanguageModelError, match="nowhere"):
        model.save(tmp_path / "nowhere" / "model.bin")


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    try:
        status = main(["lm", *map(str, args)])
    except SystemExit as stop:
        status = int(str(stop.code))
    return status, *capsys.readouterr()


def test_the_command_builds_shows_scores_converts_and_mixes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    binary, arpa = tmp_path / "lm.bin", tmp_path / "lm.arpa.gz"
    status, _, note = run(capsys, "build", CORPUS, "--prune", "0,0,1", "-o", binary, "--threads", 2)
    assert status == 0
    assert "700 sentences" in note
    status, out, _ = run(capsys, "info", binary)
    assert status == 0
    assert "8 bits" in out
    assert "order:    3" in out
    status, out, _ = run(capsys, "score", binary, HELD_OUT, "--words")
    assert status == 0
    model = LanguageModel.open(binary)
    sentence = HELD_OUT.read_text().splitlines()[0]
    assert out.splitlines()[0] == f"{model.score(sentence) / LN10:.6f}\t{sentence}"
    assert out.splitlines()[1].split("\t")[1] == sentence.split()[0]
    summary = json.loads(out.splitlines()[-1].partition(": ")[2])
    assert summary["perplexity"] == pytest.approx(model.perplexity(read_lines(HELD_OUT)).perplexity, abs=1e-3)
    assert run(capsys, "convert", binary, "-o", arpa)[0] == 0
    assert LanguageModel.open(arpa).info.num_ngrams == model.info.num_ngrams
    small = tmp_path / "small.bin"
    assert run(capsys, "convert", arpa, "-o", small, "--threshold", "1e-3", "--bits", 6)[0] == 0
    assert LanguageModel.open(small).info.bits == 6
    limited = tmp_path / "limited.bin"
    size_mb = binary.stat().st_size / 1e6
    assert run(capsys, "convert", arpa, "-o", limited, "--max-mb", 0.9 * size_mb)[0] == 0
    assert limited.stat().st_size <= 0.9 * binary.stat().st_size
    mixed = tmp_path / "mixed.bin"
    status, _, note = run(capsys, "mix", binary, small, "--held-out", HELD_OUT, "-o", mixed)
    assert status == 0
    assert "held-out perplexity" in note
    assert run(capsys, "mix", binary, small, "--weights", "0.5,0.5", "-o", mixed, "--bits", 32)[0] == 0
    assert LanguageModel.open(mixed).info.bits == 32


def test_the_command_takes_vocabularies_tokens_and_standard_input(tmp_path: Path) -> None:
    output = tmp_path / "lm.bin"
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text("turn\non\nlight l i g h t\n")
    command = [sys.executable, "-m", "edgeasr", "lm", "build", "-", "-o", str(output)]
    subprocess.run([*command, "--vocab", str(vocabulary)], input=CORPUS.read_bytes(), check=True, timeout=60)
    assert LanguageModel.open(output).vocab_size == 6
    tokens = tmp_path / "tokens.txt"
    tokens.write_text("\n".join(["<blank>", "|", *"abcdefghijklmnopqrstuvwxyz0123456789"]) + "\n")
    subprocess.run(
        [*command, "--tokens", str(tokens), "--word-delimiter", "|", "--order", "4"],
        input=CORPUS.read_bytes(),
        check=True,
        timeout=60,
    )
    assert LanguageModel.open(output).vocab_size == 40


def test_the_command_says_what_is_wrong_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in [
        (("build", "nowhere.txt", "-o", tmp_path / "x"), "nowhere.txt"),
        (("build", CORPUS, "-o", tmp_path / "x", "--order", 9), "order is 9"),
        (("build", CORPUS, "-o", tmp_path / "x", "--prune", "0,a"), "--prune"),
        (("build", CORPUS, "-o", tmp_path / "x.arpa", "--max-mb", "1"), "--max-mb"),
        (("info", "nowhere.bin"), "nowhere.bin"),
        (("mix", CORPUS, "--weights", "1", "-o", tmp_path / "x"), "corpus.txt:1"),
    ]:
        status, _, note = run(capsys, *arguments)
        assert status == 2
        assert message in note
    assert not list(tmp_path.iterdir())
