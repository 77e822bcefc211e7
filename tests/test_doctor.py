"""The doctor: machines made of files, packages, bundles and microphones that are not as they should be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest
from bundles import TINY
from sound_server import SoundServer

from edgeasr import Recognizer
from edgeasr.cli import doctor as command
from edgeasr.cli import main
from edgeasr.doctor import (
    FAILURE,
    OK,
    WARNING,
    Finding,
    carry_out,
    check_bundle,
    check_cpu,
    check_devices,
    check_governor,
    check_memory,
    check_recording,
    check_speed,
    check_throttling,
    check_versions,
    worst,
)
from edgeasr.errors import MicrophoneError

PI_5 = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 atomics fphp asimdhp cpuid asimdrdm asimddp\n\n"
PI_5 += "Revision\t: c04170\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"
PC = "processor\t: 0\nmodel name\t: Core 2\nflags\t\t: fpu sse2 {more}\n"


@pytest.fixture
def recognizer() -> Recognizer:
    return Recognizer(TINY)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def told(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """Statuses and messages; what is wrong comes with advice, and nothing else does."""
    listed = list(findings)
    for finding in listed:
        assert bool(finding.advice) == (finding.status != OK), finding
    return [(finding.status, finding.message) for finding in listed]


def test_versions() -> None:
    installed = {"edgeasr": "0.1.0", "numpy": "2.4.6", "soxr": "0.3.1"}

    def version(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    needs = ["numpy>=1.26", "soxr>=0.5", "soundfile>=0.12", 'torch>=2.5; extra == "train"']
    old, missing, rest = told(check_versions(needs, version))
    assert old == (FAILURE, "soxr is 0.3.1, expected 0.5 or later")
    assert missing == (FAILURE, "soundfile is not installed")
    assert rest[0] == OK and "numpy 2.4.6" in rest[1] and "torch" not in rest[1]
    ((status, message),) = told(check_versions())
    assert status == OK
    assert all(name in message for name in ("edgeasr", "Python", "onnxruntime", "sounddevice", "soxr"))


def test_cpu(tmp_path: Path) -> None:
    pi = write(tmp_path / "pi", {"proc/cpuinfo": PI_5, "sys/fs/cgroup/cpu.max": "max 100000\n"})
    assert told(check_cpu(pi, machine="aarch64", num_cores=4)) == [
        (OK, "Raspberry Pi 5 Model B Rev 1.0, aarch64, 4 cores, asimd asimddp")
    ]
    ((status, message),) = told(check_cpu(pi, machine="armv7l", num_cores=4))
    assert status == FAILURE and "a 32-bit system" in message
    old = write(tmp_path / "old", {"proc/cpuinfo": PC.format(more=""), "sys/fs/cgroup/cpu.max": "50000 100000\n"})
    slow, capped = told(check_cpu(old, machine="x86_64", num_cores=1))
    assert slow == (WARNING, "Core 2, x86_64, 1 core: without AVX2, 8-bit models run slowly")
    assert capped == (WARNING, "this process may use 50 % of one core")
    new = write(tmp_path / "new", {"proc/cpuinfo": PC.format(more="avx2")})
    assert told(check_cpu(new, machine="x86_64", num_cores=2)) == [(OK, "Core 2, x86_64, 2 cores, avx2")]
    ((status, message),) = told(check_cpu(tmp_path / "none", machine="x86_64", num_cores=2))
    assert status == OK and "cannot be read" in message


@pytest.mark.parametrize(
    ("available_mb", "limit_mb", "status"),
    [(4000, None, OK), (200, None, WARNING), (90, None, FAILURE), (4000, 512, OK), (4000, 200, FAILURE)],
)
def test_memory(tmp_path: Path, available_mb: int, limit_mb: int | None, status: str) -> None:
    files = {"proc/meminfo": f"MemTotal: 8000000 kB\nMemAvailable: {available_mb * 1024} kB\nHugePages_Total: 0\n"}
    if limit_mb is not None:
        files |= {"sys/fs/cgroup/memory.max": f"{limit_mb * 2**20}\n", "sys/fs/cgroup/memory.current": f"{2**27}\n"}
    ((found, message),) = told(check_memory(write(tmp_path, files)))
    assert found == status
    assert f"{(limit_mb - 128) if limit_mb else available_mb:,} MB available" in message


def test_memory_that_cannot_be_read(tmp_path: Path) -> None:
    assert told(check_memory(tmp_path)) == [(OK, "cannot be read here")]


def governor(name: str, driver: str, limit: int = 2400000) -> dict[str, str]:
    values = {"governor": name, "driver": driver, "max_freq": str(limit)}
    folders = [f"sys/devices/system/cpu/cpu{cpu}/cpufreq" for cpu in (0, 1)]
    files = {f"{folder}/scaling_{key}": f"{value}\n" for folder in folders for key, value in values.items()}
    return files | {f"{folder}/cpuinfo_max_freq": "2400000\n" for folder in folders}


def test_governor(tmp_path: Path) -> None:
    assert told(check_governor(tmp_path / "none")) == [(OK, "cannot be read here")]
    for index, (name, driver) in enumerate([("ondemand", "cpufreq-dt"), ("powersave", "intel_pstate")]):
        assert told(check_governor(write(tmp_path / str(index), governor(name, driver)))) == [(OK, name)]
    slow = write(tmp_path / "slow", governor("powersave", "cpufreq-dt", 1500000))
    assert told(check_governor(slow)) == [
        (WARNING, "powersave keeps the clock of cpu0, cpu1 at its lowest"),
        (WARNING, "the clock is capped: cpu0 at 1.5 of 2.4 GHz, cpu1 at 1.5 of 2.4 GHz"),
    ]


def test_throttling(tmp_path: Path) -> None:
    firmware = "sys/devices/platform/soc/soc:firmware/get_throttled"
    zone = "sys/class/thermal/thermal_zone0"
    assert told(check_throttling(tmp_path)) == [(OK, "cannot be read here")]
    write(tmp_path, {firmware: "0\n"})
    assert told(check_throttling(tmp_path)) == [(OK, "none")]
    write(tmp_path, {f"{zone}/temp": "48312\n", f"{zone}/type": "cpu-thermal\n"})
    assert told(check_throttling(tmp_path)) == [(OK, "cpu-thermal is at 48 °C")]
    write(tmp_path, {firmware: "50005\n", f"{zone}/temp": "84000\n"})  # hexadecimal, as the kernel writes it
    assert told(check_throttling(tmp_path)) == [
        (WARNING, "now: its voltage is too low"),
        (WARNING, "now: it is throttled, being too hot or short of power"),
        (WARNING, "cpu-thermal is at 84 °C, where processors slow down"),
    ]
    write(tmp_path, {firmware: "80000\n", f"{zone}/temp": "60000\n"})
    assert told(check_throttling(tmp_path)) == [
        (WARNING, "since it was started, for a time: it runs slower, being warm")
    ]


def test_bundle(tmp_path: Path) -> None:
    ((status, message),) = told(check_bundle(TINY))
    assert status == OK and message.endswith("checksums right")
    damaged = tmp_path / "tiny"
    shutil.copytree(TINY, damaged)
    readme = damaged / "README.md"
    readme.write_bytes(readme.read_bytes()[:-1] + b"?")
    ((status, message),) = told(check_bundle(damaged))
    assert status == FAILURE and "README.md" in message
    ((status, message),) = told(check_bundle("none-such"))
    assert status == FAILURE and "none-such" in message


@pytest.mark.parametrize(("took_s", "status"), [(0.2, OK), (2.0, WARNING), (3.5, FAILURE)])
def test_speed(recognizer: Recognizer, took_s: float, status: str) -> None:
    times = iter([10.0, 10.0 + took_s])
    ((found, message),) = told(check_speed(recognizer, clock=lambda: next(times)))
    assert found == status
    assert f"takes {took_s / 3:.3f} s" in message


class FakeMicrophone:
    """A microphone that gives what the test has, in blocks that are as late as the test wants."""

    def __init__(self, waveform: np.ndarray[Any, Any], *, true_rate: int = 16000, overflows: int = 0) -> None:
        self.sample_rate = 16000
        self.num_overflows = overflows
        self.num_lost = 1600 * overflows
        self._waveform = waveform.astype(np.float32)
        self._true_rate = true_rate

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        pass

    def blocks(self) -> Iterator[np.ndarray[Any, Any]]:
        yield from np.split(self._waveform, 40)

    def captured_at(self, time_s: float) -> float:
        return 100.0 + (time_s * 16000 // 1600 + 1) * 1600 / self._true_rate


def recording(recognizer: Recognizer, microphone: FakeMicrophone) -> list[tuple[str, str]]:
    checked = check_recording(microphone, recognizer, seconds=4.0, clock=lambda: 0.0)  # type: ignore[arg-type]
    return told(checked)


def test_recording(recognizer: Recognizer) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 64000)
    good, level = recording(recognizer, FakeMicrophone(noise))
    assert good[0] == OK and "4.0 s at 16000 Hz" in good[1] and "no overflow" in good[1]
    assert level[0] == OK and level[1].startswith("-20 dB, peak ")
    overflow, _ = recording(recognizer, FakeMicrophone(noise, overflows=2))
    assert overflow[0] == FAILURE and "2 overflows, 0.20 s lost" in overflow[1]
    _, rate, _ = recording(recognizer, FakeMicrophone(noise, true_rate=15000))
    assert rate == (WARNING, "promised are 16000 Hz, 15000 come")
    for waveform, message in (
        (0 * noise, "-120 dB, peak -120 dB: nothing comes, as from a microphone that is muted"),
        (noise / 1000, "too quiet for speech"),
        (np.clip(30 * noise, -1, 1), "it clips"),
    ):
        level = recording(recognizer, FakeMicrophone(waveform))[1]
        assert level[0] == WARNING and message in level[1]


def test_an_expected_error_is_a_finding() -> None:
    def fail() -> list[Finding]:
        raise MicrophoneError("it is busy")

    assert list(carry_out("devices", fail, "end it")) == [Finding("devices", FAILURE, "it is busy", "end it")]
    assert worst([]) == OK
    assert worst([Finding("a", OK, ""), Finding("b", FAILURE, "", "."), Finding("c", WARNING, "", ".")]) == FAILURE


def test_portaudio_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert told(check_devices(tmp_path, None)) == [
        (FAILURE, "the microphone needs sounddevice: pip install sounddevice")
    ]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([Finding("cpu", OK, "quick")], 0),
        ([Finding("cpu", OK, "quick"), Finding("memory", WARNING, "little", "get more")], 1),
        ([Finding("bundle", FAILURE, "bad", "do"), Finding("memory", WARNING, "little", "get more")], 2),
    ],
)
def test_the_exit_status(
    found: list[Finding], expected: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "examine", lambda *_: iter(found))
    assert main(["doctor"]) == expected
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == ["all is well", "1 warning", "1 warning and 1 failure"][expected]
    assert ("-> get more" in printed) == (expected > 0)
    assert main(["doctor", "--json"]) == expected
    report = json.loads(capsys.readouterr().out)
    assert report["status"] == (OK, WARNING, FAILURE)[expected]
    assert [finding["check"] for finding in report["findings"]] == [finding.check for finding in found]


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--no-microphone", "--model", str(TINY)]) in (0, 1)
    report = json.loads(capsys.readouterr().out)
    checks = [finding["check"] for finding in report["findings"]]
    assert set(checks) == {"versions", "cpu", "memory", "governor", "throttling", "bundle", "speed"}
    assert main(["doctor", "--no-microphone", "--model", "none-such"]) == 2
    assert "failure  bundle" in capsys.readouterr().out


@pytest.mark.real_time
def test_a_whole_examination(sound_server: SoundServer, samples_dir: Path) -> None:
    program = [sys.executable, "-m", "edgeasr", "doctor", "--json", "--seconds", "3", "--model", str(TINY)]
    player = sound_server.play(samples_dir / "austen-0870.flac")
    result = subprocess.run(program, env=sound_server.env, capture_output=True, text=True, check=False, timeout=60)
    player.terminate()
    player.wait()
    assert result.returncode in (0, 1), result.stderr
    findings = {finding["check"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert "default (ALSA" in findings["devices"]["message"]
    assert "16000, 22050, 32000, 44100, 48000" in findings["rates"]["message"]
    assert "no overflow" in findings["recording"]["message"]
    assert findings["level"]["status"] == OK
    assert "please speak" in result.stderr
