"""Transcripts written down: plain text, JSON, SRT and WebVTT captions, and a table of words."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeasr.types import UNSURE_MARK, Alternative, Segment, Transcript, Word, shown, text_of

if TYPE_CHECKING:
    from edgeasr.command import CommandResult

# What captions are cut by. 42 characters and two lines are what broadcasters agree on for Latin letters (BBC
# and Netflix subtitle guidelines); six seconds is the longest that they let a full caption stand, one the
# shortest.
CAPTION_LINE_CHARS = 42
CAPTION_MAX_S = 6.0
CAPTION_MIN_S = 1.0
CAPTION_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Caption:
    """One or two lines of text on the screen from `start` to `end`, in seconds."""

    start: float
    end: float
    lines: tuple[str, ...]


def to_text(transcript: Transcript) -> str:
    """One line a segment; an empty line when nothing was said, or nothing is accepted."""
    return "".join(f"{segment.text}\n" for segment in transcript.segments if segment.text) or "\n"


def to_json(transcript: Transcript, *, source: str | None = None) -> str:
    """One JSON object on a line, words with times and confidences included, and those that are not accepted, too.

    Args:
        transcript: What to write.
        source: Name of the file that it was made from, kept as `file`.
    """
    entries = [] if source is None else [f'"file": {_json(source)}']
    entries.append(f'"text": {_json(transcript.text)}')
    entries.append(f'"duration": {round(transcript.duration, 3)}')
    entries.append(f'"calibrated": {_json(transcript.calibrated)}')
    entries.append(f'"confidence": {_json(_rounded(transcript.confidence))}')
    entries.append(f'"segments": [{", ".join(map(_segment_json, transcript.segments))}]')
    if transcript.alternatives:
        entries.append(f'"alternatives": [{", ".join(map(_alternative_json, transcript.alternatives))}]')
    if transcript.warnings:
        entries.append(f'"warnings": {_json(list(transcript.warnings))}')
    return f"{{{', '.join(entries)}}}\n"


def command_to_text(result: CommandResult, unsure_mark: str = UNSURE_MARK) -> str:
    """One line: what was said, and behind it what a command means; the mark alone for what was rejected."""
    if result.intent is not None:
        slots = "".join(f" {name}={value}" for name, value in result.slots.items())
        return f"{result.text} [{result.intent}{slots}]\n"
    if result.kind == "rejected":
        return f"{unsure_mark}\n"
    return f"{text_of(result.words, unsure_mark) if result.words else result.text}\n"


def command_to_json(result: CommandResult, *, source: str | None = None) -> str:
    """One JSON object on a line: what was said, what it means, and how sure that is.

    Args:
        result: What to write.
        source: Name of the file that it was made from, kept as `file`.
    """
    entry: dict[str, object] = {
        "kind": result.kind,
        "text": result.text,
        "intent": result.intent,
        "slots": dict(result.slots),
        "llr": round(result.llr, 4) if math.isfinite(result.llr) else None,
        "score": round(result.score, 4) if math.isfinite(result.score) else None,
        "calibrated": result.calibrated,
        "confidence": _rounded(result.confidence),
        "words": [_word_entry(word) for word in result.words],
    }
    if result.warnings:
        entry["warnings"] = list(result.warnings)
    return f"{_json(entry if source is None else {'file': source, **entry})}\n"


def _segment_json(segment: Segment) -> str:
    head = f'"text": {_json(segment.text)}, "start": {segment.start}, "end": {segment.end}'
    head += f', "confidence": {_rounded(segment.confidence)}'
    if not segment.accepted:
        head += ', "accepted": false'
    if segment.alternatives:
        head += f', "alternatives": [{", ".join(map(_alternative_json, segment.alternatives))}]'
    return f'{{{head}, "words": [{_words_json(segment.words)}]}}'


def _alternative_json(alternative: Alternative) -> str:
    head = f'"text": {_json(alternative.text)}, "score": {round(alternative.score, 4)}'
    return f'{{{head}, "words": [{_words_json(alternative.words)}]}}'


def _words_json(words: Sequence[Word]) -> str:
    # Word by word: the encoder of json takes ten times the memory of what it writes, and hours of speech are long.
    return ", ".join(map(_word_json, words))


def _word_json(word: Word) -> str:
    return _json(_word_entry(word))


def _word_entry(word: Word) -> dict[str, object]:
    entry = {"text": word.text, "start": word.start, "end": word.end, "confidence": _rounded(word.confidence)}
    return entry if word.accepted else {**entry, "accepted": False}


def _rounded(confidence: float | None) -> float | None:
    return None if confidence is None else round(confidence, 4)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def to_tsv(transcript: Transcript) -> str:
    """A table with a line for each word, accepted or not: start, end, confidence, word; separated by tabs."""
    lines = ["start\tend\tconfidence\tword\n"]
    lines += [f"{word.start:.3f}\t{word.end:.3f}\t{word.confidence:.4f}\t{word.text}\n" for word in transcript.words]
    return "".join(lines)


def to_srt(transcript: Transcript) -> str:
    """SubRip captions."""
    return "\n".join(
        f"{number}\n{_clock(caption.start, ',')} --> {_clock(caption.end, ',')}\n" + _joined(caption.lines)
        for number, caption in enumerate(captions(*_shown_segments(transcript)), start=1)
    )


def to_vtt(transcript: Transcript) -> str:
    """WebVTT captions."""
    blocks = ["WEBVTT\n"]
    blocks += [
        f"{_clock(caption.start, '.')} --> {_clock(caption.end, '.')}\n" + _escaped(_joined(caption.lines))
        for caption in captions(*_shown_segments(transcript))
    ]
    return "\n".join(blocks)


# The formats of the command line; the name is also the suffix of a file, but for text.
FORMATS: dict[str, Callable[[Transcript], str]] = {
    "text": to_text,
    "json": to_json,
    "srt": to_srt,
    "vtt": to_vtt,
    "tsv": to_tsv,
}


def captions(*segments: Sequence[Word]) -> list[Caption]:
    """Cuts the words of each segment into captions: at pauses, and where two lines or six seconds are full.

    A caption stands for at least a second, unless the next one begins before that.
    """
    groups: list[list[Word]] = []
    for words in segments:
        for place, word in enumerate(words):
            if place and _belongs(groups[-1], word):
                groups[-1].append(word)
            else:
                groups.append([word])
    found: list[Caption] = []
    next_start = float("inf")
    for group in reversed(groups):
        start = group[0].start
        end = max(group[-1].end, min(start + CAPTION_MIN_S, next_start))
        found.append(Caption(start, end, tuple(_lines([word.text for word in group]))))
        next_start = start
    return found[::-1]


def _shown_segments(transcript: Transcript) -> list[list[Word]]:
    return [shown(segment.words, transcript.unsure_mark, accepted=segment.accepted) for segment in transcript.segments]


def _belongs(group: list[Word], word: Word) -> bool:
    """Whether a word goes into the caption of the words before it."""
    return (
        word.start - group[-1].end < CAPTION_PAUSE_S
        and word.end - group[0].start <= CAPTION_MAX_S
        and _lines([member.text for member in group] + [word.text]) != []
    )


def _lines(words: list[str]) -> list[str]:
    """One line, or two of lengths as equal as can be; nothing when two lines do not hold the words."""
    line = " ".join(words)
    if len(line) <= CAPTION_LINE_CHARS or len(words) == 1:
        return [line]
    splits = [(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(1, len(words))]
    best = min(splits, key=lambda split: max(len(split[0]), len(split[1])))
    return list(best) if max(map(len, best)) <= CAPTION_LINE_CHARS else []


def _joined(lines: tuple[str, ...]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
