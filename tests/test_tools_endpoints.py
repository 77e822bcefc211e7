"""The tool that measures gate and endpoints, on two sentences and a little noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bundles import TINY
from tool_modules import load_tool

measure_endpoints = load_tool("measure_endpoints")

TEXTS = {
    "austen-0880": "he was not an ill disposed young man",
    "austen-0930": "he might even have been made amiable himself",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, samples_dir: Path) -> Path:
    """A data folder with two clips between silences, and some noise."""
    root = tmp_path_factory.mktemp("data")
    (root / "speech").mkdir()
    (root / "noise").mkdir()
    random = np.random.default_rng(0)
    rows = []
    for name, text in TEXTS.items():
        samples, rate = soundfile.read(samples_dir / f"{name}.flac", dtype="float32")
        silence = np.zeros(rate // 2, np.float32)
        sound = np.concatenate([silence, samples, silence])
        sound += random.normal(0, 1e-4, len(sound)).astype(np.float32)
        soundfile.write(root / "speech" / f"{name}.flac", sound, rate)
        entry = {
            "id": name,
            "audio": f"{name}.flac",
            "duration_s": len(sound) / rate,
            "text": text,
            "speaker": "reader",
        }
        rows.append(json.dumps(entry) + "\n")
    (root / "speech" / "austen.dev.jsonl").write_text("".join(rows))
    soundfile.write(root / "noise" / "hiss.flac", random.normal(0, 0.05, 10 * 16000), 16000)
    return root


def run(data: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert measure_endpoints.main([*arguments, "--data", str(data), "--json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def test_latency(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(data, capsys, "latency", "austen.dev")
    assert (report["utterances"], report["not_heard_or_not_ended"]) == (2, 0)
    assert 0.1 < report["first_partial_s"]["p50"] < 1.0
    assert 0.5 < report["final_s"]["p50"] < 1.0
    patient = run(data, capsys, "latency", "austen.dev", "--min-silence", "1.0")
    assert patient["final_s"]["p50"] == pytest.approx(report["final_s"]["p50"] + 0.4, abs=0.2)


def test_pauses(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(data, capsys, "pauses", "austen.dev")
    assert report["pauses_of_each_length"] == 1
    assert report["cut_at_0.2_s_percent"] == 0.0
    hasty = run(data, capsys, "pauses", "austen.dev", "--min-silence", "0.3", "--min-silence-in-noise", "0.3")
    assert hasty["cut_at_0.7_s_percent"] == 100.0


def test_words(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(data, capsys, "words", "austen.dev")["austen.dev"]
    assert (report["clips"], report["segments"]) == (2, 2)
    assert report["wer_clips_percent"] == report["wer_clips_with_endpoints_percent"] < 70
    assert report["wer_streams_with_endpoints_percent"] < 70


def test_gate(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(data, capsys, "gate", "austen.dev")
    assert report["no gate"]["noise_passed_percent"] == 100.0
    passed = [row["gaps_and_speech_passed_percent"] for row in report.values()]
    assert passed == sorted(passed, reverse=True) and passed[-1] < 80
    assert all(row["noise_passed_percent"] < 50 for name, row in report.items() if name != "no gate")
    assert all(row["wer_percent"] < 70 for row in report.values())


def test_noise(data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_endpoints, "HOUR_S", 25.0)
    report = run(data, capsys, "noise", "--min-segment-confidence", "0.25")
    assert report["hours"] == round(25 / 3600, 3)
    assert report["false_words"] == 0


def test_cpu_and_memory(data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    report = run(data, capsys, "cpu", "austen.dev", "--model", str(TINY))
    assert 0 < report["silence_percent_of_a_core"] < report["speech_percent_of_a_core"]
    monkeypatch.setattr(measure_endpoints, "HOUR_S", 60.0)
    monkeypatch.setattr(measure_endpoints, "FIVE_MINUTES_S", 5.0)
    monkeypatch.setattr(measure_endpoints, "NUM_CYCLES", 20)
    report = run(data, capsys, "hour", "austen.dev")
    assert report["started"] == report["ended"] > 5
    report = run(data, capsys, "cycles", "austen.dev", "--model", str(TINY))
    assert report["cycles"] == 20


def test_it_says_what_is_missing(data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert measure_endpoints.main(["noise", "--data", str(tmp_path)]) == 2
    assert "no sound in" in capsys.readouterr().err
    assert measure_endpoints.main(["latency", "nonsense", "--data", str(data)]) == 2
    assert "no set 'nonsense'" in capsys.readouterr().err
