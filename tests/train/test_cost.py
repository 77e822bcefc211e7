"""The cost of a run: counters that come round, and machines that have none."""

import time

import pytest

from edgeasr.train import cost
from edgeasr.train.cost import Counter, Meter, cpu_s, nvml_counters, rapl_counters


def test_a_counter_that_comes_round_goes_on():
    values = iter([90.0, 95.0, 5.0, 5.0])
    counter = Counter("x", lambda: next(values), limit_j=100.0)
    assert [counter.update() for _ in range(3)] == [5.0, 15.0, 15.0]


def test_the_packages_of_rapl_are_added_up(tmp_path):
    def zone(name, label, energy_uj):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "name").write_text(label + "\n")
        (folder / "max_energy_range_uj").write_text("262143328850\n")
        if energy_uj is not None:
            (folder / "energy_uj").write_text(f"{energy_uj}\n")

    zone("intel-rapl:0", "package-0", 1_000_000)
    zone("intel-rapl:0:0", "core", 500_000)
    zone("intel-rapl:1", "package-1", 2_000_000)
    zone("intel-rapl:2", "psys", None)  # what may not be read
    meter = Meter(rapl_counters(tmp_path))
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("4500000\n")
    (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("4500000\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("2250000\n")
    measured = meter.read()
    assert measured.energy_j == pytest.approx(3.75)
    assert measured.energy_meters == ("RAPL package-0", "RAPL package-1")


class Library:
    """NVML with two cards, of which the second has no counter."""

    def __init__(self):
        self.energy_mj = 5000

    def __getattr__(self, name):
        return getattr(self, f"_{name}")

    def _nvmlInit_v2(self):  # noqa: N802
        return 0

    def _nvmlDeviceGetCount_v2(self, count):  # noqa: N802
        count._obj.value = 2
        return 0

    def _nvmlDeviceGetHandleByIndex_v2(self, number, device):  # noqa: N802
        device._obj.value = number + 1
        return 0

    def _nvmlDeviceGetTotalEnergyConsumption(self, device, energy):  # noqa: N802
        energy._obj.value = self.energy_mj
        return 0 if device.value == 1 else 3


def test_graphics_cards_with_a_counter(monkeypatch):
    library = Library()
    monkeypatch.setattr(cost.ctypes, "CDLL", lambda name: library)
    counters = nvml_counters()
    assert [counter.name for counter in counters] == ["NVML card 0"]
    library.energy_mj = 7500
    assert counters[0].update() == pytest.approx(2.5)


def test_nothing_is_made_up_where_there_is_no_counter(tmp_path, monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(cost.ctypes, "CDLL", missing)
    monkeypatch.setattr(cost, "POWERCAP", tmp_path)
    meter = Meter([*rapl_counters(tmp_path), *nvml_counters()])
    begun_s = cpu_s()
    while cpu_s() - begun_s < 0.02:
        time.sleep(0)
    measured = meter.read()
    assert measured.energy_j is None and measured.energy_meters == ()
    assert measured.cpu_s >= 0.02 and measured.wall_s > 0
