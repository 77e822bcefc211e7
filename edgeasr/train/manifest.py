"""Manifests: the lists of clips and their words that training and evaluation read.

A manifest is a JSON Lines file: one object a line with `id`, `audio` (path relative to the manifest's folder),
`duration_s`, `text` (lower case, words separated by single spaces; null where unknown) and, where known, `speaker`,
`age`, `gender`, `label` where the clip is one of a set of commands, and `words`, a list of `[word, start_s, end_s]`.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

from edgeasr.errors import ConfigError

DATA_VARIABLE = "EDGEASR_DATA"
DEFAULT_DATA_DIR = Path("../shared/data")

REQUIRED = ("id", "audio", "duration_s", "text")
# What the fields of a line are; those that are not required may be null.
FIELDS: dict[str, tuple[tuple[type, ...], str]] = {
    "id": ((str,), "a string"),
    "audio": ((str,), "a string"),
    "duration_s": ((int, float), "a number of seconds"),
    "text": ((str, NoneType), "a string, or null where it is unknown"),
    "speaker": ((str,), "a string"),
    "age": ((int,), "a whole number of years"),
    "gender": ((str,), "a string"),
    "label": ((str,), "a string"),
}


class TimedWord(NamedTuple):
    """A word of a transcript, and when it is said, in seconds from the beginning of the clip."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One clip: where its sound is and what is said in it."""

    id: str
    audio: Path
    duration_s: float
    text: str | None
    corpus: str
    speaker: str | None = None
    age: int | None = None
    gender: str | None = None
    label: str | None = None
    words: tuple[TimedWord, ...] | None = None


def data_dir() -> Path:
    """The folder of the data: the environment variable EDGEASR_DATA, or ../shared/data."""
    return Path(os.environ.get(DATA_VARIABLE, DEFAULT_DATA_DIR))


def read_manifest(path: Path) -> list[Utterance]:
    """Reads a manifest.

    Raises:
        ConfigError: the file is missing or empty, or a line is not a valid entry; the message names file and line.
    """
    if not path.is_file():
        raise ConfigError(f"manifest {path} not found (the data folder is set by {DATA_VARIABLE})")
    corpus = path.name.split(".")[0]
    lines = path.read_bytes().split(b"\n")
    utterances = []
    for number, line in enumerate(lines, start=1):
        if number == len(lines) and not line:
            break  # what follows the end of the last line
        try:
            utterances.append(_utterance(json.loads(line), path.parent, corpus))
        except ValueError as error:
            raise ConfigError(f"{path}:{number}: not a manifest entry: {error}") from error
    if not utterances:
        raise ConfigError(f"manifest {path} has no entries")
    return utterances


def _utterance(row: Any, folder: Path, corpus: str) -> Utterance:
    """The clip of a line.

    Raises:
        ValueError: What is wrong with it.
    """
    if not isinstance(row, dict):
        raise ValueError(f"expected an object, got {row!r}")
    for key, (kind, wanted) in FIELDS.items():
        if key in REQUIRED and key not in row:
            raise ValueError(f"it has no {key!r}")
        value = row.get(key)
        if isinstance(value, bool) or not isinstance(value, kind if key in REQUIRED else (*kind, NoneType)):
            raise ValueError(f"{key!r} must be {wanted}, got {value!r}")
    duration_s = float(row["duration_s"])
    if not 0 <= duration_s < math.inf:
        raise ValueError(f"'duration_s' must be 0 or more, got {duration_s}")
    return Utterance(
        id=row["id"],
        audio=folder / row["audio"],
        duration_s=duration_s,
        text=row["text"],
        corpus=corpus,
        speaker=row.get("speaker"),
        age=row.get("age"),
        gender=row.get("gender"),
        label=row.get("label"),
        words=_words(row),
    )


def _words(row: dict[str, Any]) -> tuple[TimedWord, ...] | None:
    """The word times of a line, None where there are none.

    Lists `[word, start_s, end_s]` are times of the transcript. Objects with `text`, `start` and `end` are what a
    recogniser heard (`edgeasr listen --save`); they count while the text has not been corrected.

    Raises:
        ValueError: They are not the words of the text, or not in order.
    """
    listed = row.get("words")
    if listed is None:
        return None
    heard = isinstance(listed, list) and any(isinstance(item, dict) for item in listed)
    try:
        items = [(item["text"], item["start"], item["end"]) for item in listed] if heard else listed
        words = tuple(TimedWord(str(text), float(start_s), float(end_s)) for text, start_s, end_s in items)
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"'words' must be a list of [word, start_s, end_s], got {listed!r}") from None
    times_s = [time_s for word in words for time_s in (word.start_s, word.end_s)]
    same = [word.text for word in words] == (row["text"] or "").split()
    in_order = times_s == sorted(times_s) and (not times_s or times_s[0] >= 0)
    if same and in_order:
        return words
    if heard:
        return None
    if not same:
        raise ValueError("'words' are not the words of 'text'")
    raise ValueError(f"the times of 'words' go backwards: {listed!r}")
