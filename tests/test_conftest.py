"""The suite's own rule: in CI an unexpected skip fails the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).with_name("conftest.py")

SKIPPED_TEST = "import pytest\n\ndef test_is_skipped():\n    pytest.skip({reason!r})\n"
SKIPPED_MODULE = "import pytest\n\npytest.importorskip('a_package_that_nobody_has')\n"


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(CONFTEST, folder)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_runs.py").write_text("def test_runs():\n    pass\n")
    inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**inherited, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_unexpected_skip_fails_in_ci_only(tmp_path: Path) -> None:
    (tmp_path / "test_skips.py").write_text(SKIPPED_TEST.format(reason="it is Monday"))
    (tmp_path / "test_module_skips.py").write_text(SKIPPED_MODULE)
    in_ci = run(tmp_path, CI="true")
    assert in_ci.returncode == 1
    unexpected = in_ci.stdout.partition("skips that CI does not expect")[2]
    assert "it is Monday" in unexpected
    assert "a_package_that_nobody_has" in unexpected
    assert run(tmp_path).returncode == 0


def test_expected_skips_pass_in_ci(tmp_path: Path) -> None:
    (tmp_path / "test_skips.py").write_text(SKIPPED_TEST.format(reason="the data folder is not here (EDGEASR_DATA)"))
    (tmp_path / "test_module_skips.py").write_text(SKIPPED_MODULE)
    assert run(tmp_path, "--expect-skip", "a_package_that_nobody_has", CI="true").returncode == 0
