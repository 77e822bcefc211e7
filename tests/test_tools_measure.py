"""The tools that measure speed, joined clips and other processors, on a few short clips and the tiny bundle."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bundles import TINY
from tool_modules import load_tool

from edgeasr import Recognizer
from edgeasr.bundle import read_bundle, verify_bundle
from edgeasr.train.evaluation.joined import WordTimeErrors

bench_speed = load_tool("bench_speed")
check_avx2 = load_tool("check_avx2")
measure_joined = load_tool("measure_joined")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, samples_dir: Path) -> Path:
    """A data folder with three clips, cut out of a real recording."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "speech"
    folder.mkdir()
    samples, sample_rate = soundfile.read(samples_dir / "austen-0880.flac")
    texts = ("he was not", "an ill disposed", "young man")
    rows = []
    for number, (text, part) in enumerate(zip(texts, np.array_split(samples, 3), strict=True)):
        soundfile.write(folder / f"{number}.flac", part, sample_rate)
        seconds = len(part) / sample_rate
        row = {"id": str(number), "audio": f"{number}.flac", "duration_s": seconds, "text": text, "speaker": "reader"}
        rows.append(json.dumps(row) + "\n")
    (folder / "austen.dev.jsonl").write_text("".join(rows))
    return root


def test_bench_speed(data, capsys, monkeypatch):
    monkeypatch.setattr(bench_speed, "START_UP_RUNS", 1)
    arguments = ["austen.dev", "--data", str(data), "--model", str(TINY), "--hours", "0.002", "--json"]
    assert bench_speed.main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["clips"] == 3 and len(report["left_out"]) == 1 and "sherpa" in report["left_out"][0]
    (system,) = report["systems"]
    assert system["name"] == "tiny int8 beam 8"
    assert 0 < system["real_time_factor"] == pytest.approx(system["cpu_s"] / system["audio_s"], abs=5e-4)
    assert system["load_cpu_s"] > 0 and system["peak_memory_mb"] > 10
    assert report["long_file"]["audio_s"] >= 7.2 and report["long_file"]["peak_memory_mb"] > 10
    assert report["start_up"]["cpu_s"] > 0
    assert "x real time" in bench_speed.table(report) and "h in one file" in bench_speed.table(report)


def test_bench_speed_says_what_is_missing(data, capsys):
    assert bench_speed.main(["nonsense", "--data", str(data), "--model", str(TINY)]) == 2
    assert "no set 'nonsense'" in capsys.readouterr().err
    arguments = ["austen.dev", "--data", str(data), "--model", str(TINY), "--peer", "sherpa-onnx"]
    assert bench_speed.main(arguments) == 2
    assert "sherpa" in capsys.readouterr().err


def test_memory_is_not_that_of_the_parent(data):
    args = bench_speed.argparse.Namespace(model=str(TINY), decoder=None, beam_size=None, threads=1)
    ballast = np.ones(30_000_000)  # 240 MB, which a child would start its peak with
    assert bench_speed.run_transcribe(args, data / "speech" / "0.flac")["peak_memory_mb"] < 200
    del ballast


def test_long_form(data, capsys):
    assert measure_joined.main(["long-form", "austen.dev", "--data", str(data), "--model", str(TINY), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["clips"], report["streams"], report["words"]) == (3, 1, 8)
    ratio = report["wer_streams_percent"] / report["wer_clips_percent"]
    assert report["difference_relative_percent"] == pytest.approx(100 * (ratio - 1), abs=0.1)


def test_word_times_need_words_that_are_right(data, capsys):
    assert measure_joined.main(["word-times", "austen.dev", "--data", str(data), "--model", str(TINY)]) == 2
    assert "recognised right" in capsys.readouterr().err


def test_fitted_timing_is_written_into_the_bundle(data, tmp_path, capsys, monkeypatch):
    bundle = tmp_path / "bundle"
    shutil.copytree(TINY, bundle)
    before = read_bundle(bundle).timing
    errors = WordTimeErrors(starts=np.full(3, 0.1), ends=np.full(3, -0.05), clear_boundaries=6, boundaries=6)
    monkeypatch.setattr(measure_joined, "measure_word_times", lambda *args, **options: errors)
    arguments = ["fit-timing", "austen.dev", "--data", str(data), "--model", str(bundle)]
    assert measure_joined.main(arguments) == 0
    assert read_bundle(bundle).timing == before
    assert measure_joined.main([*arguments, "--write"]) == 0
    after = verify_bundle(bundle).timing
    assert after.word_start_offset_s == pytest.approx(before.word_start_offset_s - 0.1)
    assert after.word_end_offset_s == pytest.approx(before.word_end_offset_s + 0.05)
    assert "signed_median" in capsys.readouterr().out


def install_emulator(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that stands in for the emulator."""
    path = folder / "qemu-x86_64-static"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(check_avx2.platform, "machine", lambda: "x86_64")


def test_equal_words_on_both_processors(samples_dir, tmp_path, capsys, monkeypatch):
    install_emulator(tmp_path, 'shift 2; exec "$@"', monkeypatch)
    monkeypatch.setattr(check_avx2, "EXPECTED", {})
    path = samples_dir / "austen-0880.flac"
    assert check_avx2.main([str(path), "--model", str(TINY)]) == 0
    words = len(Recognizer(TINY).transcribe(path).text.split())
    assert f"tiny int8 beam 8: 1 clips, {words} words, 0 clips differ" in capsys.readouterr().out


def test_different_words_are_shown(data, tmp_path, capsys, monkeypatch):
    answers = '{"name": "tiny", "features": {"AVX2": true, "AVX512F": false}}'
    script = f"echo '{answers}'; while read -r line; do echo '{{\"text\": \"other words\"}}'; done"
    install_emulator(tmp_path, script, monkeypatch)
    assert check_avx2.main(["--data", str(data), "--clips", "2", "--model", str(TINY)]) == 1
    printed = capsys.readouterr().out
    assert "2 clips differ" in printed and printed.count("AVX2 only other words") == 2


def test_an_emulator_that_has_too_much_is_refused(data, tmp_path, capsys, monkeypatch):
    script = (
        """echo '{"features": {"AVX2": true, "AVX512F": true}}'; while read -r line; do echo '{"text": ""}'; done"""
    )
    install_emulator(tmp_path, script, monkeypatch)
    assert check_avx2.main(["--data", str(data), "--clips", "1", "--model", str(TINY)]) == 2
    assert "expected {'AVX2': True, 'AVX512F': False}" in capsys.readouterr().err


def test_an_emulator_that_fails(data, tmp_path, capsys, monkeypatch):
    install_emulator(tmp_path, "exit 1", monkeypatch)
    assert check_avx2.main(["--data", str(data), "--clips", "1", "--model", str(TINY)]) == 2
    assert "emulated Haswell: the recogniser stopped" in capsys.readouterr().err


def test_no_emulator(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(check_avx2.platform, "machine", lambda: "x86_64")
    assert check_avx2.main(["x.wav", "--model", str(TINY)]) == 2
    assert "apt-get install qemu-user-static" in capsys.readouterr().err
    monkeypatch.setattr(check_avx2.platform, "machine", lambda: "aarch64")
    assert check_avx2.main(["x.wav", "--model", str(TINY)]) == 2
    assert "this machine is aarch64" in capsys.readouterr().err
