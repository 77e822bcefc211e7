"""The bundled English student: it hears what is said, streams exactly, and its card tells the truth."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgeasr import Recognizer
from edgeasr.bundle import find_bundle, verify_bundle
from edgeasr.endpoint import EndpointConfig
from edgeasr.profile import Profile
from edgeasr.train.evaluation.evaluate import find_sets, measure, normaliser, summarise
from edgeasr.train.evaluation.score import ErrorCounts, count_errors
from edgeasr.train.teachers.transcriber import BundleTranscriber

# Character error rates in percent that the student must not exceed, greedy.
LIMITS = {"librispeech.dev": 17.5, "commonvoice.dev": 25.0, "speechocean.dev": 28.0}
# Word error rates in percent that it must not exceed with its language model.
WORD_LIMITS = {"librispeech.dev": 26.0, "commonvoice.dev": 42.0, "speechocean.dev": 37.0}


@pytest.fixture(scope="module")
def greedy() -> Recognizer:
    return Recognizer("en-small", decoder="greedy")


def transcripts(samples_dir: Path) -> dict[Path, str]:
    rows = re.findall(r"^\| `(.+\.flac)` \| [\d.]+ \| (.+) \|$", (samples_dir / "README.md").read_text(), re.MULTILINE)
    return {samples_dir / name: text for name, text in rows}


def test_the_bundle_is_whole_and_small():
    bundle = verify_bundle(find_bundle("en-small"))
    assert sum(bundle.files[name].bytes for name in bundle.model.files) <= 8_000_000
    assert bundle.files[bundle.language_model].bytes <= 10_000_000
    frames = bundle.model.chunk_frames + bundle.model.lookahead_frames
    assert frames * bundle.frontend.hop_length / bundle.sample_rate <= 0.48


def test_the_card_states_float_and_int8_greedy_and_beam(greedy):
    systems = {system["name"]: system["sets"] for system in greedy.bundle.card["evaluation"]["systems"]}
    for name, limit in LIMITS.items():
        assert systems["en-small int8 greedy"][name]["cer_percent"]["value"] <= limit
    for precision in ("int8", "float32"):
        assert f"en-small {precision} beam 64" in systems
        assert f"en-small {precision} beam 64 + LM" in systems
    pooled = {
        precision: sum(
            (ErrorCounts(**systems[f"en-small {precision} greedy"][name]["characters"]) for name in LIMITS),
            ErrorCounts(),
        )
        for precision in ("int8", "float32")
    }
    assert 100 * (pooled["int8"].rate - pooled["float32"].rate) <= 0.3


def test_every_way_of_decoding_is_calibrated():
    for way in ({"decoder": "greedy"}, {"lm": "none"}, {}):
        assert Recognizer("en-small", **way).calibrated


def test_it_hears_the_samples(greedy, samples_dir):
    spoken = transcripts(samples_dir)
    assert len(spoken) == len(list(samples_dir.glob("*.flac")))
    counts = sum(
        (count_errors(text, greedy.transcribe(path).text, unit="character") for path, text in spoken.items()),
        ErrorCounts(),
    )
    assert counts.rate <= 0.35


def test_any_cut_gives_the_same_words_times_and_confidences(samples_dir):
    recognizer = Recognizer("en-small")
    waveform, sample_rate = soundfile.read(samples_dir / "austen-0880.flac", dtype="float32")
    whole = recognizer.transcribe(waveform, sample_rate=sample_rate)
    assert whole.words
    rng = np.random.default_rng(0)
    for _ in range(3):
        stream = recognizer.stream(sample_rate=sample_rate)
        for piece in np.split(waveform, np.sort(rng.integers(0, waveform.size, 40))):
            stream.accept(piece)
        assert stream.finish() == whole


def test_what_is_taught_while_it_listens_is_known_at_the_next_utterance(samples_dir):
    recognizer = Recognizer("en-small")
    waveform, sample_rate = soundfile.read(samples_dir / "austen-0870.flac", dtype="float32")
    sound = np.concatenate([waveform, np.zeros(2 * sample_rate, np.float32)])
    phrase = "john dashwood"
    stream = recognizer.stream(sample_rate=sample_rate, endpoint=EndpointConfig())
    stream.accept(sound[: sample_rate // 2])
    stream.use_words(recognizer.word_decoder(profile=Profile(phrases={phrase: 8.0})))
    stream.accept(sound[sample_rate // 2 :])
    stream.accept(sound)
    before, after = stream.finish().segments
    assert before.text == recognizer.transcribe(waveform, sample_rate=sample_rate).text
    assert phrase not in before.text
    assert phrase in after.text
    assert before.end <= len(sound) / sample_rate <= after.start
    taught = Recognizer("en-small", profile=Profile(phrases={phrase: 8.0}))
    assert phrase in taught.transcribe(waveform, sample_rate=sample_rate).text


@pytest.mark.parametrize("name", LIMITS)
def test_error_rates_on_clips_of_the_development_sets(greedy, data_dir, name):
    english = normaliser("en")
    sets = find_sets(data_dir, [name], english, limit=40)
    row = summarise(measure(lambda: BundleTranscriber(greedy), sets, english).results)[0]
    assert 100 * row.cer.value <= LIMITS[name]
    row = summarise(measure(lambda: BundleTranscriber(Recognizer("en-small")), sets, english).results)[0]
    assert 100 * row.wer.value <= WORD_LIMITS[name]
