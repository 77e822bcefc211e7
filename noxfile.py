"""The checks of the project: `nox` runs them all, `nox -s tests` one of them, `nox -l` lists them.

The extension is compiled once into a wheel that the Python sessions install, as a user would; environments and build
folders are kept, so that a second run is quicker. `types` and `tests` share one environment, because torch is large.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tidy", "cpp", "asan", "types", "runtime", "tests"]

ROOT = Path(__file__).parent
SHARED_ENVIRONMENT = ROOT / ".nox" / f"train-{sys.version_info.major}.{sys.version_info.minor}"
WHEELS = ROOT / "build" / "wheels"
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")["project"]
CLANG_TIDY = "clang-tidy==18.1.8"
CMAKE = ("cmake>=3.25", "ninja")

# What is tested is the package as it was installed, not the folder of the same name in the checkout.
INSTALLED = {"PYTHONSAFEPATH": "1"}

_wheels: list[Path] = []


def requirements(*extras: str) -> list[str]:
    """What the package needs with these extras, without the package itself."""
    optional = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *(requirement for extra in extras for requirement in optional[extra])]
    return [requirement for requirement in wanted if not requirement.startswith("edgeasr")]


def pinned(package: str) -> str:
    """The requirement on a tool that stands in the extra `dev`."""
    return next(requirement for requirement in requirements("dev") if requirement.startswith(f"{package}=="))


def build_wheel(session: nox.Session) -> Path:
    """Compiles the package, with warnings as errors, the first time it is asked for."""
    if not _wheels:
        shutil.rmtree(WHEELS, ignore_errors=True)
        session.run(
            *(sys.executable, "-m", "pip", "wheel", "--no-deps", f"--wheel-dir={WHEELS}"),
            "--config-settings=build-dir=build/wheel-{wheel_tag}",
            *("--config-settings=cmake.define.EDGEASR_WARNINGS_AS_ERRORS=ON", str(ROOT)),
            external=True,
        )
        _wheels.extend(WHEELS.glob("edgeasr-*.whl"))
    return _wheels[0]


def install_package(session: nox.Session, python: str, *extras: str) -> None:
    """Installs the wheel and what it needs into the environment of this Python."""
    # Python compiles what it imports; compiling all of torch beforehand would take longer.
    pip = (python, "-m", "pip", "install", "--quiet", "--no-compile")
    session.run(*pip, *requirements(*extras), external=True)
    session.run(*pip, "--no-deps", "--force-reinstall", str(build_wheel(session)), external=True)


def shared_python(session: nox.Session) -> str:
    """The Python of the environment that `types` and `tests` share."""
    if not SHARED_ENVIRONMENT.exists():
        session.run(sys.executable, "-m", "venv", str(SHARED_ENVIRONMENT), external=True)
    return str(SHARED_ENVIRONMENT / "bin" / "python")


def ctest(session: nox.Session, preset: str) -> None:
    """Builds a preset of CMakePresets.json and runs its tests."""
    session.install("--quiet", *CMAKE)
    session.run("cmake", "--preset", preset)
    session.run("cmake", "--build", "--preset", preset)
    session.run("ctest", "--preset", preset, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style of Python and C++."""
    session.install("--quiet", pinned("ruff"), pinned("clang-format"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*.[ch]*"))
    session.run("clang-format", "--dry-run", "--Werror", *sources)


@nox.session
def tidy(session: nox.Session) -> None:
    """clang-tidy on the C++ core."""
    session.install("--quiet", *CMAKE, CLANG_TIDY)
    session.run("cmake", "--preset", "tidy")
    session.run("cmake", "--build", "--preset", "tidy")


@nox.session
def cpp(session: nox.Session) -> None:
    """Tests of the C++ core."""
    ctest(session, "dev")


@nox.session
def asan(session: nox.Session) -> None:
    """Tests of the C++ core under AddressSanitizer and UndefinedBehaviorSanitizer."""
    ctest(session, "asan-ubsan")


@nox.session(default=False)
def tsan(session: nox.Session) -> None:
    """Tests of the C++ core under ThreadSanitizer."""
    ctest(session, "tsan")


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Types, strictly, with those of torch at hand."""
    python = shared_python(session)
    install_package(session, python, "train", "test", "dev")
    session.run(python, "-m", "mypy", *session.posargs)


@nox.session
def runtime(session: nox.Session) -> None:
    """Tests of the runtime where neither torch nor onnx is installed, those in real time among them."""
    install_package(session, "python", "test")
    session.run("python", "-c", "import importlib.util as u; assert not any(map(u.find_spec, ('torch', 'onnx')))")
    session.run("pytest", "--ignore=tests/train", *session.posargs, env=INSTALLED)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """All tests in Python but those in real time, which need nothing that `runtime` does not have."""
    python = shared_python(session)
    install_package(session, python, "train", "test", "dev")
    session.run(python, "-m", "pytest", "-m", "not real_time", *session.posargs, env=INSTALLED)
