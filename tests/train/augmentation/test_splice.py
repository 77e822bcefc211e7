"""Cut and join: the transcript follows the words, lengths keep their bounds, and paths are the best ones."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeasr.errors import ConfigError
from edgeasr.train.align import align_tokens
from edgeasr.train.augmentation.splice import MARGIN_S, Splice, SpliceSource
from edgeasr.train.manifest import TimedWord, read_manifest

RATE = 16000
WORD_HZ = {"one": 500.0, "two": 1000.0, "three": 2000.0, "four": 3000.0}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def say(*words: str) -> tuple[np.ndarray, tuple[TimedWord, ...]]:
    """Tones of 0.2 s, one for each word, with pauses of 0.1 s."""
    time_s = np.arange(RATE // 5) / RATE
    parts = [np.zeros(RATE // 10)]
    timed = []
    for word in words:
        start_s = sum(part.size for part in parts) / RATE
        parts += [0.1 * np.sin(2 * np.pi * WORD_HZ[word] * time_s), np.zeros(RATE // 10)]
        timed.append(TimedWord(word, start_s, start_s + 0.2))
    return np.concatenate(parts).astype(np.float32), tuple(timed)


def heard_words(waveform: np.ndarray) -> list[str]:
    """The words whose tones are in a waveform, in their order."""
    found: list[str] = []
    for block in waveform[: waveform.size // 800 * 800].reshape(-1, 800):
        spectrum = np.abs(np.fft.rfft(block))
        quiet = np.sqrt(np.mean(block**2)) < 0.05
        peak_hz = spectrum.argmax() * RATE / 800
        word = "" if quiet else next((w for w, hz in WORD_HZ.items() if abs(hz - peak_hz) <= 20), "")
        if not found or found[-1] != word:
            found.append(word)
    return [word for word in found if word]


CLIPS = [say("one", "two", "three"), say("four", "three"), say("two", "four", "one", "three")]
SOURCES = [SpliceSource(clip=i, words=words, speaker="ab"[i % 2]) for i, (_, words) in enumerate(CLIPS)]


def splice(seed: int, num_samples: int = 2 * RATE, **settings: object) -> tuple[np.ndarray, str] | None:
    return Splice(probability=1.0, **settings)(num_samples, SOURCES, lambda clip: CLIPS[clip][0], RATE, rng(seed))


@pytest.mark.parametrize("seed", range(12))
def test_the_transcript_follows_the_sound(seed):
    made = splice(seed, same_speaker=False)
    assert made is not None
    waveform, text = made
    assert RATE / 2 < waveform.size <= 2 * RATE and waveform.dtype == np.float32
    assert heard_words(waveform) == text.split()
    again = splice(seed, same_speaker=False)
    assert again is not None and again[1] == text and np.array_equal(again[0], waveform)


def test_words_come_from_several_clips_or_from_those_of_one_speaker():
    texts = [splice(seed) for seed in range(30)]
    sentences = {" ".join(word.text for word in words) for _, words in CLIPS}
    assert sum(made is not None and made[1] not in sentences for made in texts) > 20
    only = [SpliceSource(clip=1, words=CLIPS[1][1], speaker="b"), *SOURCES[::2]]
    for seed in range(20):
        made = Splice(probability=1.0)(2 * RATE, only, lambda clip: CLIPS[clip][0], RATE, rng(seed))
        assert made is not None
        # The words of speaker b are never among those of speaker a, who alone says "one" and "two".
        said = set(made[1].split())
        assert said <= {"three", "four"} or "one" in said or "two" in said


def test_nothing_fits_or_nothing_is_drawn():
    assert splice(0, num_samples=RATE // 10) is None
    assert splice(0, num_samples=0) is None
    never = Splice(probability=0.0)(2 * RATE, SOURCES, lambda clip: CLIPS[clip][0], RATE, rng())
    assert never is None
    with pytest.raises(ConfigError, match="crossfade_ms"):
        Splice(crossfade_ms=200.0)
    with pytest.raises(ConfigError, match="maximum_words"):
        Splice(maximum_words=0)


def test_a_cut_takes_half_of_a_gap_and_no_more_than_its_margin():
    ramp = np.arange(RATE, dtype=np.float32)
    words = (TimedWord("a", 0.1, 0.2), TimedWord("b", 0.22, 0.4), TimedWord("c", 0.9, 0.98))
    source = SpliceSource(clip=0, words=words)
    piece = source.cut(ramp, 1, 2, RATE)
    assert piece[0] == pytest.approx(0.21 * RATE, abs=1)
    assert piece[-1] + 1 == pytest.approx((0.4 + MARGIN_S) * RATE, abs=1)
    assert source.cut(ramp, 0, 3, RATE)[0] == pytest.approx((0.1 - MARGIN_S) * RATE, abs=1)
    assert source.cut(ramp, 2, 3, RATE)[-1] == RATE - 1


def test_the_path_along_a_transcript_is_the_best_one():
    """Against all paths there are."""
    for seed, token_ids in enumerate([[1], [1, 2], [2, 2], [1, 2, 1]]):
        rows = np.log(rng(seed).dirichlet(np.ones(3), 6))
        best_score, best = -np.inf, None
        for path in itertools.product(range(3), repeat=6):
            if [label for label, _ in itertools.groupby(path) if label] != token_ids:
                continue
            score = sum(rows[i, label] for i, label in enumerate(path))
            if score > best_score:
                best_score, best = score, path
        runs, place = [], 0
        for label, group in itertools.groupby(best):
            length = len(list(group))
            if label:
                runs.append((place, place + length))
            place += length
        found = align_tokens(rows, token_ids, 0)
        assert found is not None
        assert found[0] == runs
        assert found[1] == pytest.approx(best_score)


def test_too_few_rows_have_no_path():
    rows = np.log(np.full((2, 3), 1 / 3))
    assert align_tokens(rows, [1, 1], 0) is None
    assert align_tokens(rows, [1, 2], 0)[0] == [(0, 1), (1, 2)]
    assert align_tokens(np.zeros((0, 3)), [1], 0) is None


def test_word_times_in_a_manifest(tmp_path):
    path = tmp_path / "a.train.jsonl"
    row = {"id": "x", "audio": "x.flac", "duration_s": 1.0, "text": "a b"}

    def read(words):
        path.write_text(json.dumps({**row, "words": words}) + "\n")
        return read_manifest(path)[0].words

    assert read(None) is None
    assert read([["a", 0, 0.4], ["b", 0.5, 0.8]]) == (TimedWord("a", 0.0, 0.4), TimedWord("b", 0.5, 0.8))
    heard = [{"text": "a", "start": 0, "end": 0.4, "confidence": 0.9}, {"text": "b", "start": 0.5, "end": 0.8}]
    assert read(heard) == read([["a", 0, 0.4], ["b", 0.5, 0.8]])
    assert read(heard[:1]) is None  # the text was corrected since
    assert read(heard[::-1]) is None
    for words, message in (
        ([{"text": "a"}], "list of"),
        ([["a", 0, 0.4]], "not the words"),
        ([["a", 0.5, 0.4], ["b", 0.5, 0.8]], "backwards"),
        ([["a", -1, 0.4], ["b", 0.5, 0.8]], "backwards"),
        ([["a"], ["b"]], "list of"),
        (3, "list of"),
    ):
        with pytest.raises(ConfigError, match=rf"jsonl:1: .*{message}"):
            read(words)


def test_a_dataset_makes_sentences_that_fit_their_transcripts(tone_recipe, tone_data, tmp_path):
    pytest.importorskip("torch")
    from edgeasr.train.loop import make_dataset
    from edgeasr.train.recipe import read_recipe

    recipe = read_recipe(tone_recipe)
    data = replace(recipe.data, splice=Splice(probability=0.5), join_probability=0.0)
    with pytest.raises(ConfigError, match=r"align_words\.py"):
        make_dataset(replace(recipe, data=data), tone_data, tmp_path)
    # Every letter of the tone language takes 0.12 s or so; a word's times need not be true for this.
    rows = [json.loads(line) for line in (tone_data / "speech" / "tones.train.jsonl").read_text().splitlines()]
    for row in rows:
        row["audio"] = str(tone_data / "speech" / row["audio"])
        step_s = row["duration_s"] / len(row["text"])
        place = 0
        row["words"] = []
        for word in row["text"].split():
            row["words"].append([word, place * step_s, (place + len(word)) * step_s])
            place += len(word) + 1
    timed = Path(tmp_path / "timed.train.jsonl")
    timed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = replace(recipe.data.sources[0], manifest=str(timed))
    dataset = make_dataset(replace(recipe, data=replace(data, sources=(source,))), tone_data, tmp_path)
    everything = range(len(dataset.clips))
    made = [dataset.splice([n], rng(n)) for n in everything]
    assert 5 < sum(one is not None for one in made) < len(everything) - 5
    for number, one in enumerate(made):
        if one is not None:
            assert one[0].size <= dataset.clips[number].size
            assert one[1] and one[1][0] > 1 and one[2] == []
    batch, again = (dataset.collate([[n] for n in range(8)], rng(1)) for _ in range(2))
    assert batch.token_ids.tolist() == again.token_ids.tolist()
    assert batch.token_lengths.tolist() != [len(dataset.token_ids[n]) for n in range(8)]
    assert batch.transcribed.all()
    # A teacher would be asked about the others only.
    parts: list[int] = []
    dataset.targets = object()
    dataset.ask = lambda targets, rows, lengths, padded: parts.extend(len(row) for row in rows)
    dataset.collate([[n] for n in everything], rng(1))
    assert 5 < parts.count(0) < len(parts) - 5 and parts.count(1) == len(parts) - parts.count(0)
