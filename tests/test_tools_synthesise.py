"""Synthetic speech: repeatable, resumable, and clear about what is missing; with programs that stand in for voices."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tool_modules import load_tool

from edgeasr.errors import ConfigError

tool = load_tool("synthesise_speech")

TEXT = "it is nine o'clock\nturn the light on\nwell-known\na b c\nit is 9\n\nturn the light on\n" + "long " * 40
# What comes after -o or -w is the file to write. Each says how it was called.
PROGRAM = """#!/bin/sh
echo "$0 $@" >> {folder}/calls
while [ "$1" != -o ] && [ "$1" != -w ]; do shift; done
case "$2" in *) /bin/cp {folder}/voice.wav "$2";; esac
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with programs that speak, alone on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    tone = 0.1 * np.sin(2 * np.pi * 200 * np.arange(4000) / 8000)
    soundfile.write(folder / "voice.wav", tone, 8000)
    for name in ("flite", "espeak-ng", "text2wave"):
        (folder / name).write_text(PROGRAM.format(folder=folder))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def run(text: Path, output: Path, *more: str) -> list[dict[str, object]]:
    assert tool.main([str(text), "-o", str(output), "--speakers", "6", *more]) == 0
    return [json.loads(line) for line in (output / "synthetic.train.jsonl").read_text().splitlines()]


def test_texts(tmp_path, text):
    assert [s.written for s in tool.read_sentences([text], 30)] == [
        "it is nine o'clock",
        "turn the light on",
        "well known",
        "a b c",
    ]
    table = tmp_path / "pairs.tsv.xz"
    table.write_bytes(lzma.compress(b"book\tIt's 3 pm.\tit's three p m\nbook\t7\t7\nbook\tNo!\tno"))
    assert tool.read_sentences([table], 30) == [("It's 3 pm.", "it's three p m"), ("No!", "no")]
    long = tmp_path / "long.txt"
    long.write_text("one two three\n")
    with pytest.raises(ConfigError, match="no sentence of at most 2 words"):
        tool.read_sentences([long], 2)
    with pytest.raises(ConfigError, match="cannot be read"):
        tool.read_sentences([tmp_path / "nothing.txt"], 30)


def test_clips_and_manifest(programs, text, tmp_path):
    rows = run(text, tmp_path / "out")
    assert sorted(row["text"] for row in rows) == sorted(
        ["it is nine o'clock", "turn the light on", "well known", "a b c"]
    )
    for row in rows:
        info = soundfile.info(tmp_path / "out" / row["audio"])
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "OPUS")
        # Half a second, shorter or longer by the scale of the speaker.
        assert row["duration_s"] == pytest.approx(info.duration, abs=0.001) and 0.4 < row["duration_s"] < 0.6
    assert {row["speaker"].rsplit("-", 1)[0] for row in rows} <= {"flite", "espeak-ng"}


def test_the_same_seed_gives_the_same_speech(programs, text, tmp_path):
    first = run(text, tmp_path / "one", "--format", "flac")
    assert first == run(text, tmp_path / "two", "--format", "flac", "--jobs", "3")
    for row in first:
        one, two = (soundfile.read(tmp_path / folder / row["audio"])[0] for folder in ("one", "two"))
        np.testing.assert_array_equal(one, two)
        assert np.abs(one).max() == pytest.approx(0.7, abs=0.01)
    assert first != run(text, tmp_path / "three", "--format", "flac", "--seed", "1")


def test_a_run_goes_on_and_grows(programs, text, tmp_path):
    first = run(text, tmp_path / "out", "--count", "2")
    (programs / "calls").write_text("")
    assert run(text, tmp_path / "out", "--count", "4")[:2] == first
    assert len((programs / "calls").read_text().splitlines()) == 2
    (tmp_path / "out" / first[0]["audio"]).unlink()
    run(text, tmp_path / "out", "--count", "4")
    assert len((programs / "calls").read_text().splitlines()) == 3


def test_other_settings_are_refused(programs, text, tmp_path, capsys):
    run(text, tmp_path / "out")
    assert tool.main([str(text), "-o", str(tmp_path / "out"), "--seed", "1"]) == 2
    assert "use another --output" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ["flite", "espeak-ng", "festival"])
def test_a_missing_program_is_named_with_its_package(engine, text, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tool.main([str(text), "-o", str(tmp_path / "out"), "--engine", engine]) == 2
    error = capsys.readouterr().err
    assert f"apt-get install {engine}" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_sentences_without_sound_are_left_out(programs, text, tmp_path, capsys):
    (programs / "flite").write_text("#!/bin/sh\nexit 1\n")
    soundfile.write(programs / "voice.wav", np.zeros(100), 8000)
    assert run(text, tmp_path / "out") == []
    assert "4 sentences that gave no sound" in capsys.readouterr().out


@pytest.mark.parametrize("engine", ["flite", "espeak-ng", "festival"])
def test_faster_and_higher(engine, tmp_path):
    """Rate, pitch and the sentence reach every program."""

    def command(rate=1.0, pitch=1.0):
        voice = tool.VOICES[engine][0]
        speaker = tool.Speaker("x", engine, voice, 1.0, pitch, 1.0)
        line, standard_input = tool.engine_command(speaker, rate, "-hello", tmp_path / "x.wav")
        assert standard_input == "-hello" or line[line.index("-t") + 1] == "-hello"
        return line

    assert command(rate=1.2) != command()
    assert command(pitch=1.2) != command() or engine == "festival"


def test_speakers_are_shared_evenly():
    speakers = tool.make_speakers(["flite", "festival"], 10, seed=0)
    assert [speaker.engine for speaker in speakers] == ["flite", "festival"] * 5
    assert len({speaker.name for speaker in speakers}) == 10
    assert speakers == tool.make_speakers(["flite", "festival"], 12, seed=0)[:10]
