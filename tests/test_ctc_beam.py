"""The CTC decoders from Python: brute force over all alignments, exact streaming, errors."""

from __future__ import annotations

import dataclasses
import itertools
import math
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeasr import _core
from edgeasr.config import CtcBeamConfig
from edgeasr.decoder import CtcBeamDecoder, CtcGreedyDecoder, Hypothesis
from edgeasr.errors import ConfigError, InputError, StreamStateError

WITHOUT_PRUNING = CtcBeamConfig(
    beam_size=5000,
    nbest=5000,
    beam_threshold=math.inf,
    token_threshold=math.inf,
    max_tokens_per_frame=0,
    blank_skip_threshold=1.0,
    max_commit_delay_frames=0,
)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    return (scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)).astype(np.float32)


def random_log_probs(seed: int, num_frames: int, vocab_size: int, spread: float = 2.0) -> np.ndarray:
    return log_softmax(np.random.default_rng(seed).normal(0.0, spread, (num_frames, vocab_size)))


def speech_like_log_probs(seed: int, num_frames: int, vocab_size: int) -> np.ndarray:
    """Spikes of a few frames, some of them doubtful, between certain blanks."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0.0, 1.0, (num_frames, vocab_size))
    frame = 0
    while frame < num_frames:
        spike = slice(frame, frame + rng.integers(1, 4))
        scores[spike, rng.integers(1, vocab_size)] += 8.0
        scores[spike, rng.integers(1, vocab_size)] += 8.0 - 4.0 * rng.random()
        scores[spike, 0] += 8.0 - 4.0 * rng.random()
        gap = slice(spike.stop, spike.stop + rng.integers(1, 6))
        scores[gap, 0] += 10.0
        frame = gap.stop
    return log_softmax(scores)


def forward_score(log_probs: np.ndarray, token_ids: tuple[int, ...], blank_id: int = 0) -> float:
    """Log of the probability of a token sequence: the CTC forward algorithm (Graves et al. 2006, section 4.1)."""
    states = [blank_id]
    for token_id in token_ids:
        states += [token_id, blank_id]
    skips = np.zeros(len(states), bool)
    skips[3::2] = [states[s] != states[s - 2] for s in range(3, len(states), 2)]
    forward = np.full(len(states), -np.inf)
    for frame, row in enumerate(log_probs.astype(np.float64)[:, states]):
        before = forward.copy()
        if frame == 0:
            before[:2] = 0.0
        else:
            before[1:] = np.logaddexp(before[1:], forward[:-1])
            before[2:] = np.logaddexp(before[2:], np.where(skips[2:], forward[:-2], -np.inf))
        forward = before + row
    return float(np.logaddexp.reduce(forward[-2:]))


def enumerate_sequences(log_probs: np.ndarray, blank_id: int) -> dict[tuple[int, ...], float]:
    """Every token sequence with the log of its probability, by going through all alignments."""
    probabilities = np.exp(log_probs.astype(np.float64))
    sums: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        sequence = tuple(token for token, _ in itertools.groupby(path) if token != blank_id)
        sums[sequence] = sums.get(sequence, 0.0) + float(np.prod(probabilities[range(len(path)), path]))
    return {sequence: math.log(probability) for sequence, probability in sums.items()}


def joined(pieces: list[Hypothesis]) -> Hypothesis:
    """Committed tokens that were taken out, and the rest, as one hypothesis."""
    return dataclasses.replace(
        pieces[-1],
        **{
            name: tuple(itertools.chain.from_iterable(getattr(piece, name) for piece in pieces))
            for name in ("token_ids", "token_start_frames", "token_end_frames", "token_posteriors", "tokens")
        },
    )


def cut(log_probs: np.ndarray, places: list[int]) -> list[np.ndarray]:
    return np.split(log_probs, sorted(place % (len(log_probs) + 1) for place in places))


def test_config_mirrors_the_core() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(CtcBeamConfig)}
    assert fields == _core.ctc_beam_config_defaults()
    assert list(fields) == list(_core.ctc_beam_config_defaults())


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(0, 5), st.sampled_from([0.5, 2.0, 6.0]), st.data())
def test_without_pruning_equals_brute_force(
    seed: int, vocab_size: int, num_frames: int, spread: float, data: st.DataObject
) -> None:
    blank_id = data.draw(st.integers(0, vocab_size - 1))
    log_probs = random_log_probs(seed, num_frames, vocab_size, spread)
    expected = enumerate_sequences(log_probs, blank_id)
    found = CtcBeamDecoder(vocab_size, dataclasses.replace(WITHOUT_PRUNING, blank_id=blank_id)).decode(log_probs)
    assert {h.token_ids: h.score for h in found} == pytest.approx(expected, abs=1e-6)
    assert len(found) == len(expected)
    assert [(-h.score, h.token_ids) for h in found] == sorted((-h.score, h.token_ids) for h in found)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 20), st.integers(1, 40))
def test_scores_of_a_beam_that_keeps_everything_are_exact(seed: int, vocab_size: int, num_frames: int) -> None:
    # Only two tokens that do not repeat are likely, so that few sequences matter.
    log_probs = speech_like_log_probs(seed, num_frames, vocab_size)
    config = dataclasses.replace(WITHOUT_PRUNING, beam_size=3000, nbest=3)
    for hypothesis in CtcBeamDecoder(vocab_size, config).decode(log_probs):
        exact = forward_score(log_probs, hypothesis.token_ids)
        assert exact - 0.01 < hypothesis.score <= exact + 1e-6


def test_feeders_keep_the_scores_of_a_small_beam_close_to_the_exact_ones() -> None:
    short = []
    for seed in range(10):
        log_probs = speech_like_log_probs(seed, 400, 30)
        best = CtcBeamDecoder(30, CtcBeamConfig(beam_size=16)).decode(log_probs)[0]
        short.append(forward_score(log_probs, best.token_ids) - best.score)
    assert min(short) >= -1e-6
    assert np.mean(short) < 2.0


def test_a_small_beam_finds_what_a_large_beam_finds_or_nearly() -> None:
    differences = []
    for seed in range(10):
        log_probs = speech_like_log_probs(seed, 200, 30)
        large = CtcBeamDecoder(30, dataclasses.replace(WITHOUT_PRUNING, beam_size=500, nbest=1)).decode(log_probs)[0]
        small = CtcBeamDecoder(30, CtcBeamConfig(beam_size=16)).decode(log_probs)[0]
        differences.append(forward_score(log_probs, small.token_ids) - forward_score(log_probs, large.token_ids))
    assert np.mean(differences) > -0.05
    assert min(differences) > -0.5


@pytest.mark.parametrize("kind", ["beam", "greedy"])
@settings(max_examples=40)
@given(
    st.integers(0, 10**6),
    st.integers(2, 30),
    st.integers(0, 150),
    st.integers(1, 12),
    st.booleans(),
    st.lists(st.integers(0, 10**6), max_size=8),
)
def test_the_cut_of_the_frames_changes_nothing(
    kind: str, seed: int, vocab_size: int, num_frames: int, beam_size: int, speech: bool, places: list[int]
) -> None:
    make = speech_like_log_probs if speech else random_log_probs
    log_probs = make(seed, num_frames, vocab_size)
    config = CtcBeamConfig(beam_size=beam_size, nbest=3, max_commit_delay_frames=20)

    def decoder() -> CtcBeamDecoder | CtcGreedyDecoder:
        return CtcBeamDecoder(vocab_size, config) if kind == "beam" else CtcGreedyDecoder(vocab_size)

    whole = decoder().decode(log_probs)
    pieces, taking = decoder(), decoder()
    taken = []
    for block in cut(log_probs, places):
        pieces.accept(block)
        first, again = pieces.partial(), pieces.partial()
        assert first == again
        taking.accept(block)
        taken.append(taking.take_committed())
    # Dataclasses of tuples: equal means equal in every bit.
    assert pieces.finish() == whole
    assert joined([*taken, taking.finish()[0]]) == whole[0]


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 8), st.integers(1, 10), st.sampled_from([0, 10, 30]))
def test_committed_tokens_never_change(seed: int, vocab_size: int, beam_size: int, delay: int) -> None:
    make = speech_like_log_probs if seed % 2 else random_log_probs
    log_probs = make(seed, 120, vocab_size)
    config = CtcBeamConfig(beam_size=beam_size, nbest=beam_size, max_commit_delay_frames=delay)
    decoder = CtcBeamDecoder(vocab_size, config)
    committed: tuple[tuple[object, ...], ...] = ()
    for frame in range(len(log_probs)):
        decoder.accept(log_probs[frame : frame + 1])
        assert decoder.num_committed >= len(committed)
        for hypothesis in decoder.partial():
            tokens = tuple(
                zip(
                    hypothesis.token_ids,
                    hypothesis.token_start_frames,
                    hypothesis.token_end_frames,
                    hypothesis.token_posteriors,
                    strict=True,
                )
            )
            assert tokens[: len(committed)] == committed
        committed = tokens[: decoder.num_committed]
    if delay:
        assert all(start > len(log_probs) - delay - 16 for _, start, _, _ in tokens[len(committed) + 1 :])


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 50), st.integers(0, 60))
def test_greedy_takes_the_best_token_of_each_frame(seed: int, vocab_size: int, num_frames: int) -> None:
    log_probs = random_log_probs(seed, num_frames, vocab_size)
    blank_id = seed % vocab_size
    path = log_probs.argmax(-1)
    runs = []
    frame = 0
    for token, run in itertools.groupby(path):
        length = len(list(run))
        if token != blank_id:
            runs.append(
                (int(token), frame, frame + length, float(np.exp(log_probs[frame : frame + length, token].max())))
            )
        frame += length
    (found,) = CtcGreedyDecoder(vocab_size, blank_id).decode(log_probs)
    assert found.token_ids == tuple(run[0] for run in runs)
    assert found.token_start_frames == tuple(run[1] for run in runs)
    assert found.token_end_frames == tuple(run[2] for run in runs)
    assert found.token_posteriors == pytest.approx([run[3] for run in runs], rel=1e-6)
    assert found.score == pytest.approx(log_probs.max(-1).astype(np.float64).sum())


def test_beam_and_greedy_agree_on_times_and_posteriors_where_nothing_is_doubtful() -> None:
    scores = np.zeros((9, 4))
    for frame, token in enumerate([0, 1, 1, 0, 2, 0, 2, 3, 3]):
        scores[frame, token] = 12.0 + frame
    log_probs = log_softmax(scores)
    beam = CtcBeamDecoder(4).decode(log_probs)[0]
    greedy = CtcGreedyDecoder(4).decode(log_probs)[0]
    assert beam.token_ids == greedy.token_ids == (1, 2, 2, 3)
    assert beam.token_start_frames == greedy.token_start_frames == (1, 4, 6, 7)
    assert beam.token_end_frames == greedy.token_end_frames == (3, 5, 7, 9)
    assert beam.token_posteriors == greedy.token_posteriors
    assert greedy.score <= beam.score < 0.0


def test_old_alternatives_stay_in_the_nbest_only_without_a_commit_delay() -> None:
    scores = np.full((300, 4), 0.0)
    scores[:, 0] = 20.0
    scores[5] = [0.0, 10.0, 9.5, 0.0]
    log_probs = log_softmax(scores)
    # Frames of a certain blank keep the alternatives of frame 5 alive for ever.
    unbounded = CtcBeamDecoder(4, CtcBeamConfig(nbest=2, max_commit_delay_frames=0)).decode(log_probs)
    assert [h.token_ids for h in unbounded] == [(1,), (2,)]
    decoder = CtcBeamDecoder(4, CtcBeamConfig(nbest=2))
    decoder.accept(log_probs)
    assert decoder.num_committed == 1
    assert [h.token_ids for h in decoder.finish()] == [(1,)]


@pytest.mark.parametrize("machine", [CtcBeamDecoder, CtcGreedyDecoder])
def test_no_frames_give_the_empty_hypothesis(machine: type[CtcBeamDecoder] | type[CtcGreedyDecoder]) -> None:
    decoder = machine(["<blank>", "a"])
    assert decoder.partial() == decoder.decode(np.zeros((0, 2), np.float32)) == [Hypothesis((), (), (), (), 0.0)]


@pytest.mark.parametrize("machine", [CtcBeamDecoder, CtcGreedyDecoder])
@pytest.mark.parametrize(
    ("log_probs", "message"),
    [
        ([[0.0, 0.0]], "list"),
        (np.log(np.full((2, 3), 1 / 3)), "float64"),
        (np.log(np.full((2, 3), 1 / 3)).astype(np.float16), "float16"),
        (np.log(np.full((2, 3), 1 / 3)).astype(">f4"), "float32"),
        (np.zeros((2, 3), np.int32), "int32"),
        (np.log(np.full((2, 4), 1 / 4, np.float32)), r"shape \(2, 4\), expected \(num_frames, 3\)"),
        (np.log(np.full(3, 1 / 3, np.float32)), r"shape \(3,\)"),
        (np.log(np.full((1, 2, 3), 1 / 3, np.float32)), r"shape \(1, 2, 3\)"),
        (np.float32(0.0), "float32"),
        (np.full((2, 3), np.nan, np.float32), "row 0 of the block has NaN"),
        (np.full((2, 3), np.inf, np.float32), r"\+inf"),
        (np.full((2, 3), -np.inf, np.float32), "nothing but -inf"),
        (np.full((2, 3), 1 / 3, np.float32), "not normalised"),
        (np.zeros((2, 3), np.float32), "not normalised"),
        (np.log10(np.full((2, 3), 1 / 3, np.float32)), "not normalised"),
    ],
)
def test_bad_input_is_refused_at_once(
    machine: type[CtcBeamDecoder] | type[CtcGreedyDecoder], log_probs: np.ndarray, message: str
) -> None:
    decoder = machine(3)
    decoder.accept(random_log_probs(0, 4, 3))
    before = decoder.partial()
    with pytest.raises(InputError, match=message):
        decoder.accept(log_probs)
    assert decoder.partial() == before
    assert decoder.num_frames == 4


def test_a_bad_row_anywhere_in_the_block_is_refused() -> None:
    log_probs = random_log_probs(0, 20, 29)
    log_probs[13, 7] = np.nan
    decoder = CtcBeamDecoder(29)
    with pytest.raises(InputError, match="row 13 of the block has NaN at token 7"):
        decoder.accept(log_probs)
    assert decoder.num_frames == 0


def test_views_of_any_layout_are_taken() -> None:
    log_probs = speech_like_log_probs(1, 60, 9)
    expected = CtcBeamDecoder(9).decode(log_probs)
    wide = np.zeros((120, 18), np.float32)
    wide[::2, ::2] = log_probs
    read_only = log_probs.copy()
    read_only.flags.writeable = False
    for view in (np.asfortranarray(log_probs), wide[::2, ::2], read_only):
        assert CtcBeamDecoder(9).decode(view) == expected


@pytest.mark.parametrize("machine", [CtcBeamDecoder, CtcGreedyDecoder])
def test_logits_are_normalised(machine: type[CtcBeamDecoder] | type[CtcGreedyDecoder]) -> None:
    log_probs = speech_like_log_probs(2, 80, 12)
    logits = log_probs + np.random.default_rng(0).normal(0.0, 50.0, (80, 1)).astype(np.float32)
    with pytest.raises(InputError, match="ask for logits"):
        machine(12).decode(logits)
    (expected,) = machine(12).decode(log_probs)
    (found,) = machine(12, logits=True).decode(logits)
    assert found.token_ids == expected.token_ids
    assert found.token_start_frames == expected.token_start_frames
    assert found.score == pytest.approx(expected.score, abs=1e-2)


@pytest.mark.parametrize("machine", [CtcBeamDecoder, CtcGreedyDecoder])
def test_a_finished_stream_takes_no_more(machine: type[CtcBeamDecoder] | type[CtcGreedyDecoder]) -> None:
    log_probs = speech_like_log_probs(3, 50, 5)
    decoder = machine(5)
    decoder.accept(log_probs)
    result = decoder.finish()
    with pytest.raises(StreamStateError, match=r"reset\(\)"):
        decoder.accept(log_probs)
    with pytest.raises(StreamStateError, match=r"reset\(\)"):
        decoder.finish()
    assert decoder.partial() == result
    decoder.reset()
    assert decoder.num_frames == 0
    decoder.accept(log_probs)
    assert decoder.finish() == result
    assert decoder.decode(log_probs) == result


def test_texts_are_joined_with_spaces_for_the_word_delimiter() -> None:
    def text(tokens: list[str], **options: str) -> str:
        scores = np.zeros((2 * len(tokens), len(tokens)))
        scores[range(len(scores)), [t // 2 if t % 2 else 0 for t in range(len(scores))]] = 20.0
        (found,) = CtcBeamDecoder(tokens, **options).decode(log_softmax(scores))
        assert found.tokens == tuple(tokens[1:])
        return found.text

    assert text(["<blank>", "▁he", "llo", "▁you"]) == "hello you"
    assert text(["<blank>", "h", "i", "|", "u"], word_delimiter="|") == "hi u"
    assert text(["<blank>", "h", "i", " ", "u"]) == "hi u"


def test_results_and_configurations_can_be_pickled() -> None:
    config = CtcBeamConfig(beam_size=3, nbest=2)
    assert pickle.loads(pickle.dumps(config)) == config
    found = CtcBeamDecoder(5, config).decode(speech_like_log_probs(4, 40, 5))
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("beam_size", 0),
        ("beam_size", 2**40),
        ("beam_size", 2.5),
        ("beam_size", "8"),
        ("blank_id", -1),
        ("nbest", 0),
        ("beam_threshold", 0.0),
        ("beam_threshold", math.nan),
        ("token_threshold", -1.0),
        ("max_tokens_per_frame", -1),
        ("blank_skip_threshold", 0.0),
        ("blank_skip_threshold", 1.5),
        ("max_commit_delay_frames", -1),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_when_it_is_built(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        CtcBeamConfig(**{field: value})


def test_a_vocabulary_that_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match="vocab_size is 1"):
        CtcBeamDecoder(["<blank>"])
    with pytest.raises(ConfigError, match="blank_id is 3"):
        CtcBeamDecoder(3, CtcBeamConfig(blank_id=3))
    with pytest.raises(ConfigError, match="blank_id is -1"):
        CtcGreedyDecoder(3, -1)
    with pytest.raises(ConfigError, match="sequence of tokens"):
        CtcGreedyDecoder("abc")


def test_decoders_of_their_own_run_in_threads() -> None:
    inputs = [speech_like_log_probs(seed, 2000, 40) for seed in range(4)]
    expected = [CtcBeamDecoder(40).decode(log_probs) for log_probs in inputs]
    results: dict[int, list[Hypothesis]] = {}

    def work(index: int) -> None:
        results[index] = CtcBeamDecoder(40).decode(inputs[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[index] for index in range(4)] == expected


def test_a_decoder_in_use_refuses_a_second_thread() -> None:
    log_probs = random_log_probs(0, 20000, 50)
    decoder = CtcBeamDecoder(50, CtcBeamConfig(beam_size=64))
    worker = threading.Thread(target=decoder.accept, args=(log_probs,))
    worker.start()
    refused = False
    while worker.is_alive() and not refused:
        try:
            decoder.partial()
        except StreamStateError as error:
            refused = True
            assert "thread" in str(error)
    worker.join()
    assert refused
    assert decoder.num_frames == 20000


def word_errors(reference: str, hypothesis: str) -> int:
    expected, found = reference.split(), hypothesis.split()
    row = list(range(len(found) + 1))
    for i, word in enumerate(expected, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(found, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


@pytest.mark.parametrize(
    ("name", "beam_size", "most_errors", "least_scores"),
    [
        # What a textbook search with a beam of 4096 finds, or better.
        ("char", 8, 33, (-118.73, -127.09, -123.11, -118.93, -105.46, -109.35)),
        ("char", 256, 33, (-118.73, -127.09, -123.11, -118.93, -105.46, -109.35)),
        # What a textbook search with a beam of 256 finds, or better, but for the last utterance (-101.37 with 64).
        ("bpe", 16, 78, (-87.35, -134.82, -100.91, -89.44, -108.77, -101.49)),
    ],
)
def test_benchmark_log_probs(
    data_dir: Path, name: str, beam_size: int, most_errors: int, least_scores: tuple[float, ...]
) -> None:
    data = np.load(data_dir / "ctc" / f"post_{name}.npz")
    log_probs = log_softmax(data["logp"])
    tokens = [str(token) for token in data["toks"]]
    decoder = CtcBeamDecoder(tokens, CtcBeamConfig(beam_size=beam_size))
    found = [decoder.decode(rows)[0] for rows in log_probs]
    scores = [forward_score(rows, best.token_ids) for rows, best in zip(log_probs, found, strict=True)]
    assert all(score >= least for score, least in zip(scores, least_scores, strict=True))
    references = [str(reference) for reference in data["ref"]]
    assert sum(word_errors(r, h.text) for r, h in zip(references, found, strict=True)) <= most_errors
