"""Manifests: the lists of clips and their words that training and evaluation read.

A manifest is a JSON Lines file: one object a line with `id`, `audio` (path relative to the manifest's folder),
`duration_s`, `text` (lower case, words separated by single spaces; null where unknown) and, where known, `speaker`,
`age`, `gender`, and `label` where the clip is one of a set of commands.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from edgeasr.errors import ConfigError

DATA_VARIABLE = "EDGEASR_DATA"
DEFAULT_DATA_DIR = Path("../shared/data")


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
    utterances = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            utterances.append(
                Utterance(
                    id=row["id"],
                    audio=path.parent / row["audio"],
                    duration_s=float(row["duration_s"]),
                    text=row["text"],
                    corpus=corpus,
                    speaker=row.get("speaker"),
                    age=row.get("age"),
                    gender=row.get("gender"),
                    label=row.get("label"),
                )
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}:{number}: not a manifest entry: {error!r}") from error
    if not utterances:
        raise ConfigError(f"manifest {path} has no entries")
    return utterances
