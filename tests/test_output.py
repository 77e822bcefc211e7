"""Written transcripts, compared with what they must look like."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeasr.output import (
    CAPTION_LINE_CHARS,
    CAPTION_MAX_S,
    captions,
    to_json,
    to_srt,
    to_text,
    to_tsv,
    to_vtt,
)
from edgeasr.types import Alternative, Segment, Transcript, Word

WORDS = (
    Word("he", 0.48, 0.6, 0.99),
    Word("wasn't", 0.62, 0.9, 0.95),
    Word("ill", 1.0, 1.2, 0.87654),
    Word("disposed", 3661.5, 3662.25, 0.5),
)
TRANSCRIPT = Transcript((Segment("he wasn't ill disposed", 0.48, 3662.25, WORDS),), 3663.0)
SILENCE = Transcript((), 2.0)


def test_text() -> None:
    assert to_text(TRANSCRIPT) == "he wasn't ill disposed\n"
    assert to_text(SILENCE) == "\n"


def test_json() -> None:
    document = json.loads(to_json(TRANSCRIPT, source="a.wav"))
    assert document["file"] == "a.wav"
    assert document["text"] == "he wasn't ill disposed"
    assert document["duration"] == 3663.0
    assert document["segments"][0]["words"][2] == {"text": "ill", "start": 1.0, "end": 1.2, "confidence": 0.8765}
    assert "warnings" not in document
    assert document["segments"][0]["confidence"] == document["confidence"] == 0.8291
    assert document["calibrated"] is False
    assert to_json(SILENCE) == (
        '{"text": "", "duration": 2.0, "calibrated": false, "confidence": null, "segments": []}\n'
    )
    assert json.loads(to_json(Transcript((), 0.0, ("damaged",))))["warnings"] == ["damaged"]


def test_tsv() -> None:
    assert to_tsv(TRANSCRIPT).splitlines()[:2] == ["start\tend\tconfidence\tword", "0.480\t0.600\t0.9900\the"]


def test_srt() -> None:
    assert to_srt(TRANSCRIPT) == (
        "1\n00:00:00,480 --> 00:00:01,480\nhe wasn't ill\n\n2\n01:01:01,500 --> 01:01:02,500\ndisposed\n"
    )
    assert to_srt(SILENCE) == ""


def test_vtt() -> None:
    assert to_vtt(TRANSCRIPT).startswith("WEBVTT\n\n00:00:00.480 --> 00:00:01.480\nhe wasn't ill\n\n01:01:01.500")
    assert to_vtt(SILENCE) == "WEBVTT\n"
    (segment,) = TRANSCRIPT.segments
    marked = Transcript((Segment("<a&b>", 0, 1, (Word("<a&b>", 0.0, 1.0, 1.0),)),), 1.0)
    assert "&lt;a&amp;b&gt;" in to_vtt(marked)
    assert segment.text in to_text(TRANSCRIPT)


def test_two_lines_are_balanced() -> None:
    sentence = "it is a truth universally acknowledged that a single man"
    words = [Word(name, 0.3 * i, 0.3 * i + 0.2, 1.0) for i, name in enumerate(sentence.split())]
    (caption,) = captions(words)
    assert caption.lines == ("it is a truth universally", "acknowledged that a single man")


@given(
    st.lists(
        st.tuples(st.text("abc'", min_size=1, max_size=60), st.integers(0, 3000), st.integers(0, 1500)), max_size=40
    )
)
def test_captions_hold_every_word_and_stay_small(spoken: list[tuple[str, int, int]]) -> None:
    words: list[Word] = []
    now = 0
    for text, pause_ms, length_ms in spoken:
        now += pause_ms
        words.append(Word(text, now / 1000, (now + length_ms) / 1000, 1.0))
        now += length_ms
    found = captions(words)
    assert " ".join(line for caption in found for line in caption.lines) == " ".join(word.text for word in words)
    assert all(caption.end <= following.start for caption, following in pairwise(found))
    for caption in found:
        assert len(caption.lines) <= 2
        assert all(len(line) <= CAPTION_LINE_CHARS or " " not in line for line in caption.lines)
        assert caption.end - caption.start <= CAPTION_MAX_S + 1e-9


@pytest.mark.parametrize(
    ("seconds", "clock"), [(0.0, "00:00:00,000"), (59.9996, "00:01:00,000"), (7325.25, "02:02:05,250")]
)
def test_clock(seconds: float, clock: str) -> None:
    word = Word("a", seconds, seconds + 2, 1.0)
    assert to_srt(Transcript((Segment("a", word.start, word.end, (word,)),), 9999.0)).splitlines()[1].startswith(clock)


def test_what_is_not_accepted_is_marked_for_readers_and_kept_for_programs() -> None:
    words = tuple(replace(word, accepted=word.confidence >= 0.9) for word in WORDS)
    transcript = Transcript((Segment("he wasn't [?]", 0.48, 3662.25, words),), 3663.0, calibrated=True)
    assert to_text(transcript) == "he wasn't [?]\n"
    for text in (to_srt(transcript), to_vtt(transcript)):
        assert text.count("[?]") == 1
        assert "disposed" not in text
    document = json.loads(to_json(transcript))
    assert document["calibrated"] is True
    flags = [(word["text"], word.get("accepted", True)) for word in document["segments"][0]["words"]]
    assert flags == [("he", True), ("wasn't", True), ("ill", False), ("disposed", False)]
    assert len(to_tsv(transcript).splitlines()) == 5
    rejected = Transcript((Segment("", 0.48, 3662.25, words, accepted=False),), 3663.0, unsure_mark="")
    assert to_text(rejected) == "\n"
    assert to_srt(rejected) == ""
    assert json.loads(to_json(rejected))["segments"][0]["accepted"] is False


def test_alternatives_are_written() -> None:
    other = Alternative("he was ill", WORDS[:1], -3.25)
    document = json.loads(to_json(replace(TRANSCRIPT, alternatives=(other,))))
    assert document["alternatives"][0]["text"] == "he was ill"
    assert document["alternatives"][0]["score"] == -3.25
    assert document["alternatives"][0]["words"][0]["text"] == "he"
