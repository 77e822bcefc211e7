"""Words from rows of log-probs: times, and confidences of one definition for partial, final and n-best results."""

import numpy as np
import numpy.typing as npt
import pytest
from bundles import CALIBRATION
from hypothesis import given
from hypothesis import strategies as st

from edgeasr.config import CtcBeamConfig
from edgeasr.decoder import CtcBeamDecoder, CtcGreedyDecoder
from edgeasr.tokens import TokenTable, WordTiming
from edgeasr.types import Word
from edgeasr.words import WordDecoder

FloatArray = npt.NDArray[np.float32]

TABLE = TokenTable(["<blank>", "|", "a", "b", "c"], blank_id=0, word_delimiter="|")
TIMING = WordTiming(frame_s=0.02)
CHUNK = 10


def start(mode: str = "beam", *, timing: WordTiming = TIMING, nbest: int = 1, **options: float) -> WordDecoder:
    decoder = CtcGreedyDecoder(5) if mode == "greedy" else CtcBeamDecoder(5, CtcBeamConfig(beam_size=8, nbest=8))
    calibration = CALIBRATION if mode != "uncalibrated" else None
    return WordDecoder(
        decoder,
        tokens=TABLE,
        timing=timing,
        rows_per_read=CHUNK,
        calibration=calibration,
        nbest=nbest,
        keep_evidence=True,
        **options,
    )


def rows(text: str, certainty: float = 0.97) -> FloatArray:
    """A frame for each character: a token of the table, or `.` for the blank; `x` is a or b, with even chances."""
    table = np.full((len(text), 5), (1 - certainty) / 4)
    for frame, character in enumerate(text):
        for name in "ab" if character == "x" else character:
            column = 0 if name == "." else TABLE.names.index(name)
            table[frame, column] = certainty / (2 if character == "x" else 1)
    return np.log(table / table.sum(axis=1, keepdims=True)).astype(np.float32)


def speech(num_rows: int, seed: int) -> FloatArray:
    """Rows that spell random letters, some of them in doubt."""
    random = np.random.default_rng(seed)
    return rows("".join(random.choice(list("....abcx|"), num_rows)), 0.9)


def run(words: WordDecoder, log_probs: FloatArray, cuts: list[int] | None = None) -> list[Word]:
    for block in np.split(log_probs, cuts or []):
        words.accept(block)
    words.finish()
    return words.committed


@given(
    mode=st.sampled_from(["greedy", "beam", "uncalibrated"]),
    num_rows=st.integers(0, 150),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_evidence_is_the_same_for_any_cut(mode: str, num_rows: int, seed: int, data: st.DataObject) -> None:
    log_probs = speech(num_rows, seed)
    cuts = sorted(data.draw(st.lists(st.integers(0, num_rows), max_size=10)))
    whole, cut = start(mode, nbest=3), start(mode, nbest=3)
    assert run(whole, log_probs) == run(cut, log_probs, cuts)
    assert whole.evidence == cut.evidence
    assert whole.alternatives == cut.alternatives


@given(mode=st.sampled_from(["greedy", "beam"]), num_chunks=st.integers(1, 12), seed=st.integers(0, 1000))
def test_partial_and_final_words_have_one_definition(mode: str, num_chunks: int, seed: int) -> None:
    words = start(mode)
    words.accept(speech(num_chunks * CHUNK, seed))
    committed, tail = list(words.committed), words.tail
    words.finish()
    assert words.committed[: len(committed)] == committed
    assert tuple(words.committed[len(committed) :]) == tail


@given(num_rows=st.integers(1, 100), seed=st.integers(0, 1000))
def test_alternatives_have_the_same_definition(num_rows: int, seed: int) -> None:
    words = start(nbest=8)
    best = run(words, speech(num_rows, seed))
    assert words.alternatives[0].words == tuple(best)
    scores = [other.score for other in words.alternatives]
    assert scores == sorted(scores, reverse=True)
    for other in words.alternatives:
        for mine, theirs in zip(best, other.words, strict=False):
            # What comes after a word bounds its frames: the words are the same if the next ones are, too.
            if mine != theirs:
                break
            assert mine.confidence == theirs.confidence
        assert all(0 < word.confidence < 1 for word in other.words)


def test_shares_of_words_that_exclude_each_other_sum_to_one() -> None:
    words = start(nbest=8)
    run(words, rows("..c|.x..|c.."))
    assert {other.words[1].text for other in words.alternatives[:2]} == {"a", "b"}
    first, middle, last = words.evidence
    assert first.share == pytest.approx(1.0, abs=0.1)
    assert last.share == pytest.approx(1.0, abs=0.1)
    assert middle.share == pytest.approx(0.5, abs=0.1)


def test_a_word_remembers_the_alternatives_that_it_had() -> None:
    """The beam has long agreed when a word is committed; what counts is the beam before that."""
    words = start()
    words.accept(rows("..c|.x..|ccccc....cc|...." + "c..b..|.." * 20))
    assert words.committed[1].text in "ab"
    assert words.evidence[1].share < 0.8
    assert words.evidence[0].share > 0.9
    assert words.committed[1].confidence < words.committed[0].confidence


def test_sure_words_have_more_confidence_than_doubtful_ones() -> None:
    sure, doubtful = (run(start(), rows(".a.b.|.c..a", certainty)) for certainty in (0.99, 0.8))
    assert [word.text for word in sure] == [word.text for word in doubtful] == ["ab", "ca"]
    assert all(a.confidence > b.confidence for a, b in zip(sure, doubtful, strict=True))


def test_the_posterior_is_that_of_the_frames_between_the_neighbours() -> None:
    words = start("greedy")
    log_probs = rows("..a.b|.c.|a")
    run(words, log_probs)
    # "c" with the delimiters around it, between the end of "b" and the start of "a".
    window = np.exp(log_probs[5:10].astype(float))
    total = 0.0
    for path in np.ndindex(*(5,) * 5):
        collapsed = [token for i, token in enumerate(path) if token and (i == 0 or token != path[i - 1])]
        if collapsed == [1, 4, 1]:
            total += np.prod([window[i, token] for i, token in enumerate(path)])
    assert words.evidence[1].log_posterior == pytest.approx(np.log(total), abs=1e-6)


def test_far_frames_do_not_count() -> None:
    near, far = start("greedy"), start("greedy")
    run(near, rows("." * 40 + "a.b" + "." * 40, 0.9))
    run(far, rows("." * 400 + "a.b" + "." * 400, 0.9))
    assert near.evidence[0] == far.evidence[0]


def test_times_of_words() -> None:
    timing = WordTiming(frame_s=0.04, start_offset_s=-0.1, end_offset_s=0.05)
    (word,) = run(start("uncalibrated", timing=timing), rows(".........." + "aa...b....|"))
    assert (word.text, word.start, word.end) == ("ab", 0.3, 0.69)
    posterior = np.exp(rows("a")[0, 2])
    assert word.confidence == pytest.approx(posterior**2, rel=1e-5)


def test_words_neither_overlap_nor_begin_before_the_stream() -> None:
    timing = WordTiming(frame_s=0.02, start_offset_s=-0.1, end_offset_s=0.1)
    first, second = run(start(timing=timing), rows("a|b"))
    assert (first.start, first.end) == (0.0, 0.12)
    assert second.start == first.end


def test_words_below_the_threshold_are_not_accepted() -> None:
    log_probs = speech(150, 5)
    confidences = sorted(word.confidence for word in run(start(), log_probs))
    least = confidences[len(confidences) // 2]
    words = run(start(min_confidence=least), log_probs)
    assert {word.accepted for word in words} == {True, False}
    assert all(word.accepted == (word.confidence >= least) for word in words)


def test_reset_starts_anew() -> None:
    words = start(nbest=2)
    first = list(run(words, speech(77, 1)))
    kept = words.committed
    words.reset()
    assert (words.committed, words.tail, words.evidence, words.alternatives) == ([], (), [], ())
    assert run(words, speech(77, 1)) == first == kept
