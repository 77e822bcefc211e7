"""What a run costs: time on the clock, CPU time, sound heard, and energy where the machine has a meter for it.

Energy is read from the counters of RAPL (Linux: /sys/class/powercap; often for root alone) and of NVML (NVIDIA). They
count for the whole machine, whatever else runs on it. Where there is no counter it is None: nothing is estimated.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
NVML_LIBRARY = "libnvidia-ml.so.1"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a piece of work has cost.

    Attributes:
        wall_s: Time on the clock.
        cpu_s: CPU time of this process and of those that it has started.
        energy_j: Of processors and graphics cards, in joules; None where it is not measured.
        energy_meters: What was measured, such as `RAPL package-0`.
    """

    wall_s: float
    cpu_s: float
    energy_j: float | None
    energy_meters: tuple[str, ...]


@dataclass
class Counter:
    """An energy counter that starts again from 0 at its limit.

    Attributes:
        name: What it measures.
        read: Gives the counter in joules.
        limit_j: Where it starts again; None for nowhere.
    """

    name: str
    read: Callable[[], float]
    limit_j: float | None = None

    def __post_init__(self) -> None:
        """Reads it for the first time."""
        self.last_j = self.read()
        self.total_j = 0.0

    def update(self) -> float:
        """The joules since the start; it must be called before the counter has come round once more."""
        now_j = self.read()
        passed = now_j - self.last_j
        if passed < 0:
            passed += self.limit_j or 0.0
        self.total_j += max(0.0, passed)
        self.last_j = now_j
        return self.total_j


class Meter:
    """Measures from its making on.

    Example:
        >>> meter = Meter(counters=[])
        >>> meter.read().energy_j is None
        True
    """

    def __init__(self, counters: Sequence[Counter] | None = None) -> None:
        """Starts to measure.

        Args:
            counters: Of energy; None for all that this machine has.
        """
        self._counters = [*rapl_counters(), *nvml_counters()] if counters is None else list(counters)
        self._started_s = time.monotonic()
        self._cpu_started_s = cpu_s()

    def read(self) -> Cost:
        """What it has cost so far. Read it every few minutes: the counters of energy come round."""
        joules = [counter.update() for counter in self._counters]
        return Cost(
            wall_s=time.monotonic() - self._started_s,
            cpu_s=cpu_s() - self._cpu_started_s,
            energy_j=sum(joules) if joules else None,
            energy_meters=tuple(counter.name for counter in self._counters),
        )


def cpu_s() -> float:
    """CPU time of this process, of the children that have ended, and of those of multiprocessing that run."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = 0.0
    for child in multiprocessing.active_children():
        try:
            fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile, or there is no /proc
        running += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime: proc(5)
    return time.process_time() + ended.ru_utime + ended.ru_stime + running


def rapl_counters(folder: Path = POWERCAP) -> list[Counter]:
    """The counters of the processors' packages that may be read here."""
    counters = []
    for zone in sorted(folder.glob("intel-rapl:*")):  # AMD's are called the same
        if zone.name.count(":") != 1:
            continue  # a part of a package
        try:
            name = (zone / "name").read_text().strip()
            limit_j = int((zone / "max_energy_range_uj").read_text()) / 1e6
            counters.append(Counter(f"RAPL {name}", _micro_joules(zone / "energy_uj"), limit_j))
        except (OSError, ValueError):
            continue
    return counters


def _micro_joules(path: Path) -> Callable[[], float]:
    return lambda: int(path.read_text()) / 1e6


def nvml_counters() -> list[Counter]:
    """The counters of NVIDIA's graphics cards; none where its library is not installed."""
    try:
        nvml = ctypes.CDLL(NVML_LIBRARY)
    except OSError:
        return []
    count = ctypes.c_uint()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []
    counters = []
    for number in range(count.value):
        device = ctypes.c_void_p()
        energy = ctypes.c_ulonglong()
        if nvml.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(device)):
            continue
        if nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(energy)):
            continue  # cards before Volta have none
        counters.append(Counter(f"NVML card {number}", _milli_joules(nvml, device)))
    return counters


def _milli_joules(nvml: ctypes.CDLL, device: ctypes.c_void_p) -> Callable[[], float]:
    def read() -> float:
        energy = ctypes.c_ulonglong()
        nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(energy))
        return energy.value / 1e3

    return read
