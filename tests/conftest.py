"""What all tests share: where things are, and which skips are accepted.

A test that cannot run where it is (no data folder, no GPU) skips and says why. When the environment variable CI is
set, a skip for any other reason than those below, or than one given with `--expect-skip`, fails the run: a test that
silently stops running is a broken test.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from sound_server import SoundServer

# How long an example takes depends on what else the machine does.
settings.register_profile("edgeasr", deadline=None)
settings.load_profile("edgeasr")

ROOT = Path(__file__).resolve().parents[1]

NO_DATA = "the data folder is not here (EDGEASR_DATA)"
NO_GPU = "needs a GPU"
NO_KENLM = "KenLM is not installed"
NO_TRANSFORMERS = "transformers is not installed"
NO_PYWORLD = "pyworld is not installed"
EXPECTED_SKIPS = (NO_DATA, NO_GPU, NO_KENLM, NO_TRANSFORMERS, NO_PYWORLD)


@pytest.fixture(scope="session", autouse=True)
def _no_profile(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the person who runs the tests has taught is not theirs to know."""
    os.environ["EDGEASR_PROFILE"] = str(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="session")
def samples_dir() -> Path:
    """The recordings that come with the project."""
    return ROOT / "samples"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The data folder; the test is skipped where there is none."""
    path = Path(os.environ.get("EDGEASR_DATA", ROOT / "../shared/data")).resolve()
    if not (path / "speech").is_dir():
        pytest.skip(NO_DATA)
    return path


@pytest.fixture(scope="session")
def _sound_server() -> Iterator[SoundServer]:
    from sound_server import MISSING, SoundServer, missing

    if missing():
        pytest.skip(MISSING)
    with SoundServer() as server:
        yield server


@pytest.fixture
def sound_server(_sound_server: SoundServer) -> Iterator[SoundServer]:
    """A sound server whose microphone hears what is played, with PortAudio turned to it; skips without PulseAudio."""
    with _sound_server.chosen():
        yield _sound_server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--expect-skip",
        action="append",
        default=[],
        metavar="TEXT",
        help="accept skips whose reason contains TEXT, also when CI is set",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_SkipPolicy(config), "skip-policy")


class _SkipPolicy:
    """Collects the reasons of skipped tests and modules, and fails the run in CI when one was not expected."""

    def __init__(self, config: pytest.Config) -> None:
        self.expected = (*EXPECTED_SKIPS, *config.getoption("--expect-skip"))
        self.unexpected: list[str] = []

    def _look_at(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(text in reason for text in self.expected):
            self.unexpected.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._look_at(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._look_at(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if os.environ.get("CI") and self.unexpected and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if os.environ.get("CI") and self.unexpected:
            terminalreporter.section("skips that CI does not expect", red=True)
            for line in self.unexpected:
                terminalreporter.line(line)
