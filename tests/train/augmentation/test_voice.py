"""Other voices: pitch and formants move apart, sounds stay; a missing pyworld is named."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import soundfile
from conftest import NO_PYWORLD
from tool_modules import load_tool

from edgeasr.errors import ConfigError, MissingDependencyError
from edgeasr.train.augmentation.voice import Voice, VoiceChange, change_voice

RATE = 16000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def world():
    return pytest.importorskip("pyworld", reason=NO_PYWORLD)


def vowel(seconds: float = 1.0, pitch_hz: float = 125.0, formant_hz: float = 1000.0) -> np.ndarray:
    """Harmonics of a pitch, strongest at one formant, with silence on either side."""
    time_s = np.arange(int(seconds * RATE)) / RATE
    hz = pitch_hz * np.arange(1, int(RATE / 2 / pitch_hz))
    strength = 1 / (1 + ((hz - formant_hz) / 150) ** 2) + 0.01
    sound = (strength[:, None] * np.sin(2 * np.pi * hz[:, None] * time_s)).sum(axis=0)
    silence = np.zeros(RATE // 4)
    sound = np.concatenate([silence, 0.3 * sound / np.abs(sound).max(), silence])
    return (sound + 1e-4 * rng().standard_normal(sound.size)).astype(np.float32)


def pitch_hz(waveform: np.ndarray) -> float:
    middle = waveform[RATE // 2 : RATE]
    correlation = np.correlate(middle, middle, "full")[middle.size - 1 :]
    shortest, longest = RATE // 400, RATE // 60
    likely = np.flatnonzero(correlation[shortest:longest] > 0.85 * correlation[shortest:longest].max()) + shortest
    # Two periods are as much like each other as one; the first peak is that of one.
    peak = int(correlation[likely[0] : likely[0] + 10].argmax()) + likely[0]
    return RATE / peak


def formant_hz(waveform: np.ndarray) -> float:
    """The centre of the power between 400 and 2500 Hz."""
    power = np.abs(np.fft.rfft(waveform[RATE // 2 : RATE])) ** 2
    hz = np.fft.rfftfreq(RATE // 2, 1 / RATE)
    band = (hz > 400) & (hz < 2500)
    return float((hz[band] * power[band]).sum() / power[band].sum())


@pytest.mark.parametrize(
    "voice", [Voice(), Voice(pitch=1.3), Voice(pitch=0.8), Voice(formants=1.2), Voice(formants=0.85)]
)
def test_pitch_and_formants_move_apart(world, voice):
    clip = vowel()
    heard = change_voice(clip, RATE, voice)
    assert heard.size == clip.size and heard.dtype == np.float32
    assert pitch_hz(heard) == pytest.approx(125 * voice.pitch, rel=0.03)
    assert formant_hz(heard) == pytest.approx(formant_hz(clip) * voice.formants, rel=0.06)
    loud = np.flatnonzero(np.abs(heard) > 0.05) / RATE
    assert (loud[0], loud[-1]) == pytest.approx((0.25, 1.25), abs=0.03)


def test_melody_is_stretched(world):
    time_s = np.arange(RATE) / RATE
    track_hz = 150 * 2 ** (0.25 * np.sin(2 * np.pi * time_s))
    phase = 2 * np.pi * np.cumsum(track_hz) / RATE
    clip = (0.1 * sum(np.sin(n * phase) / n for n in range(1, 20))).astype(np.float32)

    def spread(waveform):
        found, times_s = world.dio(waveform.astype(float), RATE)
        found = world.stonemask(waveform.astype(float), found, times_s, RATE)
        return np.log(found[found > 0]).std()

    assert spread(change_voice(clip, RATE, Voice(melody=0.5))) == pytest.approx(0.5 * spread(clip), rel=0.15)


def test_the_same_seed_gives_the_same_voice(world):
    change = VoiceChange(probability=1.0)
    clip = vowel(0.3)
    assert np.array_equal(change(clip, RATE, rng(1)), change(clip, RATE, rng(1)))
    assert not np.array_equal(change(clip, RATE, rng(1)), change(clip, RATE, rng(2)))
    assert VoiceChange().draw(rng(3)) == VoiceChange().draw(rng(3))


@pytest.mark.parametrize("size", [0, 1, 700, 4000])
def test_tiny_and_silent_clips_pass(world, size):
    for level in (0.0, 0.1):
        heard = change_voice(np.full(size, level, np.float32), RATE, Voice(pitch=1.2, formants=0.9))
        assert heard.shape == (size,) and np.isfinite(heard).all()


def test_a_missing_pyworld_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyworld", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeasr\[voices\]'"):
        VoiceChange(probability=1.0)(vowel(0.2), RATE, rng())
    clip = vowel(0.2)
    assert VoiceChange(probability=0.0)(clip, RATE, rng()) is clip


def test_what_cannot_work_is_refused():
    for fields in ({"minimum_formants": 0.1}, {"maximum_semitones": 99.0}, {"minimum_melody": 2.0}):
        with pytest.raises(ConfigError, match=next(iter(fields))):
            VoiceChange(**fields)


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "in").mkdir()
    rows = []
    for number, speaker in enumerate(("ann", "ann", "bob", None)):
        soundfile.write(tmp_path / "in" / f"{number}.flac", vowel(0.3, 110 + 5 * number), RATE)
        row = {"id": f"x-{number}", "audio": f"{number}.flac", "duration_s": 0.8, "text": "a"}
        row |= {"speaker": speaker, "age": 30, "words": [["a", 0.25, 0.55]]}
        rows.append(json.dumps(row))
    path = tmp_path / "in" / "x.train.jsonl"
    path.write_text("\n".join(rows) + "\n")
    return path


def run(manifest, output, *more):
    tool = load_tool("change_voices")
    assert tool.main([str(manifest), "-o", str(output), "--jobs", "1", "--format", "flac", *more]) == 0
    return [json.loads(line) for line in (output / "x-voices.train.jsonl").read_text().splitlines()]


def test_the_speakers_of_a_manifest_are_multiplied(world, manifest, tmp_path):
    rows = run(manifest, tmp_path / "out", "--copies", "2")
    assert [row["id"] for row in rows] == [f"x-{n}~{copy}" for copy in (1, 2) for n in range(4)]
    assert [row.get("speaker") for row in rows[:4]] == ["ann~1", "ann~1", "bob~1", None]
    assert all(row["words"] == [["a", 0.25, 0.55]] and "age" not in row for row in rows)
    voices = [clip.voice for clip in load_tool("change_voices").plan(tmp_path, load_manifest(manifest), 2, 0, "flac")]
    assert voices[0] == voices[1]
    assert len({(voice.pitch, voice.formants) for voice in voices}) == 6
    for row, voice in zip(rows, voices, strict=True):
        samples, rate = soundfile.read(tmp_path / "out" / row["audio"])
        assert (rate, samples.size) == (RATE, 0.8 * RATE)
        assert row["duration_s"] == 0.8
        found, _ = world.dio(samples, RATE)
        spoken_hz = 110 + 5 * int(row["id"][2])
        # Median of the frames in which there is a voice.
        assert np.median(found[found > 0]) == pytest.approx(spoken_hz * voice.pitch, rel=0.04)


def load_manifest(path):
    from edgeasr.train.manifest import read_manifest

    return read_manifest(path)


def test_a_run_goes_on_and_other_settings_are_refused(world, manifest, tmp_path, capsys):
    first = run(manifest, tmp_path / "out")
    clips = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.flac")}
    next(iter(clips)).unlink()
    assert run(manifest, tmp_path / "out", "--copies", "2")[:4] == first
    kept = [path.stat().st_mtime_ns == time for path, time in clips.items()]
    assert kept == [False, *[True] * (len(kept) - 1)]
    capsys.readouterr()
    assert load_tool("change_voices").main([str(manifest), "-o", str(tmp_path / "out"), "--seed", "1"]) == 2
    assert "another manifest or seed" in capsys.readouterr().err


def test_the_tool_names_a_missing_pyworld(manifest, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyworld", None)
    assert load_tool("change_voices").main([str(manifest), "-o", str(tmp_path / "out")]) == 2
    assert "pip install 'edgeasr[voices]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
