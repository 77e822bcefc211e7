"""Labels speech that has no transcripts: a teacher listens, and what it heard is the transcript, if it can be right.

A teacher that mishears writes words that do not exist. Clips in which it wrote such words are left out, and so are
those that sound like a sentence of a development or test set.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path
from typing import Any

from edgeasr.errors import AudioFormatError
from edgeasr.train.clips import read_audio
from edgeasr.train.score import count_errors
from edgeasr.train.transcriber import Transcriber

# Sentences compared letter by letter with what was heard: those that share most of the rarest words with it.
CANDIDATES = 8
# Up to this share of wrong characters what was heard may be the sentence.
SAME_SENTENCE_DISTANCE = 0.5


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What the teacher heard in a clip; None where the clip cannot be read."""

    audio: Path
    duration_s: float
    text: str | None


class SentenceIndex:
    """Sentences, found by what somebody misheard of them.

    Example:
        >>> index = SentenceIndex(["move these files into the folder", "how big can elephants be"])
        >>> index.has_like("how big can elephant bee"), index.has_like("how big is this folder")
        (True, False)
    """

    def __init__(self, sentences: Iterable[str]) -> None:
        """Indexes the sentences, normalised as the texts to look for, by their words."""
        self.sentences = sorted(set(sentences))
        self._places: defaultdict[str, list[int]] = defaultdict(list)
        for place, sentence in enumerate(self.sentences):
            for word in set(sentence.split()):
                self._places[word].append(place)

    def has_like(self, heard: str) -> bool:
        """Whether `heard` may be one of the sentences: at most half of one's characters are wrong in it."""
        weights: defaultdict[int, float] = defaultdict(float)
        for word in set(heard.split()):
            places = self._places.get(word, [])
            for place in places:
                weights[place] += math.log(1 + len(self.sentences) / len(places))
        candidates = (self.sentences[place] for place in sorted(weights, key=lambda place: (-weights[place], place)))
        return any(
            count_errors(sentence, heard, unit="character").rate <= SAME_SENTENCE_DISTANCE
            for sentence in itertools.islice(candidates, CANDIDATES)
            # The lengths alone may tell, in no time.
            if abs(len(sentence) - len(heard)) <= SAME_SENTENCE_DISTANCE * len(sentence)
        )


def listen(teacher: Transcriber, paths: Iterable[Path]) -> Iterator[Heard]:
    """Lets the teacher hear each clip."""
    for path in paths:
        try:
            waveform, sample_rate = read_audio(path)
        except AudioFormatError:
            yield Heard(audio=path, duration_s=0.0, text=None)
        else:
            text = teacher.transcribe(waveform, sample_rate)
            yield Heard(audio=path, duration_s=len(waveform) / sample_rate, text=text)


def can_be_right(
    text: str, *, left_out: SentenceIndex, vocabulary: Collection[str] | None, maximum_unknown_share: float
) -> bool:
    """Whether to train on what was heard.

    Args:
        text: What was heard, normalised.
        left_out: Sentences that must not be trained on.
        vocabulary: The words that there are; None if any letters may be a word.
        maximum_unknown_share: How many of the words may be none of them.
    """
    words = text.split()
    if not words:
        return False
    if vocabulary is not None and sum(word not in vocabulary for word in words) > maximum_unknown_share * len(words):
        return False
    return not left_out.has_like(text)


def label(
    teacher: Callable[[], Transcriber],
    paths: Sequence[Path],
    manifest: Path,
    *,
    normalise: Callable[[str], str],
    left_out: SentenceIndex,
    vocabulary: Collection[str] | None = None,
    maximum_unknown_share: float = 0.1,
    on_progress: Callable[[float, None], None] | None = None,
) -> tuple[int, int]:
    """Labels clips and writes the manifest of those that got a transcript.

    What the teacher heard is kept beside the manifest, in `<manifest>.heard`: a second run hears only what is new, so
    that an interrupted one goes on and another vocabulary costs nothing.

    Args:
        teacher: Loads it; not called if everything has been heard.
        paths: The clips.
        manifest: Is written; paths in it are relative to its folder.
        normalise: Makes texts comparable.
        left_out: See `can_be_right`.
        vocabulary: See `can_be_right`.
        maximum_unknown_share: See `can_be_right`.
        on_progress: Told how many seconds of sound this run has heard; it does not know how many there are.

    Returns:
        The numbers of clips with a transcript, and of clips that can be read.
    """
    heard_path = manifest.with_name(manifest.name + ".heard")
    heard = {row.audio: row for row in _read_heard(heard_path)}
    missing = [path for path in paths if path not in heard]
    if missing:
        done_s = 0.0
        with heard_path.open("a", encoding="utf-8") as file:
            for row in listen(teacher(), missing):
                heard[row.audio] = row
                entry = {"audio": str(row.audio), "duration_s": round(row.duration_s, 3), "heard": row.text}
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
                done_s += row.duration_s
                if on_progress is not None:
                    on_progress(done_s, None)
    readable = [heard[path] for path in paths if heard[path].text is not None]
    rows: list[dict[str, Any]] = []
    for clip in readable:
        text = normalise(clip.text or "")
        if can_be_right(text, left_out=left_out, vocabulary=vocabulary, maximum_unknown_share=maximum_unknown_share):
            audio = relpath(clip.audio, manifest.parent)
            rows.append({"id": clip.audio.stem, "audio": audio, "duration_s": round(clip.duration_s, 3), "text": text})
    partial = manifest.with_name(manifest.name + ".partial")
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    partial.replace(manifest)
    return len(rows), len(readable)


def _read_heard(path: Path) -> Iterator[Heard]:
    """What was heard before; a last line that was cut short by an interruption is heard again."""
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            yield Heard(audio=Path(row["audio"]), duration_s=row["duration_s"], text=row["heard"])
