"""The tools beside augmentation: what they write, and that they go on where they stopped."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tool_modules import load_tool

from edgeasr.train.manifest import read_manifest

SAMPLES = Path(__file__).parents[2] / "samples"
CLIP = SAMPLES / "austen-0880.flac"
TRANSCRIPT = "he was not an ill disposed young man"


@pytest.fixture
def short_clip(tmp_path):
    samples, rate = soundfile.read(CLIP, frames=16000)
    path = tmp_path / "short.flac"
    soundfile.write(path, samples, rate)
    return path


def test_each_transform_can_be_heard(tone_recipe, tone_data, short_clip, tmp_path, capsys):
    pytest.importorskip("torch")
    out = tmp_path / "heard"
    more = ["-o", str(out), "--count", "2", "--data", str(tone_data)]
    assert load_tool("hear_augmentation").main([str(tone_recipe), str(short_clip), *more]) == 0
    names = {path.stem.rsplit("-", 1)[0] for path in out.iterdir()}
    assert names == {"clip", "speed", "room", "noise", "gain", "all"}
    clip, one, two = (soundfile.read(out / f"{name}.flac")[0] for name in ("clip", "room-1", "room-2"))
    assert clip.shape == one.shape == two.shape
    assert not np.array_equal(one, two) and not np.array_equal(clip, one)
    assert "room: Room(probability=1.0" in capsys.readouterr().out


def test_also_those_that_are_off(tone_recipe, tone_data, short_clip, tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "pyworld", None)
    more = ["-o", str(tmp_path / "heard"), "--count", "1", "--data", str(tone_data), "--all"]
    assert load_tool("hear_augmentation").main([str(tone_recipe), str(short_clip), *more]) == 0
    names = {path.stem.rsplit("-", 1)[0] for path in (tmp_path / "heard").iterdir()}
    assert {"tempo", "codec", "telephone", "dropouts", "denoise", "equalizer"} < names
    assert "voice" not in names and "voice: left out" in capsys.readouterr().err


def test_a_clip_that_is_not_there(tone_recipe, tmp_path, capsys):
    pytest.importorskip("torch")
    arguments = [str(tone_recipe), str(tmp_path / "nothing.flac"), "-o", str(tmp_path)]
    assert load_tool("hear_augmentation").main(arguments) == 2
    assert "nothing.flac" in capsys.readouterr().err


def test_the_table_of_costs_has_every_transform(short_clip, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyworld", None)
    assert load_tool("measure_augmentation").main(["--clip", str(short_clip), "--repeats", "1"]) == 0
    rows = dict(line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:])
    assert rows["`voice`"].startswith("not measured")
    measured = {name: float(value) for name, value in rows.items() if name != "`voice`"}
    assert {"`codec`, opus", "`tempo`", "`room`, shoebox", "`spec_augment`", "(log-mel features)"} < set(measured)
    assert measured["`codec`, opus"] > measured["`gain`"]


def test_words_are_aligned(tmp_path, capsys):
    samples, rate = soundfile.read(CLIP)
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.flac", samples, rate)
    rows = [
        {"id": "right", "audio": "a.flac", "duration_s": samples.size / rate, "text": TRANSCRIPT, "speaker": "x"},
        {"id": "wrong", "audio": "a.flac", "duration_s": samples.size / rate, "text": "this is what nobody has said"},
        {"id": "none", "audio": "a.flac", "duration_s": samples.size / rate, "text": None},
    ]
    manifest = tmp_path / "in" / "x.train.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "timed" / "x.train.jsonl"
    assert load_tool("align_words").main([str(manifest), "-o", str(output), "--decoder", "greedy"]) == 0
    assert "1 of 3 clips with times" in capsys.readouterr().out
    right, wrong, none = read_manifest(output)
    assert right.audio.resolve() == (tmp_path / "in" / "a.flac").resolve() and right.speaker == "x"
    assert wrong.words is None and none.words is None
    assert right.words is not None and " ".join(word.text for word in right.words) == TRANSCRIPT
    assert right.words[-1].end_s <= samples.size / rate
    # Most of the sound of the speech is inside the words.
    inside = np.zeros(samples.size, bool)
    for word in right.words:
        inside[round(word.start_s * rate) : round(word.end_s * rate)] = True
    assert np.square(samples[inside]).sum() > 0.9 * np.square(samples).sum()
    # A run that was stopped after the first clip does not listen to it again.
    lines = output.read_text().splitlines(keepends=True)
    changed = json.loads(lines[0]) | {"speaker": "y"}
    output.with_name("x.train.jsonl.partial").write_text(json.dumps(changed) + "\n" + lines[1][:20])
    assert load_tool("align_words").main([str(manifest), "-o", str(output), "--decoder", "greedy"]) == 0
    assert [json.loads(line).get("speaker") for line in output.read_text().splitlines()] == ["y", None, None]
    assert output.read_text().splitlines(keepends=True)[1:] == lines[1:]


def test_what_synthesis_writes_can_be_trained_on(tone_recipe, tone_data, tmp_path):
    """A manifest of `tools/synthesise_speech.py`, named by an absolute path or one relative to the data folder."""
    pytest.importorskip("torch")
    from edgeasr.train.clips import write_clip
    from edgeasr.train.dataset import Source
    from edgeasr.train.loop import make_dataset
    from edgeasr.train.recipe import read_recipe

    clip = tmp_path / "synthetic" / "000" / "000000.opus"
    write_clip(clip, 0.1 * np.sin(np.arange(16000) / 5).astype(np.float32), 16000)
    row = {"id": "synthetic-000000", "audio": "synthetic/000/000000.opus", "duration_s": 1.0, "text": "ab"}
    manifest = tmp_path / "synthetic.train.jsonl"
    manifest.write_text(json.dumps({**row, "speaker": "flite-0001"}) + "\n")
    recipe = read_recipe(tone_recipe)
    sources = (*recipe.data.sources, Source(manifest=str(manifest), repeat=2.0))
    dataset = make_dataset(replace(recipe, data=replace(recipe.data, sources=sources)), tone_data, tmp_path / "cache")
    assert dataset.utterances[-1].speaker == "flite-0001"
    assert dataset.clips[-1].size == 16000
    assert dataset.repeats[-1] == 2.0
