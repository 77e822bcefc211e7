"""Why it does not work, or not well: checks of the machine, the installation, the bundle and the microphone.

Each check is a function that gives findings, and a finding says what to do. What a check looks at is given to it, so
that a test can show it any machine: `root` stands for the file system with /proc and /sys.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeasr import __version__
from edgeasr.errors import BundleError, EdgeAsrError, MicrophoneError, MissingDependencyError

if TYPE_CHECKING:
    from edgeasr.microphone import Microphone
    from edgeasr.recognizer import Recognizer

OK, WARNING, FAILURE = "ok", "warning", "failure"

# `edgeasr listen` with the bundled model takes 110 MB at most; below twice that, other programs may crowd it out.
NEEDED_MB = 110
COMFORTABLE_MB = 220
# Of real time, on one core: from here on speech may pile up, and from here on it does.
WARNING_LOAD = 0.5
FAILURE_LOAD = 1.0
# Most boards slow down at 80 or 85 degrees.
HOT_C = 80.0
# How far a sound card's clock may be off; good ones are off by 0.01 %.
WARNING_RATE_ERROR = 0.01
# Peaks below this are no sound at all, below that no speech, and this share of samples at full scale is clipping.
MUTED_DB = -80.0
QUIET_DB = -40.0
CLIPPED_SHARE = 0.001
COMMON_RATES_HZ = (8000, 16000, 22050, 32000, 44100, 48000, 96000)

# Bits of a Raspberry Pi's `get_throttled`; sixteen bits higher, what has happened since it was started.
_POWER, _COOLING = "use the power supply of this board and a short cable", "cool it: a heat sink, a fan, air around it"
_THROTTLED = {
    0: ("its voltage is too low", _POWER),
    1: ("its clock is capped, the voltage being low", _POWER),
    2: ("it is throttled, being too hot or short of power", _COOLING),
    3: ("it runs slower, being warm", _COOLING),
}
_SINCE_START = 16


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found.

    Attributes:
        check: What was looked at.
        status: `ok`, `warning` (it works, but not well, or may fail) or `failure` (it does not work).
        message: What was found.
        advice: What to do; empty where all is well.
    """

    check: str
    status: str
    message: str
    advice: str = ""


Findings = Iterable[Finding]


def worst(findings: Findings) -> str:
    """The worst status of all.

    Example:
        >>> worst([Finding("cpu", OK, "quick"), Finding("memory", WARNING, "little")])
        'warning'
    """
    return max((finding.status for finding in findings), key=(OK, WARNING, FAILURE).index, default=OK)


def carry_out(check: str, probe: Callable[[], Findings], advice: str) -> Iterator[Finding]:
    """Gives the findings of a check; an error on purpose is a finding, too, with this advice."""
    try:
        yield from probe()
    except EdgeAsrError as error:
        yield Finding(check, FAILURE, str(error), advice)


def check_versions(
    requirements: Iterable[str] | None = None, version: Callable[[str], str] = importlib.metadata.version
) -> Findings:
    """Whether the packages that the runtime needs are installed, and new enough.

    Args:
        requirements: Such as `numpy>=1.26`; None for those of the installed package.
        version: Tells the version of an installed package; raises PackageNotFoundError.
    """
    found = [f"edgeasr {__version__}", f"Python {platform.python_version()}"]
    if requirements is None:
        try:
            requirements = importlib.metadata.requires("edgeasr") or ()
        except importlib.metadata.PackageNotFoundError:
            message = f"{', '.join(found)}: not installed as a package, so nobody knows what it needs"
            yield Finding("versions", WARNING, message, "pip install . in the copy of the repository")
            return
    for requirement in requirements:
        name, minimum = _parse_requirement(requirement)
        if not name:
            continue
        advice = f"pip install --upgrade '{requirement}'"
        try:
            installed = version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("versions", FAILURE, f"{name} is not installed", advice)
            continue
        if _numbers(installed) < _numbers(minimum):
            yield Finding("versions", FAILURE, f"{name} is {installed}, expected {minimum} or later", advice)
        found.append(f"{name} {installed}")
    yield Finding("versions", OK, ", ".join(found))


def check_cpu(root: Path, *, machine: str, num_cores: int) -> Findings:
    """Whether the processor has what 8-bit models run quickly with.

    Args:
        root: The file system.
        machine: Its architecture, as `platform.machine()` tells it.
        num_cores: How many this process may use.
    """
    entries = _cpu_info(root)
    name = entries.get("model name") or entries.get("Model") or entries.get("Hardware") or machine
    features = set((entries.get("flags") or entries.get("Features") or "").split())
    message = f"{name}, {machine}, {num_cores} {'core' if num_cores == 1 else 'cores'}"
    if machine.startswith(("armv6", "armv7")) or machine in ("i386", "i686"):
        advice = "install a 64-bit system; every Raspberry Pi since the 3 runs one"
        yield Finding("cpu", FAILURE, f"{message}: a 32-bit system, for which there is no ONNX Runtime", advice)
    elif not features:
        yield Finding("cpu", OK, f"{message}; its features cannot be read")
    elif machine in ("x86_64", "AMD64") and "avx2" not in features:
        advice = "`edgeasr bench` tells whether it is quick enough"
        yield Finding("cpu", WARNING, f"{message}: without AVX2, 8-bit models run slowly", advice)
    else:
        known = ("avx2", "avx512_vnni", "avx_vnni", "asimd", "asimddp", "i8mm")
        yield Finding("cpu", OK, f"{message}, {' '.join(feature for feature in known if feature in features)}")
    quota = _cpu_quota(root)
    if quota is not None and quota < 1:
        advice = "give the container a whole core (docker: --cpus 1)"
        yield Finding("cpu", WARNING, f"this process may use {100 * quota:.0f} % of one core", advice)


def check_memory(root: Path) -> Findings:
    """Whether there is memory enough for the recogniser."""
    sizes_kb = {}
    for line in _read(root / "proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        if value.split()[:1] and value.split()[0].isdecimal():
            sizes_kb[key] = int(value.split()[0])
    if "MemAvailable" not in sizes_kb:
        yield Finding("memory", OK, "cannot be read here")
        return
    available_mb = sizes_kb["MemAvailable"] / 1024
    message = f"{available_mb:,.0f} MB available of {sizes_kb.get('MemTotal', 0) / 1024:,.0f} MB"
    limit = _read(root / "sys/fs/cgroup/memory.max").strip()
    used = _read(root / "sys/fs/cgroup/memory.current").strip()
    if limit.isdecimal() and used.isdecimal():
        left_mb = (int(limit) - int(used)) / 2**20
        if left_mb < available_mb:
            available_mb = left_mb
            message = f"{left_mb:,.0f} MB available within this container's limit"
    advice = "end other programs, or move them elsewhere"
    if available_mb < NEEDED_MB:
        yield Finding("memory", FAILURE, f"{message}; listening takes {NEEDED_MB} MB", advice)
    elif available_mb < COMFORTABLE_MB:
        yield Finding("memory", WARNING, f"{message}; listening takes {NEEDED_MB} MB", advice)
    else:
        yield Finding("memory", OK, message)


def check_governor(root: Path) -> Findings:
    """Whether the processor's clock is kept low."""
    slow: list[str] = []
    governors: set[str] = set()
    capped: list[str] = []
    for folder in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq")):
        governor = _read(folder / "scaling_governor").strip()
        if not governor:
            continue
        governors.add(governor)
        # With these two drivers, the processor itself raises its clock under `powersave`.
        own_mind = _read(folder / "scaling_driver").startswith(("intel_pstate", "amd-pstate-epp", "amd_pstate_epp"))
        if governor == "powersave" and not own_mind:
            slow.append(folder.parent.name)
        limit, most = (_read(folder / name).strip() for name in ("scaling_max_freq", "cpuinfo_max_freq"))
        if limit.isdecimal() and most.isdecimal() and int(limit) < 0.8 * int(most):
            capped.append(f"{folder.parent.name} at {int(limit) / 1e6:.1f} of {int(most) / 1e6:.1f} GHz")
    if not governors:
        yield Finding("governor", OK, "cannot be read here")
        return
    if slow:
        advice = "echo ondemand | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        yield Finding("governor", WARNING, f"powersave keeps the clock of {', '.join(slow)} at its lowest", advice)
    if capped:
        advice = "sudo cpupower frequency-set --max, or look for a power-saving mode"
        yield Finding("governor", WARNING, f"the clock is capped: {', '.join(capped)}", advice)
    if not slow and not capped:
        yield Finding("governor", OK, ", ".join(sorted(governors)))


def check_throttling(root: Path) -> Findings:
    """Whether the processor is slowed down by heat or a weak power supply."""
    problems = False
    firmware = next((root / "sys/devices/platform").glob("soc*/soc*firmware/get_throttled"), None)
    bits = _read(firmware).strip() if firmware is not None else ""
    if re.fullmatch(r"(0x)?[0-9a-fA-F]+", bits):
        flags = int(bits, 16)
        for bit, (what, advice) in _THROTTLED.items():
            if flags >> bit & 1:
                problems = True
                yield Finding("throttling", WARNING, f"now: {what}", advice)
            elif flags >> bit + _SINCE_START & 1:
                problems = True
                yield Finding("throttling", WARNING, f"since it was started, for a time: {what}", advice)
    zones = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        millidegrees = _read(zone / "temp").strip()
        if millidegrees.lstrip("-").isdecimal():
            zones[_read(zone / "type").strip() or zone.name] = int(millidegrees) / 1000
    if zones:
        name, hottest_c = max(zones.items(), key=lambda item: item[1])
        if hottest_c >= HOT_C:
            problems = True
            yield Finding(
                "throttling", WARNING, f"{name} is at {hottest_c:.0f} °C, where processors slow down", _COOLING
            )
        elif not problems:
            yield Finding("throttling", OK, f"{name} is at {hottest_c:.0f} °C")
    elif not problems:
        yield Finding("throttling", OK, "none" if bits else "cannot be read here")


def check_bundle(model: str | Path | None) -> Findings:
    """Whether every file of the bundle is what it was when it was written."""
    from edgeasr.bundle import find_bundle, verify_bundle

    advice = "install the package or the bundle again (pip install --force-reinstall); names: `edgeasr models list`"
    try:
        bundle = verify_bundle(find_bundle(model))
    except BundleError as error:
        yield Finding("bundle", FAILURE, str(error), advice)
        return
    yield Finding("bundle", OK, f"{bundle.name} {bundle.version}, {len(bundle.files)} files, checksums right")


def check_speed(
    recognizer: Recognizer, *, seconds: float = 3.0, clock: Callable[[], float] = time.perf_counter
) -> Findings:
    """Whether the recogniser keeps up with speech.

    Args:
        recognizer: What to measure; it hears noise that swells and ebbs as speech does.
        seconds: How much of it.
        clock: What measures.
    """
    import numpy as np

    sample_rate = recognizer.bundle.sample_rate
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(times)) * (1 + np.sin(8 * np.pi * times))
    stream = recognizer.stream()
    stream.accept(noise[: sample_rate // 2])  # first steps take longer
    begun = clock()
    stream.accept(noise)
    load = (clock() - begun) / seconds
    message = f"a second of sound takes {load:.3f} s"
    advice = "a smaller beam (--beam-size 8), --decoder greedy, or a smaller model; `edgeasr bench` shows more"
    if load >= FAILURE_LOAD:
        yield Finding("speed", FAILURE, f"{message}: live speech will pile up", advice)
    elif load >= WARNING_LOAD:
        yield Finding("speed", WARNING, f"{message}: other work on this machine may make speech pile up", advice)
    else:
        yield Finding("speed", OK, message)


def check_devices(root: Path, device: str | int | None) -> Findings:
    """Whether there is a microphone, and at which rates it records."""
    from edgeasr.microphone import find_device, import_sounddevice, list_devices

    try:
        sounddevice = import_sounddevice()
    except MissingDependencyError as error:
        yield Finding("devices", FAILURE, str(error), "then run this again")
        return
    try:
        chosen = find_device(device)
    except MicrophoneError as error:
        closed = [path.name for path in sorted((root / "dev/snd").glob("pcm*c")) if not os.access(path, os.R_OK)]
        if closed:
            advice = "sudo usermod -aG audio $USER, then log in again"
            yield Finding("devices", FAILURE, f"{error}; /dev/snd/{closed[0]} must not be read by this user", advice)
        else:
            yield Finding("devices", FAILURE, str(error), "`arecord -l` shows what the kernel sees; is it plugged in?")
        return
    yield Finding("devices", OK, f"{chosen} of {len(list_devices())}")
    rates = [rate for rate in COMMON_RATES_HZ if _records_at(sounddevice, chosen.number, rate)]
    yield Finding("rates", OK, f"records at {', '.join(map(str, rates)) or chosen.sample_rate} Hz")


def check_recording(
    microphone: Microphone, recognizer: Recognizer, *, seconds: float, clock: Callable[[], float] = time.monotonic
) -> Findings:
    """Records and recognises at the same time: is sound lost, does it come at the rate promised, is there any?

    Args:
        microphone: Where from; it is opened and closed here.
        recognizer: What is done meanwhile.
        seconds: How much sound.
        clock: The clock that blocks are stamped by.
    """
    import numpy as np

    from edgeasr.waveform import loudness_db

    rate = microphone.sample_rate
    heard = []
    num_samples = 0
    behind_s = 0.0
    with microphone:
        stream = recognizer.stream(sample_rate=rate)
        for block in microphone.blocks():
            if not isinstance(block, np.ndarray):
                continue
            heard.append(block)
            num_samples += len(block)
            stream.accept(block)
            arrived = microphone.captured_at((num_samples - 1) / rate)
            if arrived is not None:
                behind_s = max(behind_s, clock() - arrived)
            if num_samples >= seconds * rate:
                break
        first, last = (microphone.captured_at(place / rate) for place in (0, num_samples - 1))
    waveform = np.concatenate(heard)
    chunk_s = _chunk_s(recognizer)
    message = f"{num_samples / rate:.1f} s at {rate} Hz, recognised in chunks of {1000 * chunk_s:.0f} ms"
    if microphone.num_overflows:
        lost = f"{microphone.num_overflows} overflows, {microphone.num_lost / rate:.2f} s lost"
        advice = "end what else needs the processor; take PulseAudio's or PipeWire's device instead of a bare one"
        yield Finding("recording", FAILURE, f"{message}: {lost}", advice)
    else:
        yield Finding("recording", OK, f"{message}: no overflow, at most {behind_s:.2f} s behind")
    if first is not None and last is not None and last > first:
        # What came between the arrivals of the first block and the last one.
        true_rate = (num_samples - len(heard[0])) / (last - first)
        if abs(true_rate / rate - 1) > max(WARNING_RATE_ERROR, 0.1 / seconds):
            advice = "choose another device or rate: words come out wrong when speech is too quick or too slow"
            yield Finding("rates", WARNING, f"promised are {rate} Hz, {true_rate:.0f} come", advice)
    rms_db, peak_db = loudness_db(waveform, floor_db=-120.0)
    level = f"{rms_db:.0f} dB, peak {peak_db:.0f} dB"
    advice = "speak while this runs; look at `edgeasr devices --meter`, and turn the gain up (alsamixer, F4)"
    if peak_db <= MUTED_DB:
        yield Finding("level", WARNING, f"{level}: nothing comes, as from a microphone that is muted", advice)
    elif peak_db <= QUIET_DB:
        yield Finding("level", WARNING, f"{level}: too quiet for speech, or nobody spoke", advice)
    elif np.mean(np.abs(waveform) >= 0.999) > CLIPPED_SHARE:
        yield Finding("level", WARNING, f"{level}: it clips", "turn the gain down, or stand farther off")
    else:
        yield Finding("level", OK, level)


def _chunk_s(recognizer: Recognizer) -> float:
    bundle = recognizer.bundle
    return bundle.model.chunk_frames * bundle.frontend.hop_length / bundle.sample_rate


def _records_at(sounddevice: object, number: int, rate: int) -> bool:
    from edgeasr.microphone import quiet

    try:
        with quiet():
            sounddevice.check_input_settings(number, channels=1, samplerate=rate)  # type: ignore[attr-defined]
    except (ValueError, sounddevice.PortAudioError):  # type: ignore[attr-defined]
        return False
    return True


def _read(path: Path) -> str:
    """What a file holds; nothing where it is not there, or must not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpu_info(root: Path) -> dict[str, str]:
    entries = {}
    for line in _read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        entries[key.strip()] = value.strip()
    return entries


def _cpu_quota(root: Path) -> float | None:
    """Of one core; None without a limit."""
    parts = _read(root / "sys/fs/cgroup/cpu.max").split()
    return int(parts[0]) / int(parts[1]) if len(parts) == 2 and parts[0].isdecimal() else None


def _parse_requirement(requirement: str) -> tuple[str, str]:
    """Name and least version; no name for what only an extra needs."""
    match = re.match(r"([A-Za-z0-9._-]+)\s*(?:>=\s*([0-9.]+))?", requirement)
    if match is None or "extra ==" in requirement:
        return "", ""
    return match[1], match[2] or "0"


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]
