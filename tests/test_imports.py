"""What is imported when: the runtime needs no torch and no onnx, and `import edgeasr` needs nothing."""

import subprocess
import sys
from pathlib import Path

import edgeasr

BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "tqdm", "scipy"}:
            raise ImportError(f"{name} must not be imported by the runtime")

sys.meta_path.insert(0, Blocker())
"""


def python(script: str, *args: object) -> str:
    command = [sys.executable, "-c", script, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_the_runtime_works_without_torch_and_onnx(samples_dir: Path) -> None:
    script = f"""{BLOCK}
import importlib, pkgutil, edgeasr
for module in pkgutil.walk_packages(edgeasr.__path__, "edgeasr."):
    if not module.name.startswith(("edgeasr.train", "edgeasr.__main__")):
        importlib.import_module(module.name)
from edgeasr import Recognizer
print(Recognizer(sys.argv[1]).transcribe(sys.argv[2]).text)
assert not {{"torch", "onnx"}} & set(sys.modules)
"""
    bundle = Path(__file__).parent / "golden" / "tiny"
    assert len(python(script, bundle, samples_dir / "austen-0880.flac")) > 10


def test_importing_the_package_imports_nothing_else() -> None:
    script = "import sys; before = set(sys.modules); import edgeasr; print(*set(sys.modules) - before)"
    imported = {name.partition(".")[0] for name in python(script).split()}
    assert not imported & {"numpy", "onnxruntime", "soundfile", "soxr", "sounddevice", "argparse"}


def test_public_names() -> None:
    for name in edgeasr.__all__:
        assert getattr(edgeasr, name).__name__ == name
        assert name in dir(edgeasr)
    assert not hasattr(edgeasr, "Recogniser")
