"""The search over texts: every kind of knowledge against brute force, streaming, and what users may get wrong."""

from __future__ import annotations

import dataclasses
import itertools
import math
import pickle
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_modules import load_tool

from edgeasr.config import CtcBeamConfig
from edgeasr.decoder import CtcBeamDecoder, CtcGreedyDecoder, DecodingContext, Hotwords, Hypothesis, Lexicon, ScoreParts
from edgeasr.errors import ConfigError, InputError
from edgeasr.grammar import Grammar
from edgeasr.lm import LanguageModel

EXACT = CtcBeamConfig(
    beam_size=20000,
    nbest=20000,
    beam_threshold=math.inf,
    token_threshold=math.inf,
    max_tokens_per_frame=0,
    blank_skip_threshold=1.0,
    max_commit_delay_frames=0,
)
# A delimiter of its own, at the start of a token, at the end, and inside; and one text cut in several ways.
VOCABULARIES = (
    ("<blank>", "▁", "a", "b"),
    ("<blank>", "▁a", "a", "ba", "b"),
    ("<blank>", "▁", "a", "ab", "▁b"),
    ("<blank>", "a▁", "a", "b", "b▁a"),
    ("<blank>", "|", "a", "é", "aé"),
)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    return (scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)).astype(np.float32)


def random_log_probs(seed: int, num_frames: int, vocab_size: int, spread: float = 2.0) -> np.ndarray:
    return log_softmax(np.random.default_rng(seed).normal(0.0, spread, (num_frames, vocab_size)))


def spoken(tokens: Sequence[str], token_ids: Sequence[int], *, seed: int = 0, doubt: float = 4.0) -> np.ndarray:
    """Log-probs in which these tokens are said, each on two frames, with a blank between and some doubt."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0.0, 0.5, (3 * len(token_ids), len(tokens)))
    for place, token_id in enumerate(token_ids):
        scores[3 * place : 3 * place + 2, token_id] += 6.0
        scores[3 * place : 3 * place + 2, rng.integers(1, len(tokens))] += 4.0 - doubt * rng.random()
        scores[3 * place + 2, 0] += 8.0
    return log_softmax(scores)


def delimiter_of(tokens: Sequence[str]) -> str:
    return "|" if "|" in tokens else "▁"


def text_of(tokens: Sequence[str], token_ids: Sequence[int]) -> str:
    return " ".join("".join(tokens[i] for i in token_ids).replace(delimiter_of(tokens), " ").split())


def enumerate_texts(
    log_probs: np.ndarray, tokens: Sequence[str], weight: Callable[[tuple[int, ...]], float] | None = None
) -> dict[str, float]:
    """Every text with the log of its probability, by going through all alignments; `weight` is of a token sequence."""
    probabilities = np.exp(log_probs.astype(np.float64))
    sequences: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        ids = tuple(token for token, _ in itertools.groupby(path) if token != 0)
        sequences[ids] = sequences.get(ids, 0.0) + float(np.prod(probabilities[range(len(path)), path]))
    texts: dict[str, float] = {}
    for ids, probability in sequences.items():
        text = text_of(tokens, ids)
        texts[text] = texts.get(text, 0.0) + probability * math.exp(weight(ids) if weight else 0.0)
    return {text: math.log(total) for text, total in texts.items()}


def occurrences(text: str, phrase: str) -> int:
    padded, wanted = f" {text} ", f" {phrase} "
    return sum(padded.startswith(wanted, place) for place in range(len(padded)))


@dataclasses.dataclass(frozen=True)
class Knowledge:
    """A decoding context, and in Python what it should make of a text."""

    lm: LanguageModel | None = None
    words: tuple[str, ...] | None = None
    hotwords: dict[str, float | None] | None = None
    grammar: str | None = None

    def context(self) -> DecodingContext:
        return DecodingContext(
            lm=self.lm,
            lexicon=None if self.words is None else Lexicon(self.words),
            hotwords=None if self.hotwords is None else Hotwords(self.hotwords),
            grammar=None if self.grammar is None else Grammar.from_text(self.grammar, letters="keep"),
        )

    def parts(self, text: str, config: CtcBeamConfig) -> ScoreParts | None:
        """The parts of the weight; None when the text is not possible."""
        words = text.split()
        known: set[str] | None = None
        if self.words is not None:
            known = set(self.words)
        elif self.lm is not None:
            known = set(self.lm.words())
        # What is not in the list is <unk>, whether the language model has it or not.
        scored = text if known is None else " ".join(word if word in known else "<unk>" for word in words)
        if known is not None and self.hotwords is not None:
            known |= {word for phrase in self.hotwords for word in phrase.split()}
        unknown = [] if known is None else [word for word in words if word not in known]
        if unknown and math.isinf(config.oov_cost):
            return None
        if self.grammar is not None and not Grammar.from_text(self.grammar, letters="keep").accepts(text):
            return None
        boost = sum(
            occurrences(text, phrase) * (config.hotword_boost if own is None else own)
            for phrase, own in (self.hotwords or {}).items()
        )
        return ScoreParts(
            lm=0.0 if self.lm is None else self.lm.score(scored),
            num_words=len(words),
            boost=boost,
            oov=sum(config.oov_cost + config.oov_char_cost * len(word) for word in unknown),
        )


def total(parts: ScoreParts, config: CtcBeamConfig, *, lm: bool = True) -> float:
    return (
        parts.acoustic
        + (config.lm_weight * parts.lm if lm else 0.0)
        + config.word_bonus * parts.num_words
        + parts.boost
        - parts.oov
    )


SMALL_LM = LanguageModel.build(lines=["a b ab", "ab a", "b b a", "a ba", "ab b", "é a", "a a é aé"])
GRAMMAR = "intent x:\n  a [b] (ab|ba)\n  b b\n  ba\n  a\n  é a\n"
KNOWLEDGE = {
    "nothing": Knowledge(),
    "lm": Knowledge(lm=SMALL_LM),
    "lexicon": Knowledge(words=("a", "ab", "b", "bab")),
    "lm and lexicon": Knowledge(lm=SMALL_LM, words=("a", "ab", "bb", "é")),
    "hotwords": Knowledge(hotwords={"a b": None, "b a": 1.5, "ab": -0.7, "a b a": 2.0, "b": 0.3}),
    "grammar": Knowledge(grammar=GRAMMAR),
    "lm, lexicon, hotwords": Knowledge(lm=SMALL_LM, words=("a", "b"), hotwords={"ba": 2.0, "a aab": None, "b a": 1.0}),
    "hotwords, grammar": Knowledge(hotwords={"a ab": 2.0, "b": -1.0}, grammar=GRAMMAR),
    "all": Knowledge(lm=SMALL_LM, words=("a", "ab", "b"), hotwords={"b b": 2.0, "ba": 0.5}, grammar=GRAMMAR),
}


@pytest.mark.parametrize("name", KNOWLEDGE)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    num_frames=st.integers(0, 4),
    tokens=st.sampled_from(VOCABULARIES),
    lm_weight=st.sampled_from([0.0, 0.5, 1.3]),
    word_bonus=st.sampled_from([-1.0, 0.0, 2.0]),
    costs=st.sampled_from([(math.inf, 0.0), (0.0, 0.0), (3.0, 0.5)]),
)
def test_every_kind_of_knowledge_equals_brute_force(
    name: str,
    seed: int,
    num_frames: int,
    tokens: tuple[str, ...],
    lm_weight: float,
    word_bonus: float,
    costs: tuple[float, float],
) -> None:
    knowledge = KNOWLEDGE[name]
    config = dataclasses.replace(
        EXACT, lm_weight=lm_weight, word_bonus=word_bonus, oov_cost=costs[0], oov_char_cost=costs[1], hotword_boost=1.1
    )
    log_probs = random_log_probs(seed, num_frames, len(tokens))
    acoustic = enumerate_texts(log_probs, tokens)
    context = None if name == "nothing" else knowledge.context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        decoder = CtcBeamDecoder(tokens, config, context=context, word_delimiter=delimiter_of(tokens))
    found = decoder.decode(log_probs)
    if name == "nothing":
        expected = {text: ScoreParts(acoustic=log_prob) for text, log_prob in acoustic.items()}
    else:
        weighed = {text: knowledge.parts(text, config) for text in acoustic}
        expected = {
            text: dataclasses.replace(parts, acoustic=acoustic[text]) for text, parts in weighed.items() if parts
        }
    if not expected:
        assert found and not any(hypothesis.complete for hypothesis in found)
        return
    assert {hypothesis.text for hypothesis in found} == set(expected)
    assert len(found) == len(expected)
    for hypothesis in found:
        parts = expected[hypothesis.text]
        assert hypothesis.complete
        assert hypothesis.parts.acoustic == pytest.approx(parts.acoustic, abs=1e-6)
        assert hypothesis.parts.lm == pytest.approx(parts.lm, abs=1e-5)
        assert hypothesis.parts.num_words == (0 if name == "nothing" else parts.num_words)
        assert hypothesis.parts.boost == pytest.approx(parts.boost, abs=1e-9)
        assert hypothesis.parts.oov == pytest.approx(parts.oov, abs=1e-9)
        assert hypothesis.score == pytest.approx(total(hypothesis.parts, config), abs=1e-9)
    assert [-h.score for h in found] == sorted(-h.score for h in found)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(0, 4), st.sampled_from([0.4, 1.0]), st.booleans())
def test_a_language_model_of_tokens_equals_brute_force(
    seed: int, num_frames: int, lm_weight: float, hotwords: bool
) -> None:
    tokens = ("<blank>", "▁a", "a", "▁", "b")
    lm = LanguageModel.build(lines=["▁a b a", "a b ▁ b", "b ▁a a", "a a ▁ b"])
    phrases = {"ab": 1.0, "a b": None}
    config = dataclasses.replace(EXACT, lm_weight=lm_weight, word_bonus=0.7, hotword_boost=1.1)
    log_probs = random_log_probs(seed, num_frames, len(tokens))

    def weight(ids: tuple[int, ...]) -> float:
        text = text_of(tokens, ids)
        boost = sum(occurrences(text, phrase) * (own or 1.1) for phrase, own in phrases.items()) if hotwords else 0.0
        return lm_weight * lm.score(" ".join(tokens[i] for i in ids)) + 0.7 * len(text.split()) + boost

    context = DecodingContext(lm=lm, lm_of_tokens=True, hotwords=Hotwords(phrases) if hotwords else None)
    found = CtcBeamDecoder(tokens, config, context=context).decode(log_probs)
    expected = enumerate_texts(log_probs, tokens, weight)
    assert {h.text: h.score for h in found} == pytest.approx(expected, abs=1e-5)
    assert len(found) == len(expected)


def test_mixed_language_models_equal_their_mean() -> None:
    other = LanguageModel.build(lines=["ba ba a", "a ba", "b"])
    tokens = VOCABULARIES[0]
    log_probs = random_log_probs(3, 4, len(tokens))
    config = dataclasses.replace(EXACT, lm_weight=1.0, oov_cost=math.inf)
    context = DecodingContext(lm=[(SMALL_LM, 3.0), (other, 1.0)], lexicon=Lexicon(["a", "b", "ba"]))
    found = {h.text: h for h in CtcBeamDecoder(tokens, config, context=context).decode(log_probs)}

    def log_prob(model: LanguageModel, before: list[str], word: str) -> float:
        start = model.score(" ".join(before), end=False)
        if word == "</s>":
            return model.score(" ".join(before)) - start
        return model.score(" ".join([*before, word]), end=False) - start

    assert "a ba" in found
    for text, hypothesis in found.items():
        words = text.split()
        expected = sum(
            math.log(
                0.75 * math.exp(log_prob(SMALL_LM, words[:place], word))
                + 0.25 * math.exp(log_prob(other, words[:place], word))
            )
            for place, word in enumerate([*words, "</s>"])
        )
        assert hypothesis.parts.lm == pytest.approx(expected, abs=1e-4)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(0, 12), st.sampled_from(VOCABULARIES))
def test_the_probability_of_a_text_in_the_benchmark_is_that_of_brute_force(
    seed: int, length: int, tokens: tuple[str, ...]
) -> None:
    tool = load_tool("bench_decoder")
    log_probs = random_log_probs(seed, 1 + length % 4, len(tokens))
    for text, log_prob in enumerate_texts(log_probs, tokens).items():
        found = tool.text_log_prob(log_probs, text, tokens, word_delimiter=delimiter_of(tokens))
        assert found == pytest.approx(log_prob, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in KNOWLEDGE if name != "nothing"])
@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    num_frames=st.integers(0, 150),
    tokens=st.sampled_from(VOCABULARIES),
    beam_size=st.integers(1, 12),
    places=st.lists(st.integers(0, 10**6), max_size=8),
)
def test_the_cut_of_the_frames_changes_nothing(
    name: str, seed: int, num_frames: int, tokens: tuple[str, ...], beam_size: int, places: list[int]
) -> None:
    log_probs = random_log_probs(seed, num_frames, len(tokens), 3.0)
    config = CtcBeamConfig(beam_size=beam_size, nbest=3, max_commit_delay_frames=20, word_bonus=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        decoder = CtcBeamDecoder(tokens, config, context=KNOWLEDGE[name].context(), word_delimiter=delimiter_of(tokens))
    whole = decoder.decode(log_probs)
    assert decoder.decode(log_probs) == whole
    decoder.reset()
    for block in np.split(log_probs, sorted(place % (len(log_probs) + 1) for place in places)):
        decoder.accept(block)
        assert decoder.partial() == decoder.partial()
    assert decoder.finish() == whole
    assert len({hypothesis.text for hypothesis in whole}) == len(whole)
    assert [-h.score for h in whole] == sorted(-h.score for h in whole)
    for hypothesis in whole:
        assert hypothesis.score == pytest.approx(total(hypothesis.parts, config), abs=1e-7)
        assert hypothesis.text == " ".join(word.text for word in hypothesis.words)


@settings(max_examples=40)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["nothing", "lm", "lm, lexicon, hotwords", "lexicon", "hotwords"]),
    st.sampled_from(VOCABULARIES),
    st.integers(1, 10),
    st.sampled_from([0, 8, 25]),
)
def test_committed_words_never_change(
    seed: int, name: str, tokens: tuple[str, ...], beam_size: int, delay: int
) -> None:
    rng = np.random.default_rng(seed)
    log_probs = spoken(tokens, rng.integers(1, len(tokens), 60).tolist(), seed=seed)
    config = CtcBeamConfig(beam_size=beam_size, nbest=beam_size, max_commit_delay_frames=delay)
    context = None if name == "nothing" else KNOWLEDGE[name].context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        decoder, taking = (
            CtcBeamDecoder(tokens, config, context=context, word_delimiter=delimiter_of(tokens)) for _ in range(2)
        )
    committed: tuple[object, ...] = ()
    taken: list[Hypothesis] = []
    for frame in range(len(log_probs)):
        decoder.accept(log_probs[frame : frame + 1])
        taking.accept(log_probs[frame : frame + 1])
        if frame % 7 == 0:
            taken.append(taking.take_committed())
        assert decoder.num_committed >= len(committed)
        for hypothesis in decoder.partial():
            found = tuple(
                zip(
                    hypothesis.token_ids,
                    hypothesis.token_start_frames,
                    hypothesis.token_end_frames,
                    hypothesis.token_posteriors,
                    strict=True,
                )
            )
            assert found[: len(committed)] == committed
            assert list(hypothesis.token_start_frames) == sorted(hypothesis.token_start_frames)
        best = decoder.partial()[0]
        committed = tuple(
            zip(
                best.token_ids,
                best.token_start_frames,
                best.token_end_frames,
                best.token_posteriors,
                strict=True,
            )
        )[: decoder.num_committed]
    whole = decoder.finish()[0]
    rest = taking.finish()[0]
    assert tuple(itertools.chain(*(piece.token_ids for piece in (*taken, rest)))) == whole.token_ids
    assert rest.score == whole.score
    if name != "nothing" and delay == 0:
        return
    words = " ".join(piece.text for piece in (*taken, rest) if piece.text)
    assert words.replace(" ", "") == whole.text.replace(" ", "")


def test_with_a_language_model_whole_words_are_committed() -> None:
    tokens = ("<blank>", "▁", "a", "b")
    said = [tokens.index("▁" if letter == " " else letter) for letter in "ab a b ab b a ab a ab b a a b ab ab a b"]
    log_probs = spoken(tokens, said, doubt=2.0)
    decoder = CtcBeamDecoder(tokens, CtcBeamConfig(max_commit_delay_frames=12), context=DecodingContext(lm=SMALL_LM))
    taken = []
    for frame in range(len(log_probs)):
        decoder.accept(log_probs[frame : frame + 1])
        piece = decoder.take_committed()
        if piece.token_ids:
            assert piece.tokens[-1] == "▁"
            taken.append(piece.text)
    assert len(taken) > 5
    assert 0 < decoder.largest_commit_delay_frames <= 12 + 16 + 9
    assert " ".join([*taken, decoder.finish()[0].text]) == "ab a b ab b a ab a ab b a a b ab ab a b"


def test_all_cuts_of_a_text_into_tokens_count_together() -> None:
    tokens = ("<blank>", "▁", "a", "ab", "b", "▁a")
    log_probs = random_log_probs(1, 5, len(tokens))
    found = CtcBeamDecoder(tokens, EXACT).decode(log_probs)
    assert len({h.text for h in found}) == len(found)
    assert {h.text: h.score for h in found} == pytest.approx(enumerate_texts(log_probs, tokens), abs=1e-6)
    assert all(text_of(tokens, h.token_ids) == h.text for h in found)


def test_spaces_that_do_not_count_are_no_tokens_of_the_result() -> None:
    tokens = ("<blank>", "▁", "a", "b")
    said = [1, 2, 1, 1, 3, 1]
    (found,) = CtcBeamDecoder(tokens).decode(spoken(tokens, said, doubt=1.0))
    assert found.text == "a b"
    assert found.tokens in (("a", "▁", "b"), ("a", "▁", "b", "▁"))
    assert [(word.text, word.start_frame, word.end_frame) for word in found.words] == [("a", 3, 5), ("b", 12, 14)]
    assert found.words[0].posterior == pytest.approx(found.token_posteriors[0])
    assert found.words[1].token_ids == (3,)


def test_a_lexicon_writes_words_as_it_likes(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("Ab\tab\r\n\nb\nA\ta\taa\n", encoding="utf-8")
    lexicon = Lexicon.read(path)
    assert (len(lexicon), lexicon.written("aa"), lexicon.written("ab"), "ba" in lexicon) == (3, "A", "Ab", False)
    tokens = ("<blank>", "▁", "a", "b")
    decoder = CtcBeamDecoder(
        tokens, CtcBeamConfig(oov_cost=math.inf, nbest=5), context=DecodingContext(lexicon=lexicon)
    )
    found = decoder.decode(spoken(tokens, [2, 3, 1, 2, 1, 3], doubt=1.0))
    assert found[0].text == "Ab A b"
    assert all(set(h.text.split()) <= {"Ab", "b", "A"} for h in found)
    # "a" and "aa" are one word: their probabilities are summed.
    rows = random_log_probs(5, 4, 4)
    texts = enumerate_texts(rows, tokens)
    exact = CtcBeamDecoder(
        tokens, dataclasses.replace(EXACT, oov_cost=math.inf), context=DecodingContext(lexicon=lexicon)
    ).decode(rows)
    assert {h.text: h.score for h in exact}["A"] == pytest.approx(np.logaddexp(texts["a"], texts["aa"]), abs=1e-6)


def test_of_words_with_one_spelling_the_first_is_found_and_the_others_are_told(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("us\nus\r\n\nUS\tus\tyouess\nnguyen\twen\nnguyen\twinn\nNguyen\twen\n")
    message = (
        rf"2 spellings stand for earlier words of {path}, which count: line 4: 'US' as 'us', which is 'us' of line 1; "
        "line 7: 'Nguyen' as 'wen', which is 'nguyen' of line 5$"
    )
    with pytest.warns(UserWarning, match=message):
        lexicon = Lexicon.read(path)
    assert [(entry.line, entry.word, entry.earlier_line) for entry in lexicon.hidden] == [
        (4, "US", 1),
        (7, "Nguyen", 5),
    ]
    written = {spelling: lexicon.written(spelling) for spelling in ("us", "youess", "wen", "winn", "Nguyen")}
    assert written == {"us": "us", "youess": "US", "wen": "nguyen", "winn": "nguyen", "Nguyen": "Nguyen"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pickle.loads(pickle.dumps(lexicon)).hidden == lexicon.hidden  # told once
        assert Lexicon({"US": ["us"], "nguyen": ["wen", "winn"]}).hidden == []
        reverse = Lexicon(["US", "us"])
    assert reverse.hidden == []
    with pytest.warns(UserWarning, match=r"12 spellings .* of words, .* 2: 'w1' as 'x', .*; and 2 more"):
        Lexicon({f"w{number}": ["x"] for number in range(13)})
    tokens = ("<blank>", "|", "u", "s", "y", "o", "e")
    decoder = CtcBeamDecoder(
        tokens,
        CtcBeamConfig(oov_cost=math.inf),
        context=DecodingContext(lexicon=Lexicon({"US": ["us"]})),
        word_delimiter="|",
    )
    assert decoder.decode(spoken(tokens, [2, 3], doubt=1.0))[0].text == "US"


def test_a_strict_lexicon_that_cannot_end_says_so() -> None:
    tokens = ("<blank>", "a", "b")
    log_probs = np.log(np.array([[1e-30, 1.0, 1e-30]] * 2, np.float64)).astype(np.float32)
    log_probs[:, [0, 2]] = -np.inf
    decoder = CtcBeamDecoder(tokens, CtcBeamConfig(oov_cost=math.inf), context=DecodingContext(lexicon=Lexicon(["ab"])))
    (found,) = decoder.decode(log_probs)
    assert (found.text, found.complete) == ("a", False)
    # Nothing of the lexicon goes on from "ab": the frames after it are passed over.
    more = np.concatenate(
        [
            log_probs,
            np.log([[0, 0, 1], [0, 1, 0]], where=[[0, 0, 1], [0, 1, 0]], out=np.full((2, 3), -np.inf)).astype(
                np.float32
            ),
        ]
    )
    (found,) = decoder.decode(more)
    assert (found.text, found.complete) == ("ab", False)
    assert math.isfinite(found.score)
    open_decoder = CtcBeamDecoder(tokens, context=DecodingContext(lexicon=Lexicon(["ab"])))
    (found,) = open_decoder.decode(more)
    assert (found.text, found.complete, found.parts.oov) == ("aba", True, 5.0 + 3.0)


def test_a_grammar_keeps_to_its_sentences() -> None:
    tokens = ("<blank>", "▁", "a", "b")
    grammar = Grammar.from_text("intent x:\n  a b\n  b [a]\n")
    decoder = CtcBeamDecoder(tokens, CtcBeamConfig(nbest=9), context=DecodingContext(grammar=grammar))
    found = decoder.decode(spoken(tokens, [2, 1, 2, 1, 3], seed=3))
    assert {h.text for h in found} <= {"a b", "b", "b a"}
    assert found[0].complete


def test_hotwords_bring_words_that_nobody_knows() -> None:
    tokens = ("<blank>", "▁", "a", "b")
    said = [tokens.index("▁" if letter == " " else letter) for letter in "a bbab a"]
    log_probs = spoken(tokens, said, doubt=1.0)
    config = CtcBeamConfig(oov_cost=math.inf, lm_weight=0.5)
    context = DecodingContext(lm=SMALL_LM, lexicon=Lexicon(["a", "b", "ab"]))
    decoder = CtcBeamDecoder(tokens, config, context=context)
    assert "bbab" not in decoder.decode(log_probs)[0].text
    decoder.reset(context=context.replace(hotwords=Hotwords({"bbab a": 4.0})))
    decoder.accept(log_probs)
    (found,) = decoder.finish()
    assert (found.text, found.parts.boost, found.parts.oov) == ("a bbab a", 4.0, 0.0)
    assert found.parts.lm == pytest.approx(SMALL_LM.score("a bbab a"), abs=1e-5)
    decoder.reset(context=None)
    assert decoder.context is None
    decoder.accept(log_probs)
    assert decoder.finish()[0].parts.boost == 0.0


def test_thousands_of_phrases_are_found_like_one() -> None:
    letters = "abcdefgh"
    tokens = ("<blank>", "▁", *letters)
    rng = np.random.default_rng(0)
    phrases = sorted(
        {
            " ".join("".join(rng.choice(list(letters), rng.integers(4, 8))) for _ in range(rng.integers(1, 4)))
            for _ in range(3000)
        }
    )
    context = DecodingContext(hotwords=Hotwords(phrases))
    wanted = max(phrases, key=len)
    log_probs = spoken(tokens, [tokens.index("▁" if x == " " else x) for x in wanted], doubt=2.0)
    found = CtcBeamDecoder(tokens, CtcBeamConfig(hotword_boost=3.0), context=context).decode(log_probs)[0]
    assert found.text == wanted
    assert found.parts.boost == pytest.approx(3.0 * sum(occurrences(wanted, phrase) for phrase in phrases))


def test_words_that_the_tokens_cannot_spell_are_told() -> None:
    tokens = ("<blank>", "▁", "a", "b", "▁the")
    context = DecodingContext(
        lexicon=Lexicon({"ab": [], "the": [], "bathe": [], "x-ray": [], "NaN": ["aa"]}), hotwords=Hotwords(["über a"])
    )
    with pytest.warns(UserWarning, match="cannot spell 3 of the words .*: bathe, x-ray, über") as caught:
        decoder = CtcBeamDecoder(tokens, context=context)
    assert caught[0].filename == __file__
    assert decoder.unspellable == ("bathe", "x-ray", "über")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CtcBeamDecoder(tokens, context=DecodingContext(lexicon=Lexicon(["ab", "the"])))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("good\nbad word\n", r"words.txt:2: the word \"bad word\" has a space"),
        ("good\ngood\tnew yen\n", r"words.txt:2: the spelling \"new yen\" has a space"),
        ("good\n\tx\n", "words.txt:2: the word is empty"),
        ("good\nx\t\n", "words.txt:2: the spelling is empty"),
    ],
)
def test_a_bad_lexicon_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "words.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        Lexicon.read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("good\n   \n", r"phrases.txt:2: the hotword '   ' has no letters"),
        ("good\nbad\tmuch\n", r"phrases.txt:2: the boost is 'much'"),
        ("good\nbad\tinf\n", r"phrases.txt:2: the hotword 'bad' has the boost inf"),
    ],
)
def test_bad_hotwords_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "phrases.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        Hotwords.read(path)


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(InputError, match="no/such"):
        Lexicon.read("no/such/file")
    with pytest.raises(InputError, match="no/such"):
        Hotwords.read("no/such/file")
    with pytest.raises(ConfigError, match="one by one"):
        Lexicon("abc")
    with pytest.raises(ConfigError, match="one by one"):
        Hotwords("abc")
    with pytest.raises(ConfigError, match="no letters"):
        Hotwords(["  "])
    with pytest.raises(InputError, match="spelling"):
        Lexicon({"a": [""]})
    with pytest.raises(InputError, match="a b"):
        Lexicon(["a b"])
    with pytest.raises(ConfigError, match="names"):
        CtcBeamDecoder(5, context=DecodingContext(hotwords=Hotwords(["a"])))
    with pytest.raises(ConfigError, match="no boost"):
        DecodingContext().replace(boost=3.0)
    with pytest.raises(ConfigError, match="of tokens"):
        CtcBeamDecoder(("<blank>", "x", "y"), context=DecodingContext(lm=SMALL_LM, lm_of_tokens=True))
    with pytest.raises(ConfigError, match="num_threads"):
        CtcBeamDecoder(5).decode_batch([], num_threads=0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lm_weight", -0.1),
        ("lm_weight", math.nan),
        ("lm_weight", math.inf),
        ("word_bonus", math.nan),
        ("oov_cost", -1.0),
        ("oov_cost", math.nan),
        ("oov_char_cost", -1.0),
        ("oov_char_cost", math.inf),
        ("hotword_boost", math.inf),
    ],
)
def test_weights_that_cannot_work_are_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        CtcBeamConfig(**{field: value})


def test_a_batch_is_decoded_like_each_of_it() -> None:
    tokens = ("<blank>", "▁", "a", "b")
    context = KNOWLEDGE["lm, lexicon, hotwords"].context()
    decoder = CtcBeamDecoder(tokens, CtcBeamConfig(nbest=2), context=context)
    utterances = [random_log_probs(seed, 10 * seed, len(tokens)) for seed in range(8)]
    expected = [decoder.decode(rows) for rows in utterances]
    for num_threads in (1, 3, None):
        assert decoder.decode_batch(utterances, num_threads=num_threads) == expected
    assert decoder.decode_batch([]) == []
    utterances[2] = utterances[2] * np.float32(0.5)
    with pytest.raises(InputError, match=r"utterance 2: .*not normalised"):
        decoder.decode_batch(utterances, num_threads=2)


def test_contexts_and_decoders_can_be_pickled() -> None:
    tokens = ("<blank>", "▁", "a", "b")
    rows = random_log_probs(0, 30, len(tokens))
    context = DecodingContext(lexicon=Lexicon({"A": ["a", "aa"], "b": []}), hotwords=Hotwords({"A b": 2.0, "ba": None}))
    with pytest.warns(UserWarning, match="A"):
        decoder = CtcBeamDecoder(tokens, CtcBeamConfig(nbest=3), context=context)
    with pytest.warns(UserWarning, match="A"):
        again = pickle.loads(pickle.dumps(decoder))
    assert again.decode(rows) == decoder.decode(rows)
    copy = pickle.loads(pickle.dumps(context))
    assert copy.hotwords is not None and copy.hotwords.phrases == {"A b": 2.0, "ba": None}


@pytest.mark.parametrize("words", [None, {"A": ["a", "aa"], "b": [], "ab": [], "bab": []}])
def test_what_is_taken_out_can_be_put_together_again(words: dict[str, list[str]] | None) -> None:
    tokens = ("<blank>", "▁", "a", "b", "ab", "▁b")
    ids = np.random.default_rng(3).integers(1, len(tokens), 150).tolist()
    rows = spoken(tokens, ids, doubt=0.3)
    context = None if words is None else DecodingContext(lexicon=Lexicon(words))
    config = CtcBeamConfig(max_commit_delay_frames=16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "A" is written with no token
        decoders = [CtcBeamDecoder(tokens, config, context=context) for _ in range(2)]
    whole, pieces = decoders
    taken = []
    for block in np.split(rows, range(7, len(rows), 7)):
        whole.accept(block)
        pieces.accept(block)
        taken.append(pieces.take_committed())
        assert pieces.joined(taken, pieces.partial()[0]) == whole.partial()[0]
    assert sum(len(piece.token_ids) for piece in taken) > 50
    assert pieces.joined(taken, pieces.finish()[0]) == whole.finish()[0]
    numbers = CtcGreedyDecoder(len(tokens))
    numbers.accept(rows)
    expected = CtcGreedyDecoder(len(tokens)).decode(rows)[0]
    assert numbers.joined([numbers.take_committed()], numbers.finish()[0]) == expected


def test_hours_of_sound_need_no_more_memory() -> None:
    import resource

    tokens = ("<blank>", "▁", "a", "b", "ab")
    rng = np.random.default_rng(0)
    rows = spoken(tokens, rng.integers(1, len(tokens), 3000).tolist())
    decoder = CtcBeamDecoder(tokens, context=KNOWLEDGE["lm, lexicon, hotwords"].context())
    peak = 0
    for hour in range(12):
        decoder.accept(rows)
        decoder.take_committed()
        if hour == 3:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert decoder.num_frames == 108000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss <= peak + 2000  # KiB
    assert decoder.largest_commit_delay_frames < 4 * 64 + 32


def test_greedy_texts_have_words_too() -> None:
    tokens = ("<blank>", "▁", "a", "b")
    (found,) = CtcGreedyDecoder(tokens).decode(spoken(tokens, [2, 1, 1, 3], doubt=1.0))
    assert found.text == "a b"
    assert [word.text for word in found.words] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "beam_size", "most_errors", "least_scores"),
    [
        # Exact scores of the best texts that the searches of others find with the same weights, or better.
        ("char", 16, 4, (-146.0, -162.3, -128.5, -147.8, -125.2, -129.4)),
        ("bpe", 64, 9, (-115.3, -261.6, -169.8, -91.0, -159.7, -162.6)),
    ],
)
def test_benchmark_log_probs_with_a_lexicon_and_a_language_model(
    data_dir: Path, name: str, beam_size: int, most_errors: int, least_scores: tuple[float, ...]
) -> None:
    tool = load_tool("bench_decoder")
    data = tool.read_benchmark(data_dir / "ctc")[name]
    case = tool.Case(name=name, data=name, beam_size=beam_size, lexicon=True)
    config = dataclasses.replace(data.knowledge.config_for(case), nbest=CtcBeamConfig.nbest)
    decoder = CtcBeamDecoder(data.tokens, config, context=data.knowledge.context())
    found = [best for best, *_ in decoder.decode_batch(data.log_probs, num_threads=1)]
    scores = [tool.exact_score(data, index, best.text, lexicon=True) for index, best in enumerate(found)]
    assert all(score >= least for score, least in zip(scores, least_scores, strict=True)), scores
    for best, score in zip(found, scores, strict=True):
        assert best.score <= score + 1e-3
        assert best.score > score - 3.0
    errors = sum(tool.word_errors(r, h.text) for r, h in zip(data.references, found, strict=True))
    assert errors <= most_errors
