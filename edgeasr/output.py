"""Transcripts written down: plain text, JSON, SRT and WebVTT captions, and a table of words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeasr.types import Segment, Transcript, Word

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
    """One line a segment; an empty line when nothing was said."""
    return "".join(f"{segment.text}\n" for segment in transcript.segments) or "\n"


def to_json(transcript: Transcript, *, source: str | None = None) -> str:
    """One JSON object on a line, words with times and confidences included.

    Args:
        transcript: What to write.
        source: Name of the file that it was made from, kept as `file`.
    """
    entries = [] if source is None else [f'"file": {_json(source)}']
    entries.append(f'"text": {_json(transcript.text)}')
    entries.append(f'"duration": {round(transcript.duration, 3)}')
    entries.append(f'"segments": [{", ".join(map(_segment_json, transcript.segments))}]')
    if transcript.warnings:
        entries.append(f'"warnings": {_json(list(transcript.warnings))}')
    return f"{{{', '.join(entries)}}}\n"


def _segment_json(segment: Segment) -> str:
    # Word by word: the encoder of json takes ten times the memory of what it writes, and hours of speech are long.
    words = ", ".join(
        _json({"text": word.text, "start": word.start, "end": word.end, "confidence": round(word.confidence, 4)})
        for word in segment.words
    )
    head = f'"text": {_json(segment.text)}, "start": {segment.start}, "end": {segment.end}'
    return f'{{{head}, "words": [{words}]}}'


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def to_tsv(transcript: Transcript) -> str:
    """A table with a line for each word: start, end, confidence, word; separated by tabs."""
    lines = ["start\tend\tconfidence\tword\n"]
    lines += [f"{word.start:.3f}\t{word.end:.3f}\t{word.confidence:.4f}\t{word.text}\n" for word in transcript.words]
    return "".join(lines)


def to_srt(transcript: Transcript) -> str:
    """SubRip captions."""
    return "\n".join(
        f"{number}\n{_clock(caption.start, ',')} --> {_clock(caption.end, ',')}\n" + _joined(caption.lines)
        for number, caption in enumerate(captions(transcript.words), start=1)
    )


def to_vtt(transcript: Transcript) -> str:
    """WebVTT captions."""
    blocks = ["WEBVTT\n"]
    blocks += [
        f"{_clock(caption.start, '.')} --> {_clock(caption.end, '.')}\n" + _escaped(_joined(caption.lines))
        for caption in captions(transcript.words)
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


def captions(words: Sequence[Word]) -> list[Caption]:
    """Cuts words into captions: at pauses, and where two lines or six seconds are full.

    A caption stands for at least a second, unless the next one begins before that.
    """
    groups: list[list[Word]] = []
    for word in words:
        if groups and _belongs(groups[-1], word):
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
