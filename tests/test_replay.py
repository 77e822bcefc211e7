"""`edgeasr replay` and `edgeasr review`: what was heard is heard again, blamed, and corrected."""

from __future__ import annotations

import argparse
import json
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import soundfile

from edgeasr.cli import main
from edgeasr.cli.listen import arguments_of, describe_listening, start_listening
from edgeasr.cli.replay import changes, gaps_of, tell_losses
from edgeasr.errors import InputError
from edgeasr.events import DeviceLost, DeviceRestored, Final, Overflow
from edgeasr.recognizer import Recognizer
from edgeasr.session import read_session
from edgeasr.train.manifest import read_manifest
from edgeasr.types import Segment, Word

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
    output = capsys.readouterr().out
    stages, lines = blamed(output), output.splitlines()
    assert stages["zyzzyva"] == "model"
    assert stages["he"] == "microphone"
    assert lines[-1].endswith("all as they were recorded")


def blamed(output: str) -> dict[str, str]:
    """The stage of each word that was lost."""
    return {line.split()[5].rstrip(":").strip("'"): line.split()[4] for line in output.splitlines() if " s  " in line}


def test_each_stage_is_blamed(
    session: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recogniser that hears a word when the stage that the word is named after cannot lose it."""
    stages = ["wake", "confidence", "grammar", "gate", "endpoint", "tail", "beam", "model"]
    said = ["anchor", "microphone", "bound", *stages]

    class Fake:
        bundle = Recognizer().bundle
        decoder = Recognizer().decoder

        def __init__(self, args: argparse.Namespace) -> None:
            self.args = args

        def listen(self, source: Any, *, wake: Any = None, grammar: Any = None, **options: Any) -> list[Final]:
            assert options["sample_rate"] == RATE
            endpoint = options["endpoint"]
            sure = not options["min_segment_confidence"] and not self.args.min_confidence
            there = {
                "wake": wake is None,
                "confidence": wake is None and sure,
                "grammar": wake is None and sure and grammar is None,
                "gate": sure and endpoint is not None and endpoint.gate is None,
                "endpoint": sure and endpoint is None,
                "tail": sure and len(list(source)) > len(blocks),
                "beam": sure and self.args.decoder == "beam" and self.args.beam_size > self.decoder.beam.beam_size,
                "model": False,
                "microphone": False,
            }
            words = [Word(word, at, at + 0.8, 0.5) for at, word in enumerate(said) if there.get(word, True)]
            segment = Segment("", words[0].start, words[-1].end, tuple(words))
            return [Final(time_s=11.0, segment=segment)]

    recorded = read_session(session)
    blocks = list(recorded.blocks())
    args = argparse.Namespace(
        **{**vars(arguments_of(recorded.description, session.parent / "profile")), "wake": "anchor"},
    )
    args.min_confidence = args.min_segment_confidence = 0.3
    Path(args.grammar).write_text("intent light:\n  turn on the light\n")
    monkeypatch.setattr("edgeasr.cli.replay.load_recognizer", Fake)
    fake: Any = Fake(args)
    events = [
        *start_listening(args, fake, blocks, sample_rate=RATE),
        Overflow(time_s=1.8, lost_s=0.8),
    ]
    tell_losses(args, fake, recorded, events, " ".join(said))
    assert blamed(capsys.readouterr().out) == {stage: stage for stage in ["microphone", *stages]}


@pytest.mark.parametrize(
    ("options", "stage"),
    [
        (["--wake", "turn on the light"], "wake"),
        (["--min-confidence", "1"], "confidence"),
        (["--min-segment-confidence", "1"], "confidence"),
    ],
)
def test_what_was_not_to_be_believed_is_not_the_models(
    options: list[str],
    stage: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("edgeasr.microphone.Microphone", FakeMicrophone)
    plain, path = tmp_path / "plain.zip", tmp_path / "session.zip"
    assert main(["listen", "--record", str(plain), "--profile", "none"]) == 0
    assert main(["listen", "--record", str(path), "--profile", "none", *options]) == 0
    capsys.readouterr()
    said = [word["text"] for word in believed(plain)]
    assert main(["replay", str(path), "--reference", ", ".join(said).upper() + "."]) == 0
    output = capsys.readouterr().out
    assert set(blamed(output).values()) == {stage}


def test_a_device_that_does_not_come_back() -> None:
    lost, back = DeviceLost(time_s=2.0, message=""), DeviceRestored(time_s=3.0, name="", lost_s=1.0)
    overflow = Overflow(time_s=1.0, lost_s=0.5)
    assert gaps_of([overflow, lost, back], 9.0) == [(0.5, 1.0), (2.0, 3.0)]
    assert gaps_of([lost, back, replace(lost, time_s=5.0), replace(overflow, time_s=6.0)], 9.0) == [
        (2.0, 3.0),
        (5.5, 6.0),
        (5.0, 9.0),
    ]


def test_references_are_read_with_care(session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    for options, message in (
        (["--reference", ""], "no word in the reference"),
        (["--reference", " ... "], "no word in the reference"),
        (["--reference-file", str(tmp_path / "latin")], "latin is no text in UTF-8"),
    ):
        assert main(["replay", str(session), *options]) == 2
        error = capsys.readouterr().err
        assert (message in error, error.count("\n")) == (True, 1)
    for options in (["--json", "--reference", "a"], ["--reference", "a", "--reference-file", "b"]):
        with pytest.raises(SystemExit):
            main(["replay", str(session), *options])


def test_files_of_a_session_are_in_utf_8(session: Path, tmp_path: Path) -> None:
    description = read_session(session).description
    args = arguments_of({**description, "files": {"hotwords": "café"}}, tmp_path / "profile")
    assert Path(args.hotwords).read_bytes() == "café".encode()
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    args.hotwords = str(tmp_path / "latin")
    with pytest.raises(InputError, match="latin is no text in UTF-8"):
        describe_listening(args, Recognizer(), RATE)


def test_paths_and_the_language_model_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edgeasr.microphone.Microphone", FakeMicrophone)
    shutil.copytree(Recognizer().bundle.path, tmp_path / "copy")
    (tmp_path / "elsewhere").mkdir()
    arpa = "\\data\\\nngram 1=3\n\n\\1-grams:\n-1\t<unk>\n-1\t</s>\n-99\t<s>\n\n\\end\\\n"
    (tmp_path / "some.arpa").write_text(arpa)
    monkeypatch.chdir(tmp_path)
    options = ["--profile", "none", "--model", "copy", "--lm", "some.arpa"]
    assert main(["listen", "--record", "session.zip", *options]) == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    capsys.readouterr()
    session = read_session(tmp_path / "session.zip")
    recognizer = Recognizer(tmp_path / "copy")
    assert session.description["options"]["model"] == str(tmp_path / "copy")
    assert main(["replay", str(session.path)]) == 0
    assert "versions and bundle are the same" in changes(session, recognizer)[0]
    (tmp_path / "some.arpa").write_text(arpa.replace("-1\t", "-2\t"))
    assert changes(session, recognizer) == [f"the language model {tmp_path / 'some.arpa'} is another one"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("options", {"min_silence": "x"}),
        ("options", {"threads": None}),
        ("options", {"model": 3}),
        ("files", {"grammar": 3}),
        ("files", {"../a": ""}),
    ],
)
def test_damaged_descriptions_are_told(name: str, change: dict[str, Any], session: Path, tmp_path: Path) -> None:
    description = dict(read_session(session).description)
    with pytest.raises(InputError, match="the session"):
        arguments_of({**description, name: {**description[name], **change}}, tmp_path / "profile")


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
