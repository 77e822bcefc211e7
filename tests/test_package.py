"""The package and the checkout: what they promise, and what has to be the same in several places."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from contextlib import nullcontext
from importlib import metadata, resources
from pathlib import Path

import pytest

import edgeasr
from edgeasr import _core
from edgeasr.audio import open_audio
from edgeasr.train.evaluation.score import count_errors

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def blocks(language: str) -> list[str]:
    """The code blocks of the README in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def one_line_commands() -> list[str]:
    """The commands that set up an environment: for the package and for the checks."""
    return [block.strip() for block in blocks("sh") if "-m venv" in block]


def test_version() -> None:
    assert metadata.version("edgeasr") == edgeasr.__version__
    headings = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0] == edgeasr.__version__


def test_the_second_command_is_what_continuous_integration_runs() -> None:
    first, second = one_line_commands()
    assert "\n" not in first + second
    script = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert script[-1] == second
    assert "PIP_CONSTRAINT" not in README  # people get current versions


def test_the_first_command_prints_the_words_of_a_recording() -> None:
    install, command = one_line_commands()[0].rsplit(" && ", 1)
    assert install.endswith("pip install .")
    program, *arguments = command.split()
    assert program == ".venv/bin/edgeasr"
    script = [sys.executable, "-m", "edgeasr", *arguments]
    text = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    recording = Path(arguments[-1]).name
    row = next(line for line in (ROOT / "samples/README.md").read_text().splitlines() if f"`{recording}`" in line)
    assert count_errors(row.split("|")[3].strip(), text.strip(), unit="character").rate < 0.5


def test_the_python_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    python, stream, listen, context = blocks("python")
    lines = [line for line in python.splitlines() if line]
    assert len(lines) <= 10
    names: dict[str, object] = {}
    exec(python, names)
    text, *words = capsys.readouterr().out.splitlines()
    assert [word.split()[-1] for word in words] == text.split()
    silence = b"\0" * 9600
    names["blocks_from_somewhere"] = [memoryview(silence).cast("h")] * 3
    exec(stream, names)
    recording = nullcontext(open_audio(ROOT / "samples" / "austen-0880.flac", 16000))
    monkeypatch.setattr("edgeasr.microphone.Microphone", lambda: recording)
    capsys.readouterr()
    exec(listen, names)
    assert len(capsys.readouterr().out.splitlines()) == 1
    exec(context, names)


def test_commands_and_links_of_the_readme_exist() -> None:
    from edgeasr.cli import COMMANDS

    for block in blocks("sh"):
        for command in re.findall(r"\bedgeasr (\w+)", block):
            assert command in COMMANDS
    for link in re.findall(r"\]\(([^):#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_installed_files() -> None:
    package = resources.files(edgeasr)
    assert (package / "py.typed").is_file()
    assert (package / "_core.pyi").is_file()
    assert (package / "train/recipes/en-small.toml").is_file()
    distribution = metadata.distribution("edgeasr")
    names = [str(path) for path in distribution.files or ()]
    assert any(name.endswith("licenses/NOTICE") for name in names)
    assert not [name for name in names if ".gitkeep" in name or re.match(r"(tests|csrc|samples)/", name)]
    required = [requirement for requirement in distribution.requires or () if "extra ==" not in requirement]
    assert {re.split(r"\W", requirement)[0] for requirement in required} == {
        "numpy",
        "onnxruntime",
        "sounddevice",
        "soundfile",
        "soxr",
    }


def test_bundles_are_found_by_name() -> None:
    from edgeasr.bundle import find_bundle

    names = sorted(config.parent.name for config in (ROOT / "models").glob("*/config.json"))
    assert names
    for name in names:
        assert (find_bundle(name) / "config.json").read_bytes() == (ROOT / "models" / name / "config.json").read_bytes()


def test_the_stub_names_what_the_core_has() -> None:
    stub = ast.parse((ROOT / "edgeasr/_core.pyi").read_text(encoding="utf-8"))
    definitions = {node.name: node for node in stub.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    assert set(definitions) == {name for name in dir(_core) if not name.startswith("_")}
    for name, node in definitions.items():
        if isinstance(node, ast.ClassDef):
            members = {child.name for child in node.body if isinstance(child, ast.FunctionDef)}
            members |= {child.target.id for child in node.body if isinstance(child, ast.AnnAssign)}
            assert members - {"__init__"} == {member for member in vars(getattr(_core, name)) if member[0] != "_"}


def runtime_modules() -> list[str]:
    return [module.name for module in pkgutil.walk_packages(edgeasr.__path__, "edgeasr.") if is_runtime(module.name)]


def is_runtime(name: str) -> bool:
    return not name.startswith("edgeasr.train") and not name.endswith("__main__")


@pytest.mark.parametrize("name", runtime_modules())
def test_examples_of_the_runtime(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_imports_go_one_way() -> None:
    for path in (ROOT / "edgeasr").rglob("*.py"):
        if "train" in path.relative_to(ROOT).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in modules if name.partition(".")[0] in ("torch", "onnx")], path
    for path in (ROOT / "csrc/core").iterdir():
        assert not re.search(r'#include\s*[<"](pybind11|Python|onnx|bindings)', path.read_text(encoding="utf-8")), path


def test_versions_of_tools_agree() -> None:
    pins = {pin for pin in PYPROJECT["project"]["optional-dependencies"]["dev"] if "==" in pin}
    pins |= set(re.findall(r'"([\w-]+==[\w.]+)"', (ROOT / "noxfile.py").read_text(encoding="utf-8")))
    hooks = set(re.findall(r'"([\w-]+==[\w.]+)"', (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")))
    constraints = set((ROOT / ".ci/constraints.txt").read_text(encoding="utf-8").splitlines())
    assert hooks < pins <= constraints


def test_nothing_of_one_machine_is_written_down() -> None:
    """Absolute paths of somebody's home or workplace do not belong in the tree."""
    home = re.compile(r"(?<![\w.])/(?:home|root|work|Users|mnt|opt)/\w")
    folders = (".ci", "csrc", "edgeasr", "examples", "models", "samples", "tests", "tools")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    suffixes = {".cc", ".h", ".py", ".pyi", ".md", ".toml", ".json", ".txt", ".yaml", ""}
    for path in files:
        if path.suffix in suffixes and "__pycache__" not in path.parts and path != Path(__file__):
            assert not home.search(path.read_text(encoding="utf-8", errors="replace")), path
