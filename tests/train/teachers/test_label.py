"""Labelling: what is kept of what a teacher heard, and going on after an interruption."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgeasr.cli import main
from edgeasr.errors import ConfigError
from edgeasr.train.evaluation.evaluate import normaliser
from edgeasr.train.teachers.label import SecondHearer, SentenceIndex, fault_of, hearer, hearer_key, label
from edgeasr.train.teachers.teacher import View

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
    ("text", "fault"),
    [
        ("", "in which nothing was heard"),
        ("the house is big", None),
        ("the house is zbig", "with too many unknown words"),
        ("how pig can elephant bee", "like a sentence to leave out"),  # of the development set, misheard
        ("the files are good", None),
    ],
)
def test_what_can_be_right(text, fault):
    words = {"are", "good", "the", "house", "is", "big", "files", "how", "pig", "can", "elephant", "bee"}
    assert fault_of(text, left_out=DEV, vocabulary=words, maximum_unknown_share=0.2) == fault


def test_any_letters_may_be_a_word_without_a_vocabulary():
    assert fault_of("zbig", left_out=DEV, vocabulary=None, maximum_unknown_share=0.0) is None


def test_labels_become_a_manifest_and_nothing_is_heard_twice(tmp_path, clips):
    teacher = Teacher({1: "GOOD MORNING", 2: "", 3: "MOVE THESE FILES"})
    manifest = tmp_path / "out" / "labelled.jsonl"
    manifest.parent.mkdir()
    options = {"normalise": normaliser("en"), "left_out": DEV}
    assert label(lambda: teacher, clips[:1], manifest, **options).kept == 1
    with manifest.with_name("labelled.jsonl.heard").open("a") as heard:
        heard.write('{"audio": "cut')
        heard.write("\n")
    labelled = label(lambda: teacher, clips, manifest, **options)
    assert str(labelled) == (
        "1 of 4 clips have a transcript; left out: 1 cannot be read, 1 in which nothing was heard, "
        "1 like a sentence to leave out"
    )
    assert teacher.calls == 3
    row = json.loads(manifest.read_text())
    assert row == {"id": "1", "audio": "../clips/1.wav", "duration_s": 0.1, "text": "good morning"}
    assert label(lambda: pytest.fail("loaded for nothing"), clips, manifest, **options) == labelled


class Listener:
    """Remembers what it was given; hears the teacher's text with some letters wrong."""

    name = "listener"

    def __init__(self, text: str) -> None:
        self.text = text
        self.waveforms: list[np.ndarray] = []

    def transcribe(self, waveform: np.ndarray, sample_rate: int) -> str:
        self.waveforms.append(waveform)
        return self.text


def test_a_second_hearer_hears_what_can_be_right_and_has_to_agree(tmp_path, clips):
    teacher = Teacher({1: "GOOD MORNING", 2: "", 3: "GOOD MORNINGS"})
    listener = Listener("good Morning?")
    manifest = tmp_path / "labelled.jsonl"
    second = SecondHearer(key="ab", load=lambda: listener, view=View(speed=1.25), maximum_disagreement=0.0)
    options = {"normalise": normaliser("en"), "left_out": DEV}
    strict = label(lambda: teacher, clips, manifest, second=second, **options)
    assert (strict.kept, strict.dropped["heard differently by the second hearer"]) == (1, 1)
    # The teacher's silence and what cannot be read are not heard again; the others are, faster.
    assert [len(waveform) for waveform in listener.waveforms] == [1280, 3840]
    # One letter of thirteen; nobody listens for another limit, the view of another hearer is his own.
    lax = replace(second, maximum_disagreement=0.1, load=lambda: pytest.fail("loaded for nothing"))
    assert label(lambda: teacher, clips, manifest, second=lax, **options).kept == 2
    assert [json.loads(line)["text"] for line in manifest.read_text().splitlines()] == ["good morning", "good mornings"]
    other = replace(second, key="cd", load=lambda: Listener("good mornings"))
    assert label(lambda: teacher, clips, manifest, second=other, **options).kept == 1
    assert teacher.calls == 3


def test_hearers_are_told_apart_by_their_files(tmp_path, tone_recipe):
    run = tmp_path / "run"
    run.mkdir()
    (run / "checkpoint.pt").write_bytes(b"one")
    (run / "metrics.jsonl").write_text("{}")
    lm = tmp_path / "lm.bin"
    lm.write_bytes(b"lm")
    folder, _ = hearer(str(run), tmp_path)
    keys = {hearer_key(folder, None, View()), hearer_key(folder, None, View(speed=1.1)), hearer_key(folder, lm, View())}
    assert len(keys) == 3
    (run / "metrics.jsonl").write_text("{} {}")
    assert hearer_key(folder, None, View()) in keys
    (run / "checkpoint.pt").write_bytes(b"two")
    assert hearer_key(folder, None, View()) not in keys
    assert hearer("sherpa-onnx", tmp_path)[0] == tmp_path / "teacher"
    assert hearer("en-small", tmp_path)[0].name == "en-small"
    with pytest.raises(ConfigError, match="takes no language model"):
        hearer("sherpa-onnx", tmp_path, lm=lm)


def test_the_command_with_the_student_of_the_round_before(tmp_path, tone_recipe, tone_data, capsys):
    """It has learnt next to nothing, and hears the same at any speed only where it hears nothing."""
    pytest.importorskip("torch")
    from edgeasr.train.loop import train
    from edgeasr.train.recipe import read_recipe

    tone_recipe.write_text(tone_recipe.read_text().replace("steps = 8", "steps = 1"))
    train(
        read_recipe(tone_recipe),
        run_dir=tmp_path / "run",
        data_dir=tone_data,
        cache_dir=tmp_path / "cache",
        num_threads=1,
    )
    output = tmp_path / "speech.jsonl"
    arguments = ["label", str(tone_data / "speech"), "-o", str(output), "--data", str(tone_data), "--language", "x"]
    arguments += ["--leave-out", "tones.train", "--model", str(tmp_path / "run")]
    assert main([*arguments, "--agree-with", str(tmp_path / "run")]) == 2
    assert "is the teacher itself" in capsys.readouterr().err
    assert main([*arguments, "--second-view", "faster", "--maximum-disagreement", "1"]) == 0
    assert " of 40 clips have a transcript" in capsys.readouterr().out
    assert len(output.with_name("speech.jsonl.heard").read_text().splitlines()) == 40


def test_the_command_needs_recordings(tmp_path, capsys):
    assert main(["label", str(tmp_path), "-o", str(tmp_path / "a.jsonl")]) == 2
    assert "has no recordings" in capsys.readouterr().err
