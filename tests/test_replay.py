"""`edgeasr replay` and `edgeasr review`: what was heard is heard again, blamed, and corrected."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import soundfile

from edgeasr.cli import main
from edgeasr.events import Overflow
from edgeasr.session import read_session
from edgeasr.train.manifest import read_manifest

RATE = 16000


class FakeMicrophone:
    """Plays two recordings with pauses before, between and after them; in the second one sound is lost."""

    name = "fake"
    sample_rate = RATE
    num_lost = 0
    lost_s = 0.0

    def __init__(self, device: str | None, *, channel: int | None = None) -> None:
        assert channel is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def blocks(self) -> Iterator[Any]:
        pause = np.random.default_rng(0).normal(0, 0.0003, RATE).astype(np.float32)
        samples = Path(__file__).parents[1] / "samples"
        first, second = (
            soundfile.read(samples / f"austen-{name}.flac", dtype="float32")[0] for name in ("0930", "0880")
        )
        num_lost = round(self.lost_s * RATE)
        second[:num_lost] = 0.0
        sound = np.concatenate([pause, first, pause, second, pause])
        end = 2 * len(pause) + len(first) + num_lost
        for start in range(0, len(sound), 640):
            yield sound[start : start + 640]
            if num_lost and start < end <= start + 640:
                yield Overflow(time_s=end / RATE, lost_s=self.lost_s)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.setattr("edgeasr.microphone.Microphone", FakeMicrophone)
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "phrases.txt").write_text("made amiable himself\t3\n")
    grammar = tmp_path / "some.grammar"
    grammar.write_text("intent light:\n  turn on the light\n")
    path = tmp_path / "session.zip"
    options = ["--profile", str(profile), "--grammar", str(grammar), "--min-silence", "0.6"]
    assert main(["listen", "--record", str(path), *options]) == 0
    capsys.readouterr()
    # It needs nothing of what it was made with.
    (profile / "phrases.txt").unlink()
    grammar.unlink()
    return path


def believed(path: Path) -> list[dict[str, Any]]:
    """The words of the finals."""
    events = [event for event in read_session(path).events if event["event"] == "Final"]
    return [word for event in events for word in event["segment"]["words"]]


def test_a_session_is_the_same_again(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = read_session(session)
    assert "made amiable himself" in " ".join(word["text"] for word in believed(session))
    assert main(["replay", str(session)]) == 0
    assert capsys.readouterr().out == f"{len(recorded.events)} events, all as they were recorded\n"
    assert main(["replay", str(session), "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == list(recorded.events)


def test_the_first_divergence_is_named(session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(session) as archive, zipfile.ZipFile(changed, "w") as target:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "session.json":
                description = json.loads(content)
                description["versions"]["numpy"] = "1.0"
                description["files"]["profile/phrases.txt"] = ""
                content = json.dumps(description).encode()
            target.writestr(name, content)
    assert main(["replay", str(changed)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("event ")
    assert lines[1].startswith("  recorded: {")
    assert lines[2].startswith("  now:      {")
    assert lines[3].startswith("  numpy was 1.0, is ")
    assert len(lines) == 4


def test_lost_words_are_blamed_on_a_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edgeasr.microphone.Microphone", FakeMicrophone)
    monkeypatch.setattr(FakeMicrophone, "lost_s", 0.8)
    path = tmp_path / "session.zip"
    assert main(["listen", "--record", str(path), "--profile", "none"]) == 0
    capsys.readouterr()
    gap_s = 5.5  # in the middle of it
    first = [word["text"] for word in believed(path) if word["start"] < gap_s]
    second = [word["text"] for word in believed(path) if word["start"] >= gap_s]
    reference = [*first[:3], "zyzzyva", *first[3:], "he", "was", *second]
    assert main(["replay", str(path), "--reference", " ".join(reference)]) == 0
    lines = capsys.readouterr().out.splitlines()
    stages = {line.split()[5].rstrip(":").strip("'"): line.split()[4] for line in lines[1:-1]}
    assert stages["zyzzyva"] == "model"
    assert stages["he"] == "microphone"
    assert lines[-1].endswith("all as they were recorded")


@pytest.mark.parametrize("option", [[], ["--reference", "a"]])
def test_foreign_files_are_told(option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    for name in (path, tmp_path / "none.zip"):
        assert main(["replay", str(name), *option]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_utterances_are_reviewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        {"id": "a", "audio": "a.flac", "duration_s": 1.0, "text": "one", "confidence": 0.7},
        {"id": "b", "audio": "b.flac", "duration_s": 2.0, "text": "too", "confidence": 0.2},
        {"id": "c", "audio": "c.flac", "duration_s": 3.0, "text": "sure", "confidence": 0.9},
        {"id": "d", "audio": "d.flac", "duration_s": 4.0, "text": "noise", "confidence": 0.1},
        {"id": "e", "audio": "e.flac", "duration_s": 5.0, "text": "later", "confidence": 0.6},
    ]
    (tmp_path / "utterances.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for line in lines:
        soundfile.write(tmp_path / str(line["audio"]), np.zeros(160, np.float32), RATE)
    assert main(["review", str(tmp_path), "--list"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == [
        "d.flac",
        "b.flac",
        "e.flac",
        "a.flac",
    ]
    played: list[str] = []
    monkeypatch.setattr("edgeasr.cli.review.play_sound", lambda path: played.append(path.name))
    answers = iter(["d", "p", "two", "s", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    assert main(["review", str(tmp_path)]) == 0
    assert played == ["d.flac", "b.flac", "b.flac", "e.flac", "a.flac"]
    reviewed = read_manifest(tmp_path / "reviewed.jsonl")
    assert [(clip.id, clip.text, clip.duration_s) for clip in reviewed] == [("b", "two", 2.0), ("a", "one", 1.0)]
    assert all(clip.audio.is_file() for clip in reviewed)
    # What has been answered does not come again; an end of the input stops.
    asked: list[str] = []

    def end(prompt: str) -> str:
        asked.append(prompt)
        raise EOFError

    monkeypatch.setattr("builtins.input", end)
    assert main(["review", str(tmp_path), "--max-confidence", "1", "--no-play"]) == 0
    assert ["later" in prompt for prompt in asked] == [True]
    assert len(read_manifest(tmp_path / "reviewed.jsonl")) == 2


UTTERANCE = {"id": "a", "audio": "a.flac", "duration_s": 1.0, "text": "one", "confidence": None}


def answer_with(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    given = iter(answers)
    monkeypatch.setattr("builtins.input", lambda prompt: next(given))


def test_corrections_are_as_the_model_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "utterances.jsonl").write_text(json.dumps(UTTERANCE) + "\n")
    answer_with(monkeypatch, "Turn on, the Light 7", "Turn on, the Light!")
    assert main(["review", str(tmp_path), "--no-play"]) == 0
    assert "cannot spell '7'" in capsys.readouterr().err
    assert [clip.text for clip in read_manifest(tmp_path / "reviewed.jsonl")] == ["turn on the light"]


@pytest.mark.parametrize("confidence", ["high", True, [], float("nan")])
def test_utterances_without_a_confidence_come_first(
    confidence: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "utterances.jsonl"
    lines = [{**UTTERANCE, "id": "b", "audio": "b.flac", "confidence": 0.5}, UTTERANCE]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["review", str(tmp_path), "--list"]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["0.00", "a.flac"],
        ["0.50", "b.flac"],
    ]
    manifest.write_text(json.dumps({**UTTERANCE, "confidence": confidence}) + "\n")
    assert main(["review", str(tmp_path), "--list"]) == 2
    assert "utterances.jsonl:1: confidence is" in capsys.readouterr().err


def test_a_review_that_broke_off_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = json.dumps({**UTTERANCE, "heard": "one"})
    lines = [{**UTTERANCE, "id": name} for name in "abc"]
    (tmp_path / "utterances.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    reviewed = tmp_path / "reviewed.jsonl"
    reviewed.write_text(f"{whole}\n" + whole[:20])
    answer_with(monkeypatch, "", "q")
    assert main(["review", str(tmp_path), "--no-play"]) == 0
    assert "reviewed.jsonl:2: the last line was not written to its end" in capsys.readouterr().err
    assert [clip.id for clip in read_manifest(reviewed)] == ["a", "b"]
    # Only its end of line is missing: it counts.
    reviewed.write_text(reviewed.read_text().rstrip("\n"))
    answer_with(monkeypatch, "")
    assert main(["review", str(tmp_path), "--no-play"]) == 0
    assert [clip.id for clip in read_manifest(reviewed)] == ["a", "b", "c"]
    reviewed.write_text(whole[:20] + "\n" + whole)
    assert main(["review", str(tmp_path), "--list"]) == 2
    assert "reviewed.jsonl:1: " in capsys.readouterr().err


def test_nothing_to_review(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["review", str(tmp_path)]) == 2
    assert "edgeasr listen --save" in capsys.readouterr().err
    (tmp_path / "utterances.jsonl").write_text('{"id": "a"}\n')
    assert main(["review", str(tmp_path)]) == 2
    assert "utterances.jsonl:1" in capsys.readouterr().err
    (tmp_path / "utterances.jsonl").write_text("")
    assert main(["review", str(tmp_path)]) == 0
    assert "nothing is left" in capsys.readouterr().err
