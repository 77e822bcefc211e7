"""Labels speech that has no transcripts: a teacher listens, and what it heard is the transcript, if it can be right.

A teacher that mishears writes words that do not exist. Clips in which it wrote such words are left out, and so are
those that sound like a sentence of a development or test set. Where there is a second hearer - another recogniser, the
student of the round before, or the teacher itself in noise - so are clips in which it heard something else.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import lzma
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from os.path import relpath
from pathlib import Path
from typing import Any

from edgeasr.errors import AudioFormatError, ConfigError
from edgeasr.train.clips import read_audio
from edgeasr.train.evaluation.score import count_errors, disagreement
from edgeasr.train.teachers.teacher import CHECKPOINT, PEER, View
from edgeasr.train.teachers.transcriber import Transcriber

# Sentences compared letter by letter with what was heard: those that share most of the rarest words with it.
CANDIDATES = 8
# Up to this share of wrong characters what was heard may be the sentence.
SAME_SENTENCE_DISTANCE = 0.5


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """Which of a teacher's readings become transcripts, in `edgeasr label RECIPE`.

    Sentences of the recipe's development sets never do.

    Attributes:
        minimum_confidence: Of the reading, per character: the geometric mean of its probability.
        maximum_disagreement: Between the members of an ensemble, as a character error rate.
        vocabulary: Files of text, relative to the data folder, with the words that there are; none if any letters may
            be a word.
        maximum_unknown_share: How many of a clip's words may be others.
        leave_out: Sets, such as `librispeech.test` or `test`, whose sentences do not become transcripts either.
    """

    minimum_confidence: float = 0.0
    maximum_disagreement: float = 1.0
    vocabulary: tuple[str, ...] = ()
    maximum_unknown_share: float = 0.1
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What the teacher heard in a clip; None where the clip cannot be read."""

    audio: Path
    duration_s: float
    text: str | None


@dataclass(frozen=True, kw_only=True)
class SecondHearer:
    """Whom a teacher has to agree with.

    Attributes:
        key: Under which is kept what it heard; another one for another hearer.
        load: Loads it; not called if it has heard everything.
        view: How it hears the clips.
        maximum_disagreement: Clips are kept if the character error rate between both readings is at most this.
    """

    key: str
    load: Callable[[], Transcriber]
    view: View = field(default_factory=View)
    maximum_disagreement: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What became of the clips.

    Attributes:
        clips: How many there are.
        kept: How many got a transcript.
        dropped: For each reason how many did not, in the order in which the filters stand.
    """

    clips: int
    kept: int
    dropped: dict[str, int]

    def __str__(self) -> str:
        """How many clips are kept, and how many each filter drops."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items() if count)
        return f"{self.kept} of {self.clips} clips have a transcript" + (f"; left out: {reasons}" if reasons else "")


# Why a clip gets no transcript.
UNREADABLE = "cannot be read"
SILENT = "in which nothing was heard"
UNKNOWN_WORDS = "with too many unknown words"
LEFT_OUT = "like a sentence to leave out"
DISAGREED = "heard differently by the second hearer"
REASONS = (UNREADABLE, SILENT, UNKNOWN_WORDS, LEFT_OUT, DISAGREED)


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


def read_vocabulary(paths: Iterable[Path], normalise: Callable[[str], str]) -> set[str]:
    """The words of texts, normalised; a text may be compressed (.xz).

    Raises:
        ConfigError: A file cannot be read.
    """
    words: set[str] = set()
    for path in paths:
        try:
            with (
                lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as file
            ):
                words.update(word for line in file for word in normalise(line).split())
        except (OSError, ValueError, lzma.LZMAError) as error:
            raise ConfigError(f"vocabulary {path} cannot be read: {error}") from error
    return words


def listen(teacher: Transcriber, paths: Iterable[Path], view: View) -> Iterator[Heard]:
    """Lets a recogniser hear each clip."""
    for path in paths:
        try:
            waveform, sample_rate = read_audio(path)
        except AudioFormatError:
            yield Heard(audio=path, duration_s=0.0, text=None)
        else:
            text = teacher.transcribe(view.of(waveform), sample_rate)
            yield Heard(audio=path, duration_s=len(waveform) / sample_rate, text=text)


def fault_of(
    text: str, *, left_out: SentenceIndex, vocabulary: Collection[str] | None, maximum_unknown_share: float
) -> str | None:
    """Why not to train on what was heard, one of `REASONS`; None if it can be right.

    Args:
        text: What was heard, normalised.
        left_out: Sentences that must not be trained on.
        vocabulary: The words that there are; None if any letters may be a word.
        maximum_unknown_share: How many of the words may be none of them.
    """
    words = text.split()
    if not words:
        return SILENT
    if vocabulary is not None and sum(word not in vocabulary for word in words) > maximum_unknown_share * len(words):
        return UNKNOWN_WORDS
    return LEFT_OUT if left_out.has_like(text) else None


def label(
    teacher: Callable[[], Transcriber],
    paths: Sequence[Path],
    manifest: Path,
    *,
    normalise: Callable[[str], str],
    left_out: SentenceIndex,
    vocabulary: Collection[str] | None = None,
    maximum_unknown_share: float = 0.1,
    second: SecondHearer | None = None,
    on_progress: Callable[[float, None], None] | None = None,
) -> Labelled:
    """Labels clips and writes the manifest of those that got a transcript: what the teacher heard.

    What was heard is kept beside the manifest, in `<manifest>.heard`, and of a second hearer in
    `<manifest>.heard-<key>`: a second run hears only what is new, so that an interrupted one goes on and another
    vocabulary costs nothing.

    Args:
        teacher: Loads it; not called if everything has been heard.
        paths: The clips.
        manifest: Is written; paths in it are relative to its folder.
        normalise: Makes texts comparable.
        left_out: See `fault_of`.
        vocabulary: See `fault_of`.
        maximum_unknown_share: See `fault_of`.
        second: Whom the teacher has to agree with. It hears only what can be right.
        on_progress: Told how many seconds of sound this run has heard; it does not know how many there are.
    """
    heard = _hear(teacher, View(), paths, manifest.with_name(manifest.name + ".heard"), on_progress)
    texts = {path: normalise(heard[path].text or "") for path in paths}
    faults = {
        path: UNREADABLE
        if heard[path].text is None
        else fault_of(text, left_out=left_out, vocabulary=vocabulary, maximum_unknown_share=maximum_unknown_share)
        for path, text in texts.items()
    }
    if second is not None:
        asked = [path for path in paths if faults[path] is None]
        again = _hear(
            second.load, second.view, asked, manifest.with_name(f"{manifest.name}.heard-{second.key}"), on_progress
        )
        for path in asked:
            if disagreement(texts[path], normalise(again[path].text or "")) > second.maximum_disagreement:
                faults[path] = DISAGREED
    kept = [path for path in paths if faults[path] is None]
    rows: list[dict[str, Any]] = [
        {
            "id": path.stem,
            "audio": relpath(path, manifest.parent),
            "duration_s": round(heard[path].duration_s, 3),
            "text": texts[path],
        }
        for path in kept
    ]
    partial = manifest.with_name(manifest.name + ".partial")
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    partial.replace(manifest)
    dropped = Counter(faults[path] for path in paths)
    return Labelled(clips=len(paths), kept=len(kept), dropped={reason: dropped[reason] for reason in REASONS})


def hearer(model: str, data: Path, *, lm: Path | None = None) -> tuple[Path, Callable[[], Transcriber]]:
    """Finds a recogniser.

    Args:
        model: `sherpa-onnx`, which runs the transducer in the data folder, the folder of a training run, or the name or
            folder of a bundle.
        data: The data folder.
        lm: The file of a language model; None for the bundle's own, if it has one.

    Returns:
        The folder of its files, and what loads it.

    Raises:
        ConfigError: sherpa-onnx is given a language model.
        BundleError: There is no such bundle.
    """
    from edgeasr.bundle import find_bundle
    from edgeasr.train.teachers.transcriber import StudentTranscriber, load_bundle, peer_loader

    if model == PEER:
        if lm is not None:
            raise ConfigError(f"{PEER} takes no language model here")
        return data / "teacher", peer_loader(PEER, data)
    if (Path(model) / CHECKPOINT).is_file():
        return Path(model), partial(StudentTranscriber, Path(model), lm=lm)
    folder = find_bundle(model)
    return folder, partial(load_bundle, folder, lm=lm)


def hearer_key(folder: Path, lm: Path | None, view: View) -> str:
    """Tells hearers apart: by their files, their language model, and how they hear the clips."""
    digest = hashlib.sha256(repr(view).encode())
    checkpoint = folder / CHECKPOINT
    files = [checkpoint] if checkpoint.is_file() else [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in [*files, *([lm] if lm else [])]:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:8]


def _hear(
    load: Callable[[], Transcriber],
    view: View,
    paths: Sequence[Path],
    kept: Path,
    on_progress: Callable[[float, None], None] | None,
) -> dict[Path, Heard]:
    """What a recogniser hears in clips, or has heard; what is new is added to a file."""
    heard = {row.audio: row for row in _read_heard(kept)}
    missing = [path for path in paths if path not in heard]
    if missing:
        done_s = 0.0
        with kept.open("a", encoding="utf-8") as file:
            for row in listen(load(), missing, view):
                heard[row.audio] = row
                entry = {"audio": str(row.audio), "duration_s": round(row.duration_s, 3), "heard": row.text}
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
                done_s += row.duration_s
                if on_progress is not None:
                    on_progress(done_s, None)
    return heard


def _read_heard(path: Path) -> Iterator[Heard]:
    """What was heard before; a last line that was cut short by an interruption is heard again."""
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            yield Heard(audio=Path(row["audio"]), duration_s=row["duration_s"], text=row["heard"])
