"""Labelling: what is kept of what a teacher heard, and going on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgeasr.cli import main
from edgeasr.train.evaluate import normaliser
from edgeasr.train.label import SentenceIndex, can_be_right, label

DEV = SentenceIndex(["how big can elephants be", "move these files"])


class Teacher:
    """Hears a clip's length in tenths of a second."""

    name = "teacher"

    def __init__(self, texts: dict[int, str]) -> None:
        self.texts = texts
        self.calls = 0

    def transcribe(self, waveform: np.ndarray, sample_rate: int) -> str:
        self.calls += 1
        return self.texts[round(10 * len(waveform) / sample_rate)]


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Three clips, 0.1 to 0.3 s, and a file that is none."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for tenths in (1, 2, 3):
        soundfile.write(folder / f"{tenths}.wav", np.zeros(1600 * tenths), 16000)
    (folder / "4.wav").write_text("no sound")
    return sorted(folder.iterdir())


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", False),
        ("the house is big", True),
        ("the house is zbig", False),
        ("how pig can elephant bee", False),  # a sentence of the development set, misheard
        ("the files are good", True),
    ],
)
def test_what_can_be_right(text, kept):
    words = {"are", "good", "the", "house", "is", "big", "files", "how", "pig", "can", "elephant", "bee"}
    assert can_be_right(text, left_out=DEV, vocabulary=words, maximum_unknown_share=0.2) == kept


def test_any_letters_may_be_a_word_without_a_vocabulary():
    assert can_be_right("zbig", left_out=DEV, vocabulary=None, maximum_unknown_share=0.0)


def test_labels_become_a_manifest_and_nothing_is_heard_twice(tmp_path, clips):
    teacher = Teacher({1: "GOOD MORNING", 2: "", 3: "MOVE THESE FILES"})
    manifest = tmp_path / "out" / "labelled.jsonl"
    manifest.parent.mkdir()
    options = {"normalise": normaliser("en"), "left_out": DEV}
    assert label(lambda: teacher, clips[:1], manifest, **options) == (1, 1)
    with manifest.with_name("labelled.jsonl.heard").open("a") as heard:
        heard.write('{"audio": "cut')
        heard.write("\n")
    assert label(lambda: teacher, clips, manifest, **options) == (1, 3)
    assert teacher.calls == 3
    row = json.loads(manifest.read_text())
    assert row == {"id": "1", "audio": "../clips/1.wav", "duration_s": 0.1, "text": "good morning"}
    assert label(lambda: pytest.fail("loaded for nothing"), clips, manifest, **options) == (1, 3)


def test_the_command_needs_recordings(tmp_path, capsys):
    assert main(["label", str(tmp_path), "-o", str(tmp_path / "a.jsonl")]) == 2
    assert "has no recordings" in capsys.readouterr().err
