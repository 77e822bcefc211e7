"""The command line: where it matters in a process of its own, as a user meets it, else inside this one."""

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bundles import TINY, WINDOWED

from edgeasr import Recognizer, __version__
from edgeasr.cli import COMMANDS, main
from edgeasr.cli.bench import table
from edgeasr.cli.progress import ProgressBar


def edgeasr(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the program."""
    command = [sys.executable, "-m", "edgeasr", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


@dataclass
class Result:
    returncode: int
    stdout: str
    stderr: str


class Transcribe:
    """Runs `edgeasr transcribe` with the small bundle in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *args: object) -> Result:
        try:
            status = main(["transcribe", "--model", str(TINY), *map(str, args)])
        except SystemExit as stop:
            status = int(str(stop.code))
        return Result(status, *self._capsys.readouterr())


@pytest.fixture
def transcribe(capsys: pytest.CaptureFixture[str]) -> Transcribe:
    return Transcribe(capsys)


@pytest.fixture(scope="module")
def expected(samples_dir: Path) -> dict[str, str]:
    recognizer = Recognizer(TINY)
    return {path.name: recognizer.transcribe(path).text for path in sorted(samples_dir.glob("*.flac"))}


@pytest.fixture
def no_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_help_is_quick() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = edgeasr("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0
    assert all(command in result.stdout for command in COMMANDS)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.15


def test_help_imports_nothing_heavy() -> None:
    script = "import sys, edgeasr.cli; edgeasr.cli.main(sys.argv[1:])"
    for args in (["--help"], ["transcribe", "--help"], ["listen", "--help"], ["bench", "--help"]):
        command = [sys.executable, "-X", "importtime", "-c", script, *args]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert "argparse" in result.stderr
        for name in ("numpy", "onnxruntime", "soundfile", "torch"):
            assert f" {name}\n" not in result.stderr


def test_version_and_usage() -> None:
    assert edgeasr("--version").stdout == f"edgeasr {__version__}\n"
    for args in ([], ["fly"], ["transcribe"], ["transcribe", "a.wav", "--threads", "0"]):
        result = edgeasr(*args)
        assert result.returncode == 2
        assert result.stderr.startswith("usage: edgeasr")


def test_one_file(samples_dir: Path, expected: dict[str, str]) -> None:
    result = edgeasr("transcribe", "--model", TINY, samples_dir / "austen-0880.flac")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{expected['austen-0880.flac']}\n"


def test_folders_and_several_files(transcribe: Transcribe, samples_dir: Path, expected: dict[str, str]) -> None:
    result = transcribe(samples_dir, samples_dir / "austen-0880.flac")
    lines = [f"{samples_dir / name}: {text}" for name, text in expected.items()]
    assert result.stdout.splitlines() == [*lines, lines[1]]
    assert result.returncode == 0


def test_standard_input(samples_dir: Path, expected: dict[str, str]) -> None:
    path = samples_dir / "austen-0890.flac"
    with path.open("rb") as file:
        result = edgeasr("transcribe", "--model", TINY, "-", stdin=file)
    assert result.stdout == f"{expected[path.name]}\n"
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as cat:
        result = edgeasr("transcribe", "--model", TINY, "-", "--format", "json", stdin=cat.stdout)
    document = json.loads(result.stdout)
    assert (document["file"], document["text"]) == ("standard input", expected[path.name])


def test_json(transcribe: Transcribe, samples_dir: Path, expected: dict[str, str]) -> None:
    result = transcribe("--format", "json", samples_dir)
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [document["text"] for document in documents] == list(expected.values())
    assert documents[0]["file"] == str(samples_dir / "austen-0870.flac")
    for document in documents:
        words = document["segments"][0]["words"]
        assert " ".join(word["text"] for word in words) == document["text"]


@pytest.mark.parametrize(
    ("name", "start"),
    [("srt", "1\n00:00:0"), ("vtt", "WEBVTT\n\n00:00:0"), ("tsv", "start\tend\tconfidence\tword\n")],
)
def test_formats_for_one_file(transcribe: Transcribe, name: str, start: str, samples_dir: Path) -> None:
    assert transcribe("--format", name, samples_dir / "austen-0880.flac").stdout.startswith(start)
    result = transcribe("--format", name, samples_dir)
    assert (result.returncode, result.stdout) == (2, "")
    assert "needs --output-dir" in result.stderr


def test_output_dir(transcribe: Transcribe, samples_dir: Path, tmp_path: Path, expected: dict[str, str]) -> None:
    sound = tmp_path / "sound"
    (sound / "sub").mkdir(parents=True)
    for name in ("a.wav", "a.flac", "sub/b.flac"):
        waveform, sample_rate = soundfile.read(samples_dir / "austen-0880.flac", dtype="int16")
        soundfile.write(sound / name, waveform, sample_rate)
    out = tmp_path / "out"
    result = transcribe(sound, samples_dir / "austen-0890.flac", "--output-dir", out)
    assert (result.returncode, result.stdout) == (0, "")
    written = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*.txt")}
    text = f"{expected['austen-0880.flac']}\n"
    assert written == {
        "a.wav.txt": text,
        "a.flac.txt": text,
        "sub/b.txt": text,
        "austen-0890.txt": f"{expected['austen-0890.flac']}\n",
    }


def test_a_file_that_cannot_be_written_is_told_and_the_rest_is(
    transcribe: Transcribe, samples_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "austen-0880.txt").mkdir(parents=True)
    names = ("austen-0880.flac", "austen-0890.flac")
    result = transcribe(*(samples_dir / name for name in names), "--output-dir", out)
    assert (result.returncode, result.stdout) == (2, "")
    taken = f"{out / 'austen-0880.txt'} cannot be written: Is a directory"
    assert result.stderr == f"edgeasr: {samples_dir / names[0]}: {taken}\n"
    assert sorted(path.name for path in out.iterdir()) == ["austen-0880.txt", "austen-0890.txt"]
    result = transcribe(samples_dir / names[0], "--output-dir", out / "austen-0890.txt")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "File exists" in result.stderr


def test_file_names_do_not_command_the_terminal(
    transcribe: Transcribe, samples_dir: Path, tmp_path: Path, expected: dict[str, str]
) -> None:
    odd = tmp_path / "a\x1b[2J\x9bb.flac"
    odd.write_bytes((samples_dir / "austen-0880.flac").read_bytes())
    result = transcribe(odd, samples_dir / "austen-0880.flac")
    assert result.stdout.startswith(f"{tmp_path}/a?[2J?b.flac: {expected['austen-0880.flac']}\n")


@pytest.mark.parametrize("command", ["doctor", "devices"])
@pytest.mark.parametrize("seconds", ["nan", "-1", "0", "inf"])
def test_seconds_that_are_no_duration(command: str, seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--seconds", seconds])
    assert stop.value.code == 2
    assert f"{seconds} is not a number of seconds above 0" in capsys.readouterr().err


def test_the_longest_silence_is_named_as_it_was_asked_for(transcribe: Transcribe, samples_dir: Path) -> None:
    path = samples_dir / "austen-0880.flac"
    assert transcribe(path, "--min-silence", "60").returncode == 0
    result = transcribe(path, "--min-silence", "61")
    assert result.returncode == 2
    assert "min_silence_s is 61" in result.stderr


def test_options_reach_the_recogniser(transcribe: Transcribe, samples_dir: Path) -> None:
    path = samples_dir / "austen-0880.flac"
    for options, wishes in (
        (["--decoder", "greedy"], {"decoder": "greedy"}),
        (["--beam-size", "2"], {"beam_size": 2}),
        (["--model", WINDOWED, "--decoder", "beam"], {"model": WINDOWED, "decoder": "beam"}),
    ):
        text = Recognizer(**{"model": TINY, **wishes}).transcribe(path).text  # type: ignore[arg-type]
        assert transcribe(path, *options).stdout == f"{text}\n"
    result = transcribe(path, "--decoder", "greedy", "--beam-size", "2")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "edgeasr: the greedy decoder has no beam_size; it is for the beam search\n"


@pytest.mark.usefixtures("no_ffmpeg")
def test_what_cannot_be_transcribed_is_told_and_the_rest_is(
    transcribe: Transcribe, samples_dir: Path, tmp_path: Path, expected: dict[str, str]
) -> None:
    good = samples_dir / "austen-0880.flac"
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("This is not sound.\n")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan, 0.0], np.float32), 16000, subtype="FLOAT")
    (tmp_path / "folder").mkdir()
    names = ["empty.wav", "text.wav", "nan.wav", "missing.wav", "folder"]
    result = transcribe(*(tmp_path / name for name in names), good)
    assert result.returncode == 2
    assert result.stdout == f"{good}: {expected[good.name]}\n"
    lines = result.stderr.splitlines()
    assert len(lines) == len(names)
    problems = {
        "folder": "the folder holds no sound files",
        "empty.wav": "the file is empty",
        "text.wav": "not a sound file that libsndfile can read",
        "nan.wav": "NaN or infinite samples, the first one at 1",
        "missing.wav": "No such file or directory",
    }
    for line, (name, problem) in zip(lines, problems.items(), strict=True):
        assert line.startswith(f"edgeasr: {tmp_path / name}: ")
        assert problem in line


def test_damaged_flac_is_text_a_warning_and_status_two(
    transcribe: Transcribe, samples_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / "cut.flac"
    path.write_bytes((samples_dir / "austen-0870.flac").read_bytes()[:70_000])
    result = transcribe(path)
    assert result.returncode == 2
    assert result.stdout == f"{Recognizer(TINY).transcribe(path).text}\n"
    assert len(result.stdout.split()) > 3
    assert result.stderr.startswith(f"edgeasr: {path}: damaged after ")
    assert result.stderr.count("\n") == 1


def test_damage_is_told_with_a_grammar_too(transcribe: Transcribe, samples_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    path.write_bytes((samples_dir / "austen-0870.flac").read_bytes()[:70_000])
    (tmp_path / "a.grammar").write_text("intent say: something else\n")
    result = transcribe(path, "--grammar", tmp_path / "a.grammar", "--format", "json")
    assert result.returncode == 2
    assert result.stderr.startswith(f"edgeasr: {path}: damaged after ")
    assert result.stderr.count("\n") == 1
    document = json.loads(result.stdout)
    assert document["text"] == Recognizer(TINY).transcribe(path, endpoint=None).text
    assert [word["text"] for word in document["words"]] == document["text"].split()
    assert document["warnings"] == [result.stderr.removeprefix(f"edgeasr: {path}: ").strip()]


def test_no_samples_are_no_error(transcribe: Transcribe, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16000)
    result = transcribe(tmp_path / "none.wav")
    assert (result.returncode, result.stdout, result.stderr) == (0, "\n", "")


def test_five_channels_at_8_khz(transcribe: Transcribe, samples_dir: Path, tmp_path: Path) -> None:
    waveform, _ = soundfile.read(samples_dir / "austen-0880.flac", dtype="int16")
    soundfile.write(tmp_path / "five.wav", np.stack([waveform[::2]] * 5, axis=1), 8000)
    result = transcribe(tmp_path / "five.wav")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout) > 10


def test_file_names_that_are_no_characters(samples_dir: Path, tmp_path: Path, expected: dict[str, str]) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff\n.flac"
    Path(os.fsdecode(odd)).write_bytes((samples_dir / "austen-0880.flac").read_bytes())
    result = edgeasr("transcribe", "--model", TINY, tmp_path, samples_dir / "austen-0880.flac")
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.partition(": ")[2] for line in result.stdout.splitlines()] == [expected["austen-0880.flac"]] * 2


def test_bundles_that_cannot_be_used(tmp_path: Path, samples_dir: Path) -> None:
    for model, problem in (("missing", "no bundle is named 'missing'"), (tmp_path, "is not a bundle")):
        result = edgeasr("transcribe", "--model", model, samples_dir / "austen-0880.flac")
        assert (result.returncode, result.stdout) == (2, "")
        assert problem in result.stderr
        assert result.stderr.count("\n") == 1


def test_nobody_reads_the_output(samples_dir: Path) -> None:
    command = [sys.executable, "-m", "edgeasr", "transcribe", "--model", str(TINY), str(samples_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def heed_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c() -> None:
    command = [sys.executable, "-m", "edgeasr", "transcribe", "--model", str(TINY), "-"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A test that runs in the background of a shell may have inherited that Ctrl-C is ignored.
    with subprocess.Popen(command, **pipes, preexec_fn=heed_ctrl_c) as process:
        assert process.stdin is not None
        process.stdin.write(bytes(1 << 20))  # more than a pipe holds: by now the program is reading
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_models(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeasr.bundle.models_dirs", lambda: [TINY.parent])
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["tiny", "windowed"]
    assert main(["models", "info", "tiny"]) == 0
    shown = capsys.readouterr().out
    assert "400 ms and 0 ms of look-ahead" in shown
    assert '"parameters": "few"' in shown
    assert main(["models", "verify"]) == 0
    assert capsys.readouterr().out == "tiny: ok, 3 files\nwindowed: ok, 3 files\n"


def test_models_verify_names_what_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in TINY.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokens.txt").write_text("<blank>\n|\n'\n" + "\n".join("bacdefghijklmnopqrstuvwxyz") + "\n")
    assert main(["models", "verify", str(tmp_path), str(TINY)]) == 2
    printed = capsys.readouterr()
    assert printed.out == f"{TINY}: ok, 3 files\n"
    assert "tokens.txt is damaged" in printed.err


def test_bench(samples_dir: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeasr.cli.bench.START_UP_RUNS", 1)
    arguments = ["bench", "--model", str(TINY), str(samples_dir / "austen-0880.flac")]
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["audio_s"] == 2.99
    assert list(report["stages"]) == ["file", "resampler", "frontend", "model", "decoder", "rest"]
    assert 0 < report["real_time_factor"]["cpu"] < 1
    assert report["chunk_latency_ms"]["p50"] <= report["chunk_latency_ms"]["p99"]
    assert 10 < report["peak_memory_mb"] < 120
    assert 0 < report["start_up"]["cpu_s"] < 5
    assert "chunk latency" in table(report)


def test_the_progress_bar_is_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("edgeasr.cli.progress.PATIENCE_S", 0.0)
    ProgressBar("a.wav").update(30.0, 60.0)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bar = ProgressBar("a.wav")
    bar.update(1800.0, 3600.0)
    bar.clear()
    shown = capsys.readouterr().err
    assert "a.wav [============            ]  50% 0:30:00 of 1:00:00" in shown
    assert shown.endswith("\r\x1b[K")
    ProgressBar("a.wav").update(5.0, None)
    assert "a.wav 0:00:05" in capsys.readouterr().err


def test_words_may_be_left_to_the_reader_to_doubt(transcribe: Transcribe, samples_dir: Path) -> None:
    path = samples_dir / "austen-0880.flac"
    words = Recognizer(TINY).transcribe(path).words
    least = sorted(word.confidence for word in words)[len(words) // 2]
    result = transcribe(path, "--min-confidence", least)
    assert result.returncode == 0
    assert "[?]" in result.stdout
    assert "tiny has no calibration for decoding with beam" in result.stderr
    assert result.stderr.count("\n") == 1
    dropped = transcribe(path, "--min-confidence", least, "--unsure-mark", "")
    assert dropped.stdout.split() == [word.text for word in words if word.confidence >= least]
    rejected = transcribe(path, "--min-segment-confidence", "1", "--unsure-mark", "(unclear)")
    assert rejected.stdout == "(unclear)\n"
    document = json.loads(transcribe(path, "--min-confidence", least, "--format", "json").stdout)
    assert document["calibrated"] is False
    kept = [word for word in document["segments"][0]["words"] if word.get("accepted", True)]
    assert len(document["segments"][0]["words"]) == len(words) > len(kept) > 0


@pytest.mark.parametrize("value", ["-0.1", "1.5", "nan", "much"])
def test_a_threshold_that_is_no_probability(transcribe: Transcribe, samples_dir: Path, value: str) -> None:
    result = transcribe(samples_dir / "austen-0880.flac", f"--min-confidence={value}")
    assert result.returncode == 2
    assert "--min-confidence" in result.stderr
